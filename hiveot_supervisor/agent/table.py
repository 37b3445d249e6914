"""What each plugin is doing: a table of entries and the rules by which supervisord's reports change it.

Pure: reports come in with their time, transitions come out; no process, file or clock is touched. A run counts as
started when the plugin's own program was executed, not when supervisord forked (design §5, prestart).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from hiveot_supervisor.agent.limits import Watches
from hiveot_supervisor.agent.restart import Backoff, Decision, after_exit
from hiveot_supervisor.agent.state import Record
from hiveot_supervisor.agent.strays import Stray
from hiveot_supervisor.errors import ExitCode
from hiveot_supervisor.foreign import clean
from hiveot_supervisor.model import Cause, Plugin, PluginState

MAX_NOTE = 500
"""Characters of a note: it is stored, told to the hub with every event, and shown in tables."""

UP = frozenset({PluginState.STARTING, PluginState.RUNNING, PluginState.STOPPING})


@dataclass(frozen=True, slots=True)
class Now:
    """One instant on both clocks: monotonic seconds for decisions, wall seconds for people."""

    mono: float
    wall: float


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended. None = not known (stock supervisord does not tell signals)."""

    code: int | None = None
    signal: int | None = None
    max_rss: int | None = None
    cpu: float | None = None

    @property
    def failed(self) -> bool:
        return bool(self.signal) or self.code not in (0,)


