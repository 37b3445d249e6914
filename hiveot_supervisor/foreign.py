"""Text from elsewhere (logs, names, messages of the hub) made fit to be stored and shown.

Pure. What could act on a terminal, or pretend to be another line, becomes U+FFFD; lengths are bounded.
"""

from __future__ import annotations


def printable(text: str) -> str:
    """`text` without control characters, line ends and invisible format characters."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)


def clean(text: str, limit: int) -> str:
    """One printable line of at most `limit` characters; what was cut off shows as `…`."""
    line = " ".join(text[: 4 * limit].split())
    return printable(line if len(line) <= limit else line[: limit - 1] + "…")
