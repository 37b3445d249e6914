"""The main job with Mosquitto as the hub's broker: the same launcher.yaml but for one word."""

from __future__ import annotations

import json
import os
import signal
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.home import ROOT, SLEEPER, Home, until
from fakes.home import home as make_home
from fakes.runtimes import require_driver

from hiveot_supervisor.errors import HubRefused
from hiveot_supervisor.model import Driver
from hiveot_supervisor.runtime.rawmqtt import RawMqtt

PUBLISHER = f"""#!{sys.executable}
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from hiveot_supervisor.hub.client import Account
from hiveot_supervisor.hub.mqtt import MqttHubClient
certs = Path(__file__).parents[1] / "certs"
hub = MqttHubClient(sys.argv[1].split("=", 1)[1], Account("speaker", certs / "speaker.token", certs / "caCert.pem"))
hub.start()
while True:
    try:
        hub.wait_connected(60)
        hub.publish_event("clock", "tick", time.time()).result(5)
    except Exception as error:
        print(error, flush=True)
    time.sleep(0.1)
"""


@pytest.fixture
def home() -> Iterator[Home]:
    require_driver(Driver.MOSQUITTO)
    with make_home(hub="driver: mosquitto") as made:
        yield made


def broker(home: Home) -> int:
    """The broker's process ID; 0 while there is none."""
    found = [pid for pid in home.processes() if _name(pid) == "mosquitto"]
    return found[0] if len(found) == 1 else 0


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def test_the_main_job_on_mosquitto(home: Home) -> None:
    names = ["one", "speaker", "two"]
    for name in names:
        home.plugin(name, PUBLISHER if name == "speaker" else SLEEPER)
    home.configure()
    home.up()  # the hub first, so that a subscriber is there before the plugins
    subscriber = home.subscribe()
    home.launch("start", *names)
    until(lambda: sorted(subscriber.events("started")) == names, what="started at a subscriber")
    assert {home.views()[name]["state"] for name in names} == {"running"}

    # credentials were made, and the plugin's token logs in
    for name in names:
        for file in (f"{name}.key", f"{name}.token", f"{name}Cert.pem"):
            assert (home.path / "certs" / file).stat().st_mode & 0o777 == 0o600
    ticks = "hiveot/event/speaker/clock/tick"
    until(lambda: any(topic == ticks for _, topic, _, _ in list(subscriber.messages)), what="a plugin's event")

    # a broker that is killed comes back, with its accounts; nothing needs a hand
    first = broker(home)
    files = {p.name: p.read_bytes() for p in (home.path / "certs").iterdir()}
    os.kill(first, signal.SIGKILL)
    until(lambda: broker(home) not in (0, first), what="another broker")
    before = len(subscriber.messages)
    until(lambda: any(t == ticks for _, t, _, _ in subscriber.messages[before:]), 30, "the plugin's events again")
    assert {p.name: p.read_bytes() for p in (home.path / "certs").iterdir()} == files
    home.launch("stop", "two")
    until(lambda: subscriber.events("stopped") == ["two"], what="stopped at a subscriber")
    assert home.views()["two"]["state"] == "stopped"
    assert home.views()["one"]["state"] == "running"

    # the next start is as the last
    home.down()
    assert not home.processes()
    home.configure("one")
    home.up()
    until(lambda: sorted(subscriber.events("started")) == ["one", *names], what="the second start at the subscriber")


def test_prestart_asks_for_credentials_beside_the_agent(home: Home) -> None:
    """Without the agent's help: prestart's own connection must not end the agent's."""
    home.plugin("one")
    home.configure("one")
    home.up()
    subscriber = home.subscribe()
    home.launch("stop", "one")
    until(lambda: subscriber.events("stopped") == ["one"])
    presence = "hiveot/presence/launcher"
    seen = len(subscriber.messages)
    for file in ("one.token", "oneCert.pem"):
        (home.path / "certs" / file).unlink()
    home.ctl("start", "one")
    until(lambda: subscriber.events("started") == ["one"])
    assert (home.path / "certs/one.token").exists()
    states = [json.loads(p)["state"] for _, topic, p, _ in subscriber.messages[seen:] if topic == presence]
    assert states == []  # the launcher was online all the time
    assert "used by another" not in (home.path / "logs/launcher.log").read_text()


def test_credentials_are_renewed_and_revoked_while_everything_runs(home: Home) -> None:
    """The same commands as with the built-in broker; the agent stays connected while the command line asks the hub."""
    home.plugin("speaker", PUBLISHER)
    home.configure("speaker")
    home.up()
    subscriber = home.subscribe()
    ticks = "hiveot/event/speaker/clock/tick"

    def flows(since: int) -> bool:
        return any(topic == ticks for _, topic, _, _ in subscriber.messages[since:])

    until(lambda: flows(0), what="the plugin's events")
    for account in ("speaker", "launcher"):
        old = (home.path / f"certs/{account}.token").read_text()
        home.launch("creds", "renew", account)
        assert (home.path / f"certs/{account}.token").read_text() != old
        until(lambda account=account, old=old: refused(home, account, old), what="the old token is refused")
        seen = len(subscriber.messages)
        until(lambda seen=seen: flows(seen), what="the plugin's events again")

    token = (home.path / "certs/speaker.token").read_text()
    seen = len(subscriber.messages)
    home.launch("creds", "revoke", "speaker")
    assert refused(home, "speaker", token)
    assert not (home.path / "certs/speaker.token").exists()
    until(lambda: subscriber.events("stopped")[-1:] == ["speaker"], what="stopped at a subscriber")
    presence = [json.loads(p)["state"] for _, t, p, _ in subscriber.messages[seen:] if t == "hiveot/presence/launcher"]
    assert presence == []
    home.launch("start", "speaker")
    seen = len(subscriber.messages)
    until(lambda: flows(seen), what="the plugin's events with new credentials")


def refused(home: Home, user: str, password: str) -> bool:
    context = ssl.create_default_context(cafile=str(home.path / "certs/caCert.pem"))
    with RawMqtt("127.0.0.1", home.port, context) as connection:
        try:
            connection.login("", user, password)
        except HubRefused:
            return True
        return False
