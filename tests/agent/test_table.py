"""The table: single cases as tables of reports, and generated histories of supervisord for what must always hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hiveot_supervisor.agent.table import Entry, Exit, Gate, Now, Table, Transition, restore, to_record
from hiveot_supervisor.model import Cause, Plugin, PluginState, Policy, Restart


def plugin(name: str = "p", **more: object) -> Plugin:
    more.setdefault("restart", Restart(jitter=0.0))
    return Plugin(name, Path("/bin/true"), order=0, **more)  # type: ignore[arg-type]


def at(seconds: float) -> Now:
    return Now(seconds, 1_000_000 + seconds)


class Story:
    """A table with one plugin, told what supervisord reports second by second."""

    def __init__(self, **more: object) -> None:
        self.table = Table([plugin(**more)])
        self.entry: Entry = self.table.entries["p"]
        self.time = 0.0
        self.told: list[Transition] = []

    def _note(self, *transitions: Transition | None) -> None:
        self.time += 1
        self.told += [t for t in transitions if t is not None]

    def start(self, intent: Cause | None = None, pid: int = 10) -> None:
        self.entry.intent = intent
        self._note(self.table.starting(self.entry, at(self.time)))
        self.table.forked(self.entry, pid)

    def run(self, intent: Cause | None = None, pid: int = 10) -> None:
        self.start(intent, pid)
        self._note(self.table.executed(self.entry, at(self.time)))

    def stop(self, *, shutdown: bool = False) -> None:
        self._note(self.table.stopping(self.entry, at(self.time), shutdown=shutdown))
        self._note(self.table.stopped(self.entry, Exit(None, 15), at(self.time), shutdown=shutdown))

    def exit(self, code: int | None = None, signal: int | None = None, gate: Gate | None = None) -> None:
        self._note(*self.table.exited(self.entry, Exit(code, signal), gate, at(self.time), 0.5))

    @property
    def events(self) -> list[str]:
        return [t.event for t in self.told if t.event]


def test_a_start_counts_when_the_plugin_itself_was_executed() -> None:
    story = Story()
    story.start()
    assert story.events == []
    story._note(story.table.executed(story.entry, at(2)))
    assert story.events == ["started"]
    assert story.entry.state is PluginState.RUNNING


def test_a_stop_that_nobody_here_asked_for_is_the_operators_and_disables() -> None:
    story = Story()
    story.run(Cause.AUTOSTART)
    story.stop()
    assert story.events == ["started", "stopped"]
    assert story.told[-1].cause is Cause.OPERATOR
    assert not story.entry.enabled
    assert story.entry.next_try is None


def test_a_shutdown_does_not_disable() -> None:
    story = Story()
    story.run()
    story.stop(shutdown=True)
    assert story.told[-1].cause is Cause.SHUTDOWN
    assert story.entry.enabled


def test_an_update_of_supervisord_does_not_disable() -> None:
    story = Story()
    story.run()
    story.stop()
    story.table.removed(story.entry)
    assert story.entry.enabled


def test_removing_what_the_operator_had_disabled_before_leaves_it_disabled() -> None:
    story = Story()
    story.table.disable(story.entry, "", at(0))
    story.table.removed(story.entry)
    assert not story.entry.enabled


def test_a_start_by_supervisorctl_enables_and_forgets_failures() -> None:
    story = Story()
    story.run()
    story.exit(3)
    assert story.entry.backoff.failures == 1
    story.run()
    assert story.entry.enabled
    assert story.entry.backoff.failures == 0


@pytest.mark.parametrize(
    ("code", "signal", "state", "cause", "note"),
    [
        (3, None, PluginState.BACKOFF, Cause.CRASH, "exit 3"),
        (None, 11, PluginState.BACKOFF, Cause.CRASH, "killed by SIGSEGV"),
        (None, 9, PluginState.BACKOFF, Cause.CRASH, "killed by SIGKILL"),
        (0, None, PluginState.EXITED, Cause.EXIT, "exit 0"),
        (None, None, PluginState.BACKOFF, Cause.CRASH, "ended"),
    ],
)
def test_how_a_run_ended(code: int | None, signal: int | None, state: PluginState, cause: Cause, note: str) -> None:
    story = Story()
    story.run()
    story.exit(code, signal)
    assert (story.entry.state, story.told[-1].cause, story.entry.note) == (state, cause, note)
    assert story.events == ["started", "stopped"]


def test_a_plugin_that_ended_before_anybody_looked_was_started_and_stopped() -> None:
    story = Story()
    story.start()
    story.exit(0)
    assert story.events == ["started", "stopped"]


def test_a_closed_gate_is_neither_a_start_nor_a_failure() -> None:
    story = Story()
    story.start(Cause.AUTOSTART)
    story.exit(111, gate=Gate(111, "no /dev/ttyUSB0"))
    assert story.events == []
    assert story.entry.state is PluginState.WAITING
    assert story.entry.note == "no /dev/ttyUSB0"
    assert story.entry.backoff.failures == 0
    assert story.entry.next_try is not None


def test_what_can_never_work_is_not_tried_again() -> None:
    story = Story()
    story.start(Cause.AUTOSTART)
    story.exit(100, gate=Gate(100, "user zwave does not exist"))
    assert story.entry.state is PluginState.FAILED
    assert story.entry.next_try is None


def test_the_plugins_own_111_is_a_crash() -> None:
    story = Story()
    story.run()
    story.exit(111)
    assert story.entry.state is PluginState.BACKOFF


def test_a_disabled_plugin_that_crashes_stays_down() -> None:
    story = Story()
    story.run()
    story.entry.enabled = False
    story.exit(1)
    assert story.entry.next_try is None


@pytest.mark.parametrize("jump", [0.0, -7200.0, 86400.0])
def test_the_waiting_time_survives_a_restart_of_the_agent_and_a_clock_jump(jump: float) -> None:
    story = Story()
    story.run()
    story.exit(1)
    record = to_record(story.entry, at(story.time - 1))
    again = Table([plugin()]).entries["p"]
    restore(again, record, Now(story.time, at(story.time).wall + jump), same_boot=True)
    assert again.next_try == story.entry.next_try
    assert again.backoff.failures == 1


@pytest.mark.parametrize("jump", [0.0, -7200.0, 86400.0])
def test_how_long_it_has_run_does_not_depend_on_the_wall_clock(jump: float) -> None:
    """A clock that is set a day on while the agent is dead makes no stable run of a short one."""
    story = Story()
    story.run()
    record = to_record(story.entry, at(story.time))
    again = Table([plugin()]).entries["p"]
    restore(again, record, Now(story.time + 3, at(story.time + 3).wall + jump), same_boot=True)
    assert again.started_mono == story.entry.started_mono


def test_a_new_boot_keeps_the_intent_but_not_the_backoff() -> None:
    story = Story()
    story.run()
    story.stop()
    again = Table([plugin()]).entries["p"]
    restore(again, to_record(story.entry, at(9)), at(9), same_boot=False)
    assert not again.enabled
    assert again.start_count == 1
    assert again.next_try is None


class Histories(RuleBasedStateMachine):
    """supervisord's legal reports in any order and any length, with virtual time."""

    def __init__(self) -> None:
        super().__init__()
        self.story = Story(restart=Restart(policy=Policy.ALWAYS, jitter=0.2))
        self.alive = False
        self.pid = 100
        self.commanded = False

    @property
    def entry(self) -> Entry:
        return self.story.entry

    @precondition(lambda self: not self.alive)
    @rule(intent=st.sampled_from([None, Cause.AUTOSTART, Cause.RESTART]))
    def supervisord_starts_it(self, intent: Cause | None) -> None:
        if intent is Cause.RESTART and self.entry.next_try is None:
            return
        self.pid += 1
        self.story.start(intent, self.pid)
        self.alive, self.commanded = True, False

    @precondition(lambda self: self.alive and not self.entry.executed)
    @rule()
    def prestart_executes_it(self) -> None:
        self.story._note(self.story.table.executed(self.entry, at(self.story.time)))

    @precondition(lambda self: self.alive and not self.commanded)
    @rule(code=st.sampled_from([0, 1, 3, 255]))
    def it_exits(self, code: int) -> None:
        self.story.exit(code)
        self.alive = False

    @precondition(lambda self: self.alive and not self.commanded and not self.entry.executed)
    @rule(code=st.sampled_from([100, 111]))
    def a_gate_is_closed(self, code: int) -> None:
        self.story.exit(code, gate=Gate(code, "because"))
        self.alive = False

    @precondition(lambda self: self.alive and not self.commanded)
    @rule(shutdown=st.booleans())
    def it_is_told_to_stop(self, shutdown: bool) -> None:
        self.story._note(self.story.table.stopping(self.entry, at(self.story.time), shutdown=shutdown))
        self.commanded = True

    @precondition(lambda self: self.alive and self.commanded)
    @rule(shutdown=st.booleans())
    def it_has_stopped(self, shutdown: bool) -> None:
        self.story._note(self.story.table.stopped(self.entry, Exit(None, 15), at(self.story.time), shutdown=shutdown))
        self.alive = False

    @rule()
    def the_operator_disables_it(self) -> None:
        self.story._note(self.story.table.disable(self.entry, "me", at(self.story.time)))

    @rule(seconds=st.floats(0, 4000))
    def time_passes(self, seconds: float) -> None:
        self.story.time += seconds

    @invariant()
    def every_started_has_one_stopped_and_they_alternate(self) -> None:
        events = self.story.events
        assert events == [("started", "stopped")[i % 2] for i in range(len(events))]
        assert (len(events) % 2 == 1) == self.entry.running

    @invariant()
    def what_is_disabled_is_never_started_again(self) -> None:
        assert self.entry.enabled or self.entry.next_try is None

    @invariant()
    def the_table_knows_whether_a_process_exists(self) -> None:
        assert self.entry.up == self.alive


Histories.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestHistories = Histories.TestCase
