"""The life of credentials on a running home: renewed in time and on request, revoked, and listed without a secret."""

from __future__ import annotations

import json
import os
import ssl
import stat
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fakes.home import Home, until
from fakes.home import home as make_home

from hiveot_supervisor.clock import iso8601
from hiveot_supervisor.credentials import expiry, keys, tokens
from hiveot_supervisor.errors import HubError
from hiveot_supervisor.runtime.rawmqtt import RawMqtt

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a folder away")
DAY = 86400.0
HUP = "#!/bin/sh\ntrap 'echo got HUP' HUP\nwhile :; do sleep 0.05; done\n"


def text(home: Home, name: str) -> str:
    return (home.path / "certs" / name).read_text()


def login(home: Home, user: str, token: str) -> RawMqtt:
    """A stranger's connection with that token; raises HubError when it is refused."""
    context = ssl.create_default_context(cafile=str(home.path / "certs/caCert.pem"))
    connection = RawMqtt("127.0.0.1", home.port, context)
    connection.login(user, user, token)
    return connection


def accepted(home: Home, user: str, token: str) -> bool:
    try:
        login(home, user, token).close()
    except HubError:
        return False
    return True


def hung_up(connection: RawMqtt) -> bool:
    """The broker has closed the connection."""
    try:
        connection.receive(0.01)
    except HubError:
        return True
    return False


def told(home: Home, name: str, plugin: str) -> list[dict[str, Any]]:
    return [e["value"] for e in home.journal(name) if e["plugin"] == plugin]


def causes(home: Home, plugin: str) -> list[tuple[str, str]]:
    return [(v["state"], v["cause"]) for v in told(home, "pluginStateChanged", plugin)]


@pytest.fixture(scope="module")
def shared() -> Iterator[Home]:
    """Three plugins that run, one for each thing that can happen to them."""
    with make_home() as made:
        made.plugin("none")
        made.plugin("again")
        made.plugin("hup", HUP)
        made.plugin("bare")
        made.plugin("late")
        extra = (
            "plugins:\n  again: {onCredentialChange: restart}\n  hup: {onCredentialChange: HUP}\n"
            "  bare: {createPluginCred: false}\n"
        )
        made.configure("none", "again", "hup", extra=extra)
        made.up()
        yield made


def test_renewing_on_request(shared: Home) -> None:
    names = ("none", "again", "hup")
    old = {name: text(shared, f"{name}.token") for name in names}
    key = text(shared, "none.key")
    before = shared.views()
    connection = login(shared, "none", old["none"])
    result = shared.launch("creds", "renew", "all")
    lines = result.stderr.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"renewed {name} (token" for name in names]
    assert lines[1].endswith("; it is being restarted")
    assert lines[2].endswith("; it got SIGHUP")
    for name in names:
        new = text(shared, f"{name}.token")
        assert new != old[name]
        assert accepted(shared, name, new)
        assert not accepted(shared, name, old[name])
        assert new not in result.stderr
    until(lambda: hung_up(connection), what="who was logged in with the old token has to log in again")
    assert text(shared, "none.key") == key
    until(lambda: "got HUP" in (shared.path / "logs/hup.log").read_text())
    until(lambda: shared.views()["again"]["state"] == "running")
    after = shared.views()
    assert {name for name in names if after[name]["pid"] != before[name]["pid"]} == {"again"}
    assert after["again"]["enabled"]
    assert causes(shared, "again")[-4:] == [(s, "credentials") for s in ("stopping", "stopped", "starting", "running")]
    (event,) = told(shared, "credentialRenewed", "again")
    assert (event["renewed"], event["action"]) == (["token", "certificate"], "restart")


def test_what_the_hub_is_told(shared: Home) -> None:
    subscriber = shared.subscribe()
    topic = "hiveot/prop/launcher/plugin-none/tokenExpires"

    def expires() -> list[str]:
        return [json.loads(p) for _, t, p, _ in list(subscriber.messages) if t == topic]

    until(expires)
    signer = keys.load(shared.path / "certs/authn.key")
    short = tokens.issue(signer, "none", now=time.time() - 9 * DAY, lifetime=10 * DAY)  # type: ignore[arg-type]
    (shared.path / "certs/none.token").write_text(short)
    shared.launch("creds", "renew", "none")
    renewed = expiry.read_claims(text(shared, "none.token")).expires
    assert renewed > time.time() + 364 * DAY
    until(lambda: expires()[-1] == iso8601(renewed), what="the property follows")
    events = [p for _, t, p, _ in subscriber.messages if t == "hiveot/event/launcher/Admin/credentialRenewed"]
    assert json.loads(events[-1])["value"]["pluginID"] == "none"
    assert b"v4.public" not in b"".join(events)
    td = next(json.loads(p) for _, t, p, _ in subscriber.messages if t == "hiveot/td/launcher/Admin")
    assert {"credentialRenewed", "credentialExpiring"} <= set(td["events"])
    assert set(json.loads(events[-1])["value"]) <= set(td["events"]["credentialRenewed"]["data"]["properties"])
    line = next(line for line in shared.launch("events", "-n", "100").stdout.splitlines() if "  renewed   none" in line)
    assert "token, certificate until" in line


