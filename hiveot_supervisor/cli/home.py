"""What the commands that look at or control a running home share: its model, supervisord, views of plugins.

Reads only what `generate` and the agent wrote (generated/launcher.json, the state file, run/samples.json), so it works
while launcher.yaml is being edited, and when the agent is down.
"""

from __future__ import annotations

import contextlib
import fnmatch
import json
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hiveot_supervisor.clock import iso8601
from hiveot_supervisor.errors import ConfigError, HiveotError, UnknownPlugin
from hiveot_supervisor.model import Launcher, Paths, Plugin, PluginState, checked, from_json
from hiveot_supervisor.supervisord.rpc import ProcessInfo, SupervisordClient
from hiveot_supervisor.supervisord.states import ProcessState

if TYPE_CHECKING:
    from hiveot_supervisor.agent.samples import Minute
    from hiveot_supervisor.agent.state import Reader

AGENT = "launcher"
"""Name of the agent's event listener in supervisord."""

_UP = {PluginState.STARTING, PluginState.RUNNING, PluginState.STOPPING}
_FROM_SUPERVISORD = {
    ProcessState.STOPPED: PluginState.STOPPED,
    ProcessState.STARTING: PluginState.STARTING,
    ProcessState.RUNNING: PluginState.RUNNING,
    ProcessState.BACKOFF: PluginState.BACKOFF,
    ProcessState.STOPPING: PluginState.STOPPING,
    ProcessState.FATAL: PluginState.FAILED,
    ProcessState.UNKNOWN: PluginState.FAILED,
}


