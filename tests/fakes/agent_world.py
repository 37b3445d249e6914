"""A supervisord, a hub and a clock that live in memory, for histories in virtual time.

The agent under test is the real one with its real state file; only what it would have to wait for is simulated.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hiveot_supervisor.agent import reconcile
from hiveot_supervisor.agent.core import Agent
from hiveot_supervisor.agent.inbox import Delivered
from hiveot_supervisor.agent.publisher import Publisher
from hiveot_supervisor.agent.state import State
from hiveot_supervisor.agent.table import Exit, Gate
from hiveot_supervisor.errors import HubUnavailable, SupervisordFault
from hiveot_supervisor.model import Launcher, Paths, Plugin
from hiveot_supervisor.supervisord.rpc import ProcessInfo
from hiveot_supervisor.supervisord.states import Fault, ProcessState


@dataclass
class VirtualClock:
    mono: float = 1000.0
    offset: float = 1_800_000_000.0

    def monotonic(self) -> float:
        return self.mono

    def wall(self) -> float:
        return self.mono + self.offset


@dataclass
class Process:
    pid: int = 0
    exitcode: int | None = None
    signal: int | None = None
    state: ProcessState = ProcessState.STOPPED
    starts: list[float] = field(default_factory=list)


class VirtualSupervisord:
    """Starts and stops at once; reports go into `events` for the world to deliver, possibly never."""

    def __init__(self, names: list[str], clock: VirtualClock) -> None:
        self.processes = {name: Process() for name in names}
        self.events: list[tuple[str, str, int, Exit]] = []
        self._pids = itertools.count(100)
        self._clock = clock

    def start(self, name: str) -> None:
        process = self.processes[name]
        if process.pid:
            raise SupervisordFault("it is already running", code=Fault.ALREADY_STARTED)
        process.pid = next(self._pids)
        process.state = ProcessState.RUNNING
        process.exitcode = process.signal = None
        process.starts.append(self._clock.mono)
        self.events += [("STARTING", name, 0, Exit()), ("RUNNING", name, process.pid, Exit())]

    def start_all(self, names: Sequence[str]) -> dict[str, SupervisordFault]:
        faults = {}
        for name in names:
            try:
                self.start(name)
            except SupervisordFault as fault:
                faults[name] = fault
        return faults

    def stop(self, name: str) -> None:
        process = self.processes[name]
        if not process.pid:
            raise SupervisordFault("it is not running", code=Fault.NOT_RUNNING)
        pid, process.pid = process.pid, 0
        process.signal, process.state = 15, ProcessState.STOPPED
        self.events += [("STOPPING", name, pid, Exit()), ("STOPPED", name, pid, Exit(None, 15))]

    def die(self, name: str, code: int) -> None:
        """The process ends by itself."""
        process = self.processes[name]
        pid, process.pid = process.pid, 0
        process.exitcode, process.state = code, ProcessState.EXITED
        self.events.append(("EXITED", name, pid, Exit(code)))

    def snapshot(self) -> list[ProcessInfo]:
        return [
            ProcessInfo(name, name, p.state, pid=p.pid, exitcode=p.exitcode, signal=p.signal)
            for name, p in self.processes.items()
        ]


class Quiet:
    """The ports that these histories do not turn to: hub, credentials, processes, probes."""

    connected = False

    def valid(self, plugin_id: str) -> bool:
        return True

    def token_expires(self, plugin_id: str) -> float | None:
        return None

    def executed(self, pid: int) -> bool:
        return True

    def gate(self, plugin_id: str, pid: int) -> Gate | None:
        return None

    def signal_group(self, leader: int, number: int) -> bool:
        return False

    def tick(self, mono: float) -> float:
        return mono + 60.0

    def publish_td(self, td: Any) -> Future[None]:
        return Future()

    def prepare(self, *args: Any) -> None: ...
    def begin_ready(self, *args: Any) -> None: ...
    def begin_alive(self, *args: Any) -> None: ...
    def end(self, plugin_id: str) -> None: ...
    def set_permissions(self, *args: Any) -> None: ...


class HubAway(Quiet):
    """A hub that can be away, and gives credentials while it is there; `told` is what it has taken, in order."""

    def __init__(self, holders: set[str]) -> None:
        self.holders = holders
        self.told: list[tuple[str, str, Any]] = []
        self.asked: list[str] = []
        self.connected = False

    def valid(self, plugin_id: str) -> bool:
        return plugin_id in self.holders

    def prepare(self, *args: Any) -> None:
        self.asked += [a for a in args if isinstance(a, str)]

    def publish_event(self, thing: str, name: str, value: Any, **_: Any) -> Future[None]:
        return self._take(thing, name, value)

    def publish_property(self, thing: str, name: str, value: Any) -> Future[None]:
        return self._take(thing, name, value)

    def _take(self, thing: str, name: str, value: Any) -> Future[None]:
        taken: Future[None] = Future()
        if self.connected:
            self.told.append((thing, name, value))
            taken.set_result(None)
        else:
            taken.set_exception(HubUnavailable("away"))
        return taken


class World:
    """Everything together; the agent can be killed and comes back with what it stored.

    hub: the ports that `Quiet` stands for; with one that is away the agent is not told that the hub answers.
    """

    def __init__(self, folder: Path, plugins: list[Plugin], hub: Any = None) -> None:
        self.folder = folder
        self.hub: Any = hub or Quiet()
        self.reports: list[Any] = []
        self.clock = VirtualClock()
        self.plugins = plugins
        self.supervisord = VirtualSupervisord([p.id for p in plugins], self.clock)
        self.boot()

    def boot(self, *, same: bool = False) -> None:
        """The agent comes up, at a new supervisord or again at the same one."""
        paths = Paths(*[self.folder] * 10)
        launcher = Launcher("launcher", paths, self.folder, self.folder, plugins=tuple(self.plugins), start_wait=0.1)
        self.state = State(self.folder / "launcher.db")
        quiet = self.hub
        self.agent = Agent(
            launcher,
            state=self.state,
            rpc=self.supervisord,
            hub=quiet,
            publisher=Publisher(self.state, quiet, self.reports.append),
            credentials=quiet,
            processes=quiet,
            probes=quiet,
            clock=self.clock,
            chance=random.Random(1),
        )
        self.supervisord.events.clear()
        reconcile.begin(self.agent, self.supervisord.snapshot(), same_boot=same)
        if not isinstance(quiet, HubAway):
            self.agent.hub_answers()
        self.turn()

    def hub_comes(self) -> None:
        """The hub is there, with its account service."""
        self.hub.connected = True
        self.agent.hub_connected()
        self.agent.hub_answers()
        self.turn()

    def _delivered(self) -> None:
        publisher = self.agent.publisher
        while self.reports:
            item = self.reports.pop(0)
            (publisher.delivered if isinstance(item, Delivered) else publisher.told)(item, self.clock.mono)
        publisher.drain(self.clock.mono)
        for plugin_id in self.hub.asked if isinstance(self.hub, HubAway) else ():
            self.hub.holders.add(plugin_id)
            self.agent.provisioned(plugin_id, "", False)
        if isinstance(self.hub, HubAway):
            self.hub.asked.clear()

    def kill_agent(self) -> None:
        """Reports that were not delivered are lost; the agent finds out from the snapshot."""
        self.state.close()
        self.boot(same=True)

    def deliver(self) -> None:
        while self.supervisord.events:
            kind, name, pid, exit_ = self.supervisord.events.pop(0)
            match kind:
                case "STARTING":
                    self.agent.process_starting(name)
                case "RUNNING":
                    self.agent.process_running(name, pid)
                case "STOPPING":
                    self.agent.process_stopping(name, pid, shutdown=False)
                case "STOPPED":
                    self.agent.process_stopped(name, pid, exit_, shutdown=False)
                case "EXITED":
                    self.agent.process_exited(name, pid, exit_)

    def turn(self) -> float:
        """Deliver and decide until nothing moves; returns when the agent wants to be called again."""
        for _ in range(100):
            with self.state.transaction():
                self.deliver()
                due = self.agent.tick()
                self._delivered()
            if not self.supervisord.events and not self.reports:
                return due
        raise AssertionError("the agent starts and stops without end")

    def pass_time(self, seconds: float) -> None:
        end = self.clock.mono + seconds
        turns = 0
        while self.clock.mono < end:
            turns += 1
            assert turns < 100 + 20 * seconds, "the agent wants to be called all the time"
            due = self.turn()
            self.clock.mono = min(end, max(due, self.clock.mono + 0.001))
        self.turn()
