"""What supervisord answers, as values: processes, changes of its configuration, pieces of logs.

Pure: parses our extension's compact status text and supervisord's own structures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from hiveot_supervisor.supervisord.states import Mood, ProcessState


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """One process as supervisord has it now.

    pid: 0 when there is none. start, stop: wall seconds of the last start and end, 0.0 if never (whole seconds
    without our extension). exitcode, signal: how the last run ended, None when it runs, never ran, or is unknown
    (a signal is never known without the extension). spawnerr: supervisord's words for the last failure, often empty.
    """

    name: str
    group: str
    state: ProcessState
    pid: int = 0
    start: float = 0.0
    stop: float = 0.0
    exitcode: int | None = None
    signal: int | None = None
    spawnerr: str = ""


@dataclass(frozen=True, slots=True)
class ConfigChange:
    """Names of groups that differ between the configuration file and what is active."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tail:
    """A piece of a log: its text, the offset to ask from next, and whether older text was skipped."""

    text: str
    offset: int
    overflow: bool


def parse_mood(text: str) -> Mood:
    """Mood from the first line of the extension's status text, `mood:1 pid:123`."""
    fields = dict(word.split(":", 1) for word in text.partition("\n")[0].split(" ") if ":" in word)
    return Mood(int(fields["mood"]))


def parse_status(text: str) -> list[ProcessInfo]:
    """Processes from the extension's status text: one line each, fields quoted like a URL, in ProcessInfo's order."""
    parse_mood(text)  # else it is something else's answer
    infos = []
    for line in text.splitlines()[1:]:
        name, group, state, pid, start, stop, exitcode, signal, spawnerr = line.split(" ")
        infos.append(
            ProcessInfo(
                unquote(name),
                unquote(group),
                ProcessState(int(state)),
                int(pid),
                float(start),
                float(stop),
                int(exitcode) if exitcode else None,
                int(signal) if signal else None,
                unquote(spawnerr),
            )
        )
    return infos


def from_struct(struct: Mapping[str, Any]) -> ProcessInfo:
    """One element of getAllProcessInfo. Its exit status is 0 also for `unknown`, and -1 for any signal."""
    state = ProcessState(struct["state"])
    ended = state in (ProcessState.EXITED, ProcessState.STOPPED) and struct["stop"] > 0
    status = struct["exitstatus"]
    return ProcessInfo(
        name=struct["name"],
        group=struct["group"],
        state=state,
        pid=struct["pid"],
        start=float(struct["start"]),
        stop=float(struct["stop"]),
        exitcode=status if ended and status >= 0 else None,
        spawnerr=struct["spawnerr"],
    )
