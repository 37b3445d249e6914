"""Copies of known plugins that were started by hand: processes that supervisord does not own. Pure.

A stray runs a plugin's executable (as program, or as the script of an interpreter), or was given a plugin's
`--clientID`. A PID alone names nobody: with the start time it does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from hiveot_supervisor.model import Plugin


@dataclass(frozen=True, slots=True)
class Foreign:
    """A process that is not supervisord's. started: wall seconds; home: its HIVEOT_HOME, empty when not set.

    program: the supervisord program that it descends from (SUPERVISOR_PROCESS_NAME, inherited), empty when none.
    """

    pid: int
    started: float
    argv: tuple[str, ...]
    home: str = ""
    program: str = ""


@dataclass(frozen=True, slots=True)
class Stray:
    """A foreign process that is a copy of the plugin."""

    plugin: str
    pid: int
    started: float


def find(plugins: Iterable[Plugin], processes: Iterable[Foreign], home: str) -> dict[str, Stray]:
    """The oldest stray of each plugin, by plugin ID. `home`: our home folder; copies of other homes are theirs."""
    known = list(plugins)
    programs = {str(p.executable): p.id for p in known}
    by_id = {p.id: p for p in known}
    result: dict[str, Stray] = {}
    for process in sorted(processes, key=lambda p: p.started):
        if process.program or (process.home and process.home != home):
            continue
        plugin = _plugin_of(process.argv, programs, by_id)
        if plugin is not None:
            result.setdefault(plugin, Stray(plugin, process.pid, process.started))
    return result


def escaped(processes: Iterable[Foreign], home: str, running: Collection[str]) -> list[Foreign]:
    """Daemons that plugins of this home left behind: descendants of a program that does not run any more."""
    return [p for p in processes if p.program and p.home == home and p.program not in running]


def _plugin_of(argv: Sequence[str], programs: dict[str, str], by_id: dict[str, Plugin]) -> str | None:
    asked = _client_id(argv)
    if asked is not None:
        plugin = by_id.get(asked)
        same = plugin is not None and any(PurePath(word).name == plugin.executable.name for word in argv[:3])
        return asked if same else None
    for word in argv[:3]:
        if word in programs:
            return programs[word]
    return None


def _client_id(argv: Sequence[str]) -> str | None:
    for index, word in enumerate(argv):
        name, separator, value = word.partition("=")
        if name.lstrip("-") == "clientID" and name.startswith("-"):
            return value if separator else (argv[index + 1] if index + 1 < len(argv) else None)
    return None
