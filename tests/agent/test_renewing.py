"""What a renewal brings about: events, restart or signal, the end of the old token; in virtual time."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.agent_world import World

from hiveot_supervisor.agent.inbox import Renewed, Retired
from hiveot_supervisor.agent.outcomes import RenewalOutcome, take_outcome
from hiveot_supervisor.agent.renewing import Renewals
from hiveot_supervisor.credentials import keys, tokens
from hiveot_supervisor.credentials.expiry import Period
from hiveot_supervisor.credentials.provision import Renew, Status
from hiveot_supervisor.errors import CredentialError
from hiveot_supervisor.model import CredentialChange, Hub, Plugin, PluginState

DAY = 86400.0
NAMES = {"none": CredentialChange.NONE, "again": CredentialChange.RESTART, "hup": CredentialChange.HUP}


class Files:
    """In place of the certs folder: what is valid for how long, by account."""

    def __init__(self, now: float) -> None:
        self.periods = {name: Period(now, now + 30 * DAY) for name in NAMES}
        self.unreadable = False

    def status(self, plugin_id: str) -> tuple[Status, bool]:
        if self.unreadable:
            raise CredentialError("cannot read it", why="permission denied")
        return Status(True, self.periods[plugin_id], self.periods[plugin_id]), True


class Jobs:
    """In place of the worker thread: what it was asked."""

    def __init__(self) -> None:
        self.renewals: list[tuple[str, Renew, str]] = []
        self.retirements: list[tuple[str, str]] = []

    def renew(self, account: str, mode: Renew, request: str) -> None:
        self.renewals.append((account, mode, request))

    def retire(self, account: str, request: str) -> None:
        self.retirements.append((account, request))


class Scene:
    """An agent whose three plugins run, and its renewals."""

    def __init__(self, folder: Path) -> None:
        plugins = [
            Plugin(name, Path("/bin/sh"), order=n, on_credential_change=change)
            for n, (name, change) in enumerate(NAMES.items())
        ]
        self.world = World(folder, plugins)
        self.world.pass_time(10)
        self.signals: list[tuple[int, int]] = []
        self.agent.processes.signal = lambda pid, number: self.signals.append((pid, number))  # type: ignore[method-assign]
        own: Any = self.agent.launcher
        self.agent.launcher = dataclasses.replace(own, token_file=folder / "launcher.token")
        token = tokens.issue(keys.generate(), own.id, now=self.world.clock.wall(), lifetime=365 * DAY)
        (folder / "launcher.token").write_text(token)
        self.files = Files(self.world.clock.wall())
        self.jobs = Jobs()
        fakes: Any = (self.files, self.jobs)
        self.renewals = Renewals(self.agent, *fakes)
        self.sequence = self.newest()
        self.pass_time(10)

    @property
    def agent(self) -> Any:
        return self.world.agent

    def newest(self) -> int:
        rows = self.world.state.unsent(0, 10_000)
        return rows[-1].seq if rows else 0

    def events(self, name: str) -> list[Any]:
        rows = self.world.state.unsent(self.sequence, 10_000)
        return [row.value for row in rows if row.name == name]

    def pass_time(self, seconds: float, *, steps: int = 10) -> None:
        for _ in range(steps):
            self.renewals.tick()
            self.world.pass_time(seconds / steps)
        self.renewals.tick()

    def come_to(self, days: float) -> None:
        """Let wall and monotonic time pass without the five-second ticks in between."""
        self.world.clock.mono += days * DAY
        self.renewals.tick()

    def finish(self, account: str, **result: Any) -> None:
        """The worker is done; with `written` the files are new."""
        if result.get("written"):
            now = self.world.clock.wall()
            self.files.periods[account] = Period(now, now + 30 * DAY)
        self.renewals.renewed(Renewed(account, result.pop("request", ""), **result))
        self.world.turn()

    def entry(self, name: str) -> Any:
        return self.agent.table.entries[name]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.world.state.close()


def test_what_runs_is_renewed_after_two_thirds(scene: Scene) -> None:
    scene.come_to(19.9)
    assert scene.jobs.renewals == []
    assert scene.renewals.due - scene.world.clock.mono <= 3600
    scene.come_to(0.2)
    assert sorted(scene.jobs.renewals) == [(name, Renew.DUE, "") for name in sorted(NAMES)]
    scene.pass_time(1000)
    assert len(scene.jobs.renewals) == 3  # under way: not begun again


def test_what_does_not_run_is_left_to_its_next_start(scene: Scene) -> None:
    scene.world.supervisord.stop("hup")
    scene.world.turn()
    scene.come_to(21)
    assert {name for name, _, _ in scene.jobs.renewals} == {"none", "again"}


def test_each_plugin_gets_what_is_configured_before_the_old_token_goes(scene: Scene) -> None:
    before = {name: scene.entry(name).pid for name in NAMES}
    failures = scene.entry("again").backoff
    for name in NAMES:
        assert scene.jobs.retirements == [(n, "") for n in list(NAMES)[: len(scene.jobs.retirements)]]
        scene.finish(name, written=("token", "certificate"), superseded=True)
    assert scene.signals == [(before["hup"], 1)]
    scene.world.pass_time(5)
    after = {name: scene.entry(name).pid for name in NAMES}
    assert {name for name in NAMES if before[name] != after[name]} == {"again"}
    assert scene.jobs.retirements == [(name, "") for name in NAMES]
    again = scene.entry("again")
    assert (again.state, again.enabled, again.backoff) == (PluginState.RUNNING, True, failures)
    causes = [(c["state"], c["cause"]) for c in scene.events("pluginStateChanged") if c["pluginID"] == "again"]
    assert causes == [(s, "credentials") for s in ("stopping", "stopped", "starting", "running")]
    told = {e["pluginID"]: e for e in scene.events("credentialRenewed")}
    assert {name: told[name]["action"] for name in told} == {"none": "none", "again": "restart", "hup": "HUP"}
    assert told["none"]["renewed"] == ["token", "certificate"]
    assert set(told["none"]) == {"pluginID", "renewed", "expires", "action", "device", "time"}


def test_an_agent_that_dies_between_stop_and_start_still_starts(scene: Scene) -> None:
    scene.renewals.renewed(Renewed("again", "", ("token",)))
    scene.world.deliver()  # stopped, and asked to start: the agent dies before supervisord has reported more
    scene.world.supervisord.events.clear()
    scene.world.supervisord.processes["again"].pid = 0
    scene.world.state.save(dataclasses.replace(scene.world.state.records()["again"], state="stopped"))
    scene.world.kill_agent()
    scene.world.pass_time(5)
    assert scene.entry("again").state is PluginState.RUNNING


def test_a_renewal_that_fails_is_tried_again_and_told_when_it_matters(scene: Scene) -> None:
    scene.come_to(21)
    for name in ("again", "hup"):
        scene.finish(name, written=("token",))
    scene.finish("none", error="the hub refuses")
    assert scene.events("credentialExpiring") == []
    scene.jobs.renewals.clear()
    scene.pass_time(70)
    assert [name for name, _, _ in scene.jobs.renewals] == ["none"]
    scene.finish("none", error="the hub refuses")
    scene.come_to(7)  # nine tenths are over
    (told,) = scene.events("credentialExpiring")
    assert (told["pluginID"], told["problem"]) == ("none", "the hub refuses")
    assert told["expires"].startswith("20")
    scene.come_to(3)
    assert len(scene.events("credentialExpiring")) == 2  # they have ended
    scene.finish("none", written=("token",))
    scene.come_to(0.1)
    assert len(scene.events("credentialExpiring")) == 2


def test_a_hub_that_is_away_is_told_and_asked_when_it_comes(scene: Scene) -> None:
    scene.agent.hub_lost("gone")
    scene.come_to(28)
    assert scene.jobs.renewals == []
    scene.pass_time(400)
    assert {e["problem"] for e in scene.events("credentialExpiring")} == {"the hub does not answer"}
    scene.agent.hub_answers()
    scene.pass_time(1)
    assert {name for name, _, _ in scene.jobs.renewals} == set(NAMES)


def test_a_jump_of_the_clock_is_noticed_at_the_next_turn(scene: Scene) -> None:
    scene.world.clock.offset += 25 * DAY
    scene.renewals.tick()
    assert {name for name, _, _ in scene.jobs.renewals} == set(NAMES)
    for name in NAMES:
        scene.finish(name, written=("token", "certificate"))
    scene.pass_time(10)
    scene.jobs.renewals.clear()
    scene.world.clock.offset -= 25 * DAY  # that was wrong: what was made then is not valid yet
    scene.renewals.tick()
    assert {name for name, _, _ in scene.jobs.renewals} == set(NAMES)


def test_a_hub_whose_clock_is_ahead_is_not_asked_all_the_time(scene: Scene) -> None:
    scene.come_to(21)
    scene.jobs.renewals.clear()
    now = scene.world.clock.wall()
    scene.files.periods["none"] = Period(now + DAY, now + 31 * DAY)
    scene.renewals.renewed(Renewed("none", "", ("token",)))
    scene.pass_time(50)
    assert scene.jobs.renewals == []
    scene.pass_time(20)
    assert [name for name, _, _ in scene.jobs.renewals] == ["none"]


def test_a_hub_that_issues_no_certificates(scene: Scene) -> None:
    scene.files.status = lambda plugin_id: (Status(True, scene.files.periods[plugin_id], None), True)  # type: ignore[method-assign]
    scene.pass_time(7200)
    assert {name for name, _, _ in scene.jobs.renewals} == set(NAMES)
    scene.jobs.renewals.clear()
    for name in NAMES:
        scene.renewals.renewed(Renewed(name, "", certificates=False))
    scene.pass_time(7200)
    assert scene.jobs.renewals == []


def test_the_launchers_own_token(scene: Scene) -> None:
    """The embedded hub's runtime renews it; at any other hub that is up to us."""
    scene.jobs.renewals.clear()
    scene.come_to(250)
    assert "launcher" not in {name for name, _, _ in scene.jobs.renewals}
    scene.come_to(90)
    scene.pass_time(400)
    (told,) = [e for e in scene.events("credentialExpiring") if e["pluginID"] == "launcher"]
    assert told["problem"] == "the hub's runtime has not renewed them"
    scene.agent.launcher = dataclasses.replace(scene.agent.launcher, hub=Hub(embedded=False))
    scene.come_to(1)
    assert ("launcher", Renew.DUE, "") in scene.jobs.renewals


