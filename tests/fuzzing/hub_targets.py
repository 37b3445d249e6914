"""Fuzzing of what comes from the hub: MQTT messages end to end, messages and frames of a HiveOT hub."""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
import tempfile
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from fakes.agent_world import World
from fuzzing.target import SECRET, Logged, Target

from hiveot_supervisor.agent.requests import Requests
from hiveot_supervisor.hub.client import Account, HubListener, Notification, NotificationKind, Request
from hiveot_supervisor.hub.messages import ResponseMessage, decode
from hiveot_supervisor.hub.mqtt import MqttHubClient
from hiveot_supervisor.hub.mqtt_session import Incoming
from hiveot_supervisor.hub.wire import MAX_MESSAGE
from hiveot_supervisor.hub.wss import WssHubClient
from hiveot_supervisor.hub.wss_session import Login, Session, _Loop
from hiveot_supervisor.model import Plugin

RESET = 2000
"""Inputs after which a new agent is taken, so that what one left behind does not slow the others down."""

ACCOUNT = Account("launcher", Path("/nonexistent/token"), Path("/nonexistent/ca"))


class Wire:
    """In the place of a link: connected, takes everything, and remembers it until asked."""

    dispatching = False
    connected = True

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes]] = []

    def publish(self, topic: str, payload: bytes, **_: Any) -> Future[None]:
        self.sent.append((topic, payload))
        return _done()

    def send(self, frame: bytes, **_: Any) -> Future[None]:
        self.sent.append(("", frame))
        return _done()

    def subscribe(self, filters: Any) -> Future[None]:
        return _done()


def _done() -> Future[None]:
    future: Future[None] = Future()
    future.set_result(None)
    return future


class AskedAgent:
    """The real agent with three plugins, asked through a real hub client."""

    def __init__(self, folder: Path, client: MqttHubClient | WssHubClient, wire: Wire) -> None:
        self.wire = wire
        self.client = client
        client._link = wire  # type: ignore[assignment]
        plugins = [
            Plugin(name, Path("/bin/true"), order=n, args=(f"--password={SECRET}",), environment=(("TOKEN", SECRET),))
            for n, name in enumerate(("history", "zwave", "weather"))
        ]
        self.world = World(Path(tempfile.mkdtemp(dir=folder)), plugins)
        self.world.agent.hub = client
        self.world.agent.teller._hub = client
        self.requests = Requests(self.world.agent)
        self.asked: list[Request] = []
        self.world.state.epoch = "e"
        self.world.pass_time(30.0)  # all autostart plugins run
        client._listener = self._listener()

    def _listener(self) -> HubListener:
        outer = self

        class Listener:
            def on_request(self, request: Request) -> None:
                outer.asked.append(request)

            def __getattr__(self, name: str) -> Any:
                return lambda *_: None

        return Listener()

    def work(self) -> None:
        """Carry out what was asked, and let it settle."""
        if not self.asked:
            return
        with self.world.state.transaction():
            for request in self.asked:
                self.requests.handle(request)
        self.world.pass_time(120.0)
        self.requests.settle()
        assert not self.requests.waiting, "a request is never answered"

    def runs(self) -> list[int]:
        return [len(p.starts) + 1000 * (p.pid > 0) for p in self.world.supervisord.processes.values()]

    def close(self) -> None:
        self.world.state.close()


TOPICS = [f"hiveot/{right}/launcher/{thing}/{name}/peer" for right, thing, name in (
    ("read", "Admin", "listPlugins"), ("config", "Admin", "stopPlugin"), ("config", "Admin", "startPlugin"),
    ("admin", "Admin", "stopAllPlugins"), ("config", "plugin-zwave", "restart"), ("config", "plugin-zwave", "running"),
)]  # fmt: skip


