"""Inside supervisord: a shutdown in which plugins need not wait for each other's end.

Part of our extension. Stock supervisord tells one group to stop, waits until it is down, and goes on to the next:
thirty plugins that take a second each take half a minute. Here a plugin is told when the one after it in the start
order is down or was told `stopWait` ago, but never before all plugins that depend on it are down. All else (the agent,
the runtime, programs that are not ours) is left to supervisord, one after another.

What is ours, and who depends on whom, is read from generated/launcher.json when the shutdown begins, because plugins
come and go while supervisord runs. Standard library and supervisor only.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any


class Stops:
    """The shutdown of one generation of supervisord. path: of launcher.json, empty without one."""

    def __init__(self, supervisord: Any, path: str) -> None:
        self._supervisord = supervisord
        self.path = path
        self._needs: dict[str, frozenset[str]] = {}
        self._wait = 0.0
        self._told: set[str] = set()
        self._next = 0.0

    def begin(self) -> None:
        """The shutdown begins. Raises OSError, ValueError, KeyError, TypeError when the file cannot be used: then
        supervisord goes on alone."""
        if not self.path:
            return
        model = json.loads(Path(self.path).read_text(encoding="utf-8"))
        self._wait = float(model["stop_wait"])
        self._needs = {p["id"]: frozenset(d["plugin"] for d in p["depends_on"]) for p in model["plugins"]}

    @property
    def under_way(self) -> bool:
        """The next that supervisord waits for is a plugin."""
        groups = self._supervisord.stop_groups
        return bool(groups) and groups[-1].config.name in self._needs

    def step(self) -> float | None:
        """Tell those to stop whose turn it is; returns the seconds until it is somebody's for want of an end."""
        groups = self._supervisord.stop_groups
        if not groups or not self._needs:
            return None
        while len(groups) > 1 and not groups[-1].get_unstopped_processes():
            groups.pop()  # supervisord takes one a turn, and a turn looks at all
        now = time.monotonic()
        going = False
        needed: set[str] = set()
        for group in reversed(groups):
            name = group.config.name
            if name not in self._needs:
                break
            if not group.get_unstopped_processes():
                continue
            if name not in self._told and name not in needed:
                if going and now < self._next:
                    return self._next - now
                self._told.add(name)
                self._next = now + self._wait
                group.stop_all()
            going = True
            needed |= self._needs[name]
        return None
