"""The MQTT binding when things go wrong: hub away, killed, refusing, slow; files missing; two with one ID."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from fakes.brokers import Broker, make_certificates
from fakes.wait import wait_until

from hiveot_supervisor.errors import HubRefused, HubUnavailable
from hiveot_supervisor.hub import link, mqtt_link, reconnect
from hiveot_supervisor.hub.client import Account, Notification, NotificationKind
from hiveot_supervisor.hub.mqtt import MqttHubClient

EVENT, PRESENCE = NotificationKind.EVENT, NotificationKind.PRESENCE


def test_wrong_token_is_refused_slowly_and_a_new_one_is_read(own_broker: Broker, connect: Any) -> None:
    account = own_broker.account("launcher")
    good = account.token_file.read_text()
    account.token_file.write_text("wrong\n")
    client, recorder = connect(own_broker, "launcher", wait=False)
    with pytest.raises(HubRefused, match=r"refuses the connection: .*'launcher'.*launcher\.token"):
        client.wait_connected(5)
    begin = time.monotonic()
    wait_until(lambda: len(recorder.refused) == 2)
    assert time.monotonic() - begin > 0.5  # no storm
    with pytest.raises(HubUnavailable):
        client.publish_event("Admin", "x", 1).result(0)

    account.token_file.write_text(good)
    begin = time.monotonic()
    wait_until(lambda: recorder.connected, what="login with the new token")
    assert time.monotonic() - begin < 1.5
    client.wait_connected(0)
    assert (recorder.disconnected, client.connected) == ([], True)


def test_missing_files_are_waited_for(own_broker: Broker, connect: Any, tmp_path: Path) -> None:
    folder = own_broker.folder
    (folder / "launcher.token").rename(tmp_path / "token")
    (folder / "ca.pem").rename(tmp_path / "ca")
    client, recorder = connect(own_broker, "launcher", wait=False)
    with pytest.raises(HubUnavailable, match=r"launcher\.token does not exist yet"):
        client.wait_connected(0.2)
    (tmp_path / "token").rename(folder / "launcher.token")
    wait_until(lambda: "ca.pem does not exist yet" in _last_reason(client))
    (tmp_path / "ca").rename(folder / "ca.pem")
    client.wait_connected(5)
    assert recorder.refused == []


def test_untrusted_server(own_broker: Broker, connect: Any, tmp_path: Path) -> None:
    make_certificates(tmp_path)
    shutil.copy(tmp_path / "ca.pem", own_broker.folder / "ca.pem")
    client, _ = connect(own_broker, "launcher", wait=False)
    with pytest.raises(HubUnavailable, match="is not trusted by"):
        client.wait_connected(0.5)


def test_wrong_host_name(broker: Broker) -> None:
    relay = _Relay(broker.port)
    client = MqttHubClient(f"mqtts://127.0.0.2:{relay.port}", broker.account("launcher"))
    client.start()
    try:
        with pytest.raises(HubUnavailable, match=r"is not trusted .*127\.0\.0\.2"):
            client.wait_connected(0.5)
    finally:
        client.close()
        relay.close()


def test_a_hub_that_starts_late_is_found_quickly(own_broker: Broker, connect: Any) -> None:
    own_broker.kill()
    client, _ = connect(own_broker, "launcher", wait=False)
    with pytest.raises(HubUnavailable, match="nothing listens on localhost"):
        client.wait_connected(0.3)
    with pytest.raises(HubUnavailable, match="not connected"):
        client.publish_event("Admin", "x", 1).result(0)
    with pytest.raises(HubUnavailable, match="not connected"):
        client.invoke_action("authn", "Admin", "x")
    own_broker.start()
    begin = time.monotonic()
    client.wait_connected(5)
    assert time.monotonic() - begin < 0.6


def test_killed_hub(own_broker: Broker, connect: Any) -> None:
    """Everything in flight fails, then connection, subscriptions, presence and requests come back by themselves."""
    agent, recorder = connect(own_broker, "launcher")
    consumer, _ = connect(own_broker, "admin", agent=False)
    events: list[Notification] = []
    consumer.subscribe([EVENT, PRESENCE], events.append).result(5)
    _suspend(own_broker)
    in_flight = [agent.publish_event("Admin", "lost", n) for n in range(50)]
    own_broker.kill()
    for future in in_flight:
        assert isinstance(future.exception(5), HubUnavailable)
    wait_until(lambda: recorder.disconnected)
    assert not agent.connected

    own_broker.start()
    wait_until(lambda: recorder.connected == 2 and consumer.connected)
    wait_until(
        lambda: (
            agent.publish_event("Admin", "after", 1).exception(5) is None and [n for n in events if n.name == "after"]
        )
    )
    wait_until(
        lambda: [n for n in events if n.kind is PRESENCE and n.agent_id == "launcher"][-1].value["state"] == "online"
    )
    assert wait_until(lambda: consumer.invoke_action("launcher", "Admin", "list"))["name"] == "list"
    assert recorder.refused == []


def test_a_call_in_progress_fails_with_the_connection(own_broker: Broker, connect: Any) -> None:
    _, recorder = connect(own_broker, "launcher")
    consumer, _ = connect(own_broker, "admin", agent=False)
    recorder.on_request = lambda request: own_broker.kill()
    with pytest.raises(HubUnavailable, match=r"lost while launcher was asked|did not acknowledge"):
        consumer.invoke_action("launcher", "Admin", "list", timeout=10)


def test_last_will_of_a_killed_client(broker: Broker, connect: Any) -> None:
    watcher: list[Notification] = []
    connect(broker, "viewer", agent=False)[0].subscribe([PRESENCE], watcher.append, agent_id="sleeper").result(5)
    account = broker.account("sleeper")
    code = (
        "import sys, time; from pathlib import Path; from hiveot_supervisor.hub.client import Account;"
        "from hiveot_supervisor.hub.mqtt import MqttHubClient;"
        "client = MqttHubClient(sys.argv[1], Account('sleeper', Path(sys.argv[2]), Path(sys.argv[3])));"
        "client.start(); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, broker.url, str(account.token_file), str(account.ca_file)])
    try:
        wait_until(lambda: watcher and watcher[-1].value["state"] == "online")
    finally:
        process.kill()
        process.wait()
    wait_until(lambda: watcher[-1].value["state"] == "offline")
    assert (watcher[-1].value["reason"], watcher[-1].value["since"]) == ("connection lost", None)


def test_two_agents_with_one_id(broker: Broker, connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconnect, "TAKE_OVERS", 1)  # NATS holds up each flapping login by a second
    first, first_calls = connect(broker, "sleeper")
    second, second_calls = connect(broker, "sleeper")
    wait_until(lambda: first_calls.refused or second_calls.refused, what="one of them gives up")
    reason = (first_calls.refused or second_calls.refused)[0]
    assert "another program seems to use the same ID" in reason
    loser, winner = (first, second) if first_calls.refused else (second, first)
    wait_until(lambda: winner.connected and not loser.connected)
    with pytest.raises(HubRefused, match="same ID"):
        loser.wait_connected(0)
    assert first_calls.connected + second_calls.connected < 15


def test_close_while_the_hub_is_away(own_broker: Broker) -> None:
    own_broker.kill()
    client = MqttHubClient(own_broker.url, own_broker.account("launcher"))
    client.start()
    begin = time.monotonic()
    client.close()
    assert time.monotonic() - begin < 0.5
    assert not [t for t in threading.enumerate() if t.name.startswith("hub-launcher")]


def test_close_before_start_and_waiters_wake_up(tmp_path: Path) -> None:
    account = Account("launcher", tmp_path / "token", tmp_path / "ca")
    never = MqttHubClient("mqtts://localhost:1", account)
    never.close()
    client = MqttHubClient("mqtts://localhost:1", account)
    client.start()
    threading.Timer(0.1, client.close).start()
    begin = time.monotonic()
    with pytest.raises(HubUnavailable):
        client.wait_connected(30)
    assert time.monotonic() - begin < 5
    with pytest.raises(RuntimeError):
        client.start()


def test_a_mute_server_does_not_hold_up_close(tmp_path: Path) -> None:
    """TCP is accepted, TLS never answered: the thread ends by itself, close does not wait for it."""
    make_certificates(tmp_path)
    (tmp_path / "token").write_text("x")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = MqttHubClient(
            f"mqtts://localhost:{port}", Account("launcher", tmp_path / "token", tmp_path / "ca.pem")
        )
        client.start()
        server.accept()
        begin = time.monotonic()
        client.close(timeout=0.2)
        assert time.monotonic() - begin < 1


def test_the_ready_file_is_waited_for(broker: Broker, connect: Any, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    account = dataclasses.replace(broker.account("launcher"), ready_file=ready)
    client = MqttHubClient(broker.url, account)
    client.start()
    with pytest.raises(HubUnavailable, match="not ready yet"):
        client.wait_connected(0.1)
    ready.touch()
    client.wait_connected(5)
    client.close()
    ready.unlink()
    waiting = MqttHubClient(broker.url, account)
    waiting.start()
    waiting.close(timeout=1)
    assert not [t for t in threading.enumerate() if t.name.startswith("hub-launcher")]


def test_a_broker_that_just_closes_on_mqtt_5(broker: Broker) -> None:
    gate = _OldBroker(broker)
    client = MqttHubClient(f"mqtts://localhost:{gate.port}", broker.account("launcher"))
    client.start()
    try:
        client.wait_connected(5)
        assert gate.levels == [5, 4]
        client.publish_event("Admin", "x", 1).result(5)
    finally:
        client.close()
        gate.close()


def test_messages_that_come_too_fast_are_dropped(
    broker: Broker, connect: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(link, "MAX_BACKLOG_BYTES", 20_000)
    watcher, recorder = connect(broker, "admin", agent=False)
    gate, got = threading.Event(), []

    def slow(notification: Notification) -> None:
        gate.wait(10)
        got.append(notification.value)

    watcher.subscribe([EVENT], slow, agent_id="launcher").result(5)
    agent, _ = connect(broker, "launcher")
    for future in [agent.publish_event("Admin", "flood", "x" * 1000) for _ in range(100)]:
        future.result(5)
    wait_until(lambda: "messages from the hub are dropped" in caplog.text)
    gate.set()
    wait_until(lambda: agent.publish_event("Admin", "after", "after").exception(5) is None and "after" in got)
    assert 5 < got.count("x" * 1000) < 100
    assert recorder.disconnected == []


def test_publishes_do_not_pile_up(own_broker: Broker, connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt_link, "MAX_PENDING", 30)
    agent, _ = connect(own_broker, "launcher")
    agent.publish_event("Admin", "x", 1).result(5)
    _suspend(own_broker)
    futures = [agent.publish_event("Admin", "x", n) for n in range(40)]
    refused = [f for f in futures if f.done()]
    assert len(refused) in (10, 11)  # presence may be among the 30
    assert all("too many messages" in str(f.exception()) for f in refused)
    os.kill(own_broker.pid, signal.SIGCONT)
    assert [f.exception(10) for f in futures if f not in refused] == [None] * (40 - len(refused))


def _suspend(broker: Broker) -> None:
    """Stop the broker's threads, and return when all stand still."""
    os.kill(broker.pid, signal.SIGSTOP)
    tasks = list(Path(f"/proc/{broker.pid}/task").iterdir())
    wait_until(lambda: all((task / "stat").read_text().rpartition(")")[2].split()[0] == "T" for task in tasks))