def _envelope(**members: Any) -> dict[str, Any]:
    base = {
        "messageType": "request", "operation": "invokeaction", "thingID": "Admin", "name": "listPlugins",
        "messageID": "m1", "correlationID": "c1", "senderID": "peer", "replyTo": "hiveot/inbox/peer/1/launcher",
        "expires": "2099-01-01T00:00:00Z", "created": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    return base | members


def mqtt_message(folder: Path) -> Target:
    """`topic LF payload` through client, judge and agent: answers only to the sender, one each, rights kept."""
    logged = Logged()
    count = 0
    agent = _mqtt_agent(folder)

    def check(data: bytes) -> None:
        nonlocal agent, count
        count += 1
        if count % RESET == 0:
            agent.close()
            agent = _mqtt_agent(folder)
        raw, _, payload = data.partition(b"\n")
        topic = raw.decode("utf-8", "replace")
        agent.world.clock.mono += 10.0
        agent.wire.sent.clear()
        agent.asked.clear()
        before = agent.runs()
        agent.client.link_message(Incoming(topic, payload, len(data) % 17 == 0))  # type: ignore[union-attr]
        asked = list(agent.asked)
        agent.work()
        logged.take()
        _judge(agent, topic, before, asked)

    requests = [
        json.dumps(_envelope(**members)).encode()
        for members in (
            {"input": True}, {"name": "stopPlugin", "input": "zwave"}, {"name": "startPlugin", "input": "zwave"},
            {"name": "stopAllPlugins", "input": True}, {"name": "restart", "thingID": "plugin-zwave"},
            {"name": "running", "operation": "writeproperty", "thingID": "plugin-zwave", "input": False},
        )
    ]  # fmt: skip
    seeds = [f"{topic}\n".encode() + payload for topic, payload in zip(TOPICS, requests, strict=True)]
    seeds += [
        b"hiveot/config/launcher/plugin-zwave/running/peer\ntrue",
        b"hiveot/action/launcher/Admin/startAllPlugins/peer\n{}",
    ]
    seeds += _observed()
    words = (
        b"hiveot/",
        b"/launcher/",
        b"/Admin/",
        b"/peer",
        b"read",
        b"config",
        b"admin",
        b"plugin-zwave",
        b"replyTo",
        b"correlationID",
    )
    return Target("MQTT messages", tuple(seeds), check, words)


def _mqtt_agent(folder: Path) -> AskedAgent:
    wire = Wire()
    client = MqttHubClient("mqtts://localhost:8883", ACCOUNT, instance="1")
    agent = AskedAgent(folder, client, wire)
    client._clock = agent.world.clock
    client._observers._link = wire  # type: ignore[assignment]
    client.subscribe(list(NotificationKind), lambda notification: _observe(agent, notification))
    return agent


def _observe(agent: AskedAgent, notification: Notification) -> None:
    """What the service does with notifications."""
    if notification.kind is NotificationKind.ACK:
        publisher = agent.world.agent.publisher
        publisher.acknowledged_by(notification.name, notification.value, agent.world.clock.mono)
    elif notification.kind is NotificationKind.PRESENCE:
        assert notification.value is None or notification.agent_id


def _observed() -> list[bytes]:
    event = {
        "messageType": "notification",
        "operation": "subscribeevent",
        "thingID": "t",
        "name": "n",
        "value": {"a": 1},
    }
    answer = {
        "messageType": "response",
        "operation": "invokeaction",
        "correlationID": "c1",
        "output": {"state": "completed"},
    }
    presence = {"state": "online", "reason": "", "since": "2026-01-01T00:00:00Z", "host": "h", "version": "1"}
    documents = [
        ("event/zwave/t/n", event | {"seq": 7, "epoch": "e", "timestamp": "2026-01-01T00:00:00Z"}),
        ("presence/zwave", presence),
        ("ack/launcher/recorder", {"epoch": "e", "seq": 7}), ("prop/zwave/t/n", {"v": 1}), ("td/zwave/t", {"id": "t"}),
        ("inbox/launcher/1/zwave", answer | {"error": {"title": "no", "status": 400}, "status": {"state": "failed"}}),
    ]  # fmt: skip
    return [f"hiveot/{topic}\n{json.dumps(document)}".encode() for topic, document in documents]


def _judge(agent: AskedAgent, topic: str, before: list[int], asked: list[Request]) -> None:
    levels = topic.split("/")
    sender = levels[-1]
    for where, payload in agent.wire.sent:
        assert len(payload) < MAX_MESSAGE
        assert SECRET.encode() not in payload, "a secret was sent"
        if where.split("/")[1] not in ("td", "prop", "event", "presence"):
            assert where.startswith(f"hiveot/inbox/{sender}/"), f"{topic} is answered to {where}"
            assert isinstance(decode(payload), ResponseMessage)
    answers = [where for where, _ in agent.wire.sent if where.startswith("hiveot/inbox/")]
    assert len(answers) <= 1, "more than one answer"
    if any(request.reply_to for request in asked):
        assert answers, "an accepted request got no answer"
    if agent.runs() != before:
        assert levels[1] in ("config", "admin"), f"{topic} started or stopped something"


def wss_message(folder: Path) -> Target:
    """Messages of a HiveOT hub through its client and the agent: every request gets its one answer."""
    logged = Logged()
    count = 0
    agent = _wss_agent(folder)

    def check(data: bytes) -> None:
        nonlocal agent, count
        count += 1
        if count % RESET == 0:
            agent.close()
            agent = _wss_agent(folder)
        agent.world.clock.mono += 10.0
        agent.wire.sent.clear()
        agent.asked.clear()
        agent.client.link_frame(data)  # type: ignore[union-attr]
        asked = list(agent.asked)
        agent.work()
        logged.take()
        responses = [decode(payload) for _, payload in agent.wire.sent]
        assert SECRET.encode() not in b"".join(payload for _, payload in agent.wire.sent)
        found = [message for message in responses if isinstance(message, ResponseMessage)]
        assert len(found) == len(asked) or (not asked and len(found) <= 1), (
            f"{len(asked)} requests, {len(found)} answers"
        )

    requests = [_envelope(), _envelope(name="stopPlugin", input="zwave"), _envelope(name="stopAllPlugins", input=True)]
    twins = {"thingID": "dtw:digitwin:ThingDirectory", "operation": "subscribeevent", "messageType": "notification"}
    td = json.dumps({"id": "dtw:zwave:t", "title": "T"})
    others: list[dict[str, Any]] = [
        twins | {"name": "thingUpdated", "value": td}, twins | {"name": "thingDeleted", "value": "dtw:zwave:t"},
        {"messageType": "notification", "affordanceType": "property", "thingID": "dtw:zwave:t", "value": {"a": 1}},
        {"messageType": "response", "operation": "invokeaction", "correlationID": "c1", "value": {"state": "failed"}},
    ]  # fmt: skip
    seeds = [json.dumps(document).encode() for document in [*requests, *others]]
    return Target(
        "WSS messages", tuple(seeds), check, (b"dtw:", b"messageType", b"senderID", b"request", b"thingUpdated")
    )


def _wss_agent(folder: Path) -> AskedAgent:
    wire = Wire()
    client = WssHubClient("wss://localhost:8444", ACCOUNT)
    agent = AskedAgent(folder, client, wire)
    client._clock = agent.world.clock
    client._observers._up = False
    client.subscribe(
        [NotificationKind.EVENT, NotificationKind.PROPERTY, NotificationKind.TD], lambda notification: None
    )
    return agent


class _Socket:
    """A socket over bytes that have all arrived already; what is written is kept."""

    def __init__(self) -> None:
        self.incoming = bytearray()
        self.written = bytearray()

    def setblocking(self, on: bool) -> None: ...

    def send(self, data: Any) -> int:
        self.written += data
        return len(data)

    def recv(self, size: int) -> bytes:
        if not self.incoming:
            raise ssl.SSLWantReadError
        data = bytes(self.incoming[:size])
        del self.incoming[:size]
        return data


class _Kept:
    """A session's sink that counts."""

    def __init__(self) -> None:
        self.size = 0

    def ready(self, session: Session) -> None: ...
    def tick(self) -> None: ...
    def proven(self, session: Session, number: int) -> None: ...

    def frame(self, data: bytes) -> None:
        self.size += len(data)


def wss_frames(folder: Path) -> Target:
    """The bytes of a connection: an answer to the upgrade, or (input beginning with `!`) frames after a good one."""
    logged = Logged()
    login = Login("wss://localhost:8444/wot/wss", "localhost", 8444, ACCOUNT, "c1")

    def check(data: bytes) -> None:
        sock, sink = _Socket(), _Kept()
        session = Session(login, sink)
        loop = _Loop(session, sock, login, sink, session._wake_out)  # type: ignore[arg-type]
        try:
            loop._request(SECRET)
            loop._encode()
            loop._write()
            if data[:1] == b"!":
                sock.incoming += _accepted(bytes(sock.written)) + data[1:]
            else:
                sock.incoming += data
            loop._read()
            loop._encode()
            loop._write()
            assert sink.size <= len(data), "more was delivered than came"
            assert len(loop._parts) <= len(data)
            if loop._ending is not None:
                assert SECRET not in loop._ending[1]
            assert SECRET not in logged.take()
        finally:
            session._end()

    good = json.dumps(_envelope()).encode()
    frames = [
        _frame(1, good), _frame(1, good[:50], fin=False) + _frame(0, good[50:]), _frame(9, b"1"), _frame(10, b"17"),
        _frame(8, b"\x03\xe8bye"), _frame(2, bytes(300)), _frame(0, b"", fin=False) * 20, _frame(1, b"", fin=False) * 3,
    ]  # fmt: skip
    answers = [b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno", b"HTTP/1.1 101 Switching Protocols\r\n\r\n"]
    return Target(
        "WSS frames", (*(b"!" + f for f in frames), *answers), check, (b"\x81", b"\x89\x00", b"\x00\x00", b"\xff" * 9)
    )


def _accepted(request: bytes) -> bytes:
    key = next(line[18:].strip() for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
    proof = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
    return head + proof + b"\r\n\r\n"


def _frame(opcode: int, data: bytes, *, fin: bool = True) -> bytes:
    size = bytes([len(data)]) if len(data) < 126 else b"\x7e" + len(data).to_bytes(2, "big")
    return bytes([opcode | (0x80 if fin else 0)]) + size + data
