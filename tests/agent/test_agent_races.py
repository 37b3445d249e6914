"""What happens between the agent's request and supervisord's report of it."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from fakes.agent_world import HubAway, Quiet, World

from hiveot_supervisor.agent import reconcile
from hiveot_supervisor.agent.requests import Requests
from hiveot_supervisor.agent.state import Reader
from hiveot_supervisor.agent.table import Entry
from hiveot_supervisor.hub.client import Request, Right
from hiveot_supervisor.model import Cause, Plugin, PluginState, Policy, Restart

TRUE = Path("/bin/true")
NEVER = Restart(policy=Policy.NEVER)


def words(folder: Path) -> list[str]:
    reader = Reader(folder / "launcher.db")
    found = [e.name for e in reader.events() if e.name in ("started", "stopped")]
    reader.close()
    return found


@pytest.fixture
def world(tmp_path: Path) -> World:
    """One plugin, which is down and not restarted."""
    made = World(tmp_path, [Plugin("p", TRUE, restart=NEVER)])
    made.turn()
    return made


def entry(world: World) -> Entry:
    return world.agent.table.entries["p"]


def starts(world: World) -> int:
    return len(world.supervisord.processes["p"].starts)


def test_it_is_asked_for_once_even_if_it_ends_before_its_start_is_reported(world: World) -> None:
    world.agent.start(entry(world), Cause.AUTOSTART)
    world.supervisord.die("p", 3)
    world.agent.start(entry(world), Cause.AUTOSTART)
    world.turn()
    assert starts(world) == 1
    assert words(world.folder) == ["started", "stopped"]
    assert (entry(world).state, entry(world).start_count) == (PluginState.FAILED, 1)


def test_it_is_asked_for_once_between_the_two_reports_of_a_start(world: World) -> None:
    world.agent.start(entry(world), Cause.AUTOSTART)
    world.agent.process_starting("p")
    world.supervisord.die("p", 0)
    world.agent.start(entry(world), Cause.OPERATOR)
    world.supervisord.events.pop(0)
    world.turn()
    assert starts(world) == 1


def test_credentials_that_are_there_before_they_are_reported_do_not_start_it_twice(tmp_path: Path) -> None:
    """The worker has written them, its word of it waits in the queue, and the order of the list starts the plugin."""
    hub = HubAway(set())
    hub.connected = True
    world = World(tmp_path, [Plugin("p", TRUE, order=0, create_cred=True, restart=NEVER)], hub)
    world.agent.hub_connected()
    world.agent.hub_answers()
    hub.holders.add("p")
    world.agent.tick()
    assert starts(world) == 1
    world.supervisord.die("p", 3)
    world.agent.provisioned("p", "", retry=False)
    world.turn()
    assert starts(world) == 1


def test_a_stop_before_the_start_is_reported_holds(world: World) -> None:
    world.agent.start(entry(world), Cause.OPERATOR)
    world.agent.stop(entry(world), Cause.OPERATOR, "admin")
    world.turn()
    assert not world.supervisord.processes["p"].pid
    assert (entry(world).state, entry(world).enabled) == (PluginState.STOPPED, False)
    assert entry(world).note == "by admin"
    assert words(world.folder) == ["started", "stopped"]


def test_a_stop_between_the_two_reports_of_a_start_holds(world: World) -> None:
    """Also when somebody else started it."""
    world.supervisord.start("p")
    world.agent.process_starting("p")
    world.supervisord.events.pop(0)
    world.agent.stop(entry(world), Cause.OPERATOR, "admin")
    world.turn()
    assert not world.supervisord.processes["p"].pid
    assert not entry(world).enabled


def test_the_last_word_counts_before_the_start_is_reported(world: World) -> None:
    world.agent.start(entry(world), Cause.OPERATOR)
    world.agent.stop(entry(world), Cause.OPERATOR)
    world.agent.start(entry(world), Cause.OPERATOR)
    world.turn()
    assert starts(world) == 1
    assert (entry(world).state, entry(world).enabled) == (PluginState.RUNNING, True)


def test_disabled_before_the_start_is_reported_it_runs_and_stays_disabled(world: World) -> None:
    world.agent.start(entry(world), Cause.OPERATOR)
    world.agent.set_enabled(entry(world), False, "admin")
    world.turn()
    assert (entry(world).state, entry(world).enabled) == (PluginState.RUNNING, False)


def test_a_whole_run_that_is_not_reported_is_found_out(world: World) -> None:
    """supervisord's reports were lost; its list of processes tells that the run is over."""
    world.agent.start(entry(world), Cause.AUTOSTART)
    world.supervisord.die("p", 3)
    world.supervisord.events.clear()
    reconcile.resync(world.agent, world.supervisord.snapshot())
    world.turn()
    assert (entry(world).state, entry(world).note.split(";")[0]) == (PluginState.FAILED, "exit 3")
    assert words(world.folder) == ["started", "stopped"]
    world.agent.start(entry(world), Cause.OPERATOR)
    world.turn()
    assert starts(world) == 2