@dataclass(frozen=True, slots=True)
class View:
    """One plugin as people see it. Times: wall seconds, None where nothing is known; CPU in percent, rss in bytes."""

    name: str
    state: PluginState
    ready: bool
    enabled: bool
    since: float | None
    pid: int
    restarts: int
    cpu: float | None
    rss: int | None
    note: str
    next_try: float | None
    exit_code: int | None
    signal: int | None
    autostart: bool
    processes: int | None = None
    threads: int | None = None
    files: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The stable machine-readable form: bytes, seconds, ISO 8601."""
        now = time.time()
        return {
            "name": self.name,
            "state": self.state.value,
            "ready": self.ready,
            "enabled": self.enabled,
            "autostart": self.autostart,
            "pid": self.pid if self.state in _UP else None,
            "since": iso8601(self.since) if self.since else None,
            "since_seconds": round(now - self.since, 3) if self.since else None,
            "restarts": self.restarts,
            "cpu_percent": self.cpu,
            "rss_bytes": self.rss,
            "processes": self.processes,
            "threads": self.threads,
            "open_files": self.files,
            "note": self.note,
            "next_try": iso8601(self.next_try) if self.next_try else None,
            "exit_code": self.exit_code,
            "signal": self.signal,
        }


class Home:
    """One home folder, opened for looking and controlling."""

    def __init__(self, paths: Paths, launcher: Launcher | None = None) -> None:
        """launcher: the model to go by, when it shall not be the one of the last `generate`."""
        self.paths = paths
        self._launcher = launcher

    @classmethod
    def of(cls, args: Namespace) -> Home:
        """The home that the command line means."""
        from hiveot_supervisor.cli.context import find_home

        return cls(find_home(args))

    @property
    def launcher(self) -> Launcher:
        """The resolved model of the last `generate`. Raises ConfigError when there is none."""
        if self._launcher is None:
            try:
                data = json.loads(self.paths.agent_json.read_text())
                self._launcher = checked(from_json(Launcher, data))
            except FileNotFoundError:
                raise ConfigError(
                    f"nothing has been generated in {self.paths.home}", hint="hiveot-launcher generate (or: up)"
                ) from None
            except (OSError, ValueError, TypeError, RecursionError) as error:
                raise ConfigError(
                    f"cannot read {self.paths.agent_json}", why=str(error), hint="hiveot-launcher generate"
                ) from error
        return self._launcher

    def supervisord(self) -> SupervisordClient:
        return SupervisordClient(self.paths.socket)

    def programs(self) -> list[Plugin]:
        """The runtime, if there is one, then the plugins in start order."""
        runtime = self.launcher.runtime
        return [*([runtime] if runtime else []), *self.launcher.plugins]

    def select(self, patterns: Sequence[str], *, runtime: bool = True) -> list[Plugin]:
        """The programs that names, globs or `all` (plugins only) mean, in start order. Raises UnknownPlugin."""
        programs = self.programs()
        chosen: set[str] = set()
        for pattern in patterns:
            names = [p.id for p in self.launcher.plugins] if pattern == "all" else _matching(programs, pattern)
            if not names and pattern != "all":
                raise UnknownPlugin(f"no plugin `{pattern}`", hint=_suggest(programs, pattern))
            chosen.update(names)
        return [p for p in programs if p.id in chosen and (runtime or p is not self.launcher.runtime)]

    def views(self, processes: dict[str, ProcessInfo] | None) -> list[View]:
        """All programs. `processes`: supervisord's by name, None when it is not running."""
        records = self.records()
        samples = self._samples() if processes is not None else {}
        return [
            self._view(p, records.get(p.id), (processes or {}).get(p.id), samples.get(p.id)) for p in self.programs()
        ]

    def records(self) -> dict[str, Any]:
        """What the agent has stored of each plugin (`agent.state.Record`); empty while it has never run."""
        with self._stored() as reader:
            return dict(reader.records()) if reader else {}

    def history(self, plugin_id: str) -> list[Minute]:
        """The resource history of a plugin, a row a minute, oldest first; empty while the agent has never run."""
        with self._stored() as reader:
            return reader.history(plugin_id) if reader else []

    def alarm(self) -> str:
        """What the agent says is wrong with its connection to the hub; empty when nothing is."""
        with self._stored() as reader:
            return reader.alarm() if reader else ""

    @contextlib.contextmanager
    def _stored(self) -> Iterator[Reader | None]:
        from hiveot_supervisor.agent.state import Reader

        try:
            reader = Reader(self.paths.state_db)
        except HiveotError:
            yield None
            return
        with contextlib.closing(reader):
            yield reader

    def _samples(self) -> dict[str, Any]:
        try:
            data = json.loads((self.paths.run / "samples.json").read_text())
        except (OSError, ValueError, RecursionError):
            return {}
        return dict(data.get("plugins", {})) if time.time() - data.get("time", 0) < 60 else {}

    def _view(self, plugin: Plugin, record: Any, process: ProcessInfo | None, sample: Any) -> View:
        state = merged_state(record.state if record else None, process)
        running = state is PluginState.RUNNING
        started = process.start if process and state in _UP else None
        since = started or (record.since if record and record.since else (process.stop if process else None))
        stayed = running and started is not None and time.time() - started >= self.launcher.start_wait
        if plugin.ready is not None:
            stayed = running and record is not None and record.ready
        note = record.note if record and state not in (PluginState.STARTING,) else ""
        if not plugin.executable.exists() and state not in _UP:
            state, note = PluginState.MISSING, f"{plugin.executable} does not exist"
        if record and record.stray and Path(f"/proc/{record.stray}").exists():
            note = f"a copy runs outside of the launcher (pid {record.stray})"
        restarts = max(0, record.start_count - 1) if record else 0
        current = sample if sample and running and process and sample.get("pid") == process.pid else None
        return View(
            name=plugin.id,
            state=state,
            ready=stayed,
            enabled=record.enabled if record else True,
            since=since or None,
            pid=process.pid if process else 0,
            restarts=restarts,
            cpu=current["cpu"] if current else None,
            rss=current["rss"] if current else (resident(process.pid) if running and process else None),
            note=note,
            next_try=record.next_try or None
            if record and state in (PluginState.BACKOFF, PluginState.WAITING)
            else None,
            exit_code=record.exit_code if record else None,
            signal=record.signal if record else None,
            autostart=plugin.order is not None,
            **{member: current.get(member) if current else None for member in ("processes", "threads", "files")},
        )


def merged_state(stored: str | None, process: ProcessInfo | None) -> PluginState:
    """The agent's word where it agrees with supervisord about whether a process exists, else supervisord's."""
    known = PluginState(stored) if stored in set(PluginState) else None
    if process is None:
        return known if known is not None and known not in _UP else PluginState.STOPPED
    if known is not None and (known in _UP) == (process.pid > 0):
        return known
    if process.state is ProcessState.EXITED:
        return PluginState.FAILED if process.exitcode or process.signal else PluginState.EXITED
    return _FROM_SUPERVISORD.get(process.state, PluginState.STOPPED)


def resident(pid: int) -> int | None:
    """Resident memory of one process in bytes, from /proc; None when it is gone."""
    import os

    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def _matching(programs: Sequence[Plugin], pattern: str) -> list[str]:
    return [p.id for p in programs if p.id == pattern or fnmatch.fnmatchcase(p.id, pattern)]


def _suggest(programs: Sequence[Plugin], pattern: str) -> str:
    import difflib

    near = difflib.get_close_matches(pattern, [p.id for p in programs], n=1)
    return f"did you mean `{near[0]}`?" if near else "hiveot-launcher list shows the names"
