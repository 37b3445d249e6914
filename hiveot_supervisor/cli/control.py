"""Starting and stopping through supervisord, and waiting until it has really happened.

The agent follows what supervisord reports, so nothing here needs it; while it runs its word decides whether a start
succeeded (supervisord says RUNNING as soon as it has forked).
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hiveot_supervisor.cli.home import AGENT, Home
from hiveot_supervisor.errors import HiveotError, SupervisordFault
from hiveot_supervisor.model import Plugin, PluginState
from hiveot_supervisor.supervisord.logfiles import last_lines
from hiveot_supervisor.supervisord.process import is_alive, started_wall
from hiveot_supervisor.supervisord.rpc import ProcessInfo, SupervisordClient
from hiveot_supervisor.supervisord.states import Fault, ProcessState

POLL = 0.02
_DOWN = {ProcessState.STOPPED, ProcessState.EXITED, ProcessState.FATAL}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one plugin. `text` is one line for people, `detail` further lines (its last log lines)."""

    name: str
    ok: bool
    text: str
    pid: int = 0
    changed: bool = True
    timed_out: bool = False
    detail: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "ok": self.ok,
            "message": self.text,
            "pid": self.pid or None,
            "changed": self.changed,
        }


class Control:
    """Commands to one running home."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.rpc: SupervisordClient = home.supervisord()
        self.processes = {p.name: p for p in self.rpc.snapshot()}
        agent = self.processes.get(AGENT)
        self.agent = agent is not None and agent.state is ProcessState.RUNNING

    def refresh(self) -> dict[str, ProcessInfo]:
        self.processes = {p.name: p for p in self.rpc.snapshot()}
        return self.processes

    def start(
        self, plugins: Sequence[Plugin], *, timeout: float, wait: bool = True, replace: bool = False
    ) -> list[Outcome]:
        """Start in order, then wait for all. A plugin that ends within `startWait` has failed.

        A copy that was started by hand blocks the start; with `replace` it is stopped first.
        """
        begun: dict[str, float] = {}
        done: dict[str, Outcome] = {}
        strays = self._strays()
        for plugin in plugins:
            if plugin.id in strays:
                pid = strays[plugin.id]
                if not replace:
                    done[plugin.id] = _blocked_by(plugin, pid)
                    continue
                end_stray(pid)
            asked = time.time()
            try:
                self.rpc.start(plugin.id)
                begun[plugin.id] = asked
            except SupervisordFault as fault:
                done[plugin.id] = self._start_fault(plugin, fault)
        if not wait:
            return [done.get(p.id) or Outcome(p.id, True, f"{p.id} is being started") for p in plugins]
        self._await(plugins, begun, done, timeout)
        return [done[p.id] for p in plugins]

    def await_started(self, plugins: Sequence[Plugin], *, timeout: float) -> list[Outcome]:
        """Wait for plugins that somebody else (the agent) is about to start."""
        done: dict[str, Outcome] = {}
        self._await(plugins, {p.id: time.time() for p in plugins}, done, timeout)
        return [done[p.id] for p in plugins]

    def _await(
        self, plugins: Sequence[Plugin], begun: dict[str, float], done: dict[str, Outcome], timeout: float
    ) -> None:
        """Fill `done` with what becomes of the starts that were asked for at the times in `begun`."""
        deadline = time.monotonic() + timeout
        while len(done) < len(plugins):
            self.refresh()
            records = self.home.records() if self.agent else {}
            for plugin in plugins:
                if plugin.id in done:
                    continue
                outcome = self._started(plugin, records.get(plugin.id), begun[plugin.id])
                if outcome is None and time.monotonic() > deadline:
                    text = f"{plugin.id}: no result after {timeout:.0f} s"
                    outcome = Outcome(plugin.id, False, text, timed_out=True)
                if outcome is not None:
                    done[plugin.id] = outcome
            if len(done) < len(plugins):
                time.sleep(POLL)

    def _strays(self) -> dict[str, int]:
        """PIDs of copies that were started by hand and still run, by plugin."""
        found = {}
        for name, record in self.home.records().items():
            started = started_wall(record.stray) if record.stray else None
            if started is not None and abs(started - record.stray_started) < 2.0:
                found[name] = record.stray
        return found

    def _start_fault(self, plugin: Plugin, fault: SupervisordFault) -> Outcome:
        if fault.code == Fault.ALREADY_STARTED:
            pid = self.processes[plugin.id].pid
            return Outcome(plugin.id, True, f"{plugin.id} is already running (pid {pid})", pid, changed=False)
        if fault.code == Fault.BAD_NAME:
            return Outcome(
                plugin.id,
                False,
                f"{plugin.id}: supervisord does not know it; hiveot-launcher generate, then supervisorctl update",
            )
        return Outcome(plugin.id, False, f"{plugin.id}: {fault}")

    def _started(self, plugin: Plugin, record: Any, asked: float) -> Outcome | None:
        """The outcome of a start, or None when it is not settled."""
        process = self.processes.get(plugin.id)
        if process is None:
            return Outcome(plugin.id, False, f"{plugin.id} was removed from supervisord")
        known = record is not None and record.since >= asked - 0.001
        if process.state in _DOWN:
            if self.agent and not known and time.time() - asked < 2.0:
                return None
            return self._failed(plugin, process, record if known else None)
        if process.state is not ProcessState.RUNNING:
            return None
        if self.agent and plugin is not self.home.launcher.runtime:
            if not (record and record.state == PluginState.RUNNING and record.pid == process.pid):
                return None
            since = record.started
        else:
            since = process.start
        if time.time() - since < self.home.launcher.start_wait:
            return None
        took = max(0.0, since - asked)
        return Outcome(plugin.id, True, f"started {plugin.id} (pid {process.pid}, in {took:.2f} s)", process.pid)

    def _failed(self, plugin: Plugin, process: ProcessInfo, record: Any) -> Outcome:
        note = record.note if record and record.note else _ending(process)
        word = "waits" if record and record.state == PluginState.WAITING else "did not stay up"
        tail = tuple(last_lines(plugin.log_file, 5)) if plugin.log_file else ()
        return Outcome(plugin.id, False, f"{plugin.id} {word}: {note}", detail=tail)

    def stop(
        self, plugins: Sequence[Plugin], *, timeout: float, wait: bool = True, disable: bool = True
    ) -> list[Outcome]:
        """Stop in reverse order, then wait for all. Stopped plugins stay stopped unless `disable` is False."""
        asked, done = set(), {}
        for plugin in reversed(plugins):
            if disable and plugin is not self.home.launcher.runtime:
                self._tell_agent("disable", plugin)
            try:
                self.rpc.stop(plugin.id)
                asked.add(plugin.id)
            except SupervisordFault as fault:
                if fault.code == Fault.NOT_RUNNING:
                    if disable and plugin is not self.home.launcher.runtime:
                        self._tell_agent("stop", plugin)  # the agent may be about to start it again
                    done[plugin.id] = Outcome(plugin.id, True, f"{plugin.id} does not run", changed=False)
                else:
                    done[plugin.id] = Outcome(plugin.id, False, f"{plugin.id}: {fault}")
        if not wait:
            done |= {name: Outcome(name, True, f"{name} is being stopped") for name in asked}
        deadline = time.monotonic() + timeout
        while len(done) < len(plugins):
            self.refresh()
            for plugin in plugins:
                process = self.processes.get(plugin.id)
                if plugin.id in done:
                    continue
                if process is None or process.pid == 0:
                    done[plugin.id] = Outcome(plugin.id, True, f"stopped {plugin.id}")
                elif time.monotonic() > deadline:
                    text = f"{plugin.id} still runs after {timeout:.0f} s (pid {process.pid})"
                    done[plugin.id] = Outcome(plugin.id, False, text, timed_out=True)
            if len(done) < len(plugins):
                time.sleep(POLL)
        return [done[p.id] for p in plugins]

    def _tell_agent(self, operation: str, plugin: Plugin) -> None:
        """A notice to the agent; while that is down supervisord keeps it for the next one."""
        self.rpc.send_remote_event("hiveot", json.dumps({"op": operation, "plugin": plugin.id}))


def _blocked_by(plugin: Plugin, pid: int) -> Outcome:
    text = f"{plugin.id} already runs outside of the launcher (pid {pid}); `start --replace` stops that copy first"
    return Outcome(plugin.id, False, text)


def end_stray(pid: int, grace: float = 5.0) -> None:
    """Stop a process that is not ours: TERM, and KILL after `grace` seconds."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        except PermissionError as error:
            raise HiveotError(f"cannot stop process {pid}", why="it belongs to somebody else") from error
        deadline = time.monotonic() + grace
        while is_alive(pid) and time.monotonic() < deadline:
            time.sleep(POLL)


def _ending(process: ProcessInfo) -> str:
    if process.signal:
        return f"killed by {signal.Signals(process.signal).name}"
    if process.state is ProcessState.FATAL:
        return process.spawnerr or "cannot be started"
    return f"exit {process.exitcode}"
