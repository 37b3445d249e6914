"""The agent over generated histories in virtual time: what must hold whatever happens, and that all ends well."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from fakes.agent_world import World
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hiveot_supervisor.agent.state import Reader
from hiveot_supervisor.agent.table import Entry
from hiveot_supervisor.model import Cause, Dependency, Limits, Plugin, PluginState, Policy, Restart

NAMES = ["a", "b", "c", "d"]
TRUE = Path("/bin/true")
POLICIES = [Policy.ON_FAILURE, Policy.ALWAYS, Policy.NEVER]


class Histories(RuleBasedStateMachine):
    """Four plugins; `c` depends on `a`. Crashes, stops from all sides, agent deaths, lost reports, clock jumps."""

    @initialize(policy=st.sampled_from(POLICIES))
    def begin(self, policy: Policy) -> None:
        rules = Restart(policy=policy, delay=1.0, limit=30.0, reset_after=60.0, jitter=0.2)
        plugins = [
            Plugin(
                name,
                TRUE,
                order=index,
                restart=rules,
                limits=Limits(),
                depends_on=(Dependency("a"),) if name == "c" else (),
            )
            for index, name in enumerate(NAMES)
        ]
        self.policy = policy
        self.folder = Path(tempfile.mkdtemp(prefix="hs"))
        self.world = World(self.folder, plugins)
        self.wanted = dict.fromkeys(NAMES, True)
        self.known: dict[str, tuple[int, float]] = {}
        self.forgiven: set[str] = set()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.ends_well()
            self.world.state.close()
            shutil.rmtree(self.folder)

    def entry(self, name: str) -> Entry:
        return self.world.agent.table.entries[name]

    def up(self, name: str) -> bool:
        return self.world.supervisord.processes[name].pid > 0

    names = st.sampled_from(NAMES)

    @rule(name=names, code=st.sampled_from([0, 1, 3]))
    def it_ends(self, name: str, code: int) -> None:
        if self.up(name):
            if self.world.clock.mono - self.world.supervisord.processes[name].starts[-1] >= 60.0:
                self.forgiven.add(name)
            self.world.supervisord.die(name, code)

    @rule(name=names, late=st.booleans())
    def the_hub_stops_it(self, name: str, late: bool) -> None:
        self.forgiven.add(name)
        self.world.agent.stop(self.entry(name), Cause.OPERATOR, "admin")
        self.wanted[name] = False
        self.reports_come(late)

    @rule(name=names, late=st.booleans())
    def the_hub_starts_it(self, name: str, late: bool) -> None:
        self.forgiven.add(name)
        self.world.agent.start(self.entry(name), Cause.OPERATOR, "admin")
        self.wanted[name] = True
        self.reports_come(late)

    def reports_come(self, late: bool) -> None:
        """At once, or only after what comes next."""
        if not late:
            self.world.turn()

    @rule(name=names)
    def supervisorctl_stops_it(self, name: str) -> None:
        self.forgiven.add(name)
        self.world.turn()
        if self.up(name):
            self.world.supervisord.stop(name)
            self.wanted[name] = False
            self.world.turn()

    @rule(name=names)
    def supervisorctl_starts_it(self, name: str) -> None:
        self.forgiven.add(name)
        self.world.turn()
        if not self.up(name):
            self.world.supervisord.start(name)
            self.wanted[name] = True
            self.world.turn()

    @rule()
    def the_agent_is_killed(self) -> None:
        self.world.kill_agent()

    @rule(seconds=st.floats(0.01, 100))
    def time_passes(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @rule(jump=st.sampled_from([-7200.0, 86400.0, -60.0]))
    def the_wall_clock_is_set(self, jump: float) -> None:
        self.world.clock.offset += jump

    @precondition(lambda self: hasattr(self, "world"))
    @invariant()
    def what_is_disabled_is_not_started_and_delays_are_bounded(self) -> None:
        for entry in self.world.agent.table.plugins:
            if not entry.enabled:
                assert entry.next_try is None
                assert entry.wanted is None
            if entry.next_try is not None:
                assert entry.next_try - self.world.clock.mono <= 30.0

    @precondition(lambda self: hasattr(self, "world"))
    @invariant()
    def started_and_stopped_alternate_and_numbers_grow(self) -> None:
        reader = Reader(self.folder / "launcher.db")
        events = reader.events()
        reader.close()
        assert [e.seq for e in events] == sorted({e.seq for e in events})
        for name in NAMES:
            words = [e.name for e in events if e.plugin == name and e.name in ("started", "stopped")]
            assert words == [("started", "stopped")[i % 2] for i in range(len(words))]

    @precondition(lambda self: hasattr(self, "world"))
    @invariant()
    def delays_do_not_shrink_without_a_stable_run(self) -> None:
        """Only a run of `resetAfter`, or a command, begins the series anew; the agent's death or the clock do not."""
        for entry in self.world.agent.table.plugins:
            name, now = entry.plugin.id, (entry.backoff.failures, entry.backoff.delay)
            before = self.known.get(name, (0, 0.0))
            if now[0] < before[0] or now[1] < before[1]:
                assert name in self.forgiven, f"{name}: {before} -> {now}"
                self.forgiven.discard(name)
            self.known[name] = now

    def ends_well(self) -> None:
        """Once nothing fails any more, everything enabled runs (unless the policy says that it stays down)."""
        self.world.turn()
        for name in NAMES:
            assert self.entry(name).enabled == self.wanted[name], name
        self.world.pass_time(120)
        for name in NAMES:
            entry = self.entry(name)
            if not entry.enabled:
                assert not self.up(name)
            elif self.policy is Policy.ALWAYS and (name != "c" or self.up("a")):
                assert self.up(name), f"{name}: {entry.state} {entry.note}"
            assert entry.running == self.up(name)
            if self.up(name):
                assert entry.state is PluginState.RUNNING


Histories.TestCase.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
TestHistories = Histories.TestCase
