"""Fuzzing of what brokers say to the runtime: MQTT packets, and the answers of Mosquitto's Dynamic Security."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from fuzzing.target import SECRET, Logged, Target

from hiveot_supervisor.errors import HiveotError, HubUnavailable
from hiveot_supervisor.runtime.dynsec import Dynsec
from hiveot_supervisor.runtime.rawmqtt import Delivery, RawMqtt


class _Wire:
    """A socket on which everything has arrived already; then the broker hangs up."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.sent = 0

    def recv(self, size: int) -> bytes:
        part, self._data = self._data[:size], self._data[size:]
        return part

    def sendall(self, data: bytes) -> None:
        self.sent += len(data)

    def settimeout(self, seconds: float) -> None: ...
    def close(self) -> None: ...


def _packet(kind: int, body: bytes, flags: int = 0) -> bytes:
    size = bytes([len(body)]) if len(body) < 128 else bytes([len(body) & 127 | 128, len(body) >> 7])
    return bytes([kind << 4 | flags]) + size + body


def mqtt_packets(folder: Path) -> Target:
    """The runtime's own little client: HubError, or what was asked for; no memory beyond what came."""
    connack, suback, puback, ping = (_packet(2, b"\0\0"), _packet(9, b"\0\1\1"), _packet(4, b"\0\1"), _packet(13, b""))
    publish = _packet(3, struct.pack(">H", 3) + b"a/b" + b"\0\7" + b"payload", 2)

    def check(data: bytes) -> None:
        connection = RawMqtt.__new__(RawMqtt)
        connection._socket = _Wire(data)  # type: ignore[assignment]
        connection._deliveries, connection._packet_id, connection._timeout = [], 0, 0.5
        try:
            connection.login("id", "user", SECRET)
            connection.subscribe("#")
            connection.publish("a/b", b"x")
            delivery = connection.receive(0.5)
            assert delivery is None or len(delivery.payload) <= len(data)
            connection.settle()
            connection.close()
        except HiveotError as error:
            assert SECRET not in str(error)

    seeds = (connack, connack + suback + puback + publish + ping, connack + publish * 3 + suback + puback + ping)
    return Target("MQTT packets", seeds, check, (connack, suback, puback, publish, b"\xff\xff\xff\x7f", b"\x80" * 5))


class _Broker:
    """In the place of a connection: answers what was prepared, with the mark of the command that it got."""

    def __init__(self, answer: bytes) -> None:
        self._answers = [answer]

    def subscribe(self, topic_filter: str) -> int:
        return 1

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        mark = json.loads(payload)["commands"][0]["correlationData"].encode()
        self._answers = [answer.replace(b"MARK", mark) for answer in self._answers]

    def receive(self, timeout: float) -> Delivery | None:
        if not self._answers:
            raise HubUnavailable("the broker closed the connection")
        return Delivery("$CONTROL/dynamic-security/v1/response", self._answers.pop(), False)

    def close(self) -> None: ...


def dynsec_answers(folder: Path) -> Target:
    """Responses of the plugin: the broker's refusals as BrokerError, nothing else, and no password in them."""
    logged = Logged()
    commands = [{"command": "setClientPassword", "username": "zwave", "password": SECRET}]
    good = {"responses": [{"command": "setClientPassword", "correlationData": "MARK"}]}
    bad = {"responses": [{"command": "setClientPassword", "correlationData": "MARK", "error": "Client not found"}]}
    roles = {"responses": [{"command": "listClients", "correlationData": "MARK", "data": {"clients": ["a", "b"]}}]}

    def check(data: bytes) -> None:
        broker: Any = _Broker(data)
        client = Dynsec(lambda: broker)
        try:
            found = client.run(commands)
            assert all(isinstance(response, dict) for response in found)
        except HiveotError as error:
            assert SECRET not in str(error)
            assert len(str(error)) < 2000
        client.close()
        logged.take()

    seeds = tuple(json.dumps(answer).encode() for answer in (good, bad, roles))
    return Target("dynsec answers", seeds, check, (b"MARK", b"responses", b"error", b"correlationData"))
