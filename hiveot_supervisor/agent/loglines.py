"""The last lines of a plugin's log as they leave the machine: bounded, valid UTF-8, without control characters."""

from __future__ import annotations

from hiveot_supervisor.model import Plugin
from hiveot_supervisor.supervisord.logfiles import last_lines


def tail(plugin: Plugin, count: int, size: int) -> list[str] | None:
    """At most `count` lines and about `size` characters, oldest first; None when the plugin has no log."""
    if plugin.log_file is None:
        return None
    lines: list[str] = []
    left = size
    for line in reversed(last_lines(plugin.log_file, count)):
        if left <= 0:
            break
        clean = "".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in line[:left])
        lines.insert(0, clean)
        left -= len(clean) + 1
    return lines