def test_a_start_before_the_stop_is_reported_is_not_lost(world: World) -> None:
    world.agent.start(entry(world), Cause.OPERATOR)
    world.turn()
    world.agent.stop(entry(world), Cause.OPERATOR)
    world.agent.start(entry(world), Cause.OPERATOR)
    world.turn()
    assert (entry(world).state, entry(world).enabled) == (PluginState.RUNNING, True)
    assert words(world.folder) == ["started", "stopped", "started"]


def test_a_start_after_a_disable_while_the_agent_was_away_counts(world: World) -> None:
    """The new agent finds it running; then it reads what supervisord has kept for it: the notice, and the start."""
    world.supervisord.start("p")
    world.kill_agent()
    assert entry(world).up
    world.agent.set_enabled(entry(world), False, "admin", notice=True)
    world.agent.process_starting("p")
    world.turn()
    assert (entry(world).state, entry(world).enabled) == (PluginState.RUNNING, True)
    # the other way round, and when it is the hub that says so
    world.agent.set_enabled(entry(world), False, "admin", notice=True)
    assert not entry(world).enabled
    world.agent.set_enabled(entry(world), False, "admin")
    world.agent.process_starting("p")
    assert not entry(world).enabled


def test_who_starts_a_disabled_one_while_the_agent_is_away_enables_it(world: World) -> None:
    world.agent.set_enabled(entry(world), False, "admin")
    world.supervisord.start("p")
    world.kill_agent()
    assert (entry(world).state, entry(world).enabled) == (PluginState.RUNNING, True)
    # but one that was up already stays disabled
    world.agent.set_enabled(entry(world), False, "admin")
    world.kill_agent()
    assert (entry(world).state, entry(world).enabled) == (PluginState.RUNNING, False)


class Answers(Quiet):
    """Notes what the hub's users are answered."""

    def __init__(self) -> None:
        self.given: list[Any] = []

    def respond(self, request: Request, value: Any) -> Future[None]:
        self.given.append(value)
        return Future()

    def respond_error(self, request: Request, text: str, **_: Any) -> Future[None]:
        self.given.append(text)
        return Future()


@pytest.mark.parametrize("name", ["stopPlugin", "stopAllPlugins"])
def test_a_stop_is_answered_when_what_was_being_started_is_down(tmp_path: Path, name: str) -> None:
    hub = Answers()
    world = World(tmp_path, [Plugin("p", TRUE, restart=NEVER)], hub)
    requests = Requests(world.agent)
    world.agent.start(entry(world), Cause.OPERATOR)
    value = "p" if name == "stopPlugin" else None
    requests.handle(Request("Admin", name, "invokeaction", value, "admin", "1", Right.ADMIN))
    requests.settle()
    assert hub.given == []
    world.turn()
    requests.settle()
    assert len(hub.given) == 1
    assert not world.supervisord.processes["p"].pid
    assert not entry(world).enabled
