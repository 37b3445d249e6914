"""How much a consumer may ask of an agent: so many requests a second, and so many that are not answered yet.

Each sender has an allowance of its own, so that one who floods is refused before anybody else waits for long. Decides
only; whoever asks tells the sender. Time comes in as an argument.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from dataclasses import dataclass, field

IDLE = 60.0
"""Seconds without a request after which a sender is forgotten, when many are remembered."""

PATIENCE = 600.0
"""Seconds after which a request that was never answered does not count any more."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is let in. rate: requests of one sender a second in the long run, burst: of them at once; unanswered: of one
    sender, total: of all; senders: how many are remembered.
    """

    rate: float = 2000.0
    burst: int = 5000
    unanswered: int = 64
    total: int = 256
    senders: int = 1000


@dataclass(slots=True)
class _Sender:
    """What is left of a sender's burst, when that was, and since when its unanswered requests wait."""

    left: float
    at: float
    waiting: deque[float] = field(default_factory=deque)


class Admission:
    """The memory of one agent. Thread-safe; `now` is monotonic seconds."""

    def __init__(self, allowance: Allowance | None = None) -> None:
        self._allowance = allowance or Allowance()
        self._lock = threading.Lock()
        self._senders: OrderedDict[str, _Sender] = OrderedDict()  # the one who asked last comes last
        self._total = 0

    def admit(self, sender: str, now: float) -> str:
        """Count a request in; empty when it may be worked on (`answered` must follow), else why not."""
        allowed = self._allowance
        with self._lock:
            entry = self._entry(sender, now)
            if entry is None:
                return "too many senders"
            self._give_up(entry, now)
            entry.left = min(allowed.burst, entry.left + max(0.0, now - entry.at) * allowed.rate)
            entry.at = max(now, entry.at)
            if entry.left < 1.0:
                return f"more than {allowed.rate:g} requests a second"
            entry.left -= 1.0
            if len(entry.waiting) >= allowed.unanswered:
                return f"{allowed.unanswered} requests are not answered yet"
            if self._total >= allowed.total:
                return "too many requests of others are not answered yet"
            entry.waiting.append(now)
            self._total += 1
            return ""

    def answered(self, sender: str) -> None:
        """A request that was let in has got its answer."""
        with self._lock:
            entry = self._senders.get(sender)
            if entry is not None and entry.waiting:
                entry.waiting.popleft()
                self._total -= 1

    def __len__(self) -> int:
        return len(self._senders)

    def _entry(self, sender: str, now: float) -> _Sender | None:
        """The sender's entry, made if there is room or somebody can be forgotten."""
        entry = self._senders.get(sender)
        if entry is None:
            if len(self._senders) >= self._allowance.senders and not self._forget(now):
                return None
            entry = self._senders[sender] = _Sender(float(self._allowance.burst), now)
        self._senders.move_to_end(sender)
        return entry

    def _forget(self, now: float) -> bool:
        """Drop the one who has been silent longest, if it is long enough to have its full allowance again."""
        oldest = next(iter(self._senders))
        entry = self._senders[oldest]
        self._give_up(entry, now)
        if entry.waiting or now - entry.at < max(IDLE, self._allowance.burst / self._allowance.rate):
            return False
        del self._senders[oldest]
        return True

    def _give_up(self, entry: _Sender, now: float) -> None:
        while entry.waiting and now - entry.waiting[0] > PATIENCE:
            entry.waiting.popleft()
            self._total -= 1
