"""A hub that is away at boot for five minutes, in virtual time."""

from __future__ import annotations

from pathlib import Path

from fakes.agent_world import HubAway, World

from hiveot_supervisor.agent.state import Reader
from hiveot_supervisor.model import Plugin, PluginState

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
