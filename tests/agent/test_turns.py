"""A turn looks at few of many plugins, and decides as if it had looked at all."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from fakes.agent_world import World
from hypothesis import given, settings
from hypothesis import strategies as st

from hiveot_supervisor.agent import order
from hiveot_supervisor.agent.table import Entry
from hiveot_supervisor.agent.turns import Turns
from hiveot_supervisor.model import Cause, Condition, Dependency, Plugin, PluginState

S = PluginState
TRUE = Path("/bin/true")
KINDS = st.sampled_from(
    ["wanted"] * 3 + ["running"] * 2 + ["unchained", "asked", "forked", "failed", "stopped", "dependent"],
)


def make(entry: Entry, kind: str) -> None:
    entry.chained = kind not in ("unchained", "stopped")
    if kind in ("wanted", "unchained", "dependent"):
        entry.wanted = Cause.AUTOSTART
    elif kind == "asked":
        entry.intent = entry.asked = Cause.AUTOSTART
    elif kind in ("forked", "running"):
        entry.state, entry.pid, entry.executed = (S.STARTING, 5, False) if kind == "forked" else (S.RUNNING, 5, True)
    elif kind == "failed":
        entry.state = S.FAILED


class Watched(Turns):
    def everybody(self) -> list[order.Step]:
        return [self._step(e) for e in self._agent.table.plugins]

    def see(self) -> None:
        self._on_their_way.update(e.plugin.id for e in self._agent.table.plugins if self._on_its_way(e.plugin.id))


@settings(max_examples=300, deadline=None)
@given(
    kinds=st.lists(KINDS, min_size=1, max_size=40),
    needs=st.lists(st.tuples(st.integers(0, 45), st.sampled_from(list(Condition))), min_size=1, max_size=5),
    start_wait=st.sampled_from([0.0, 100.0]),
)
def test_a_turn_decides_as_if_it_had_looked_at_all(
    kinds: list[str], needs: list[tuple[int, Condition]], start_wait: float
) -> None:
    plugins = []
    for n, kind in enumerate(kinds):
        number, condition = needs[n % len(needs)]
        depends = (Dependency(f"p{number}", condition),) if kind == "dependent" else ()
        plugins.append(Plugin(f"p{n}", TRUE, depends_on=depends))
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), plugins)
        world.agent.launcher = replace(world.agent.launcher, start_wait=start_wait)
        for entry, kind in zip(world.agent.table.plugins, kinds, strict=True):
            make(entry, kind)
        turns = Watched(world.agent)
        turns.see()
        assert order.turn(turns.steps()) == order.turn(turns.everybody())
        world.state.close()


def test_a_turn_looks_at_few_of_many() -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), [Plugin(f"p{n}", TRUE, order=n) for n in range(300)])
        looked = [len(world.agent.turns.steps())]
        while any(e.wanted for e in world.agent.table.plugins):
            looked.append(len(world.agent.turns.steps()))
            world.pass_time(0.2)
        world.state.close()
    assert len(looked) > 100
    assert max(looked) < 4 * order.WINDOW