def test_files_that_cannot_be_read(scene: Scene) -> None:
    scene.files.unreadable = True
    scene.come_to(0.1)
    scene.finish("none", error="cannot read it")
    scene.renewals.tick()
    (told,) = scene.events("credentialExpiring")
    assert (told["problem"], told.get("expires")) == ("cannot read it: permission denied", None)


def test_what_the_hub_must_forget_survives_crash_and_outage(scene: Scene) -> None:
    scene.finish("none", written=("token",), superseded=True)
    assert scene.jobs.retirements == [("none", "")]
    scene.renewals.retired(Retired("none", "", "the hub is away", again=True))
    scene.world.kill_agent()
    fakes: Any = (scene.files, scene.jobs)
    scene.renewals = Renewals(scene.agent, *fakes)
    scene.pass_time(40)
    assert scene.jobs.retirements[1:] == [("none", "")] * 2  # at once, and again after half a minute
    scene.renewals.retired(Retired("none", ""))
    scene.pass_time(100)
    assert len(scene.jobs.retirements) == 3
    assert json.loads(scene.world.state.meta("retiring") or "") == []


def test_what_the_command_line_asks_for_is_answered(scene: Scene) -> None:
    paths = scene.agent.launcher.paths
    scene.renewals.notice("none", {"request": "abc1"})
    scene.renewals.notice("again", {"request": "abc2", "keys": True})
    assert scene.jobs.renewals == [("none", Renew.ALL, "abc1"), ("again", Renew.KEYS, "abc2")]
    scene.finish("none", request="abc1", written=("token",), superseded=True)
    assert take_outcome(paths, "abc1") is None  # the old token is still good
    scene.renewals.retired(Retired("none", "abc1"))
    assert take_outcome(paths, "abc1") == RenewalOutcome(True, "", ("token",), "none")
    assert take_outcome(paths, "abc1") is None
    scene.finish("again", request="abc2", error="the hub refuses")
    assert take_outcome(paths, "abc2") == RenewalOutcome(False, "the hub refuses")
    scene.renewals.notice("nope", {"request": "abc3"})
    assert take_outcome(paths, "abc3") == RenewalOutcome(False, "the launcher makes no credentials for it")
    scene.agent.hub_lost("gone")
    scene.renewals.notice("none", {"request": "abc4"})
    assert take_outcome(paths, "abc4") == RenewalOutcome(False, "the hub does not answer")


@pytest.mark.parametrize("request_id", [None, "", "../x", "ABC", 7, "a" * 33])
def test_a_request_id_that_could_be_a_path(scene: Scene, request_id: object) -> None:
    scene.renewals.notice("nope", {"request": request_id})
    assert not list(scene.world.folder.rglob("*.outcome"))