def test_a_new_key_on_request(shared: Home) -> None:
    before = {name: text(shared, name) for name in ("none.key", "none.token", "noneCert.pem")}
    assert "(key, token, certificate)" in shared.launch("creds", "renew", "none", "--keys").stderr
    assert all(text(shared, name) != before[name] for name in before)
    assert accepted(shared, "none", text(shared, "none.token"))
    assert shared.launch("creds", "renew", "launcher").stderr.startswith("renewed launcher (token), token valid until")


def test_renewing_without_the_agent(shared: Home) -> None:
    shared.ctl("stop", "launcher")
    try:
        old = text(shared, "hup.token")
        stderr = shared.launch("creds", "renew", "hup").stderr
        assert "the agent is down" in stderr
        assert not accepted(shared, "hup", old)
        assert accepted(shared, "hup", text(shared, "hup.token"))
        result = json.loads(shared.launch("creds", "renew", "none", "launcher", "--json").stdout)
        assert [(r["name"], r["ok"]) for r in result["results"]] == [("none", True), ("launcher", True)]
    finally:
        shared.ctl("start", "launcher")


def test_wrong_words(shared: Home) -> None:
    assert "did you mean `none`?" in shared.launch("creds", "renew", "nome", check=4).stderr
    assert "createPluginCred is false" in shared.launch("creds", "renew", "bare", check=4).stderr
    shared.launch("creds", "renew", check=2)
    shared.launch("creds", "revoke", check=2)
    shared.launch("creds", "revoke", "none", "--keys", check=2)
    shared.launch("creds", "steal", "none", check=2)


def test_the_list_shows_what_is_wrong_and_no_secret(shared: Home) -> None:
    certs = shared.path / "certs"
    listed = shared.launch("creds").stdout
    rows = {tuple(line.split()[:2]): line for line in listed.splitlines()[1:]}
    assert {("none", kind) for kind in ("key", "token", "certificate")} <= set(rows)
    assert {("ca", "key"), ("hub", "certificate"), ("admin", "token"), ("launcher", "token")} <= set(rows)
    assert ("bare", "key") not in rows
    assert rows["none", "key"].split()[2:] == ["-", "0600", rows["none", "key"].split()[-1]]
    good = {name: text(shared, name) for name in ("none.token", "hup.token", "again.token")}
    signer = keys.load(certs / "authn.key")
    (certs / "none.key").chmod(0o640)
    (certs / "none.token").write_text(tokens.issue(signer, "none", now=time.time() - DAY, lifetime=60))  # type: ignore[arg-type]
    (certs / "hup.token").write_text(good["none.token"])
    (certs / "again.token").write_text("secret garbage")
    certs.chmod(0o770)
    try:
        result = shared.launch("creds", "--json")
        text_form = shared.launch("creds", "list", "none")
    finally:
        certs.chmod(0o700)
        (certs / "none.key").chmod(0o600)
        for name, content in good.items():
            (certs / name).write_text(content)
    document = json.loads(result.stdout)
    problems = {(c["id"], c["kind"]): c["problem"] for c in document["credentials"] if c["problem"]}
    assert problems == {
        ("none", "key"): "open to others; chmod 0600",
        ("none", "token"): "expired",
        ("hup", "token"): "it is for none",
        ("again", "token"): "it does not begin with v4.public.",
    }
    assert "others may write to it (mode 0770)" in document["folder_problem"]
    assert "chmod 0700" in text_form.stderr
    assert "launcher" not in text_form.stdout
    token = next(c for c in document["credentials"] if (c["id"], c["kind"]) == ("admin", "token"))
    assert token["expires"].endswith("Z")
    assert token["expires_seconds"] == pytest.approx(365 * DAY, abs=600)
    everything = listed + result.stdout + text_form.stdout + result.stderr + text_form.stderr
    assert "v4.public.ey" not in everything
    assert "PRIVATE" not in everything
    assert "garbage" not in everything
    for key in certs.glob("*.key"):
        assert key.read_text().splitlines()[1] not in everything


