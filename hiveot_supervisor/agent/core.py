"""The agent's heart: takes items from the queue, keeps the table, decides, and acts through its ports.

One thread only. It talks to supervisord (`rpc`), to the hub (`hub`) and to the state file; it never blocks on any of
them for longer than a local request. What hub consumers ask is answered in `requests`.
"""

from __future__ import annotations

import logging
import os
import random
from dataclasses import dataclass
from typing import Any

from hiveot_supervisor.agent import things
from hiveot_supervisor.agent.leftovers import Leftovers
from hiveot_supervisor.agent.ports import Credentials, Prober, Processes, Supervisord
from hiveot_supervisor.agent.publisher import Publisher
from hiveot_supervisor.agent.state import State
from hiveot_supervisor.agent.strays import Stray
from hiveot_supervisor.agent.table import UP, Entry, Exit, Now, Table
from hiveot_supervisor.agent.telling import Teller
from hiveot_supervisor.agent.turns import Turns
from hiveot_supervisor.clock import Clock, iso8601
from hiveot_supervisor.errors import SupervisordFault, SupervisordUnreachable
from hiveot_supervisor.hub.client import HubClient
from hiveot_supervisor.hub.thing import Thing
from hiveot_supervisor.model import Cause, Launcher, Plugin, PluginState
from hiveot_supervisor.supervisord import process

log = logging.getLogger(__name__)

_RELEASED = "released"

PATIENCE = 1.0
"""Seconds for which `started` of a plugin is held back for one before it in the list that is still in prestart."""


