"""Durations, sizes and percentages as people write them: `1h30m`, `500ms`, `200MB`, `64KiB`, `80%`.

Pure functions between text and numbers (seconds, bytes, percent); parsers return None for what they do not
understand, and `meant_*` guess what was meant, so that a message can say so.
"""

from __future__ import annotations

import re

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?:[0-9]{1,12}(?:\.[0-9]{1,9})?(?:ms|s|m|h|d))+")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_NUMBER = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,9})?")
_QUANTITY = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)\s*([A-Za-z%]+)")
_SPELLED = {
    "ms": ("msec", "msecs", "millis", "milliseconds", "millisecond"),
    "s": ("sec", "secs", "second", "seconds"),
    "m": ("min", "mins", "minute", "minutes"),
    "h": ("hr", "hrs", "hour", "hours"),
    "d": ("day", "days"),
}
_LONG_UNITS = {word: unit for unit, words in _SPELLED.items() for word in words}

_BYTES = {
    "B": 1,
    "kB": 1000,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "TiB": 1024**4,
}
_SIZE = re.compile(r"([0-9]{1,18})(?:\.([0-9]{1,9}))?([A-Za-z]+)?")


def parse_duration(text: str, bare: str | None = "s") -> float | None:
    """Seconds of `10s`, `1h30m`, `500ms`. A bare number is in the unit `bare` (s or ms); None: it needs a unit."""
    if _NUMBER.fullmatch(text):
        return None if bare is None else _seconds(text, bare)
    if not _DURATION.fullmatch(text):
        return None
    return sum(_seconds(number, unit) for number, unit in _DURATION_PART.findall(text))


def _seconds(number: str, unit: str) -> float:
    return float(number) / 1000 if unit == "ms" else float(number) * _SECONDS[unit]


def meant_duration(text: str) -> str | None:
    """`10s` for `10 sec`, `10S`, `10 seconds`; None when there is nothing to guess."""
    parts = [part for part in re.split(r"[\s,]+", text.strip()) if part]
    joined = _QUANTITY.findall(" ".join(parts))
    if not joined or _QUANTITY.sub("", text).strip(" ,\t"):
        return None
    words = [(number, unit.lower()) for number, unit in joined]
    guess = "".join(number + _LONG_UNITS.get(unit, unit) for number, unit in words)
    return guess if parse_duration(guess) is not None else None


def format_duration(seconds: float) -> str:
    """The shortest text that parses to `seconds` (to the millisecond): `1h`, `1m30s`, `100ms`."""
    left = round(seconds * 1000)
    if left == 0:
        return "0s"
    text = ""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left = divmod(left, size)
        text += f"{count}{unit}" if count else ""
    return text


def parse_size(text: str) -> int | None:
    """Bytes of `200MB` (decimal), `64KiB` (binary), `0.5GB`, or a bare number of bytes."""
    match = _SIZE.fullmatch(text)
    if match is None:
        return None
    whole, fraction, unit = match.groups()
    factor = _BYTES.get(unit or "B")
    if factor is None:
        return None
    return int(whole) * factor + (int(fraction) * factor // 10 ** len(fraction) if fraction else 0)


def meant_size(text: str) -> str | None:
    """`200MB` for `200M`, `200 mb`, `200m`; None when there is nothing to guess."""
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        return None
    number, unit = match.groups()
    exact = {name.lower(): name for name in _BYTES if name != "KB"}
    short = {"b": "B", "k": "kB", "m": "MB", "g": "GB", "t": "TB", "ki": "KiB", "mi": "MiB", "gi": "GiB", "ti": "TiB"}
    known = exact.get(unit.lower()) or short.get(unit.lower())
    return f"{number}{known}" if known else None


def format_size(size: int) -> str:
    """The text with the largest unit that gives a whole number: `10MB`, `64KiB`, `1500B`."""
    for unit in ("TB", "GB", "MB", "kB", "TiB", "GiB", "MiB", "KiB"):
        if size and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return f"{size}B"


def parse_percent(text: str) -> float | None:
    """80.0 for `80%`; the sign is needed, because `0.8` and `80` could both be meant."""
    return float(text[:-1]) if text.endswith("%") and _NUMBER.fullmatch(text[:-1]) else None


def meant_percent(text: str) -> str | None:
    """`80%` for `80`, `80 %` and `0.8`; None when there is nothing to guess."""
    number = text.removesuffix("%").strip()
    if not _NUMBER.fullmatch(number):
        return None
    if not text.endswith("%") and number.startswith("0."):
        return f"{float(number) * 100:g}%"
    return f"{number}%"


def format_percent(percent: float) -> str:
    """The text that parses to `percent`."""
    return f"{percent:g}%"