def test_revoking(shared: Home) -> None:
    old = text(shared, "none.token")
    connection = login(shared, "none", old)
    assert shared.launch("creds", "revoke", "none").stderr.startswith("revoked none: stopped, disabled")
    until(lambda: hung_up(connection), what="whoever uses the account is disconnected")
    assert not accepted(shared, "none", old)
    assert not list((shared.path / "certs").glob("none*"))
    view = shared.views()["none"]
    assert (view["state"], view["enabled"]) == ("stopped", False)
    assert "none" not in shared.launch("creds", "renew", "all").stderr
    shared.launch("creds", "renew", "none")  # by name: an account again, but it stays stopped
    assert shared.views()["none"]["state"] == "stopped"
    shared.launch("creds", "revoke", "none")
    shared.launch("start", "none")
    assert accepted(shared, "none", text(shared, "none.token"))
    assert not accepted(shared, "none", old)
    assert shared.views()["none"]["enabled"]


def test_revoking_while_agent_or_hub_are_away(shared: Home) -> None:
    shared.ctl("stop", "launcher")
    try:
        old = text(shared, "hup.token")
        shared.launch("creds", "revoke", "hup")
        assert not accepted(shared, "hup", old)
    finally:
        shared.ctl("start", "launcher")
    until(lambda: shared.views()["hup"]["state"] == "stopped")
    assert not shared.views()["hup"]["enabled"]
    shared.ctl("stop", "runtime")
    try:
        result = shared.launch("creds", "revoke", "again", check=1)
        assert "its account and files are as they were" in result.stderr
        assert (shared.path / "certs/again.token").exists()
        assert shared.views()["again"]["state"] == "stopped"
    finally:
        shared.ctl("start", "runtime")


@pytest.mark.parametrize("spoil", ["mode", pytest.param("owner", marks=as_root)])
def test_a_certs_folder_that_is_not_ours_alone_any_more(shared: Home, spoil: str) -> None:
    """A start, a renewal and the list say so, nothing is written, and all is well when it has been put right."""
    certs = shared.path / "certs"
    reason = "others may write to it (mode 0777)" if spoil == "mode" else "the folder belongs to nobody"
    before = text(shared, "again.token")
    try:
        if spoil == "mode":
            certs.chmod(0o777)
        else:
            os.chown(certs, 65534, 65534)
        assert reason in shared.launch("start", "late", check=1).stderr
        assert reason in shared.views()["late"]["note"]
        assert reason in shared.launch("creds", "renew", "again", check=1).stderr
        assert reason in shared.launch("creds").stderr
    finally:
        certs.chmod(0o700)
        os.chown(certs, os.geteuid(), -1)
    assert not list(certs.glob("late*"))
    assert text(shared, "again.token") == before
    shared.launch("start", "late")
    shared.launch("creds", "revoke", "late")


def test_renewal_at_two_thirds_while_the_plugin_runs(home: Home) -> None:
    """The token is due some seconds after the start; nobody asks for anything."""
    home.plugin("one")
    home.configure("one", extra="onCredentialChange: restart\n")
    home.up()
    home.down()
    signer = keys.load(home.path / "certs/authn.key")
    lifetime = 600.0
    due = time.time() + 10
    old = tokens.issue(signer, "one", now=due - lifetime * 2 / 3, lifetime=lifetime)  # type: ignore[arg-type]
    (home.path / "certs/one.token").write_text(old)
    home.up()
    assert text(home, "one.token") == old
    pid = home.views()["one"]["pid"]
    until(lambda: text(home, "one.token") != old, 30, "renewed by itself")
    assert time.time() >= due - 1
    until(lambda: home.views()["one"]["pid"] not in (None, pid), what="restarted, as configured")
    until(lambda: not accepted(home, "one", old), what="the old token is refused")
    (event,) = told(home, "credentialRenewed", "one")
    assert (event["renewed"], event["action"]) == (["token"], "restart")
    assert expiry.read_claims(text(home, "one.token")).expires > time.time() + 300 * DAY
    assert home.views()["one"]["restarts"] == 2
    assert stat.S_IMODE((home.path / "certs/one.token").stat().st_mode) == 0o600


def test_a_certs_folder_that_others_may_write_to(home: Home) -> None:
    home.configure()
    (home.path / "certs").chmod(0o770)
    result = home.launch("up", check=1)
    assert "others may write to it (mode 0770)" in result.stderr
