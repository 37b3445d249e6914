"""The agent's heart: takes items from the queue, keeps the table, decides, and acts through its ports.

One thread only. It talks to supervisord (`rpc`), to the hub (`hub`) and to the state file; it never blocks on any of
them for longer than a local request. What hub consumers ask is answered in `requests`.
"""

from __future__ import annotations

import logging
import os
import random
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from hiveot_supervisor.agent import order, things
from hiveot_supervisor.agent.inbox import Probed
from hiveot_supervisor.agent.limits import Exceeded, judge
from hiveot_supervisor.agent.monitor import Usage
from hiveot_supervisor.agent.plugin_things import Board
from hiveot_supervisor.agent.publisher import Publisher
from hiveot_supervisor.agent.state import Event, State
from hiveot_supervisor.agent.strays import Stray
from hiveot_supervisor.agent.table import UP, Entry, Exit, Gate, Now, Table, Transition, restore, to_record
from hiveot_supervisor.clock import Clock, iso8601
from hiveot_supervisor.errors import HubError, SupervisordFault, SupervisordUnreachable
from hiveot_supervisor.hub.client import HubClient
from hiveot_supervisor.model import Cause, Launcher, LimitAction, Plugin, PluginState
from hiveot_supervisor.supervisord import process
from hiveot_supervisor.supervisord.logfiles import last_lines
from hiveot_supervisor.supervisord.rpc import ProcessInfo
from hiveot_supervisor.supervisord.states import Fault, ProcessState

log = logging.getLogger(__name__)

_RELEASED = "released"

LAST_LOG_LINES = 20
LAST_LOG_SIZE = 4000
"""Lines and characters of a plugin's log that go into the event of its end."""


class Supervisord(Protocol):
    """What we ask of supervisord; requests return at once, results come as events."""

    def start(self, name: str) -> None: ...
    def stop(self, name: str) -> None: ...


class Credentials(Protocol):
    """Credentials of plugins: `valid` is a quick look at the files, `prepare` works in the background."""

    def valid(self, plugin_id: str) -> bool: ...
    def prepare(self, plugin_id: str) -> None: ...


class Prober(Protocol):
    """Readiness and liveness checks (`probes.Probes`); results come as `Probed` items."""

    def prepare(self, plugin: Plugin) -> None: ...
    def begin_ready(self, plugin: Plugin, pid: int, mono: float) -> None: ...
    def begin_alive(self, plugin: Plugin, pid: int, mono: float) -> None: ...
    def end(self, plugin_id: str) -> None: ...
    def answered(self, item: Probed) -> None: ...
    def tick(self, mono: float) -> float: ...


class Processes(Protocol):
    """What can be seen of processes from outside."""

    def executed(self, pid: int) -> bool:
        """The process has left supervisord's and prestart's code (or is gone)."""
        ...

    def gate(self, plugin_id: str, pid: int) -> Gate | None:
        """The reason that prestart left for not executing the plugin, if it is of this process."""
        ...


@dataclass(slots=True)
class _Fork:
    """A process that is still in prestart: looked at every few milliseconds until the plugin was executed."""

    pid: int
    due: float
    interval: float = 0.002


