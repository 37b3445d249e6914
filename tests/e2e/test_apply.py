"""Changes under a running launcher: `apply` restarts only what changed; new executables appear by themselves."""

from __future__ import annotations

import json

from fakes.home import SLEEPER, Home, until


def pids(home: Home) -> dict[str, int | None]:
    return {name: view["pid"] for name, view in home.views().items() if name != "runtime"}


def test_apply_restarts_only_what_changed(home: Home) -> None:
    for name in ("one", "two", "three", "four"):
        home.plugin(name)
    home.configure("one", "two", "three")
    home.up()
    home.launch("start", "four")
    before = pids(home)
    extra = "plugins:\n  two: {environment: {TZ: UTC}}\n  three: {limits: {memory: 500MB}}\n  four: {args: [-v]}\n"
    home.configure("one", "two", "three", extra=extra)
    plan = json.loads(home.launch("apply", "--dry-run", "--json").stdout)
    assert (plan["added"], plan["removed"]) == ([], [])
    assert (plan["restarted"], plan["adjusted"]) == (["two", "four"], ["three"])
    assert pids(home) == before
    result = home.launch("apply")
    assert "~ two" in result.stderr
    after = pids(home)
    assert after["one"] == before["one"]
    assert after["three"] == before["three"]
    assert after["two"] not in (None, before["two"])
    assert after["four"] not in (None, before["four"])
    assert all(v["enabled"] for v in home.views().values())
    assert "nothing has changed" in home.launch("apply").stderr


def test_apply_adds_and_removes(home: Home) -> None:
    for name in ("one", "two"):
        home.plugin(name)
    home.configure("one", "two")
    home.up()
    one = pids(home)["one"]
    home.plugin("three")
    (home.path / "plugins/two").unlink()
    home.configure("one", "three")
    home.launch("apply")
    until(lambda: home.views()["three"]["state"] == "running")
    assert pids(home)["one"] == one
    assert "two" not in home.views()
    assert "two" not in home.ctl("status").stdout


def test_a_broken_file_changes_nothing(home: Home) -> None:
    home.plugin("one")
    home.configure("one")
    home.up()
    before = pids(home)
    home.configure("one", extra="restrat: {delay: 1s}\n")
    home.launch("apply", check=6)
    assert pids(home) == before
    assert home.views()["one"]["state"] == "running"


def test_supervisorctl_update_does_not_disable(home: Home) -> None:
    home.plugin("one")
    home.configure("one")
    home.up()
    home.configure("one", extra="stop: {timeout: 3s}\n")
    home.launch("generate")
    before = pids(home)
    home.ctl("update")
    until(lambda: pids(home)["one"] not in (None, before["one"]), what="restarted by the agent")
    assert home.views()["one"]["enabled"] is True


def test_a_new_executable_becomes_startable_by_itself(home: Home) -> None:
    home.plugin("one")
    home.configure("one")
    home.up()
    one = pids(home)["one"]
    home.plugin("fresh")
    until(lambda: "fresh" in home.views(), 15, "the new plugin is known")
    home.launch("start", "fresh")
    assert home.views()["fresh"]["state"] == "running"
    assert pids(home)["one"] == one


def test_a_missing_plugin_starts_when_it_appears(home: Home) -> None:
    home.plugin("one")
    home.configure("one", "late")
    home.up_failing()
    assert home.views()["late"]["state"] == "missing"
    home.plugin("late", SLEEPER)
    until(lambda: home.views()["late"]["state"] == "running", 15)


def test_another_hub_cannot_be_applied_under_running_plugins(home: Home) -> None:
    home.plugin("one")
    home.configure("one")
    home.up()
    before = pids(home)
    home.port += 1
    home.configure("one")
    result = home.launch("apply", check=1)
    assert "nothing was applied: hub" in result.stderr
    assert pids(home) == before
    home.launch("restart", "one")
