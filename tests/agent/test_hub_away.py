"""A hub that is away at boot for five minutes, in virtual time."""

from __future__ import annotations

from pathlib import Path

from fakes.agent_world import HubAway, World

from hiveot_supervisor.agent.state import Reader
from hiveot_supervisor.model import Cause, Plugin, PluginState

TRUE = Path("/bin/true")


def test_five_minutes_without_a_hub(tmp_path: Path) -> None:
    """Who has credentials runs after runtimeTimeout, the rest when the hub comes; the events of the time arrive."""
    hub = HubAway({"old1", "old2"})
    names = ["old1", "new", "old2"]
    plugins = [Plugin(name, TRUE, order=n, create_cred=True) for n, name in enumerate(names)]
    world = World(tmp_path, plugins, hub)
    entries = world.agent.table.entries

    def running() -> set[str]:
        return {name for name, p in world.supervisord.processes.items() if p.pid}

    world.pass_time(world.agent.launcher.runtime_timeout - 1)
    assert running() == set()
    world.pass_time(2)
    assert running() == {"old1", "old2"}
    assert entries["new"].state is PluginState.WAITING
    assert "hub does not answer" in entries["new"].note
    world.supervisord.die("old1", 3)  # and what happens meanwhile
    world.pass_time(300)
    assert running() == {"old1", "old2"}
    assert hub.told == []
    world.hub_comes()
    world.pass_time(1)
    assert running() == set(names)
    told = [(name, value) for thing, name, value in hub.told if thing == "Admin" and name in ("started", "stopped")]
    assert told == [
        ("started", "old1"),
        ("started", "old2"),
        ("stopped", "old1"),
        ("started", "old1"),
        ("started", "new"),
    ]
    reader = Reader(tmp_path / "launcher.db")
    assert [e.value for e in reader.events() if e.name == "started"] == ["old1", "old2", "old1", "new"]
    reader.close()


def test_without_a_hub_the_agent_sleeps(tmp_path: Path) -> None:
    """It neither polls nor grows while it waits (`pass_time` counts its turns)."""
    world = World(tmp_path, [Plugin("new", TRUE, order=0, create_cred=True)], HubAway(set()))
    world.pass_time(3600)
    assert world.agent.table.entries["new"].state is PluginState.WAITING
    assert world.state.backlog() < 10


def test_a_start_while_credentials_are_being_made_waits_for_them(tmp_path: Path) -> None:
    """The plugin waited for the hub; now it is there, and its account service takes a moment."""
    hub = HubAway(set())
    world = World(tmp_path, [Plugin("new", TRUE, order=0, create_cred=True)], hub)
    world.pass_time(world.agent.launcher.runtime_timeout + 1)
    entry = world.agent.table.entries["new"]
    assert entry.state is PluginState.WAITING
    assert not world.agent.awaits_accounts(entry)
    hub.connected = True
    world.agent.hub_connected()
    assert world.agent.awaits_accounts(entry)
    world.agent.hub_answers()
    assert hub.asked == ["new"]
    world.agent.start(entry, Cause.OPERATOR)
    assert (entry.state, world.agent.awaits_accounts(entry)) == (PluginState.WAITING, True)
    hub.holders.add("new")
    world.agent.provisioned("new", "", retry=False)
    world.turn()
    assert entry.state is PluginState.RUNNING
    assert not world.agent.awaits_accounts(entry)
