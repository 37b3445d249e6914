"""Log lines that outsiders can provoke, kept from flooding the log. Pure but for the logging call."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable


class LimitedLog:
    """One line a `period` (seconds) and key at most; the next line tells how many were left out. Thread-safe."""

    def __init__(self, log: logging.Logger, monotonic: Callable[[], float], *, period: float = 10.0) -> None:
        self._log = log
        self._monotonic = monotonic
        self._period = period
        self._lock = threading.Lock()
        self._last: dict[str, tuple[float, int]] = {}

    def warning(self, key: str, text: str, *args: object) -> bool:
        """Log `text % args` unless a line of this key was logged lately. Returns whether it was."""
        now = self._monotonic()
        with self._lock:
            stamp, dropped = self._last.get(key, (now - self._period, 0))
            if now - stamp < self._period:
                self._last[key] = (stamp, dropped + 1)
                return False
            self._last[key] = (now, 0)
        suffix = f" ({dropped} similar messages were not logged)" if dropped else ""
        self._log.warning(text + "%s", *args, suffix)
        return True
