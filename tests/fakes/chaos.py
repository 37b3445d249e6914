"""Chaos: plugins that keep ending, random `kill -9` of broker, hub and agent, and a durable consumer that counts.

The consumer stores events as docs/mqtt-hub.md §4 describes: persistent session, only `seq == last + 1` of one epoch,
cumulative acknowledgement. In the end it must hold exactly what the agent's journal holds.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from fakes.home import Home, until

from hiveot_supervisor.agent.state import Event, Reader
from hiveot_supervisor.hub.client import Account, Right
from hiveot_supervisor.hub.connect import make_client

CONSUMER = "recorder"
FLAPPER = "#!/usr/bin/env python3\nimport random, sys, time\ntime.sleep(random.uniform(0.02, 0.3))\nsys.exit(3)\n"


class DurableConsumer:
    """Stores every event of the launcher once, in order, and acknowledges how far it has got."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.stored: list[dict[str, Any]] = []
        self.duplicates = 0
        self.early = 0
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=CONSUMER, clean_session=False)
        client.tls_set_context(ssl.create_default_context(cafile=str(home.path / "certs/caCert.pem")))
        client.username_pw_set(CONSUMER, (home.path / f"certs/{CONSUMER}.token").read_text())
        client.on_connect = self._connected
        client.on_message = self._message
        client.on_socket_open = lambda _c, _u, s: s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.reconnect_delay_set(1, 1)
        self.client = client
        self.epoch = ""
        client.connect("localhost", home.port)
        client.loop_start()
        until(lambda: self.epoch == "" and client.is_connected())

    @property
    def last(self) -> int:
        return int(self.stored[-1]["seq"]) if self.stored else self.first - 1

    first = 1

    def _connected(self, client: mqtt.Client, *_: Any) -> None:
        client.subscribe("hiveot/event/launcher/Admin/#", qos=1)
        self._acknowledge()

    def _acknowledge(self) -> None:
        document = json.dumps({"epoch": self.epoch, "seq": self.last})
        self.client.publish(f"hiveot/ack/launcher/{CONSUMER}", document, qos=1, retain=True)

    def _message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        event = json.loads(message.payload)
        self.epoch = self.epoch or event["epoch"]
        if event["epoch"] != self.epoch:
            return
        if event["seq"] == self.last + 1:
            self.stored.append(event)
            self._acknowledge()
        elif event["seq"] <= self.last:
            self.duplicates += 1
        else:
            self.early += 1

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@dataclass
class Result:
    """What a run of the chaos showed."""

    events: int
    kills: dict[str, int] = field(default_factory=dict)
    duplicates: int = 0
    early: int = 0
    missing: list[int] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def run(home: Home, *, transitions: int, flappers: int, seed: int, pause: tuple[float, float]) -> Result:
    """Let plugins end and restart until `transitions` starts and stops were journalled, killing meanwhile."""
    chance = random.Random(seed)
    names = [f"flap{n}" for n in range(flappers)]
    for name in names:
        home.plugin(name, FLAPPER)
    rules = "restart: {delay: 100ms, limit: 100ms, jitter: 0%}\n"
    home.configure(extra=rules)
    home.up()
    _add_account(home)
    consumer = DurableConsumer(home)
    home.configure(*names, extra=rules)
    home.down()
    home.up(wait=False)
    result = Result(0, {"broker": 0, "runtime": 0, "agent": 0})
    try:
        while _transitions(home) < transitions:
            time.sleep(chance.uniform(*pause))
            _kill(home, chance.choice(list(result.kills)), result)
        home.launch("stop", "all", "--timeout", "60", check=None)
        # also with an agent that was killed a moment ago: it comes back, and what was stopped stays stopped
        until(lambda: {home.views()[n]["state"] for n in names} == {"stopped"}, 60, "all stopped")
        until(lambda: consumer.last >= _newest(home), 90, "the consumer has everything")
    finally:
        consumer.close()
    return _judge(home, consumer, result, names)


def _judge(home: Home, consumer: DurableConsumer, result: Result, names: list[str]) -> Result:
    journal = {e.seq: e for e in _journal(home)}
    result.events = len(journal)
    result.duplicates, result.early = consumer.duplicates, consumer.early
    stored = {e["seq"]: e for e in consumer.stored}
    result.missing = [seq for seq in journal if seq not in stored]
    result.lacking = [f"seq {s}: {journal[s].name} {journal[s].value}" for s in result.missing]
    result.wrong = [f"seq {s}: {e['value']}" for s, e in stored.items() if s in journal and _told(journal[s], e) != e]
    for name in names:
        words = [e["name"] for e in consumer.stored if e["value"] == name]
        if words != [("started", "stopped")[i % 2] for i in range(len(words))]:
            result.wrong.append(f"{name}: started and stopped do not alternate: {words[:20]}")
    return result


def _told(written: Event, message: dict[str, Any]) -> dict[str, Any]:
    """The message as it must be for what is written in the journal: its value with the event's number in it."""
    value = written.value
    if isinstance(value, dict):
        value = {**value, "seq": written.seq, "epoch": message["epoch"]}
    return {**message, "value": value}


def _add_account(home: Home) -> None:
    certs = home.path / "certs"
    admin = make_client(
        f"mqtts://localhost:{home.port}", Account("admin", certs / "admin.token", certs / "caCert.pem"), agent=False
    )
    admin.start()
    try:
        admin.wait_connected(10)
        admin.invoke_action("authn", "Admin", "addService", {"clientID": CONSUMER}, right=Right.ADMIN)
    finally:
        admin.close()
    until((certs / f"{CONSUMER}.token").exists)


def _kill(home: Home, what: str, result: Result) -> None:
    pid = {"broker": _broker_pid, "runtime": _hub_pid, "agent": _agent_pid}[what](home)
    if pid:
        os.kill(pid, signal.SIGKILL)
        result.kills[what] += 1


def _find(home: Home, word: str) -> int:
    return next((pid for pid, line in home.processes().items() if word in line), 0)


def _broker_pid(home: Home) -> int:
    return _find(home, "nats-server")


def _hub_pid(home: Home) -> int:
    return _find(home, "hiveot_supervisor.runtime")


def _agent_pid(home: Home) -> int:
    return _find(home, "hiveot_supervisor.agent")


def _journal(home: Home) -> list[Any]:
    reader = Reader(Path(home.path) / "stores/launcher/launcher.db")
    try:
        return reader.events()
    finally:
        reader.close()


def _transitions(home: Home) -> int:
    return sum(e.name in ("started", "stopped") for e in _journal(home))


def _newest(home: Home) -> int:
    return int(_journal(home)[-1].seq)
