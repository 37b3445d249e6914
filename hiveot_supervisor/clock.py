"""Time, as values that tests can replace.

Durations and deadlines use the monotonic clock; wall time is only for what people and other machines read.
This module never sleeps.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Source of time; the real one is `SystemClock`."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back, not changed by setting the clock."""
        ...

    def wall(self) -> float:
        """Seconds since the Unix epoch (UTC)."""
        ...


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The machine's clocks."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()


def iso8601(wall: float) -> str:
    """Render wall time as UTC `YYYY-MM-DDTHH:MM:SS.fffZ`, the form HiveOT's envelopes use."""
    stamp = datetime.fromtimestamp(wall, UTC)
    return f"{stamp:%Y-%m-%dT%H:%M:%S}.{stamp.microsecond // 1000:03d}Z"


def parse_iso8601(text: str) -> float:
    """Parse an ISO 8601 / RFC 3339 time with zone into seconds since the Unix epoch.

    Fractions of any length are accepted (HiveOT sends zero to three digits).
    Raises ValueError when the text is not a time or has no zone.
    """
    stamp = datetime.fromisoformat(text)
    if stamp.tzinfo is None:
        raise ValueError(f"time without zone: {text!r}")
    return stamp.timestamp()
