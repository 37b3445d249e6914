"""Our launcher in an installation of HiveOT: started as the Go launcher is, used as it is, over restarts of the hub."""

from __future__ import annotations

import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from fakes.hiveot_home import GoHome, Watch, go_home, journal, stamps, wait_gone
from fakes.home import until

from hiveot_supervisor.errors import HubError, HubRefused
from hiveot_supervisor.hub.wss import WssHubClient


def test_first_start_list_start_stop(home: GoHome) -> None:
    """From nothing: the runtime makes its files, the launcher waits for it, plugins get their credentials."""
    home.configure("sleeper", "sleeper2")
    begin = time.monotonic()
    home.start()
    consumer = home.client()
    watch = Watch(consumer)
    home.settled(consumer, "sleeper", "sleeper2")
    assert time.monotonic() - begin < 10
    infos = home.infos(consumer)
    assert list(infos) == sorted(infos)
    assert {"runtime", *("sleeper", "sleeper2", "failer", "stubborn")} <= set(infos)
    sleeper = infos["sleeper"]
    file = home.path / "plugins/sleeper"
    assert (sleeper["size"], sleeper["execPath"]) == (file.stat().st_size, str(file))
    assert {"modifiedTime", "pid", "startCount", "startedTime"} <= set(sleeper)
    assert f"--serverURL={home.url}" in json.dumps(
        json.loads((home.path / "generated/plugins/sleeper.json").read_text())
    )

    assert home.ask(consumer, "stopPlugin", "sleeper")["pid"] == sleeper["pid"]
    assert "running" not in home.infos(consumer)["sleeper"]
    again = home.ask(consumer, "startPlugin", "sleeper")
    assert (again["running"], again["startCount"]) == (True, 2)
    until(lambda: watch.events("started", "stopped")[-2:] == [("stopped", "sleeper"), ("started", "sleeper")])
    until(lambda: watch.last("nrRunning") == 2)
    for name in ("sleeper", "sleeper2"):
        token = (home.path / f"certs/{name}.token").read_text()
        assert token.startswith("v4.public.")
        assert not token.endswith("\n")
    home.stop()
    assert json.loads((home.path / "hub-dropped.json").read_text()) == []


def test_an_installation_of_the_go_launcher_is_used_as_it_is(home: GoHome) -> None:
    """Credential files as recorded (0400, made by the hub): none is changed but those that the hub itself renews."""
    home.configure("sleeper", "sleeper2")
    home.hub.home, home.hub.certs = home.path, home.path / "certs"
    home.hub.prepare()
    for name in ("sleeper", "sleeper2"):  # as the Go launcher: no key passed, so the hub makes it
        home.hub.router.receive(
            home.hub.router.connect("launcher", lambda frame: None),
            json.dumps({
                "messageType": "request", "operation": "invokeaction", "thingID": "dtw:authn:Admin",
                "name": "addService", "correlationID": name, "input": {"clientID": name, "displayName": name},
            }),
        )  # fmt: skip
    before = stamps(home.path / "certs")
    config = stamps(home.path / "config")
    assert before["sleeper.token"][0] == 0o400
    home.start()
    consumer = home.client()
    home.settled(consumer, "sleeper", "sleeper2")
    after = stamps(home.path / "certs")
    renewed = {"authn.token", "launcher.token", "admin.token"}  # by the runtime, at each start
    assert {n: v for n, v in after.items() if n not in renewed} == {n: v for n, v in before.items() if n not in renewed}
    assert stamps(home.path / "config") == config
    home.stop()
    ours = {"supervisord.conf", "generated", "run", "out.log", "hub-dropped.json"}
    assert {p.name for p in home.path.iterdir()} - ours == {
        "bin", "plugins", "config", "certs", "logs", "stores", "elsewhere"
    } & {p.name for p in home.path.iterdir()}  # fmt: skip


