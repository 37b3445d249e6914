"""How the command line speaks: data on stdout, talk on stderr, colour only where it is wanted."""

from __future__ import annotations

import json
import os
import re
import select
import sys
from collections.abc import Collection
from typing import Any, TextIO

from hiveot_supervisor.errors import HiveotError
from hiveot_supervisor.foreign import printable

__all__ = [
    "fail", "harmless", "human_size", "human_time", "json_text", "paint", "pause", "print_json", "printable", "say",
    "table", "use_color",
]  # fmt: skip

_COLOR = re.compile(r"(\x1b\[[0-9;]{0,32}m)")
"""What sets colours (ECMA-48, SGR), the only escape sequence that may reach a terminal."""

_CODES = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36", "dim": "2", "bold": "1"}


def use_color(mode: str, stream: TextIO) -> bool:
    """Whether to colour `stream`: `always`/`never` decide; `auto` asks for a terminal, NO_COLOR and TERM=dumb."""
    if mode != "auto":
        return mode == "always"
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, color: str, enabled: bool) -> str:
    """`text` in a colour (red, green, yellow, blue, cyan, dim, bold) when enabled."""
    return f"\x1b[{_CODES[color]}m{text}\x1b[0m" if enabled else text


def harmless(text: str, *, color: bool, also: str = "\t") -> str:
    """Foreign text for a terminal: colours stay when wanted, all else that could act there becomes U+FFFD.

    also: control characters that stay. Colours end with the text, so that they do not run into what follows.
    """
    parts = _COLOR.split(text)
    for at in range(0, len(parts), 2):
        part = parts[at]
        if not part.isprintable():
            parts[at] = "".join(c if c.isprintable() or c in also else "\ufffd" for c in part)
    if len(parts) == 1:
        return parts[0]
    return "".join(parts if color else parts[::2]) + ("\x1b[0m" if color and parts[-2] != "\x1b[0m" else "")


def json_text(document: Any, *, indent: int | None = None) -> str:
    """A document as JSON in which what could act on a terminal is escaped, so nothing of the data is lost."""
    text = json.dumps(document, indent=indent, ensure_ascii=False)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def pause(seconds: float) -> bool:
    """Wait; False at once when nobody reads standard output any more (`events -f | head` must end)."""
    poller = select.poll()
    poller.register(sys.stdout.fileno(), 0)
    return not poller.poll(1000 * seconds)


def say(text: str) -> None:
    """Talk: a line (or lines) on stderr. Whatever foreign text is in it cannot act on the terminal."""
    print(harmless(text, color=True, also="\t\n"), file=sys.stderr, flush=True)


def fail(error: HiveotError) -> int:
    """Report an error on stderr and give its exit code."""
    enabled = use_color("auto", sys.stderr)
    say(f"{paint('error', 'red', enabled)}: {error}")
    return int(error.exit_code)


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    print(json_text(document, indent=2))


def table(header: list[str], rows: list[list[str]], right: Collection[int] = ()) -> list[str]:
    """Lines of an aligned table: two spaces between columns, `right` holds the columns aligned right."""
    widths = [max(len(r[i]) for r in [header, *rows]) for i in range(len(header))]
    return [
        "  ".join(
            c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [header, *rows]
    ]


def human_size(size: int | None) -> str:
    """Bytes for people: `28 MB`; `-` for None."""
    if size is None:
        return "-"
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.0f} GB"


def human_time(seconds: float | None) -> str:
    """A duration for people, two units at most: `3d 4h`, `2m 10s`; `-` for None."""
    if seconds is None:
        return "-"
    total = int(min(max(0, seconds), 1e12))
    parts = [(total // 86400, "d"), (total // 3600 % 24, "h"), (total // 60 % 60, "m"), (total % 60, "s")]
    while len(parts) > 1 and parts[0][0] == 0:
        parts.pop(0)
    return " ".join(f"{n}{unit}" for n, unit in parts[:2] if n or unit == parts[0][1])
