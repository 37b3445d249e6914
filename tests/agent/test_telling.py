"""What the hub is told while much happens at once."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from fakes.agent_world import HubAway, World

from hiveot_supervisor.agent.telling import HELD_BACK
from hiveot_supervisor.model import Plugin


class SlowHub(HubAway):
    """It is there, and acknowledges events when the test lets it."""

    def __init__(self) -> None:
        super().__init__(set())
        self.connected = True
        self.under_way: list[Future[None]] = []

    def publish_event(self, thing: str, name: str, value: Any, **more: Any) -> Future[None]:
        super().publish_event(thing, name, value, **more)
        self.under_way.append(Future())
        return self.under_way[-1]

    def acknowledge(self) -> None:
        while self.under_way:
            self.under_way.pop(0).set_result(None)

    def states(self) -> list[str]:
        return [value["state"] for thing, name, value in self.told if name == "state" and thing.startswith("plugin-")]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Thirty plugins that are down, all of it told."""
    made = World(tmp_path, [Plugin(f"p{n}", Path("/bin/true")) for n in range(30)], SlowHub())
    made.hub_comes()
    settle(made)
    made.hub.told.clear()
    return made


def settle(world: World) -> None:
    for _ in range(50):
        world.hub.acknowledge()
        world.turn()


def start(world: World, count: int) -> None:
    for name in [f"p{n}" for n in range(count)]:
        world.supervisord.start(name)
    world.turn()


def test_values_of_a_few_go_out_at_once(world: World) -> None:
    start(world, 2)
    assert world.hub.states() == ["running"] * 2


def test_while_all_start_values_wait_and_only_the_newest_is_told(world: World) -> None:
    start(world, 30)
    for name in [f"p{n}" for n in range(30)]:
        world.supervisord.stop(name)
    world.turn()
    assert world.hub.states() == []
    settle(world)
    assert world.hub.states() == ["stopped"] * 30


def test_values_do_not_wait_for_ever(world: World) -> None:
    """As many events are always under way as may be, but what has been told of is told."""
    start(world, 30)
    assert world.hub.states() == []
    world.pass_time(HELD_BACK + 0.1)
    assert world.state.properties.count() > 0
    for _ in range(7):  # of nine tens of events
        for future in [world.hub.under_way.pop(0) for _ in range(10)]:
            future.set_result(None)
        world.turn()
    assert len(world.hub.under_way) >= 10
    assert world.hub.states()
