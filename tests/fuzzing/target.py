"""What a fuzzing target is: good inputs, and a check that may fail only by saying what is wrong."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from dataclasses import dataclass

SECRET = "Planted-Secret-0Zq8"
"""Stands where keys, tokens and passwords stand; must never come out."""


@dataclass(frozen=True)
class Target:
    """`check` takes any bytes; whatever it raises is a finding. limit: CPU seconds that one input may cost."""

    name: str
    seeds: tuple[bytes, ...]
    check: Callable[[bytes], None]
    tokens: tuple[bytes, ...] = ()
    limit: float = 1.0


class Logged:
    """All that is logged while an input is checked; an exception in the log is one that nobody expected."""

    def __init__(self) -> None:
        self._text = io.StringIO()
        handler = logging.StreamHandler(self._text)
        handler.setLevel(logging.DEBUG)
        root = logging.getLogger()
        for other in list(root.handlers):
            if getattr(other, "fuzzing", False):
                root.removeHandler(other)
        handler.fuzzing = True  # type: ignore[attr-defined]
        root.addHandler(handler)

    def take(self) -> str:
        """What was logged since the last call. Raises AssertionError when a secret or a traceback is in it."""
        text = self._text.getvalue()
        self._text.seek(0)
        self._text.truncate()
        assert SECRET not in text, "a secret was logged"
        assert "Traceback" not in text, text[-3000:]
        assert len(text) < 20_000, f"{len(text)} characters logged for one input"
        return text


def printable(text: str, *, also: str = "\n") -> None:
    """Fail when `text` holds a character that can act on a terminal."""
    bad = next((c for c in text if not c.isprintable() and c not in also), None)
    assert bad is None, f"control character {bad!r} in {text[:200]!r}"