@dataclass(slots=True)
class _Fork:
    """A process that is still in prestart: looked at every few milliseconds until the plugin was executed."""

    pid: int
    since: float
    due: float = 0.0
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
        self.table = Table(launcher.plugins, launcher.runtime)
        self.teller = Teller(self.table, state, hub, publisher, clock, credentials.token_expires, self._describe)
        self.released = False
        self.hub_ready = False
        self.shutting_down = False
        self._chance = chance or random.Random()
        self.leftovers = Leftovers(processes)
        self.turns = Turns(self)
        self._forks: dict[str, _Fork] = {}
        self.preparing: set[str] = set()
        self._disabled_by_notice: set[str] = set()
        self._started_at = clock.monotonic()

    def _describe(self, thing: Thing) -> dict[str, Any]:
        return things.describe(thing, self.launcher.id, self.launcher.hub.url)

    def now(self) -> Now:
        return Now(self.clock.monotonic(), self.clock.wall())

    def resume(self, *, released_before: bool) -> None:
        """At the start: an agent that comes back to the same supervisord need not wait for the hub again."""
        self.released = released_before and self.state.meta(_RELEASED) == "yes"
        self.state.set_meta(_RELEASED, "yes" if self.released else "no")
        self.state.set_alarm("")

    def watch(self, entry: Entry) -> None:
        """Look until the program of its process is executed; after that it is only asked for its health."""
        if entry.executed:
            self._begin_probes(entry)
        else:
            self._forks[entry.plugin.id] = _Fork(entry.pid, self.clock.monotonic())

    # -- what supervisord reports

    def process_starting(self, name: str) -> None:
        """About to be forked. Of a process that we know to be up it is an old report, from before a snapshot; after a
        notice from before that as well, it tells that somebody has started it again since."""
        entry = self.table.get(name)
        if entry is None:
            return
        if entry.up:
            if name in self._disabled_by_notice:
                self.set_enabled(entry, True)
            return
        if entry.intent is None:
            self.probes.prepare(entry.plugin)
        self.teller.tell(self.table.starting(entry, self.now()))

    def process_running(self, name: str, pid: int) -> None:
        """Forked. `started` follows when the plugin's own program was executed."""
        entry = self.table.get(name)
        if entry is not None and not (entry.up and entry.pid == pid):
            doomed = entry.doomed
            self.table.forked(entry, pid)
            self._forks[name] = _Fork(pid, self.clock.monotonic())
            self._watch_forks(self.clock.monotonic())
            if doomed is not None:
                self._stop_now(entry, doomed, entry.actor)

    def process_stopping(self, name: str, pid: int, *, shutdown: bool) -> None:
        """A stop was commanded. Of another process than the present one it is an old report, from before a snapshot."""
        entry = self.table.get(name)
        if entry is not None and pid in (entry.pid, 0):
            now = self.now()
            self._note_executed(entry, now)
            self.teller.tell(self.table.stopping(entry, now, shutdown=shutdown))

    def process_stopped(self, name: str, pid: int, exit_: Exit, *, shutdown: bool) -> None:
        """A commanded stop is complete."""
        entry = self.table.get(name)
        if entry is None or pid not in (entry.pid, 0):
            return
        self.forget_process(name)
        now = self.now()
        chance = self._chance.random()
        self.teller.tell(self.table.stopped(entry, exit_, now, shutdown=shutdown, chance=chance))
        self.teller.save(entry)
        if entry.again is not None:
            cause, entry.again = entry.again, None
            self.start(entry, cause)

    def process_exited(self, name: str, pid: int, exit_: Exit) -> None:
        """The process ended by itself."""
        entry = self.table.get(name)
        if entry is None or pid != entry.pid:
            return
        self.forget_process(name)
        now = self.now()
        gate = None if entry.executed else self.processes.gate(name, pid)
        for transition in self.table.exited(entry, exit_, gate, now, self._chance.random()):
            self.teller.tell(transition)
        self.teller.save(entry)
        if entry.again is not None:
            cause, entry.again = entry.again, None
            self.start(entry, cause)

    def forget_process(self, name: str) -> None:
        """Its process is gone: nothing is asked about it any more, and children that it left behind are ended."""
        if entry := self.table.get(name):
            self.leftovers.end_group_of(entry, self.clock.monotonic())
        self._forks.pop(name, None)
        self.turns.in_order.discard(name)
        self._disabled_by_notice.discard(name)
        self.probes.end(name)

    def process_fatal(self, name: str, reason: str) -> None:
        """supervisord could not even fork."""
        if entry := self.table.get(name):
            self.forget_process(name)
            self.teller.tell(self.table.unable(entry, PluginState.FAILED, reason, self.now()))
            self.teller.save(entry)

    def group_removed(self, name: str) -> None:
        if entry := self.table.get(name):
            self.table.removed(entry)
            self.teller.save(entry)

    def group_added(self, name: str) -> None:
        """A plugin came (back) into supervisord's configuration: start it if it is to run."""
        if entry := self.table.get(name):
            want_at_boot(entry, attempted=False)

    def folder_changed(self) -> None:
        """The plugins folder changed: what was missing, or could never work, may work now."""
        for entry in self.table.plugins:
            hopeless = entry.state is PluginState.MISSING or (entry.state is PluginState.FAILED and entry.gated)
            listed = entry.enabled and entry.plugin.order is not None
            if hopeless and listed and not unstartable(entry.plugin):
                entry.wanted, entry.chained = Cause.AUTOSTART, False

    # -- what the operator wants

    def start(self, entry: Entry, cause: Cause, actor: str = "") -> None:
        """Start a plugin now, unless something must come first; then it waits with the reason in its note."""
        now = self.now()
        plugin = entry.plugin
        entry.wanted = None
        if cause is Cause.OPERATOR:
            entry.enabled = True
        if entry.up or entry.coming:
            entry.doomed = None
            if entry.up and (entry.ending or entry.state is PluginState.STOPPING):
                entry.again = cause
            self.teller.save(entry)
            return
        if problem := unstartable(plugin):
            self.teller.tell(self.table.unable(entry, PluginState.MISSING, problem, now))
        elif entry.stray is not None and process.is_alive(entry.stray.pid):
            self.teller.tell(self.table.waiting(entry, stray_text(entry.stray), now))
            entry.intent = cause
        elif reason := self.turns.blocked(entry):
            entry.wanted = cause
            self.teller.tell(self.table.waiting(entry, reason, now))
        elif plugin.create_cred and entry.managed and not self.credentials.valid(plugin.id):
            self._start_with_credentials(entry, cause, now)
        else:
            entry.intent, entry.actor = cause, actor
            self.turns.request(entry, now)
        self.teller.save(entry)

    def _start_with_credentials(self, entry: Entry, cause: Cause, now: Now) -> None:
        entry.intent = cause
        entry.next_try = None
        if self.hub_ready:
            entry.note = "its credentials are being made"
            self.prepare(entry.plugin.id)
        else:
            who = "the hub's account service" if self.hub.connected else "the hub"
            self.teller.tell(self.table.waiting(entry, f"{who} does not answer; it has no credentials yet", now))

    def awaits_accounts(self, entry: Entry) -> bool:
        """It waits for credentials that a hub which has just come up will soon give, or is just giving."""
        being_made = not self.hub_ready or entry.plugin.id in self.preparing
        return entry.intent is not None and self.hub.connected and being_made

    def prepare(self, plugin_id: str) -> None:
        """Have the credentials of a plugin made in the background."""
        if plugin_id not in self.preparing:
            self.preparing.add(plugin_id)
            self.credentials.prepare(plugin_id)

    def stop(self, entry: Entry, cause: Cause, actor: str = "") -> None:
        """Stop a plugin; a stop by the operator also disables it."""
        now = self.now()
        entry.wanted = None
        if cause is Cause.OPERATOR:
            self.teller.tell(self.table.disable(entry, actor, now))
        self.teller.save(entry)
        if entry.coming:
            entry.doomed, entry.actor = cause, actor
        elif entry.up:
            self._stop_now(entry, cause, actor)

    def _stop_now(self, entry: Entry, cause: Cause, actor: str) -> None:
        entry.intent, entry.actor, entry.ending = cause, actor, True
        try:
            self.rpc.stop(entry.plugin.id)
        except SupervisordFault as fault:
            log.info("stop of %s: %s", entry.plugin.id, fault)
        except SupervisordUnreachable as error:
            entry.ending = False
            log.warning("stop of %s: %s", entry.plugin.id, error)

    def restart(self, entry: Entry, cause: Cause, actor: str = "") -> None:
        """Stop and start again, also when it does not run."""
        if not entry.up:
            self.start(entry, cause, actor)
            return
        entry.again = cause
        entry.enabled = True
        self.stop(entry, Cause.RESTART, actor)

    def set_enabled(self, entry: Entry, enabled: bool, actor: str = "", *, notice: bool = False) -> None:
        """Remember whether it is started by itself; a running plugin goes on running.

        notice: it comes through supervisord, in the order of its reports, and may be old.
        """
        self._disabled_by_notice.discard(entry.plugin.id)
        if enabled:
            entry.enabled = True
        else:
            if notice and entry.up:
                self._disabled_by_notice.add(entry.plugin.id)
            self.teller.tell(self.table.disable(entry, actor, self.now()))
        self.teller.save(entry)

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
        self.state.set_alarm("")
        self.teller.forget_told()
        self.hub.publish_td(self.teller.describe(things.launcher_thing(iso8601(self.clock.wall()))))
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
        self.state.set_alarm(f"no connection to the hub: {reason}; events wait")
        log.warning("hub: %s", reason)

    def provisioned(self, plugin_id: str, error: str, retry: bool) -> None:
        """Credentials were made, or why not."""
        self.preparing.discard(plugin_id)
        entry = self.table.get(plugin_id)
        if entry is None or entry.intent is None or entry.up or entry.coming or entry.wanted is not None:
            return
        now = self.now()
        if not error:
            self.start(entry, entry.intent)
        elif retry:
            self.teller.tell(self.table.waiting(entry, error, now))
            entry.next_try = now.mono + 5.0
        else:
            self.teller.tell(self.table.unable(entry, PluginState.FAILED, error, now))
        self.teller.save(entry)

    # -- time

    def tick(self) -> float:
        """Do what is due; returns the monotonic time at which it wants to be called again (at the latest)."""
        mono = self.clock.monotonic()
        self._watch_forks(mono)
        leftovers = self.leftovers.tick(mono)
        if not self.shutting_down:
            self._release(mono)
            self._start_due(mono)
        self.teller.publish_properties()
        return self._next_deadline(mono, leftovers)

    def _release(self, mono: float) -> None:
        waited = mono - self._started_at
        if not self.released and waited >= self.launcher.runtime_timeout:
            self._set_released()
            self.state.set_alarm(f"no hub answers at {self.launcher.hub.url}; events wait")
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
        self.turns.take()

    def ready(self, entry: Entry) -> bool:
        """It runs and has passed its readiness check, or, without one, has stayed up for `startWait`."""
        if entry.plugin.ready is not None:
            return entry.running and entry.ready
        stayed = self.clock.monotonic() - entry.started_mono >= self.launcher.start_wait
        return entry.running and entry.state is PluginState.RUNNING and stayed

    def _watch_forks(self, mono: float) -> None:
        """Look whether programs are executed; those of the list are told in the order of the list."""
        held_until = 0.0
        for name, fork in list(self._forks.items()):
            entry = self.table.get(name)
            listed = name in self.turns.in_order and mono - fork.since < PATIENCE
            if entry is None or entry.pid != fork.pid:
                del self._forks[name]
                continue
            if listed and held_until:
                fork.due = max(fork.due, held_until)
            if fork.due <= mono:
                if self.processes.executed(fork.pid):
                    self._note_executed(entry, self.now())
                    continue
                fork.due = mono + fork.interval
                fork.interval = min(fork.interval * 1.2, 0.05)
            if listed:
                held_until = fork.due

    def _note_executed(self, entry: Entry, now: Now) -> None:
        """`started`, once the plugin's program runs (also when it is already being stopped)."""
        fork = self._forks.get(entry.plugin.id)
        if fork is None or entry.executed or not self.processes.executed(fork.pid):
            return
        del self._forks[entry.plugin.id]
        self.turns.in_order.discard(entry.plugin.id)
        self.teller.tell(self.table.executed(entry, now))
        self.teller.save(entry)
        self._begin_probes(entry)

    def _begin_probes(self, entry: Entry) -> None:
        mono = self.clock.monotonic()
        if entry.plugin.ready is not None and not entry.ready:
            self.probes.begin_ready(entry.plugin, entry.pid, mono)
        else:
            self.probes.begin_alive(entry.plugin, entry.pid, mono)

    def _next_deadline(self, mono: float, leftovers: float | None) -> float:
        due = [mono + 5.0, self.probes.tick(mono)]
        due += [f.due for f in self._forks.values()]
        due += [leftovers] if leftovers is not None else []
        if not self.released:
            return max(mono, min(*due, self._started_at + self.launcher.runtime_timeout))
        due += [e.next_try for e in self.table.plugins if e.next_try is not None]
        wait = self.launcher.start_wait
        if wait and any(e.wanted for e in self.table.plugins):
            due += [e.started_mono + wait for e in self.table.plugins if e.started_mono + wait > mono and e.running]
        return max(mono, min(due))

    # -- the end

    def all_gone(self, cause: Cause) -> None:
        """Everything that still ran has ended with supervisord; told from our own table, last started first."""
        now = self.now()
        for entry in self.running_in_stop_order():
            self.forget_process(entry.plugin.id)
            self.teller.tell(self.table.lost(entry, cause, now))
        self.teller.publish_properties()


def want_at_boot(entry: Entry, *, attempted: bool) -> None:
    """A plugin of the autostart list is wanted, in its turn, unless it is disabled, or was tried already."""
    listed = entry.managed and entry.plugin.order is not None
    if listed and entry.enabled and not attempted and entry.state not in UP:
        entry.wanted, entry.chained = Cause.AUTOSTART, True


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
