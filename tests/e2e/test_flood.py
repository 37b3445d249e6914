"""One who asks too much is told so, and nobody else has to wait for it."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from pathlib import Path

import paho.mqtt.client as mqtt
from fakes.home import Home, until
from fakes.runtimes import rss_kb

from hiveot_supervisor.agent.service import ALLOWANCE
from hiveot_supervisor.hub.client import Account, HubClient, Right
from hiveot_supervisor.hub.connect import make_client

FLOOD = 1500


def connected(home: Home, user: str, token_file: Path) -> HubClient:
    account = Account(user, token_file, home.path / "certs/caCert.pem")
    client = make_client(f"mqtts://localhost:{home.port}", account, agent=False)
    client.start()
    client.wait_connected(10)
    return client


def add_person(home: Home, admin: HubClient, user: str, role: str) -> Path:
    """An account and a file with its token."""
    admin.invoke_action("authn", "Admin", "addConsumer", {"clientID": user}, right=Right.ADMIN)
    admin.invoke_action("authn", "Admin", "setClientRole", {"clientID": user, "role": role}, right=Right.ADMIN)
    file = home.path / f"certs/{user}.token"
    file.write_text(str(admin.invoke_action("authn", "Admin", "newAgentToken", user, right=Right.ADMIN)))
    return file


def request(number: int) -> str:
    return json.dumps(
        {
            "messageType": "request",
            "operation": "invokeaction",
            "thingID": "Admin",
            "name": "listPlugins",
            "correlationID": f"c{number}",
            "replyTo": "hiveot/inbox/vera/flood/launcher",
        }
    )


def test_a_viewers_flood_delays_no_managers_stop(home: Home) -> None:
    for name in ("one", "two", "three"):
        home.plugin(name)
    home.configure("one", "two", "three")
    home.up()
    admin = connected(home, "admin", home.path / "certs/admin.token")
    manager = connected(home, "mona", add_person(home, admin, "mona", "manager"))
    add_person(home, admin, "vera", "viewer")
    agent = int(home.ctl("pid", "launcher").stdout)
    before = rss_kb(agent)
    viewer = home.subscribe("vera", ("hiveot/inbox/vera/flood/#",)).client
    answers: Counter[str] = Counter()
    errors: dict[str, int] = {}

    def note(client: object, userdata: object, message: mqtt.MQTTMessage) -> None:
        answer = json.loads(message.payload)
        answers[answer["correlationID"]] += 1
        if answer["error"]:
            errors[answer["correlationID"]] = answer["error"]["status"]

    viewer.on_message = note
    stops: list[float] = []

    def stop_and_start() -> None:
        for action in ("stopPlugin", "startPlugin", "stopPlugin"):
            begin = time.monotonic()
            manager.invoke_action("launcher", "Admin", action, "one", right=Right.CONFIG, timeout=20)
            stops.append(time.monotonic() - begin)

    begin = time.monotonic()
    for number in range(FLOOD // 2):
        viewer.publish("hiveot/read/launcher/Admin/listPlugins/vera", request(number), qos=1)
    worker = threading.Thread(target=stop_and_start)
    worker.start()
    for number in range(FLOOD // 2, FLOOD):
        viewer.publish("hiveot/read/launcher/Admin/listPlugins/vera", request(number), qos=1)
    worker.join(60)
    until(lambda: len(answers) == FLOOD, 30, "an answer to every request, be it an error")
    duration = time.monotonic() - begin

    assert len(stops) == 3
    assert max(stops) < 5.0, stops
    assert home.views()["one"]["state"] == "stopped"
    assert set(answers.values()) == {1}
    assert set(errors.values()) == {429}
    served = FLOOD - len(errors)
    assert ALLOWANCE.unanswered <= served <= ALLOWANCE.burst + ALLOWANCE.rate * duration + 1
    assert rss_kb(agent) - before < 20_000
    with_patience = json.loads(request(FLOOD))
    until(lambda: _served(viewer, with_patience, answers, errors), 20, "to be served again after the flood")
    for client in (admin, manager):
        client.close()


def _served(viewer: mqtt.Client, message: dict[str, str], answers: Counter[str], errors: dict[str, int]) -> bool:
    """Ask once more; true when it was carried out."""
    message["correlationID"] = f"c{len(answers)}"
    viewer.publish("hiveot/read/launcher/Admin/listPlugins/vera", json.dumps(message), qos=1)
    until(lambda: message["correlationID"] in answers, 10, "an answer")
    return message["correlationID"] not in errors
