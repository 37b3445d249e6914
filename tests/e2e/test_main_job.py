"""The main job on real parts: launcher.yaml -> supervisord -> plugins with credentials -> events on the hub."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fakes.home import EXTENSION, ROOT, SLEEPER, STUBBORN, SUPERVISORD, Home, Subscriber, told_signal, until
from fakes.home import home as make_home

NAMES = [f"plugin{n:02d}" for n in range(50)]


def fifty(home: Home, script: str = SLEEPER) -> None:
    for name in NAMES:
        home.plugin(name, script)
    home.configure(*NAMES)


def started_order(home: Home) -> list[str]:
    return [e["value"] for e in home.journal("started")]


def test_fifty_plugins_start_in_list_order_and_each_is_told_once(home: Home) -> None:
    fifty(home)
    home.configure()
    home.up()  # the hub first, so that a subscriber is there before the plugins
    subscriber = home.subscribe()
    home.down()
    home.configure(*NAMES, extra="stopWait: 10s\n")  # a busy machine must not mix up the order
    home.up()
    until(lambda: len(subscriber.events("started")) >= 50, what="50 started at a subscriber")
    assert subscriber.events("started") == NAMES
    assert {v["state"] for v in home.views().values()} == {"running"}

    # SIGTERM to supervisord: 50 `stopped` in reverse order, and nothing is left
    os.kill(home.supervisord_pid, signal.SIGTERM)
    until(lambda: not home.processes(), 10, "all processes gone")
    told = [e["value"] for e in home.journal("stopped")]
    assert told == NAMES[::-1]
    # those that the hub could not deliver any more are delivered by the next start, still once each
    home.configure()
    home.up()
    until(lambda: len(subscriber.events("stopped")) >= 50, what="50 stopped at a subscriber")
    assert subscriber.events("stopped") == NAMES[::-1]


def test_plugins_that_ignore_term_are_gone_after_a_stop_as_well(home: Home) -> None:
    names = [f"stubborn{n}" for n in range(4)]
    for name in names:
        home.plugin(name, STUBBORN)
    home.configure(*names, extra="stop: {timeout: 1s}\nstopWait: 10s\n")
    home.up()
    os.kill(home.supervisord_pid, signal.SIGTERM)
    until(lambda: not home.processes(), 15, "all processes gone")
    assert [e["value"] for e in home.journal("stopped")] == names[::-1]


def test_plugins_that_end_slowly_end_side_by_side(home: Home) -> None:
    """Eight that take two seconds each are down after little more than two, and each is told."""
    names = [f"slow{n}" for n in range(8)]
    for name in names:
        home.plugin(name, "#!/bin/sh\ntrap 'sleep 2; exit 0' TERM\nwhile :; do sleep 0.05; done\n")
    home.configure(*names)
    home.up()
    begin = time.monotonic()
    os.kill(home.supervisord_pid, signal.SIGTERM)
    until(lambda: not home.processes(), 30, "all processes gone")
    took = time.monotonic() - begin
    assert took < 9 if EXTENSION else took > 16
    assert sorted(e["value"] for e in home.journal("stopped")) == names


def test_supervisorctl_is_an_equal(home: Home) -> None:
    home.plugin("one")
    home.plugin("two")
    home.configure("one", "two")
    home.up()
    subscriber = home.subscribe()
    assert "RUNNING" in home.ctl("status", "one").stdout
    home.ctl("stop", "one")
    until(lambda: subscriber.events("stopped") == ["one"])
    until(lambda: home.views()["one"]["state"] == "stopped")
    assert home.views()["one"]["enabled"] is False
    # it stays stopped, also over a restart of everything
    home.down()
    home.up()
    assert home.views()["one"]["state"] == "stopped"
    assert home.views()["two"]["state"] == "running"
    home.ctl("start", "one")
    until(lambda: home.views()["one"]["state"] == "running")
    assert home.views()["one"]["enabled"] is True


def test_a_killed_plugin_is_told_once_with_cause_and_comes_back(home: Home) -> None:
    home.plugin("one")
    home.configure("one", extra="restart: {delay: 200ms, jitter: 0%}\n")
    home.up()
    subscriber = home.subscribe()
    os.kill(home.views()["one"]["pid"], signal.SIGKILL)
    until(lambda: subscriber.events("started") == ["one"])
    assert subscriber.events("stopped") == ["one"]
    changes = [e["value"] for e in home.journal("pluginStateChanged")]
    crash = next(c for c in changes if c["state"] == "backoff")
    assert (crash["cause"], crash.get("signal")) == ("crash", told_signal("SIGKILL"))
    assert home.views()["one"]["restarts"] == 1


def test_without_autorestart_a_killed_plugin_stays_down(home: Home) -> None:
    home.plugin("one")
    home.configure("one", extra="autorestart: false\n")
    home.up()
    os.kill(home.views()["one"]["pid"], signal.SIGKILL)
    until(lambda: home.views()["one"]["state"] == "failed")
    assert [e["value"] for e in home.journal("stopped")] == ["one"]


def test_kill_9_of_supervisord_leaves_nothing_and_the_next_start_needs_no_hand_work(home: Home) -> None:
    names = ["one", "two", "stubborn"]
    for name in names:
        home.plugin(name, STUBBORN if name == "stubborn" else SLEEPER)
    home.configure(*names, extra="stop: {timeout: 1s}\n")
    home.up()
    assert len(home.processes()) >= 6
    os.kill(home.supervisord_pid, signal.SIGKILL)
    until(lambda: not home.processes(), 2.5, "plugins, agent and broker gone")
    assert (home.path / "run/supervisor.sock").exists()
    home.up()
    assert {home.views()[n]["state"] for n in names} == {"running"}
    lost = [e["value"] for e in home.journal("pluginStateChanged") if e["value"]["cause"] == "launcher-lost"]
    assert sorted(c["pluginID"] for c in lost) == sorted(names)


def test_generate_then_supervisord_as_typed_in_the_home_folder(home: Home) -> None:
    home.plugin("one")
    home.configure("one")
    command = f"{sys.executable} -m hiveot_supervisor.cli.main generate && exec {SUPERVISORD}"
    environment = home.env() | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, shell=True, cwd=home.path, env=environment, stdout=subprocess.DEVNULL)
    try:
        until(lambda: "RUNNING" in home.ctl("status", "one").stdout)
        until(lambda: started_order(home) == ["one"])
        home.ctl("restart", "one")
        until(lambda: started_order(home) == ["one", "one"])
    finally:
        process.terminate()
        process.wait(20)
    assert process.returncode == 0
    assert not home.processes()


def test_second_start_is_quick_and_reuses_all_credentials(home: Home) -> None:
    for name in NAMES[:5]:
        home.plugin(name)
    home.configure(*NAMES[:5])
    home.up()
    home.down()
    before = digest(home.path / "certs")
    assert {"caCert.pem", "admin.token", "launcher.token", "plugin00.key", "plugin00.token"} <= set(before)
    assert "plugin00Cert.pem" in before
    begin = time.monotonic()
    home.up()
    assert time.monotonic() - begin < 5
    assert digest(home.path / "certs") == before


def digest(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir() if p.is_file()}


def test_every_plugin_has_its_credentials_before_it_runs(home: Home) -> None:
    script = '#!/bin/sh\nls -l "$HIVEOT_CERTS" > "$HIVEOT_HOME/seen.$HIVEOT_CLIENTID"\nexec sleep 1000\n'
    for name in ("one", "two"):
        home.plugin(name, script)
    home.configure("one", "two")
    home.up()
    for name in ("one", "two"):
        seen = until(lambda n=name: (home.path / f"seen.{n}").exists() and (home.path / f"seen.{n}").read_text())
        for kind in (f"{name}.key", f"{name}.token", f"{name}Cert.pem", "caCert.pem"):
            assert kind in seen


def test_no_secret_anywhere_and_only_the_owner_reads(home: Home) -> None:
    for name in ("one", "two"):
        home.plugin(name)
    home.configure("one", "two")
    home.up()
    secrets = [p.read_bytes().strip() for p in (home.path / "certs").glob("*.token")]
    for key in (home.path / "certs").glob("*.key"):
        secrets += [line for line in key.read_bytes().splitlines() if b"-----" not in line]
    assert len(secrets) >= 8
    for pid in home.processes():
        seen = (Path(f"/proc/{pid}/cmdline").read_bytes(), Path(f"/proc/{pid}/environ").read_bytes())
        assert not [s for s in secrets for text in seen if s in text]
    home.down()
    for path in home.path.rglob("*"):
        relative = path.relative_to(home.path)
        mode = stat.S_IMODE(path.lstat().st_mode)
        if path.is_symlink() or relative.parts[0] in ("plugins", "bin") or path.name == "launcher.yaml":
            continue
        if path.is_dir():
            # config and the like hold nothing of ours but launcher.yaml
            assert mode == 0o700 or relative.parts[0] == "config", f"{relative}: {mode:o}"
            continue
        assert mode in (0o600, 0o400, 0o700), f"{relative}: {mode:o}"
        if relative.parts[0] != "certs":
            content = path.read_bytes()
            assert not [s for s in secrets if s in content], f"a secret stands in {relative}"


def test_two_homes_side_by_side() -> None:
    with make_home() as first, make_home() as second:
        for home in (first, second):
            home.plugin("one")
            home.configure("one")
            home.up()
        watching = second.subscribe()
        first.launch("stop", "one")
        assert first.views()["one"]["state"] == "stopped"
        assert second.views()["one"]["state"] == "running"
        second.launch("restart", "one")
        until(lambda: watching.events("started") == ["one"])
        first.down()
        assert not first.processes()
        assert second.views()["one"]["state"] == "running"


MOSQUITTO = shutil.which("mosquitto_sub")


@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto_sub (Debian: mosquitto-clients) is not installed")
def test_a_strangers_client_sees_events_and_the_thing_description(home: Home) -> None:
    home.plugin("one")
    home.configure("one")
    home.up()
    command = [
        "mosquitto_sub",
        "-h",
        "localhost",
        "-p",
        str(home.port),
        "--cafile",
        str(home.path / "certs/caCert.pem"),
    ]
    token = (home.path / "certs/admin.token").read_text()
    login = ["-u", "admin", "-P", token]
    description = subprocess.run(
        [*command, *login, "-t", "hiveot/td/launcher/Admin", "-C", "1", "-W", "10"], capture_output=True, text=True
    )
    td = json.loads(description.stdout)
    assert td["id"] == "Admin"
    assert {"started", "stopped"} <= set(td["events"])
    watching = subprocess.Popen(
        [
            *command,
            *login,
            "-q",
            "1",
            "-t",
            "hiveot/prop/launcher/Admin/nrRunning",
            "-t",
            "hiveot/event/launcher/Admin/#",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert watching.stdout is not None
        assert watching.stdout.readline().strip() == "1"  # the retained property: it is subscribed
        home.launch("stop", "one")
        until(lambda: '"stopped"' in watching.stdout.readline())
    finally:
        watching.terminate()
    wrong = subprocess.run(
        [*command, "-u", "admin", "-P", token[:-4] + "AAAA", "-t", "hiveot/#", "-W", "5"],
        capture_output=True,
        text=True,
    )
    assert wrong.returncode != 0
    assert "not authori" in (wrong.stdout + wrong.stderr).lower()


def test_the_hub_serves_the_go_launchers_actions_by_role() -> None:
    with make_home(settings="startWait: 200\n") as home:
        serve_the_go_launchers_actions(home)


def serve_the_go_launchers_actions(home: Home) -> None:
    from hiveot_supervisor.errors import HubError
    from hiveot_supervisor.hub.client import Account, Right
    from hiveot_supervisor.hub.connect import make_client

    for name in ("one", "two"):
        home.plugin(name)
    home.plugin("failer", "#!/bin/sh\necho broken >&2\nexit 3\n")
    home.configure("one", extra="autorestart: false\n")
    home.up()
    ca = home.path / "certs/caCert.pem"
    admin = make_client(
        f"mqtts://localhost:{home.port}", Account("admin", home.path / "certs/admin.token", ca), agent=False
    )
    admin.start()
    try:
        admin.wait_connected(10)

        def ask(name: str, value: object = None, right: Right = Right.CONFIG) -> object:
            return admin.invoke_action("launcher", "Admin", name, value, right=right, timeout=15)

        listed = {i["pluginID"]: i for i in ask("listPlugins", False, Right.READ)}
        assert list(listed) == ["failer", "one", "runtime", "two"]
        assert listed["one"]["running"] is True
        assert listed["one"]["pid"] > 0
        assert listed["one"]["size"] > 0
        assert [i["pluginID"] for i in ask("listPlugins", True, Right.READ)] == ["one", "runtime"]
        started = ask("startPlugin", "two")
        assert started["running"] is True
        assert ask("startPlugin", "two")["pid"] == started["pid"]
        stopped = ask("stopPlugin", "two")
        assert "running" not in stopped
        assert stopped["pid"] == started["pid"]
        assert "stoppedTime" in stopped
        assert "running" not in ask("stopPlugin", "two")
        with pytest.raises(HubError, match="plugin ID 'nope' not found"):
            ask("startPlugin", "nope")
        with pytest.raises(HubError, match="expects a plugin ID"):
            ask("startPlugin", 42)
        if EXTENSION:
            with pytest.raises(HubError, match="exit 3"):
                ask("startPlugin", "failer")
            with pytest.raises(HubError, match="failer"):
                ask("startAllPlugins")
        else:  # supervisord alone may tell of the end a second after the answer
            with contextlib.suppress(HubError):
                ask("startAllPlugins")
        assert home.views()["two"]["state"] == "running"
        ask("stopAllPlugins", False)
        assert {v["state"] for n, v in home.views().items() if n in ("one", "two")} == {"stopped"}
        assert home.views()["runtime"]["state"] == "running"

        # a viewer may look, and cannot start anything
        admin.invoke_action("authn", "Admin", "addConsumer", {"clientID": "vera"}, right=Right.ADMIN)
        admin.invoke_action(
            "authn", "Admin", "setClientRole", {"clientID": "vera", "role": "viewer"}, right=Right.ADMIN
        )
        token = admin.invoke_action("authn", "Admin", "newAgentToken", "vera", right=Right.ADMIN)
    finally:
        admin.close()
    vera_token = home.path / "vera.token"
    vera_token.write_text(str(token))
    vera = make_client(f"mqtts://localhost:{home.port}", Account("vera", vera_token, ca), agent=False)
    vera.start()
    try:
        vera.wait_connected(10)
        assert vera.invoke_action("launcher", "Admin", "listPlugins", False, right=Right.READ, timeout=10)
        with pytest.raises(HubError):
            vera.invoke_action("launcher", "Admin", "startPlugin", "one", right=Right.CONFIG, timeout=2)
        with pytest.raises(HubError):
            vera.invoke_action("launcher", "Admin", "startPlugin", "one", right=Right.READ, timeout=2)
    finally:
        vera.close()
    assert home.views()["one"]["state"] == "stopped"


def test_the_agent_can_be_killed_at_any_time(home: Home) -> None:
    home.plugin("one")
    home.plugin("two")
    home.configure("one", "two")
    home.up()
    subscriber = home.subscribe()
    pids = {n: home.views()[n]["pid"] for n in ("one", "two")}
    agent = int(home.ctl("pid", "launcher").stdout)
    os.kill(agent, signal.SIGKILL)
    until(lambda: int(home.ctl("pid", "launcher").stdout or 0) not in (0, agent))
    home.launch("stop", "two")
    until(lambda: subscriber.events("stopped") == ["two"], what="events flow again")
    assert home.views()["one"]["pid"] == pids["one"]
    assert subscriber.events("started") == []


def test_the_hub_can_be_killed_at_any_time(home: Home) -> None:
    home.plugin("one")
    home.configure("one")
    home.up()
    subscriber = home.subscribe()
    pid = home.views()["one"]["pid"]
    os.kill(home.views()["runtime"]["pid"], signal.SIGKILL)
    home.launch("stop", "one")
    until(lambda: subscriber.events("stopped") == ["one"], what="the event of the outage is delivered")
    home.launch("start", "one")
    until(lambda: subscriber.events("started") == ["one"])
    assert home.views()["one"]["pid"] != pid


def subscriber_counts(subscriber: Subscriber, name: str) -> list[int]:
    topic = f"hiveot/prop/launcher/Admin/{name}"
    return [json.loads(p) for _, t, p, _ in list(subscriber.messages) if t == topic]


def test_the_counts_are_kept_current(home: Home) -> None:
    for name in ("one", "two"):
        home.plugin(name)
    home.configure("one")
    home.up()
    subscriber = home.subscribe()
    until(lambda: subscriber_counts(subscriber, "nrPlugins")[-1:] == [2])
    until(lambda: subscriber_counts(subscriber, "nrRunning")[-1:] == [1])
    home.launch("start", "two")
    until(lambda: subscriber_counts(subscriber, "nrRunning")[-1:] == [2])
    home.launch("stop", "all")
    until(lambda: subscriber_counts(subscriber, "nrRunning")[-1:] == [0])


def test_stop_all_and_start_all_of_supervisorctl_end_in_everything_running(home: Home) -> None:
    """They stop the agent and the hub as well; reports of the old processes reach the new agent late."""
    home.plugin("one")
    home.configure("one")
    home.up()
    home.ctl("stop", "all")
    home.ctl("start", "all")
    until(lambda: {v["state"] for v in home.views().values()} == {"running"})
    assert all(v["enabled"] for v in home.views().values())
    assert not [e for e in home.journal("pluginStateChanged") if e["value"]["cause"] == "crash"]
    home.down()
    home.up()
    assert home.views()["one"]["state"] == "running"


def test_following_ends_with_its_reader(home: Home) -> None:
    home.plugin("one")
    home.configure("one")
    home.up()
    for command in ("events -f", "logs -f one"):
        line = f"{sys.executable} -m hiveot_supervisor.cli.main --home {home.path} {command} | head -n 0"
        subprocess.run(line, shell=True, timeout=10, cwd=ROOT, check=True)