@dataclass(frozen=True, slots=True)
class Gate:
    """Why prestart did not execute the plugin: exit code 111 (try later) or 100 (never works), and the reason."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Transition:
    """A change that others are told about.

    event: `started` or `stopped` when the plugin's program came up or went away, else empty.
    """

    plugin: str
    state: PluginState
    previous: PluginState
    cause: Cause
    event: str = ""
    exit: Exit | None = None
    uptime: float | None = None
    actor: str = ""


@dataclass(slots=True)
class Entry:
    """One plugin's row.

    executed: the plugin's own program runs in this process. wanted: it shall be started as soon as its turn comes
    (`chained`: its turn is after its predecessor in the list). intent: why we caused the change that is under way.
    asked: why we asked supervisord to start it, until it is reported to be forked, or not to be. doomed: stop it for
    this cause as soon as it is forked. ending: supervisord was asked to stop it. again: start it again with this cause
    once it has stopped. next_try: monotonic time of the next attempt.
    ready: its readiness check passed; late: it did not pass in time. alive_failures: failed liveness checks in a row.
    watches: of its resource limits. stray: a copy of it that supervisord does not own. gated: its last
    start ended in prestart.
    """

    plugin: Plugin
    managed: bool = True
    enabled: bool = True
    state: PluginState = PluginState.STOPPED
    note: str = ""
    cause: Cause = Cause.OPERATOR
    pid: int = 0
    executed: bool = False
    since: float = 0.0
    started: float = 0.0
    started_mono: float = 0.0
    stopped: float = 0.0
    start_count: int = 0
    exit: Exit | None = None
    backoff: Backoff = field(default_factory=Backoff)
    next_try: float | None = None
    wanted: Cause | None = None
    chained: bool = False
    intent: Cause | None = None
    asked: Cause | None = None
    doomed: Cause | None = None
    ending: bool = False
    actor: str = ""
    again: Cause | None = None
    ready: bool = False
    late: bool = False
    alive_failures: int = 0
    watches: Watches = field(default_factory=Watches)
    stray: Stray | None = None
    gated: bool = False
    disabled_by_stop: bool = False

    @property
    def up(self) -> bool:
        """A process of it exists."""
        return self.state in UP and self.pid > 0

    @property
    def running(self) -> bool:
        """Its own program runs."""
        return self.up and self.executed

    @property
    def coming(self) -> bool:
        """A process of it is being made, or has come and gone already: the reports are on their way."""
        return not self.up and (self.asked is not None or self.state is PluginState.STARTING)

    def arrived(self) -> None:
        """What supervisord was asked for has been reported."""
        self.asked = self.doomed = None
        self.ending = False


class Table:
    """All entries, in start order.

    plugins: the entries without the runtime; position: where each of them is in that list, by ID.
    """

    def __init__(self, plugins: Iterable[Plugin], runtime: Plugin | None = None) -> None:
        self.entries: dict[str, Entry] = {}
        if runtime is not None:
            self.entries[runtime.id] = Entry(runtime, managed=False)
        for plugin in plugins:
            self.entries[plugin.id] = Entry(plugin)
        self._number()

    def _number(self) -> None:
        self.plugins = [e for e in self.entries.values() if e.managed]
        self.position = {e.plugin.id: number for number, e in enumerate(self.plugins)}

    def get(self, plugin_id: str) -> Entry | None:
        return self.entries.get(plugin_id)

    def replace_plugins(self, plugins: Iterable[Plugin], runtime: Plugin | None) -> list[str]:
        """Take a new configuration over; state is kept by ID. Returns the IDs that are gone."""
        old, self.entries = self.entries, {}
        for plugin, managed in ([(runtime, False)] if runtime else []) + [(p, True) for p in plugins]:
            entry = old.pop(plugin.id, None) or Entry(plugin, managed)
            entry.plugin = plugin
            self.entries[plugin.id] = entry
        for plugin_id, entry in old.items():
            if entry.up:
                self.entries[plugin_id] = entry
        self._number()
        return [plugin_id for plugin_id in old if plugin_id not in self.entries]

    # -- what supervisord reports

    def starting(self, entry: Entry, now: Now) -> Transition | None:
        """supervisord is about to fork. A start that we did not ask for is the operator's, and enables the plugin."""
        entry.executed = entry.ready = entry.late = entry.gated = False
        entry.alive_failures = 0
        entry.watches = Watches()
        entry.pid = 0
        entry.cause = entry.asked or entry.intent or (Cause.OPERATOR if entry.managed else Cause.AUTOSTART)
        if entry.cause is Cause.OPERATOR:
            entry.enabled = entry.enabled or entry.asked is None  # one that we asked for may be disabled by now
            entry.backoff = Backoff()
        entry.wanted = None
        entry.disabled_by_stop = False
        entry.next_try = None
        entry.note = ""
        return self._move(entry, PluginState.STARTING, now)

    def forked(self, entry: Entry, pid: int) -> None:
        """The process exists; prestart runs in it until `executed`."""
        entry.pid = pid
        entry.state = PluginState.STARTING
        entry.arrived()

    def executed(self, entry: Entry, now: Now) -> Transition | None:
        """The plugin's own program runs now."""
        entry.executed = True
        entry.started = now.wall
        entry.started_mono = now.mono
        entry.start_count += 1
        entry.intent = None
        state = PluginState.STOPPING if entry.state is PluginState.STOPPING else PluginState.RUNNING
        return self._move(entry, state, now, event="started")

    def stopping(self, entry: Entry, now: Now, *, shutdown: bool) -> Transition | None:
        """A stop was commanded; whose it is follows from our own intent and from supervisord's mood."""
        self._take_stop(entry, shutdown)
        return self._move(entry, PluginState.STOPPING, now)

    def _take_stop(self, entry: Entry, shutdown: bool) -> None:
        entry.cause = Cause.SHUTDOWN if shutdown else (entry.intent or Cause.OPERATOR)
        if entry.cause is Cause.OPERATOR and entry.again is None and entry.managed:
            entry.disabled_by_stop = entry.enabled
            entry.enabled = False
        if shutdown:
            entry.again = None

    def stopped(self, entry: Entry, exit_: Exit, now: Now, *, shutdown: bool, chance: float = 0.5) -> Transition | None:
        """The end of a commanded stop. One for a limit or a failed probe counts as a failure for the backoff."""
        if entry.state is not PluginState.STOPPING:
            self._take_stop(entry, shutdown)
        entry.intent = None
        if entry.cause is Cause.OPERATOR:
            entry.backoff = Backoff()
            entry.note = clean(f"by {entry.actor}", MAX_NOTE) if entry.actor else "by operator"
        elif entry.cause not in (Cause.LIMIT, Cause.PROBE):
            entry.note = entry.cause.value
        entry.actor = ""
        state = PluginState.STOPPED
        if entry.cause in (Cause.LIMIT, Cause.PROBE) and entry.managed and entry.enabled:
            uptime = now.mono - entry.started_mono
            decision = after_exit(entry.plugin.restart, entry.backoff, failed=True, uptime=uptime, chance=chance)
            entry.backoff = decision.backoff
            state = self._plan(entry, decision, PluginState.FAILED, now)
        return self._ended(entry, state, exit_, now)

    def exited(self, entry: Entry, exit_: Exit, gate: Gate | None, now: Now, chance: float) -> list[Transition]:
        """The process ended by itself; decides what comes next (`entry.next_try`, monotonic)."""
        entry.intent = None
        if gate is not None and not entry.executed:
            return self._gated(entry, exit_, gate, now)
        first = [] if entry.executed else [self.executed(entry, now)]
        settings = entry.plugin.restart
        uptime = now.mono - entry.started_mono
        entry.cause = Cause.CRASH if exit_.failed else Cause.EXIT
        entry.note = describe_exit(exit_)
        decision = after_exit(settings, entry.backoff, failed=exit_.failed, uptime=uptime, chance=chance)
        entry.backoff = decision.backoff
        state = PluginState.FAILED if exit_.failed else PluginState.EXITED
        if decision.reason:
            entry.note = f"{entry.note}; {decision.reason}"
        if entry.managed and entry.enabled:
            state = self._plan(entry, decision, state, now)
        ended = self._ended(entry, state, exit_, now)
        return [t for t in [*first, ended] if t is not None]

    @staticmethod
    def _plan(entry: Entry, decision: Decision, state: PluginState, now: Now) -> PluginState:
        if decision.delay is None:
            return state
        entry.next_try = now.mono + decision.delay
        return PluginState.BACKOFF

    def _gated(self, entry: Entry, exit_: Exit, gate: Gate, now: Now) -> list[Transition]:
        """prestart did not run the plugin: no failure is counted, `111` is tried again, `100` waits for a change."""
        entry.note = clean(gate.reason, MAX_NOTE)
        entry.gated = True
        entry.arrived()
        entry.exit = exit_
        entry.pid = 0
        entry.cause = Cause.DEPENDENCY
        state = PluginState.FAILED
        if gate.code == ExitCode.TRY_LATER and entry.enabled:
            state = PluginState.WAITING
            entry.next_try = now.mono + GATE_RETRY
        elif gate.code == ExitCode.TRY_LATER:
            state = PluginState.STOPPED
        moved = self._move(entry, state, now)
        return [moved] if moved else []

    def lost(self, entry: Entry, cause: Cause, now: Now) -> Transition | None:
        """A run ended that nobody reported (supervisord or the agent was away)."""
        entry.cause = cause
        entry.note = cause.value
        entry.intent = None
        return self._ended(entry, PluginState.STOPPED, Exit(), now)

    def _ended(self, entry: Entry, state: PluginState, exit_: Exit, now: Now) -> Transition | None:
        executed, entry.executed = entry.executed, False
        entry.arrived()
        entry.exit = exit_
        entry.ready = entry.late = False
        uptime = None
        if executed:
            entry.stopped = now.wall
            uptime = max(0.0, now.mono - entry.started_mono)
        return self._move(entry, state, now, event="stopped" if executed else "", exit_=exit_, uptime=uptime)

    def removed(self, entry: Entry) -> None:
        """Its group was removed (`supervisorctl update`): the stop before it was not meant as the operator's."""
        if entry.disabled_by_stop:
            entry.enabled, entry.disabled_by_stop = True, False

    @staticmethod
    def same(entry: Entry) -> Transition:
        """Something about it changed that others should know (it became ready), but not its state."""
        return Transition(entry.plugin.id, entry.state, entry.state, entry.cause)

    # -- what we decide

    def waiting(self, entry: Entry, note: str, now: Now) -> Transition | None:
        """It shall run, but something is not there yet."""
        entry.note = clean(note, MAX_NOTE)
        entry.cause = Cause.DEPENDENCY
        return self._move(entry, PluginState.WAITING, now)

    def unable(self, entry: Entry, state: PluginState, note: str, now: Now) -> Transition | None:
        """A start is not possible (`missing`, `failed`)."""
        entry.note = clean(note, MAX_NOTE)
        entry.arrived()
        entry.intent = None
        entry.next_try = None
        entry.wanted = None
        return self._move(entry, state, now)

    def disable(self, entry: Entry, actor: str, now: Now) -> Transition | None:
        """The operator does not want it to run; what waits is given up, what runs is stopped by somebody else."""
        entry.enabled = False
        entry.next_try = None
        entry.wanted = None
        entry.again = None
        entry.backoff = Backoff()
        entry.actor = actor
        if entry.state in UP:
            return None
        entry.intent = None
        entry.cause = Cause.OPERATOR
        entry.note = clean(f"by {actor}", MAX_NOTE) if actor else "by operator"
        return self._move(entry, PluginState.STOPPED, now)

    @staticmethod
    def _move(
        entry: Entry,
        state: PluginState,
        now: Now,
        *,
        event: str = "",
        exit_: Exit | None = None,
        uptime: float | None = None,
    ) -> Transition | None:
        previous = entry.state
        if state is previous and not event:
            return None
        entry.state = state
        entry.since = now.wall
        return Transition(entry.plugin.id, state, previous, entry.cause, event, exit_, uptime, entry.actor)


