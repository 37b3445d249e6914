"""All credentials of connected plugins are renewed under load: nobody notices more than one reconnection."""

from __future__ import annotations

import itertools
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from fakes.home import Home, until
from fakes.home import home as make_home
from fakes.runtimes import require_driver

from hiveot_supervisor.model import Driver

DRIVERS = (Driver.NATS, Driver.MOSQUITTO)
CLIENTS = 20
RATE = 50.0
"""Messages a second of all together."""

GAP = 2.0


class Talker:
    """The MQTT side of a plugin as plugin-authors.md asks for it: persistent session, token read at every connect."""

    def __init__(self, home: Home, name: str, listens_to: str) -> None:
        self.name, self.listens_to = name, listens_to
        self.sent: list[int] = []
        self.acknowledged: list[float] = []
        self.heard: list[int] = []
        self.heard_at: list[float] = []
        self.codes: list[str] = []
        self._home = home
        self._subscribed = threading.Event()
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, clean_session=False)
        client.tls_set_context(ssl.create_default_context(cafile=str(home.path / "certs/caCert.pem")))
        client.on_pre_connect = lambda c, _u: c.username_pw_set(name, self.token.read_text())
        client.on_connect = self._connected
        client.on_subscribe = lambda *_: self._subscribed.set()
        client.on_message = self._message
        client.on_publish = lambda *_: self.acknowledged.append(time.monotonic())
        client.on_socket_open = lambda _c, _u, s: s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.reconnect_delay_set(0.1, 1)  # type: ignore[arg-type]
        self.client = client

    @property
    def token(self) -> Path:
        return self._home.path / f"certs/{self.name}.token"

    def start(self) -> None:
        self.client.connect("localhost", self._home.port)
        self.client.loop_start()
        assert self._subscribed.wait(10)

    def _connected(self, client: mqtt.Client, _userdata: object, _flags: object, code: object, _props: object) -> None:
        self.codes.append(str(code))
        client.subscribe([(f"hiveot/event/{self.listens_to}/#", 1)])

    def _message(self, _client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage) -> None:
        self.heard.append(int(message.payload))
        self.heard_at.append(time.monotonic())

    def talk(self, number: int) -> None:
        self.sent.append(number)
        self.client.publish(f"hiveot/event/{self.name}/load/tick", str(number), qos=1)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def longest(stamps: list[float]) -> float:
    return max(b - a for a, b in itertools.pairwise(stamps))


def load(talkers: list[Talker], stop: threading.Event) -> None:
    """One after another, in all `RATE` messages a second."""
    due = time.monotonic()
    for number in itertools.count():
        for talker in talkers:
            talker.talk(number)
            due += 1 / RATE
            if stop.wait(max(0.0, due - time.monotonic())):
                return


@pytest.fixture(params=DRIVERS)
def home(request: pytest.FixtureRequest) -> Iterator[Home]:
    require_driver(request.param)
    with make_home(hub=f"driver: {request.param}") as made:
        names = [f"p{n}" for n in range(CLIENTS)]
        for name in names:
            made.plugin(name)
        made.configure(*names)
        made.up()
        yield made


def test_rotation_of_everything_under_load(home: Home) -> None:
    names = [f"p{n}" for n in range(CLIENTS)]
    talkers = [Talker(home, name, names[n - 1]) for n, name in enumerate(names)]
    old = {t.name: t.token.read_text() for t in talkers}
    stop = threading.Event()
    loader = threading.Thread(target=load, args=(talkers, stop))
    try:
        for talker in talkers:
            talker.start()
        loader.start()
        until(lambda: all(len(t.acknowledged) > 3 for t in talkers), what="the load is on")
        home.launch("creds", "renew", "all")
        until(lambda: all(len(t.codes) == 2 for t in talkers), 10, "everybody is back")
        resumed = time.monotonic()
        until(lambda: all(t.heard_at and t.heard_at[-1] > resumed + 0.5 for t in talkers), 10, "and hears again")
        stop.set()
        loader.join()
        until(lambda: all(len(t.acknowledged) >= len(t.sent) for t in talkers), 10, "all is acknowledged")
        sent = {t.name: set(t.sent) for t in talkers}
        until(lambda: all(set(t.heard) >= sent[t.listens_to] for t in talkers), 10, "and has arrived")
    finally:
        stop.set()
        for talker in talkers:
            talker.close()
    for talker in talkers:
        assert talker.token.read_text() != old[talker.name]
        assert talker.codes == ["Success"] * 2, "nobody met the hub between old and new"
        first_seen = list(dict.fromkeys(talker.heard))
        assert first_seen == sorted(first_seen), "in order"
        assert longest(talker.acknowledged) < GAP
        assert longest(talker.heard_at) < GAP
    gaps = [longest(t.heard_at) for t in talkers]
    count = sum(map(len, sent.values()))
    print(f"longest gap {max(gaps):.2f} s, {sum(gaps) / len(gaps):.2f} s on average, {count} messages")
