"""sysinfo on real brokers: what a consumer sees of it, what it answers, and how it begins and ends."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from fakes import brokers
from fakes.examples import ACCOUNT, Home, Watcher
from fakes.wait import wait_until

from hiveot_supervisor.errors import HubError
from hiveot_supervisor.hub.client import Right
from hiveot_supervisor.hub.mqtt import MqttHubClient

THING = f"{ACCOUNT}/host"


@pytest.fixture
def consumer(broker: brokers.Broker) -> Iterator[MqttHubClient]:
    client = MqttHubClient(broker.url, broker.account("admin"), agent=False)
    client.start()
    client.wait_connected(10)
    yield client
    client.close()


def test_a_consumer_sees_thing_description_measurements_and_event(home: Home, watch: Watcher) -> None:
    home.run("sysinfo", "--loadLimit=0")
    td = watch.wait(f"hiveot/td/{THING}")
    assert td["id"] == "host"
    values = {name: watch.wait(f"hiveot/prop/{THING}/{name}", lambda v: v is not None) for name in td["properties"]}
    assert {"load", "memory", "memoryAvailable", "disk", "cpu", "uptime"} <= set(values)
    assert values["memory"] == pytest.approx(psutil.virtual_memory().percent, abs=5)
    assert values["disk"] == pytest.approx(psutil.disk_usage(str(home.folder)).percent, abs=2)
    assert values["uptime"] == pytest.approx(time.clock_gettime(time.CLOCK_BOOTTIME), abs=60)
    assert 0 <= values["cpu"] <= 100
    event = watch.wait(f"hiveot/event/{THING}/highLoad")
    assert (event["messageType"], event["name"], event["seq"]) == ("notification", "highLoad", 1)
    assert set(event["value"]) == {"load", "limit"}
    assert watch.presence("online")["host"]


def test_state_is_retained_and_events_are_not(home: Home, watch: Watcher) -> None:
    home.run("sysinfo", "--loadLimit=0")
    watch.wait(f"hiveot/event/{THING}/highLoad")
    late = Watcher(home.broker)
    try:
        late.wait(f"hiveot/td/{THING}")
        late.wait(f"hiveot/prop/{THING}/memory")
        assert late.presence("online")
        assert not late.on(f"hiveot/event/{THING}/highLoad")
    finally:
        late.close()


def test_only_changes_are_published_until_the_refresh(home: Home, watch: Watcher) -> None:
    home.run("sysinfo", "--interval=0.01", "--refresh=0.3")
    disk = f"hiveot/prop/{THING}/disk"
    wait_until(lambda: watch.on(disk), 10)
    begun, started = len(watch.on(disk)), time.monotonic()
    wait_until(lambda: len(watch.on(disk)) >= begun + 2, 10, "it is told again at every refresh")
    assert time.monotonic() - started > 0.25  # dozens of measurements, of which hardly one has changed enough


def test_it_answers_the_action(home: Home, watch: Watcher, consumer: MqttHubClient) -> None:
    run = home.run("sysinfo")
    watch.presence("online")
    answer = consumer.invoke_action(ACCOUNT, "host", "identify")
    assert answer["kernel"] == os.uname().release
    assert answer["cpus"] == os.cpu_count()
    # a higher right will do, a lower one not
    assert consumer.invoke_action(ACCOUNT, "host", "identify", right=Right.CONFIG) is not None
    with pytest.raises(HubError, match="demands the right"):
        consumer.invoke_action(ACCOUNT, "host", "identify", right=Right.READ)
    with pytest.raises(HubError, match="there is no invokeaction explode"):
        consumer.invoke_action(ACCOUNT, "host", "explode")
    assert "identify, asked by admin" in run.said()


def request(reply_to: str, correlation_id: str, **more: Any) -> str:
    envelope = {"messageType": "request", "operation": "invokeaction", "thingID": "host", "name": "identify"}
    return json.dumps({**envelope, "correlationID": correlation_id, "replyTo": reply_to, **more})


def test_a_repeated_request_is_carried_out_once_and_answered_again(home: Home, watch: Watcher) -> None:
    run = home.run("sysinfo")
    watch.presence("online")
    inbox = f"hiveot/inbox/admin/one/{ACCOUNT}"
    for _ in range(2):
        watch.client.publish(f"hiveot/action/{THING}/identify/admin", request(inbox, "c1"), qos=1)
    wait_until(lambda: len(watch.on(inbox)) == 2)
    first, second = watch.on(inbox)
    assert first == second
    assert run.said().count("identify, asked by") == 1


def test_what_must_not_be_answered_is_ignored(home: Home, watch: Watcher) -> None:
    run = home.run("sysinfo")
    watch.presence("online")
    topic = f"hiveot/action/{THING}/identify/admin"
    foreign = f"hiveot/inbox/victim/one/{ACCOUNT}"
    inbox = f"hiveot/inbox/admin/one/{ACCOUNT}"
    bad = [
        request(foreign, "c1"),
        request(f"hiveot/td/{ACCOUNT}", "c2"),
        request(inbox, "c3", expires="2020-01-01T00:00:00.000Z"),
        request(inbox, "c4", expires=5),
        "[]",
        "{}",
        "nonsense",
        "\ud83d".encode("utf-8", "surrogatepass"),
    ]
    for payload in bad:
        watch.client.publish(topic, payload, qos=1)
    watch.client.publish(topic, request(inbox, "last"), qos=1)
    answer = watch.wait(inbox, lambda value: value["correlationID"] == "last")
    assert answer["error"] is None
    assert len(watch.on(inbox)) == 1
    assert not watch.on(foreign)
    assert run.said().count("is ignored") == len(bad)


def test_a_retained_request_is_not_carried_out(home: Home, watch: Watcher) -> None:
    inbox = f"hiveot/inbox/admin/one/{ACCOUNT}"
    watch.client.publish(f"hiveot/action/{THING}/identify/admin", request(inbox, "c1"), qos=1, retain=True)
    watch.wait(f"hiveot/action/{THING}/identify/admin")
    run = home.run("sysinfo")
    wait_until(lambda: "is ignored" in run.said())
    assert not watch.on(inbox)


def test_sigterm_ends_it_cleanly(home: Home, watch: Watcher) -> None:
    run = home.run("sysinfo")
    watch.presence("online")
    started = time.monotonic()
    assert run.terminate() == 0
    assert time.monotonic() - started < 2
    assert watch.presence("offline")["reason"] == "stopped"
    assert "Traceback" not in run.said()


def test_the_last_will_tells_when_it_is_killed(home: Home, watch: Watcher) -> None:
    run = home.run("sysinfo")
    watch.presence("online")
    run.process.send_signal(signal.SIGKILL)
    assert watch.presence("offline") == watch.presence("offline") | {"reason": "connection lost", "since": None}


def test_it_waits_for_a_hub_that_is_away_and_can_be_stopped_meanwhile(home: Home) -> None:
    home.broker.stop()
    run = home.run("sysinfo")
    wait_until(lambda: "cannot connect" in run.said())
    assert run.terminate() == 0
    assert "Traceback" not in run.said()


def test_it_comes_back_after_a_restart_of_the_hub_with_a_new_token(home: Home, watch: Watcher) -> None:
    run = home.run("sysinfo")
    watch.presence("online")
    home.broker.stop()
    change_token(home.broker, "a-new-one")
    home.token.write_text("a-new-one\n")
    home.broker.start()
    wait_until(lambda: run.said().count("connected to") == 2, 15)
    assert "refuses" not in run.said()
    home.broker.kill()
    home.broker.start()
    wait_until(lambda: run.said().count("connected to") == 3, 15)
    assert run.terminate() == 0


def test_a_refused_token_is_said_and_read_again(home: Home, watch: Watcher) -> None:
    good = home.token.read_text()
    home.token.write_text("wrong")
    run = home.run("sysinfo")
    wait_until(lambda: "refuses sleeper" in run.said())
    home.token.write_text(good)
    assert watch.presence("online")


def test_without_credentials_it_says_so_and_waits(home: Home, watch: Watcher) -> None:
    good = home.token.read_text()
    home.token.unlink()
    run = home.run("sysinfo")
    wait_until(lambda: f"{home.token}" in run.said())
    home.token.write_text(good)
    assert watch.presence("online")


def change_token(broker: brokers.Broker, token: str) -> None:
    """Give the plugin's account another token in a broker that is stopped."""
    file = broker.folder / "nats.conf"
    if file.exists():
        file.write_text(file.read_text().replace(f"token-of-{ACCOUNT}", token))
        return
    file = Path(broker.folder / "security.json")
    state = json.loads(file.read_text())
    client = next(c for c in state["clients"] if c["username"] == ACCOUNT)
    digest = hashlib.pbkdf2_hmac("sha512", token.encode(), base64.b64decode(client["salt"]), client["iterations"])
    client["password"] = base64.b64encode(digest).decode()
    file.write_text(json.dumps(state))