def _last_reason(client: MqttHubClient) -> str:
    with pytest.raises(HubUnavailable) as caught:
        client.wait_connected(0)
    return caught.value.why


class _Relay:
    """Forwards one port of 127.0.0.2 to one of 127.0.0.1: the same server under a name its certificate lacks."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._server = socket.create_server(("127.0.0.2", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                left, _ = self._server.accept()
            except OSError:
                return
            _join(left, socket.create_connection(("127.0.0.1", self._target)))


class _OldBroker:
    """Stands before a broker and closes the connection of who logs in with MQTT 5, as some brokers do."""

    def __init__(self, broker: Broker) -> None:
        self.levels: list[int] = []
        self._broker = broker
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._outer = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._outer.load_cert_chain(broker.folder / "server.pem", broker.folder / "server.key")
        self._inner = ssl.create_default_context(cafile=str(broker.folder / "ca.pem"))
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                left = self._outer.wrap_socket(self._server.accept()[0], server_side=True)
            except OSError:
                return
            login = left.recv(65536)
            self.levels.append(login[login.index(b"MQTT") + 4])
            if self.levels[-1] == 5:
                left.close()
                continue
            inner = socket.create_connection(("127.0.0.1", self._broker.port))
            right = self._inner.wrap_socket(inner, server_hostname="localhost")
            right.sendall(login)
            _join(left, right)


def _join(left: socket.socket, right: socket.socket) -> None:
    """Copy in both directions until one side closes."""

    def copy(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    for pair in ((left, right), (right, left)):
        threading.Thread(target=copy, args=pair, daemon=True).start()
