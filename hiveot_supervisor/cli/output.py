"""How the command line speaks: data on stdout, talk on stderr, colour only where it is wanted."""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Collection
from typing import Any, TextIO

from hiveot_supervisor.errors import HiveotError

_CODES = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36", "dim": "2", "bold": "1"}


def use_color(mode: str, stream: TextIO) -> bool:
    """Whether to colour `stream`: `always`/`never` decide; `auto` asks for a terminal, NO_COLOR and TERM=dumb."""
    if mode != "auto":
        return mode == "always"
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, color: str, enabled: bool) -> str:
    """`text` in a colour (red, green, yellow, blue, cyan, dim, bold) when enabled."""
    return f"\x1b[{_CODES[color]}m{text}\x1b[0m" if enabled else text


def printable(text: str) -> str:
    """`text` without control characters (terminal escapes in names, logs or hub messages must not act)."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def pause(seconds: float) -> bool:
    """Wait; False at once when nobody reads standard output any more (`events -f | head` must end)."""
    poller = select.poll()
    poller.register(sys.stdout.fileno(), 0)
    return not poller.poll(1000 * seconds)


def say(text: str) -> None:
    """Talk: a line on stderr."""
    print(text, file=sys.stderr, flush=True)


def fail(error: HiveotError) -> int:
    """Report an error on stderr and give its exit code."""
    enabled = use_color("auto", sys.stderr)
    say(f"{paint('error', 'red', enabled)}: {error}")
    return int(error.exit_code)


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    json.dump(document, sys.stdout, indent=2, ensure_ascii=False)
    print()


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
    total = int(max(0, seconds))
    parts = [(total // 86400, "d"), (total // 3600 % 24, "h"), (total // 60 % 60, "m"), (total % 60, "s")]
    while len(parts) > 1 and parts[0][0] == 0:
        parts.pop(0)
    return " ".join(f"{n}{unit}" for n, unit in parts[:2] if n or unit == parts[0][1])