def test_hub_restart_under_a_running_launcher() -> None:
    """Within 5 s TD, permissions, properties are back; what happened meanwhile is told in order; plugins go on."""
    plugins = dict.fromkeys(("sleeper", "sleeper2"), "#!/bin/sh\nexec sleep 100000\n")
    plugins |= {"good": "#!/bin/sh\nexit 0\n", "bad": "#!/bin/sh\nexit 3\n"}
    with go_home(runtime=False, plugins=plugins) as home:
        home.hub.start()
        shutil.copytree(home.hub.certs, home.path / "certs", dirs_exist_ok=True)
        home.configure("sleeper", "sleeper2", extra="createPluginCred: false\n")
        home.start()
        consumer = home.client()
        home.settled(consumer, "sleeper", "sleeper2")
        pids = {n: i["pid"] for n, i in home.infos(consumer).items() if n.startswith("sleeper")}

        home.hub.stop(graceful=False)  # not even the directory is left
        order = ("good", "bad", "bad", "good")
        for name in order:
            supervisorctl(home, "start", name)
            until(lambda name=name: transitions(home)[-1] == ("stopped", name))
        assert all(Path(f"/proc/{pid}").exists() for pid in pids.values())
        assert transitions(home)[-8::2] == [("started", name) for name in order]
        home.hub.begin_again()
        home.hub.frames.clear()
        home.hub.start()
        begin = time.monotonic()
        until(lambda: len(told(home)) >= 8, what="queued events")
        until(lambda: home.hub.router.properties.get("dtw:launcher:Admin", {}).keys() == {"nrPlugins", "nrRunning"})
        until(lambda: len(home.hub.router.things) == 5)
        assert time.monotonic() - begin < 5.0
        assert told(home) == transitions(home)[-8:]
        assert home.hub.router.permissions["dtw:launcher:Admin"]["allow"]
        consumer.wait_connected(10)
        assert {n: i["pid"] for n, i in home.infos(consumer).items() if n.startswith("sleeper")} == pids
        assert home.hub.router.dropped == []


def test_credentials_are_renewed_and_revoked_at_hiveots_hub(home: GoHome) -> None:
    """It is asked for nothing that it does not know."""
    home.configure("sleeper", "sleeper2")
    home.start()
    consumer = home.client()
    home.settled(consumer, "sleeper", "sleeper2")
    token, key = (home.path / f"certs/sleeper.{end}" for end in ("token", "key"))
    before = token.stat().st_mtime_ns, key.read_text()  # a token of the same second is the same
    assert creds(home, "renew", "sleeper").startswith("renewed sleeper (token), token valid until")
    assert token.stat().st_mtime_ns != before[0]
    assert key.read_text() == before[1]
    assert creds(home, "renew", "sleeper", "--keys").startswith("renewed sleeper (key, token)")
    assert creds(home, "revoke", "sleeper2").startswith("revoked sleeper2")
    assert not list((home.path / "certs").glob("sleeper2.*"))
    with pytest.raises(HubError):
        consumer.invoke_action("authn", "Admin", "getClientProfile", "sleeper2", timeout=10)
    assert "running" not in home.infos(consumer)["sleeper2"]
    home.ask(consumer, "startPlugin", "sleeper2")
    assert (home.path / "certs/sleeper2.token").exists()
    home.stop()
    assert json.loads((home.path / "hub-dropped.json").read_text()) == []


def creds(home: GoHome, *words: str) -> str:
    command = [sys.executable, "-m", "hiveot_supervisor.cli.main", "--home", str(home.path), "creds", *words]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, env=home.env())
    assert result.returncode == 0, result.stderr
    return result.stderr


def supervisorctl(home: GoHome, *words: str) -> str:
    program = Path(sys.executable).with_name("supervisorctl")
    command = [program, "-c", home.path / "supervisord.conf", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=home.path).stdout


def transitions(home: GoHome) -> list[tuple[str, Any]]:
    """`started` and `stopped` as the launcher has written them down."""
    return [(e["name"], e["value"]) for e in journal(home.path) if e["name"] in ("started", "stopped")]


def told(home: GoHome) -> list[tuple[str, Any]]:
    """`started` and `stopped` in the order in which the hub handled them."""
    frames = [f for who, way, f in list(home.hub.frames) if who == "launcher" and way == "in"]
    return [(f["name"], f["value"]) for f in frames if f.get("name") in ("started", "stopped")]