GATE_RETRY = 5.0
"""Seconds between two attempts of a plugin whose gate (hub, device) is closed."""


def describe_exit(exit_: Exit) -> str:
    """`exit 3`, `killed by SIGSEGV`, for people."""
    import signal

    if exit_.signal:
        try:
            return f"killed by {signal.Signals(exit_.signal).name}"
        except ValueError:
            return f"killed by signal {exit_.signal}"
    return "ended" if exit_.code is None else f"exit {exit_.code}"


def to_record(entry: Entry, now: Now) -> Record:
    """What is stored of an entry; times in wall time as well, because monotonic time ends with the boot."""
    return Record(
        id=entry.plugin.id,
        enabled=entry.enabled,
        state=entry.state.value,
        note=entry.note,
        cause=entry.cause.value,
        pid=entry.pid,
        since=entry.since,
        started=entry.started,
        stopped=entry.stopped,
        start_count=entry.start_count,
        exit_code=entry.exit.code if entry.exit else None,
        signal=entry.exit.signal if entry.exit else None,
        failures=entry.backoff.failures,
        delay=entry.backoff.delay,
        next_try=0.0 if entry.next_try is None else now.wall + entry.next_try - now.mono,
        next_mono=entry.next_try or 0.0,
        started_mono=entry.started_mono,
        attempted=entry.wanted is None,
        ready=entry.ready,
        executed=entry.executed,
        stray=entry.stray.pid if entry.stray else 0,
        stray_started=entry.stray.started if entry.stray else 0.0,
    )


def restore(entry: Entry, record: Record, now: Now, *, same_boot: bool) -> None:
    """Take a stored record over. After a new start of supervisord (`same_boot` false) only intent and counters last."""
    entry.enabled = record.enabled
    entry.start_count = record.start_count
    entry.started, entry.stopped, entry.since = record.started, record.stopped, record.since
    entry.exit = Exit(record.exit_code, record.signal)
    entry.cause = Cause(record.cause) if record.cause in set(Cause) else Cause.OPERATOR
    entry.pid = record.pid
    if PluginState(record.state) in UP:
        entry.state = PluginState(record.state)
        entry.executed = record.executed
        entry.ready = same_boot and record.ready
        entry.started_mono = now.mono - max(0.0, now.wall - record.started)
        if same_boot and 0.0 < record.started_mono <= now.mono:
            entry.started_mono = record.started_mono  # the wall clock may have been set since
    if not same_boot:
        return
    entry.backoff = Backoff(record.failures, record.delay)
    entry.note = record.note
    if PluginState(record.state) not in UP:
        entry.state = PluginState(record.state)
    if record.next_try:
        entry.next_try = min(record.next_mono, now.mono + max(record.delay, GATE_RETRY))