class Agent:
    """State and behaviour; `service` feeds it."""

    def __init__(
        self,
        launcher: Launcher,
        *,
        state: State,
        rpc: Supervisord,
        hub: HubClient,
        publisher: Publisher,
        credentials: Credentials,
        processes: Processes,
        probes: Prober,
        clock: Clock,
        chance: random.Random | None = None,
    ) -> None:
        self.launcher = launcher
        self.state = state
        self.rpc = rpc
        self.hub = hub
        self.publisher = publisher
        self.credentials = credentials
        self.processes = processes
        self.probes = probes
        self.clock = clock
        self.device = socket.gethostname()
        self.table = Table(launcher.plugins, launcher.runtime)
        self.usage: dict[str, Usage] = {}
        self.released = False
        self.hub_ready = False
        self.shutting_down = False
        self._chance = chance or random.Random()
        self._forks: dict[str, _Fork] = {}
        self._preparing: set[str] = set()
        self._counts: tuple[int, int] | None = None
        self._board = Board(hub, self.device)
        self._started_at = clock.monotonic()

    def now(self) -> Now:
        return Now(self.clock.monotonic(), self.clock.wall())

    # -- start-up

    def begin(self, snapshot: Iterable[ProcessInfo], *, same_boot: bool) -> None:
        """Merge what was stored, what supervisord says now, and what launcher.yaml wants.

        same_boot: this supervisord is the one that the stored records are about. Otherwise what ran then is lost.
        """
        now = self.now()
        self.released = same_boot and self.state.meta(_RELEASED) == "yes"
        self.state.set_meta(_RELEASED, "yes" if self.released else "no")
        records = self.state.records()
        processes = {p.name: p for p in snapshot}
        with self.state.transaction():
            for plugin_id, entry in self.table.entries.items():
                record = records.get(plugin_id)
                if record is not None:
                    restore(entry, record, now, same_boot=same_boot)
                self._merge(entry, processes.get(plugin_id), now, same_boot=same_boot)
                attempted = same_boot and record is not None and record.attempted
                self._want_at_boot(entry, attempted)
                self._save(entry)

    def _merge(self, entry: Entry, process: ProcessInfo | None, now: Now, *, same_boot: bool = True) -> None:
        """Bring an entry in line with the process that supervisord really has; report what was missed."""
        alive = process is not None and process.pid > 0
        if entry.state in UP and not (process and alive and process.pid == entry.pid):
            entry.executed = entry.started > entry.stopped
            for transition in self._missed(entry, process if same_boot else None, now):
                self._tell(transition, inferred=True)
        if process is None or not alive or entry.state in UP:
            return
        entry.pid = process.pid
        entry.state = PluginState.STARTING
        entry.note = ""
        entry.next_try = None
        entry.cause = Cause.OPERATOR if entry.managed else Cause.AUTOSTART
        self._forks[entry.plugin.id] = _Fork(process.pid, now.mono)

    def _missed(self, entry: Entry, process: ProcessInfo | None, now: Now) -> list[Transition | None]:
        """How a run ended that nobody told us about, as far as supervisord still knows."""
        self._forks.pop(entry.plugin.id, None)
        if process is None:
            return [self.table.lost(entry, Cause.LAUNCHER_LOST, now)]
        exit_ = Exit(process.exitcode, process.signal)
        if process.state is ProcessState.STOPPED:
            return [self.table.stopped(entry, exit_, now, shutdown=False)]
        return list(self.table.exited(entry, exit_, None, now, self._chance.random()))

    @staticmethod
    def _want_at_boot(entry: Entry, attempted: bool) -> None:
        listed = entry.managed and entry.plugin.order is not None
        if listed and entry.enabled and not attempted and entry.state not in UP:
            entry.wanted, entry.chained = Cause.AUTOSTART, True

    # -- what supervisord reports

    def process_starting(self, name: str) -> None:
        """About to be forked. Of a process that we know to be up it is an old report, from before a snapshot."""
        entry = self.table.get(name)
        if entry is None or entry.up:
            return
        if entry.intent is None:
            self.probes.prepare(entry.plugin)
        self._tell(self.table.starting(entry, self.now()))

    def process_running(self, name: str, pid: int) -> None:
        """Forked. `started` follows when the plugin's own program was executed."""
        entry = self.table.get(name)
        if entry is not None and not (entry.up and entry.pid == pid):
            self.table.forked(entry, pid)
            self._forks[name] = _Fork(pid, 0.0)
            self._watch_forks(self.clock.monotonic())

    def process_stopping(self, name: str, *, shutdown: bool) -> None:
        if entry := self.table.get(name):
            now = self.now()
            self._note_executed(entry, now)
            self._tell(self.table.stopping(entry, now, shutdown=shutdown))

    def process_stopped(self, name: str, pid: int, exit_: Exit, *, shutdown: bool) -> None:
        """A commanded stop is complete."""
        entry = self.table.get(name)
        if entry is None or pid not in (entry.pid, 0):
            return
        self._forget_process(name)
        now = self.now()
        chance = self._chance.random()
        self._tell(self.table.stopped(entry, exit_, now, shutdown=shutdown, chance=chance))
        self._save(entry)
        if entry.again is not None:
            cause, entry.again = entry.again, None
            self.start(entry, cause)

    def process_exited(self, name: str, pid: int, exit_: Exit) -> None:
        """The process ended by itself."""
        entry = self.table.get(name)
        if entry is None or pid != entry.pid:
            return
        self._forget_process(name)
        now = self.now()
        gate = None if entry.executed else self.processes.gate(name, pid)
        for transition in self.table.exited(entry, exit_, gate, now, self._chance.random()):
            self._tell(transition)
        self._save(entry)
        if entry.again is not None:
            cause, entry.again = entry.again, None
            self.start(entry, cause)

    def _forget_process(self, name: str) -> None:
        self._forks.pop(name, None)
        self.probes.end(name)

    def process_fatal(self, name: str, reason: str) -> None:
        """supervisord could not even fork."""
        if entry := self.table.get(name):
            self._forget_process(name)
            self._tell(self.table.unable(entry, PluginState.FAILED, reason, self.now()))
            self._save(entry)

    def group_removed(self, name: str) -> None:
        if entry := self.table.get(name):
            self.table.removed(entry)
            self._save(entry)

    def group_added(self, name: str) -> None:
        """A plugin came (back) into supervisord's configuration: start it if it is to run."""
        if entry := self.table.get(name):
            self._want_at_boot(entry, attempted=False)

    def folder_changed(self) -> None:
        """The plugins folder changed: what was missing, or could never work, may work now."""
        for entry in self.table.plugins:
            hopeless = entry.state is PluginState.MISSING or (entry.state is PluginState.FAILED and entry.gated)
            listed = entry.enabled and entry.plugin.order is not None
            if hopeless and listed and not unstartable(entry.plugin):
                entry.wanted, entry.chained = Cause.AUTOSTART, False

    def resync(self, snapshot: Iterable[ProcessInfo]) -> None:
        """Reports were lost: compare with what supervisord has now."""
        now = self.now()
        processes = {p.name: p for p in snapshot}
        for name, entry in self.table.entries.items():
            self._merge(entry, processes.get(name), now)
            self._save(entry)

    def reconfigure(self, launcher: Launcher) -> None:
        """Take a new generated/launcher.json over."""
        known = set(self.table.entries)
        self.launcher = launcher
        self.table.replace_plugins(launcher.plugins, launcher.runtime)
        self.folder_changed()
        for name, entry in self.table.entries.items():
            if name not in known:
                self._want_at_boot(entry, attempted=False)
                self._save(entry)

    # -- what the operator wants

    def start(self, entry: Entry, cause: Cause, actor: str = "") -> None:
        """Start a plugin now, unless something must come first; then it waits with the reason in its note."""
        now = self.now()
        plugin = entry.plugin
        entry.wanted = None
        if cause is Cause.OPERATOR:
            entry.enabled = True
        if entry.up:
            if entry.state is PluginState.STOPPING:
                entry.again = cause
            return
        if problem := unstartable(plugin):
            self._tell(self.table.unable(entry, PluginState.MISSING, problem, now))
        elif entry.stray is not None and process.is_alive(entry.stray.pid):
            self._tell(self.table.waiting(entry, stray_text(entry.stray), now))
            entry.intent = cause
        elif reason := order.blocked(self._step(entry), self._steps()):
            entry.wanted = cause
            self._tell(self.table.waiting(entry, reason, now))
        elif plugin.create_cred and entry.managed and not self.credentials.valid(plugin.id):
            self._start_with_credentials(entry, cause, now)
        else:
            entry.intent, entry.actor = cause, actor
            self._request_start(entry, now)
        self._save(entry)

    def _start_with_credentials(self, entry: Entry, cause: Cause, now: Now) -> None:
        entry.intent = cause
        entry.next_try = None
        if self.hub_ready:
            entry.note = "its credentials are being made"
            self.prepare(entry.plugin.id)
        else:
            self._tell(self.table.waiting(entry, "the hub does not answer; it has no credentials yet", now))

    def prepare(self, plugin_id: str) -> None:
        """Have the credentials of a plugin made in the background."""
        if plugin_id not in self._preparing:
            self._preparing.add(plugin_id)
            self.credentials.prepare(plugin_id)

    def _request_start(self, entry: Entry, now: Now) -> None:
        entry.next_try = None
        self.probes.prepare(entry.plugin)
        try:
            self.rpc.start(entry.plugin.id)
        except SupervisordFault as fault:
            if fault.code != Fault.ALREADY_STARTED and not self.shutting_down:
                self._tell(self.table.unable(entry, PluginState.FAILED, str(fault.what), now))
        except SupervisordUnreachable as error:
            log.warning("start of %s: %s", entry.plugin.id, error)
            entry.next_try = now.mono + 1.0

    def stop(self, entry: Entry, cause: Cause, actor: str = "") -> None:
        """Stop a plugin; a stop by the operator also disables it."""
        now = self.now()
        entry.wanted = None
        if cause is Cause.OPERATOR:
            self._tell(self.table.disable(entry, actor, now))
        self._save(entry)
        if not entry.up:
            return
        entry.intent, entry.actor = cause, actor
        try:
            self.rpc.stop(entry.plugin.id)
        except SupervisordFault as fault:
            log.info("stop of %s: %s", entry.plugin.id, fault)
        except SupervisordUnreachable as error:
            log.warning("stop of %s: %s", entry.plugin.id, error)

    def restart(self, entry: Entry, cause: Cause, actor: str = "") -> None:
        """Stop and start again, also when it does not run."""
        if not entry.up:
            self.start(entry, cause, actor)
            return
        entry.again = cause
        entry.enabled = True
        self.stop(entry, Cause.RESTART, actor)

    def set_enabled(self, entry: Entry, enabled: bool, actor: str = "") -> None:
        """Remember whether it is started by itself; a running plugin goes on running."""
        if enabled:
            entry.enabled = True
        else:
            self._tell(self.table.disable(entry, actor, self.now()))
        self._save(entry)

    def want_all(self) -> None:
        """Start every known plugin: the autostart list in order, then the others (Go's startAllPlugins)."""
        for entry in self.table.plugins:
            if not entry.up:
                entry.enabled = True
                entry.wanted, entry.chained = Cause.OPERATOR, True

    def stop_runtime(self) -> None:
        """Stop the hub runtime; events wait in the outbox until it is started again."""
        runtime = self.launcher.runtime
        if runtime is not None:
            try:
                self.rpc.stop(runtime.id)
            except (SupervisordFault, SupervisordUnreachable) as error:
                log.warning("stop of the runtime: %s", error)

    def running_in_stop_order(self) -> list[Entry]:
        """What runs, the last started first."""
        return sorted((e for e in self.table.plugins if e.up), key=lambda e: e.started_mono, reverse=True)

    # -- hub

    def hub_connected(self) -> None:
        """Everything that a hub may have forgotten is told again: TD, permissions, then properties and the outbox."""
        self._counts = None
        self._board.forget()
        self.hub.publish_td(things.thing_description(iso8601(self.clock.wall())))
        self.hub.set_permissions(things.THING_ID, things.ALLOW)
        self.publisher.connected()

    def hub_answers(self) -> None:
        """The account service is there: release the start, and make the credentials that are missing."""
        self.hub_ready = True
        self._set_released()
        now = self.now().mono
        for entry in self.table.plugins:
            if self._lacks_credentials(entry):
                self.prepare(entry.plugin.id)
            if entry.state is PluginState.WAITING and entry.enabled and entry.wanted is None:
                entry.next_try = now

    def _lacks_credentials(self, entry: Entry) -> bool:
        shall_run = entry.enabled and not entry.up and entry.plugin.order is not None
        return shall_run and entry.plugin.create_cred and not self.credentials.valid(entry.plugin.id)

    def hub_lost(self, reason: str) -> None:
        self.hub_ready = False
        self.publisher.disconnected()
        log.warning("hub: %s", reason)

    def provisioned(self, plugin_id: str, error: str, retry: bool) -> None:
        """Credentials were made, or why not."""
        self._preparing.discard(plugin_id)
        entry = self.table.get(plugin_id)
        if entry is None or entry.intent is None or entry.up or entry.wanted is not None:
            return
        now = self.now()
        if not error:
            self.start(entry, entry.intent)
        elif retry:
            self._tell(self.table.waiting(entry, error, now))
            entry.next_try = now.mono + 5.0
        else:
            self._tell(self.table.unable(entry, PluginState.FAILED, error, now))
        self._save(entry)

    # -- time

    def tick(self) -> float:
        """Do what is due; returns the monotonic time at which it wants to be called again (at the latest)."""
        mono = self.clock.monotonic()
        self._watch_forks(mono)
        if not self.shutting_down:
            self._release(mono)
            self._start_due(mono)
        self._publish_properties()
        return self._next_deadline(mono)

    def _release(self, mono: float) -> None:
        waited = mono - self._started_at
        if not self.released and waited >= self.launcher.runtime_timeout:
            self._set_released()
            log.error("no hub for %.0f s; starting the plugins that have their credentials", waited)

    def _set_released(self) -> None:
        """From now on plugins are started; an agent that is killed goes on with that."""
        if not self.released:
            self.released = True
            self.state.set_meta(_RELEASED, "yes")

    def _start_due(self, mono: float) -> None:
        if not self.released:
            return
        for entry in self.table.plugins:
            if entry.next_try is not None and entry.next_try <= mono and not entry.up:
                entry.next_try = None
                self.start(entry, entry.intent or Cause.RESTART)
        while any(e.wanted for e in self.table.plugins):
            turn = order.turn(self._steps())
            for plugin_id, reason in turn.waiting.items():
                entry = self.table.entries[plugin_id]
                if entry.note != reason:
                    self._tell(self.table.waiting(entry, reason, self.now()))
                    self._save(entry)
            if not turn.start:
                return
            for plugin_id in turn.start:
                entry = self.table.entries[plugin_id]
                self.start(entry, entry.wanted or Cause.AUTOSTART)

    def _steps(self) -> list[order.Step]:
        return [self._step(e) for e in self.table.plugins]

    def _step(self, entry: Entry) -> order.Step:
        return order.Step(
            id=entry.plugin.id,
            state=PluginState.STARTING if self._under_way(entry) else entry.state,
            wanted=entry.wanted is not None and not entry.up,
            chained=entry.chained,
            executed=entry.running,
            ready=self.ready(entry),
            late=entry.late,
            note=entry.note,
            depends_on=entry.plugin.depends_on,
        )

    def _under_way(self, entry: Entry) -> bool:
        """A start was asked for and its first report, or its credentials, are still to come."""
        return entry.intent is not None and not entry.up and entry.state is not PluginState.WAITING

    def ready(self, entry: Entry) -> bool:
        """It runs and has passed its readiness check, or, without one, has stayed up for `startWait`."""
        if entry.plugin.ready is not None:
            return entry.running and entry.ready
        stayed = self.clock.monotonic() - entry.started_mono >= self.launcher.start_wait
        return entry.running and entry.state is PluginState.RUNNING and stayed

    def _watch_forks(self, mono: float) -> None:
        for name, fork in list(self._forks.items()):
            if fork.due > mono:
                continue
            entry = self.table.get(name)
            if entry is None or entry.pid != fork.pid:
                del self._forks[name]
            elif self.processes.executed(fork.pid):
                self._note_executed(entry, self.now())
            else:
                fork.due = mono + fork.interval
                fork.interval = min(fork.interval * 1.2, 0.05)

    def _note_executed(self, entry: Entry, now: Now) -> None:
        """`started`, once the plugin's program runs (also when it is already being stopped)."""
        fork = self._forks.get(entry.plugin.id)
        if fork is None or entry.executed or not self.processes.executed(fork.pid):
            return
        del self._forks[entry.plugin.id]
        self._tell(self.table.executed(entry, now))
        self._save(entry)
        self.probes.begin_ready(entry.plugin, entry.pid, now.mono)
        if entry.plugin.ready is None:
            self.probes.begin_alive(entry.plugin, entry.pid, now.mono)

    # -- health

    def probed(self, item: Probed) -> None:
        """A readiness or liveness check was answered."""
        self.probes.answered(item)
        entry = self.table.get(item.plugin)
        if entry is None or entry.pid != item.pid or entry.state is not PluginState.RUNNING:
            return
        if item.purpose == "ready":
            self._readiness(entry, item)
        else:
            self._liveness(entry, item)
        self._save(entry)

    def _readiness(self, entry: Entry, item: Probed) -> None:
        if item.ok and not entry.ready:
            entry.ready, entry.late, entry.note = True, False, ""
            log.info("%s is ready", item.plugin)
            self._tell(self.table.same(entry))
            self.probes.begin_alive(entry.plugin, entry.pid, self.clock.monotonic())
        elif not item.ok and item.detail != entry.note:
            entry.late = entry.late or item.detail.startswith("not ready")
            entry.note = item.detail

    def _liveness(self, entry: Entry, item: Probed) -> None:
        entry.alive_failures = 0 if item.ok else entry.alive_failures + 1
        allowed = entry.plugin.alive.failures if entry.plugin.alive else 0
        if not item.ok:
            log.warning(
                "%s: liveness check failed (%d of %d): %s", item.plugin, entry.alive_failures, allowed, item.detail
            )
        if entry.alive_failures >= allowed > 0:
            entry.note = item.detail
            self.stop(entry, Cause.PROBE)

    def sampled(self, usage: dict[str, Usage], strays: dict[str, Stray]) -> None:
        """A look at all processes: take note of strays, judge the limits."""
        self._note_strays(strays)
        self.usage = usage
        now = self.now()
        for name, used in usage.items():
            entry = self.table.get(name)
            if entry is None or not entry.managed or entry.state is not PluginState.RUNNING:
                continue
            limits = entry.plugin.limits
            entry.watches, exceeded = judge(limits, entry.watches, rss=used.rss, cpu=used.cpu, now=now.mono)
            for excess in exceeded:
                self._limit_exceeded(entry, excess, now)

    def _note_strays(self, strays: dict[str, Stray]) -> None:
        now = self.now()
        for entry in self.table.plugins:
            stray = strays.get(entry.plugin.id)
            if stray == entry.stray:
                continue
            entry.stray = stray
            if stray is not None:
                log.warning("%s", stray_text(stray))
                value = {
                    "pluginID": stray.plugin,
                    "pid": stray.pid,
                    "since": iso8601(stray.started),
                    "detected": "manual",
                    "device": self.device,
                    "time": iso8601(now.wall),
                }
                self.state.append(Event(now.wall, things.STRAY, stray.plugin, value))
                self.publisher.added()
            elif entry.state is PluginState.WAITING and entry.enabled:
                entry.next_try = now.mono  # it waited for the stray to go
            self._save(entry)

    def _limit_exceeded(self, entry: Entry, excess: Exceeded, now: Now) -> None:
        """Event first, then the action."""
        limits = entry.plugin.limits
        unit = "bytes" if excess.resource == "memory" else "%"
        note = f"{excess.resource} {excess.value:.0f} {unit}, limit {excess.limit:.0f} for {limits.for_:g} s"
        log.warning("%s: %s", entry.plugin.id, note)
        value = {
            "pluginID": entry.plugin.id,
            "resource": excess.resource,
            "value": excess.value,
            "limit": excess.limit,
            "for": limits.for_,
            "action": limits.action.value,
            "device": self.device,
            "time": iso8601(now.wall),
        }
        self.state.append(Event(now.wall, things.LIMIT_EXCEEDED, entry.plugin.id, value))
        self.publisher.added()
        if limits.action is LimitAction.RESTART:
            entry.note = note
            self.stop(entry, Cause.LIMIT)

    def _next_deadline(self, mono: float) -> float:
        due = [mono + 5.0, self.probes.tick(mono)]
        due += [f.due for f in self._forks.values()]
        due += [e.next_try for e in self.table.plugins if e.next_try is not None and self.released]
        if not self.released:
            due.append(self._started_at + self.launcher.runtime_timeout)
        if any(e.wanted for e in self.table.plugins) and self.released:
            wait = self.launcher.start_wait
            due += [e.started_mono + wait for e in self.table.plugins if e.running and e.started_mono + wait > mono]
        return max(mono, min(due))

    # -- telling

    def _tell(self, transition: Transition | None, *, inferred: bool = False) -> None:
        """Store a transition and queue its events, in one transaction."""
        if transition is None:
            return
        entry = self.table.entries[transition.plugin]
        now = self.now()
        log.info(
            "%s: %s -> %s (%s) %s",
            transition.plugin,
            transition.previous,
            transition.state,
            transition.cause,
            entry.note,
        )
        with self.state.transaction():
            self.state.save(to_record(entry, now))
            if entry.managed:
                for name, value in self._events(transition, entry, now, inferred):
                    self.state.append(Event(now.wall, name, transition.plugin, value))
        self.publisher.added()

    def _events(self, transition: Transition, entry: Entry, now: Now, inferred: bool) -> list[tuple[str, Any]]:
        change = self._change(transition, entry, now)
        if inferred:
            change["inferred"] = True
        result: list[tuple[str, Any]] = [(things.STATE_CHANGED, change)]
        if transition.event:
            result.insert(0, (transition.event, transition.plugin))
        return result

    def _change(self, transition: Transition, entry: Entry, now: Now) -> dict[str, Any]:
        import signal

        exit_ = transition.exit
        number = exit_.signal if exit_ else None
        known = number in {s.value for s in signal.Signals} if number else False
        change = {
            "pluginID": transition.plugin,
            "state": transition.state.value,
            "previous": transition.previous.value,
            "cause": transition.cause.value,
            "exitCode": exit_.code if exit_ and not number else None,
            "signal": (signal.Signals(number).name if known and number else str(number)) if number else None,
            "maxRss": exit_.max_rss if exit_ else None,
            "uptime": None if transition.uptime is None else round(transition.uptime, 3),
            "startCount": entry.start_count,
            "nextTry": None if entry.next_try is None else iso8601(now.wall + entry.next_try - now.mono),
            "note": entry.note or None,
            "ready": True if entry.ready else None,
            "attempt": entry.backoff.failures or None,
            "lastLog": self._last_log(entry) if transition.event == "stopped" else None,
            "device": self.device,
            "time": iso8601(now.wall),
        }
        return {k: v for k, v in change.items() if v is not None}

    @staticmethod
    def _last_log(entry: Entry) -> list[str] | None:
        """What it said last: at most 20 lines and 4 kB, valid UTF-8, no control characters."""
        if entry.plugin.log_file is None or entry.cause not in (Cause.CRASH, Cause.LIMIT, Cause.PROBE):
            return None
        lines: list[str] = []
        left = LAST_LOG_SIZE
        for line in reversed(last_lines(entry.plugin.log_file, LAST_LOG_LINES)):
            clean = "".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in line[:left])
            lines.insert(0, clean)
            left -= len(clean)
            if left <= 0:
                break
        return lines

    def _save(self, entry: Entry) -> None:
        self.state.save(to_record(entry, self.now()))

    def _publish_properties(self) -> None:
        if not self.hub.connected:
            return
        now = self.now()
        self._board.publish(self.table.plugins, self.usage.get, now.wall, now.mono)
        counts = (len(self.table.plugins), sum(e.running for e in self.table.plugins))
        if counts == self._counts:
            return
        self._counts = counts
        try:
            self.hub.publish_property(things.THING_ID, "nrPlugins", counts[0])
            self.hub.publish_property(things.THING_ID, "nrRunning", counts[1])
        except HubError as error:
            log.warning("properties: %s", error)

    # -- the end

    def all_gone(self, cause: Cause) -> None:
        """Everything that still ran has ended with supervisord; told from our own table, last started first."""
        now = self.now()
        for entry in self.running_in_stop_order():
            self._forget_process(entry.plugin.id)
            self._tell(self.table.lost(entry, cause, now))
        self._publish_properties()


def stray_text(stray: Stray) -> str:
    """What is wrong, for people."""
    return f"a copy of {stray.plugin} that was started by hand runs already (pid {stray.pid})"


def unstartable(plugin: Plugin) -> str:
    """Why the executable cannot be run; empty when it can."""
    if not plugin.executable.exists():
        return f"{plugin.executable} does not exist"
    if not os.access(plugin.executable, os.X_OK):
        return f"{plugin.executable} is not executable; chmod +x helps"
    return ""