def test_permissions_are_set_at_each_connection() -> None:
    with go_home(runtime=False) as home:
        home.hub.start()
        shutil.copytree(home.hub.certs, home.path / "certs", dirs_exist_ok=True)
        home.configure("sleeper")
        home.start()
        for _ in range(2):
            until(lambda: home.hub.router.permissions.get("dtw:launcher:Admin"))
            record = {"allow": ["manager", "admin", "service"]}
            assert home.hub.router.permissions["dtw:launcher:Admin"] == record
            home.hub.restart()
        until(lambda: home.hub.router.permissions.get("dtw:launcher:Admin"))
        frames = [f for who, way, f in home.hub.frames if who == "launcher" and way == "in"]
        about = [f for f in frames if '"id":"Admin"' in str(f.get("input")) or f.get("thingID") == "Admin"]
        set_up = [f for f in frames if f["name"] == "setPermissions" and f["input"]["thingID"] == "Admin"]
        assert about[0]["name"] == "updateThing"
        assert len(set_up) == 3
        assert home.hub.router.dropped == []


@pytest.mark.parametrize("role", ["viewer", "operator", "agent"])
def test_who_may_not_start_and_stop_through_any_of_our_things(shared: Any, role: str) -> None:
    home, admin = shared
    admin.invoke_action("authn", "Admin", "addConsumer", {"clientID": f"a-{role}", "password": "secret"})
    admin.invoke_action("authz", "Admin", "setClientRole", {"clientID": f"a-{role}", "role": role})
    body = json.dumps({"login": f"a-{role}", "password": "secret"}).encode()
    context = ssl.create_default_context(cafile=home.path / "certs/caCert.pem")
    with urllib.request.urlopen(f"https://localhost:{home.port}/authn/login", body, context=context) as answer:
        (home.path / f"certs/a-{role}.token").write_text(json.load(answer))
    consumer = home.client(f"a-{role}")
    for thing, name in (("Admin", "listPlugins"), ("Admin", "stopPlugin"), ("plugin-sleeper", "stop")):
        with pytest.raises(HubRefused, match="does not have permission"):
            consumer.invoke_action("launcher", thing, name, "sleeper")
    assert home.infos(admin)["sleeper"]["running"]
    assert admin.invoke_action("launcher", "plugin-sleeper2", "start", timeout=20)["running"]


def test_a_launcher_on_another_machine_keeps_its_own_keys() -> None:
    """The hub's folder is elsewhere: the key is made here and stays, the public part and the token travel."""
    with go_home(runtime=False) as home:
        home.hub.start()
        for name in ("caCert.pem", "launcher.token"):
            shutil.copy(home.hub.certs / name, home.path / "certs" / name)
        home.configure("sleeper")
        home.start()
        consumer = home.client()
        home.settled(consumer, "sleeper")
        assert not (home.hub.certs / "sleeper.key").exists()
        key, token = (home.path / "certs/sleeper.key"), (home.path / "certs/sleeper.token")
        assert (key.stat().st_mode & 0o777, token.stat().st_mode & 0o777) == (0o600, 0o600)
        assert home.hub.router.accounts["sleeper"].pub_key.startswith("-----BEGIN PUBLIC KEY-----")
        requests = [f for who, way, f in home.hub.frames if who == "launcher" and way == "in" and "input" in f]
        added = [f for f in requests if f["name"] == "addService"]
        # a second start asks for nothing: the token is valid
        home.ask(consumer, "stopPlugin", "sleeper")
        home.ask(consumer, "startPlugin", "sleeper")
        assert len(added) == 1
        again = [f for who, way, f in home.hub.frames if way == "in" and f.get("name") == "addService"]
        assert len(again) == 1
        home.stop()
        wait_gone(home)


def test_a_plugin_started_by_supervisorctl_gets_its_credentials_itself() -> None:
    """In its own process, over a second connection of the launcher's account, which takes no requests away."""
    with go_home(runtime=False) as home:
        home.hub.start()
        shutil.copytree(home.hub.certs, home.path / "certs", dirs_exist_ok=True)
        home.configure()
        home.start()
        consumer = home.client()
        home.settled(consumer)
        assert not (home.path / "certs/sleeper.token").exists()
        supervisorctl(home, "start", "sleeper")
        home.settled(consumer, "sleeper")
        assert (home.path / "certs/sleeper.token").exists()
        assert [client for client, _ in home.hub.logins].count("launcher") == 2
        assert home.infos(consumer)["sleeper"]["startCount"] == 1


def test_a_token_that_the_hub_refuses_is_told_and_a_new_one_is_taken() -> None:
    with go_home(runtime=False) as home:
        home.hub.start()
        shutil.copy(home.hub.certs / "caCert.pem", home.path / "certs/caCert.pem")
        good = (home.hub.certs / "launcher.token").read_text()
        (home.path / "certs/launcher.token").write_text(good[:-5] + "AAAAA")
        home.configure("sleeper")
        home.start()
        log = home.path / "logs/launcher.log"
        until(lambda: log.exists() and "refuses the login of 'launcher'" in log.read_text())
        attempts = log.read_text().count("refuses the login")
        assert attempts < 5
        (home.path / "certs/launcher.token").write_text(good)
        home.settled(home.client(), "sleeper")


def test_full_stop_is_answered_before_the_runtime_goes(home: GoHome) -> None:
    home.configure("sleeper")
    home.start()
    consumer = home.client()
    home.settled(consumer, "sleeper")
    assert home.ask(consumer, "stopAllPlugins", True) is None
    until(lambda: not consumer.connected)
    until(lambda: "STOPPED" in supervisorctl(home, "status", "runtime"))
    assert "STOPPED" in supervisorctl(home, "status", "sleeper")
    assert "RUNNING" in supervisorctl(home, "status", "launcher")


def test_a_killed_runtime_comes_back(home: GoHome) -> None:
    home.configure("sleeper")
    home.start()
    consumer = home.client()
    watch = Watch(consumer)
    home.settled(consumer, "sleeper")
    infos = home.infos(consumer)
    until(lambda: watch.last("nrRunning") is not None or home.infos(consumer))
    watch.seen.clear()
    os.kill(infos["runtime"]["pid"], signal.SIGKILL)
    until(lambda: watch.last("nrRunning") == 1, 15)
    assert home.infos(consumer)["sleeper"]["pid"] == infos["sleeper"]["pid"]


def test_fifty_plugins_many_lists() -> None:
    with go_home(plugins={f"plugin{n:02d}": "#!/bin/sh\nexec sleep 100000\n" for n in range(50)}) as home:
        home.configure(*(f"plugin{n:02d}" for n in range(50)), extra="startWait: 0\n")
        home.start()
        consumer = home.client()
        home.settled(consumer, "plugin49")
        times: list[float] = []
        for _ in range(200):
            begin = time.perf_counter()
            assert len(home.infos(consumer)) == 51
            times.append(time.perf_counter() - begin)
        assert sorted(times)[100] < 0.030  # 3 ms where nothing else runs
        # all of it is told again to a hub that remembers nothing, and nothing gets lost
        os.kill(home.infos(consumer)["runtime"]["pid"], signal.SIGKILL)
        until(lambda: not consumer.connected)
        until(lambda: consumer.connected and len(directory(consumer)) == 51, 15, "all Things described again")
        home.stop(40)
        assert json.loads((home.path / "hub-dropped.json").read_text()) == []


def directory(consumer: WssHubClient) -> list[str]:
    """IDs of the launcher's Things that the hub knows."""
    documents = consumer.invoke_action("digitwin", "ThingDirectory", "retrieveAllThings", {"offset": 0, "limit": 300})
    return [i for i in (json.loads(td)["id"] for td in documents) if i.startswith("dtw:launcher:")]


@pytest.mark.parametrize(
    ("name", "given", "text"),
    [
        ("startPlugin", "nope", "plugin ID 'nope' not found"),
        ("startPlugin", 42, "expects a plugin ID as text"),
        ("stopPlugin", None, "expects a plugin ID as text"),
        ("listPlugins", "yes", "expects true or false"),
        ("nothing", None, "unknown action 'nothing'"),
        ("startPlugin", "x" * 2_000_000, "plugin ID 'xxx.* not found"),
        ("startPlugin", {"deep": [[[[[[]]]]]] * 1000}, "expects a plugin ID as text"),
        ("stopPlugin", "../../bin/sh", "not found"),
        ("listPlugins", 0, "expects true or false"),
    ],
)
def test_errors_name_what_is_wrong(shared: Any, name: str, given: Any, text: str) -> None:
    home, consumer = shared
    with pytest.raises(HubError, match=text):
        home.ask(consumer, name, given)


@pytest.fixture(scope="module")
def shared() -> Any:
    with go_home() as home:
        home.configure("sleeper")
        home.start()
        consumer = home.client()
        home.settled(consumer, "sleeper")
        yield home, consumer
