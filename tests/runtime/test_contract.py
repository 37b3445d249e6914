"""What every broker must hold, whatever its kind: logins, take-over, wills, queues, restarts, revocation, limits.

The rights of the roles are in test_role_matrix.py.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import time
from collections.abc import Iterator

import pytest
from fakes.runtimes import DRIVERS, LocalBroker, loose_files
from fakes.wait import wait_until

from hiveot_supervisor.credentials import certificates, keys
from hiveot_supervisor.errors import HubError, HubRefused, HubUnavailable
from hiveot_supervisor.model import Driver
from hiveot_supervisor.runtime import bootstrap
from hiveot_supervisor.runtime.rawmqtt import REFUSED, RawMqtt
from hiveot_supervisor.runtime.roles import Role

EVENT = "hiveot/event/sender/thing/name"


def hung_up(client: RawMqtt, timeout: float = 3.0) -> bool:
    deadline = time.monotonic() + timeout
    try:
        while (rest := deadline - time.monotonic()) > 0:
            client.receive(rest)
    except HubUnavailable:
        return True
    return False


def vanish(client: RawMqtt) -> None:
    """End the connection without DISCONNECT, as a crash does."""
    client._socket.shutdown(socket.SHUT_RDWR)
    client._socket.close()


def next_payload(client: RawMqtt, timeout: float = 5.0) -> bytes | None:
    delivery = client.receive(timeout)
    return delivery.payload if delivery is not None else None


# logins


def test_login_by_token_and_by_password(either: LocalBroker) -> None:
    token = either.add("bob", Role.VIEWER)
    either.add("ann", Role.VIEWER, password="secret")
    for user, password in (("bob", token), ("ann", "secret")):
        with either.raw(user, password) as client:
            assert client.subscribe("hiveot/td/#") == 1
    for user, password in (("ann", "Secret"), ("ann", ""), ("ann", token), ("bob", token[:-4] + "AAAA"), ("bob", "")):
        with pytest.raises(HubRefused):
            either.raw(user, password)
    with pytest.raises(HubRefused):
        either.raw("nobody-of-that-name", token)


@pytest.mark.parametrize("flags", [0x02, 0x82], ids=["anonymous", "user name alone"])
def test_login_without_password(either: LocalBroker, flags: int) -> None:
    either.add("bare", Role.VIEWER)
    connection = RawMqtt("127.0.0.1", either.port, either.context)
    body = b"\x00\x04MQTT\x04" + bytes([flags]) + b"\x00\x3c\x00\x01x" + (b"\x00\x04bare" if flags & 0x80 else b"")
    connection._send(0x10, body)
    with contextlib.suppress(HubUnavailable):  # a broker may just hang up
        assert connection._expect(2)[1] != 0
    connection.close()


def test_a_foreign_client_id_leaves_its_owner_connected_and_subscribed(either: LocalBroker) -> None:
    victim_token, thief_token = either.add("victim", Role.VIEWER), either.add("thief", Role.VIEWER)
    with either.raw("victim", victim_token, "victim") as victim:
        victim.subscribe("hiveot/event/#")
        for user, password in (("victim", "wrong"), ("thief", victim_token)):
            with pytest.raises(HubRefused):
                either.raw(user, password, "victim")
        with contextlib.suppress(HubRefused):  # or it gets another client ID
            either.raw("thief", thief_token, "victim").close()
        with either.logins.connect() as sender:
            sender.publish(EVENT, b"still there")
        assert next_payload(victim) == b"still there"


def test_a_connection_ends_with_its_token(either: LocalBroker) -> None:
    token = either.add("shortly", Role.VIEWER, lifetime=2)
    with either.raw("shortly", token) as client:
        client.settle()
        assert hung_up(client, 6)
    with pytest.raises(HubRefused):
        either.raw("shortly", token)


def test_a_changed_role_takes_effect_at_once(either: LocalBroker) -> None:
    token = either.add("riser", Role.NONE)
    with either.raw("riser", token) as client:
        assert client.subscribe("hiveot/td/#") == REFUSED
        either.change("riser", role=Role.VIEWER)
        assert hung_up(client)
    with either.raw("riser", token) as client:
        assert client.subscribe("hiveot/td/#") == 1
        either.change("riser", role=Role.AGENT)
    with either.raw("riser", token) as client:
        assert client.subscribe("hiveot/td/#") == REFUSED
        assert client.subscribe("hiveot/config/riser/#") == 1


def test_nobody_but_the_runtime_manages_accounts(either: LocalBroker) -> None:
    if either.driver is not Driver.MOSQUITTO:
        pytest.skip("only Mosquitto has accounts of its own")
    token = either.add("chief", Role.ADMIN)
    either.add("bystander", Role.VIEWER)
    with either.raw("chief", token) as client:
        client.publish(
            "$CONTROL/dynamic-security/v1", b'{"commands":[{"command":"deleteClient","username":"bystander"}]}'
        )
        assert client.subscribe("$CONTROL/dynamic-security/v1/response") == REFUSED
    listed = either.broker._dynsec.run([{"command": "listClients"}])[0]["data"]["clients"]
    assert "bystander" in listed


# wills


def test_a_will_outside_the_rights_is_not_published(either: LocalBroker) -> None:
    token = either.add("willful", Role.VIEWER)
    with either.logins.connect() as watcher:
        watcher.subscribe("hiveot/presence/#")
        for topic in ("hiveot/presence/other", "hiveot/presence/willful"):
            vanish(either.raw("willful", token, "willful", will=(topic, b"boo")))
        delivery = watcher.receive(5)
        assert delivery is not None
        assert delivery.topic == "hiveot/presence/willful"


def test_the_will_of_a_silent_client(either: LocalBroker) -> None:
    """It has not closed its connection: the broker must notice by itself, within twice the keep-alive and 5 s."""
    token = either.add("silent", Role.VIEWER)
    with either.logins.connect() as watcher:
        watcher.subscribe("hiveot/presence/silent")
        client = either.raw("silent", token, "silent", will=("hiveot/presence/silent", b"gone"), keep_alive=2)
        began = time.monotonic()
        assert next_payload(watcher, 2 * 2 + 5) == b"gone"
        print(f"{either.driver.value}: the will came after {time.monotonic() - began:.1f} s")
        vanish(client)


# queues and restarts


def test_the_queue_of_an_offline_client_comes_in_order_and_not_as_retained(either: LocalBroker) -> None:
    token = either.add("offline", Role.VIEWER)
    with either.raw("offline", token, "offline", clean=False) as client:
        client.subscribe("hiveot/event/#")
        client.settle()
    with either.logins.connect() as sender:
        for number in range(50):
            sender.publish(EVENT, b"%d" % number)
    with either.raw("offline", token, "offline", clean=False) as client:
        # what NATS had begun to send to the closing connection would come again after `ack_wait` (5 s)
        found = [client.receive(10) for _ in range(50)]
    assert [each.payload for each in found if each] == [b"%d" % number for number in range(50)]
    assert not any(each.retained for each in found if each)
    either.remove("offline")
    again = either.add("offline", Role.VIEWER)
    with either.logins.connect() as sender:
        sender.publish(EVENT, b"lost")
    with either.raw("offline", again, "offline", clean=False) as client:
        client.settle()
        assert client.receive(0.2) is None  # a removed account's session keeps nothing


@pytest.fixture(params=DRIVERS, ids=lambda driver: driver.value)
def own(request: pytest.FixtureRequest) -> Iterator[LocalBroker]:
    """A broker that a test may kill."""
    made = LocalBroker(request.param)
    yield made
    made.close()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_what_a_restart_keeps(own: LocalBroker, how: signal.Signals) -> None:
    """Accounts always; retained and queued messages after SIGTERM; after SIGKILL NATS all, Mosquitto what was there at
    its last save, at most 5 s ago."""
    token = own.add("reader", Role.VIEWER)
    with own.raw("reader", token, "reader", clean=False) as client:
        client.subscribe("hiveot/event/#")
        client.settle()
    begin = time.time()
    with own.logins.connect() as sender:
        sender.publish("hiveot/td/sender/thing", b"{}", retain=True)
        sender.publish(EVENT, b"queued")
    if how is signal.SIGKILL and own.driver is Driver.MOSQUITTO:
        saved = own.folder / "mosquitto.db"
        wait_until(lambda: saved.exists() and saved.stat().st_mtime > begin, 7, "autosave")
        (own.folder / "dynamic-security.json").unlink()  # accounts do not depend on the broker's own file
    os.kill(own.broker.pid, how)
    wait_until(lambda: own.exits == 1, 5, "the broker has ended")
    own.broker.stop()
    own.start()
    with own.raw("reader", token, "reader", clean=False) as client:
        assert next_payload(client, 10) == b"queued"
        client.subscribe("hiveot/td/#")
        assert next_payload(client) == b"{}"


# revocation


@pytest.mark.parametrize("way", ["disable", "remove"])
def test_revocation_while_connected(either: LocalBroker, way: str) -> None:
    """By token and by certificate: hung up at once, and neither lets in again."""
    name = f"{way}d"
    token, shown = either.add(name, Role.VIEWER), either.certificate(name)
    by = {"token": lambda: either.raw(name, token, name), "certificate": lambda: either.raw_certificate(shown, name)}
    for login in by.values():
        with login() as client:
            assert client.subscribe("hiveot/td/#") == 1
            if way == "disable":
                either.change(name, disabled=True)
            else:
                either.remove(name)
            assert hung_up(client)
        for again in by.values():
            with pytest.raises(HubError):
                again()
        if way == "remove":
            break
        either.change(name, disabled=False)
        for again in by.values():
            again().close()


def test_a_removed_account_that_is_made_anew_is_another(either: LocalBroker) -> None:
    """Neither the old token nor the old certificate is its."""
    token, shown = either.add("twice", Role.VIEWER), either.certificate("twice")
    with either.raw_certificate(shown, "twice") as client:
        client.settle()
        either.remove("twice")
        assert hung_up(client)
    time.sleep(2.1)  # tokens and certificates are dated in whole seconds, and clocks differ by one
    new = either.add("twice", Role.VIEWER)
    assert new != token
    with pytest.raises(HubError):
        either.raw("twice", token)
    with pytest.raises(HubError):
        either.raw_certificate(shown, "twice")
    either.raw("twice", new).close()


def test_taking_back_certificates_leaves_the_token(either: LocalBroker) -> None:
    token = either.add("parted", Role.VIEWER)
    shown = either.certificate("parted")
    with either.raw_certificate(shown, "parted") as client:
        client.settle()
        either.issued.revoke("parted")
        either.broker.recheck()
        either.broker.kick("parted")
        assert hung_up(client)
    with pytest.raises(HubError):
        either.raw_certificate(shown, "parted")
    either.raw("parted", token).close()
    either.raw_certificate(either.certificate("parted"), "parted").close()


# certificates as login


def test_a_certificate_says_who_it_is(either: LocalBroker) -> None:
    either.add("driver", Role.AGENT)
    with either.raw_certificate(either.certificate("driver"), "driver") as client, either.logins.connect() as watcher:
        watcher.subscribe("hiveot/td/#")
        watcher.settle()
        assert client.subscribe("hiveot/config/driver/#") == 1
        assert client.subscribe("hiveot/config/whoever/#") == REFUSED
        client.publish("hiveot/td/whoever/thing", b"1")
        client.publish("hiveot/td/driver/thing", b"2")
        assert next_payload(watcher) == b"2"


def test_large_messages_pass_the_listener_for_certificates(either: LocalBroker) -> None:
    either.add("heavy", Role.SERVICE)
    payload = os.urandom(900_000)
    with either.raw_certificate(either.certificate("heavy"), "heavy") as client:
        client.subscribe("hiveot/event/heavy/#")
        for _ in range(3):
            client.publish("hiveot/event/heavy/x/y", payload)
            assert next_payload(client) == payload


def test_certificates_that_let_nobody_in(either: LocalBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    either.add("known", Role.VIEWER)
    now, ca_key = time.time(), certificates.new_server_key()
    foreign_ca = certificates.create_ca(ca_key, now=now)
    key = keys.generate()
    request, private = certificates.create_request(key, "known"), keys.private_pem(key)
    foreign = certificates.create_client(foreign_ca, ca_key, request, "known", now=now)
    ours, our_key = either.files.ca.read_bytes(), bootstrap.load_ca_key(either.files)
    server = certificates.create_server(ours, our_key, key, ["known"], now=now)
    for pem in (foreign, server):
        with pytest.raises(HubError):
            either.raw_certificate(either.present(pem, private), "known")
    with pytest.raises(HubError):
        either.raw_certificate(either.context, "known")  # none at all
    with monkeypatch.context() as patched:
        patched.setattr(certificates, "CLIENT_DAYS", 0)
        expired = either.certificate("known")
    time.sleep(1.1)  # certificates are dated in whole seconds
    with pytest.raises(HubError):
        either.raw_certificate(expired, "known")
    either.raw_certificate(either.certificate("known"), "known").close()


def test_a_certificate_without_account_has_no_rights(either: LocalBroker) -> None:
    with contextlib.suppress(HubError):  # Mosquitto lets it in
        client = either.raw_certificate(either.certificate("unknown"), "unknown")
        assert client.subscribe("hiveot/inbox/unknown/#") == REFUSED
        client.close()


def test_the_listener_for_certificates_takes_no_foreign_client_id(either: LocalBroker) -> None:
    token = either.add("owner", Role.VIEWER)
    either.add("other", Role.VIEWER)
    with either.raw("owner", token, "owner") as owner:
        owner.subscribe("hiveot/event/#")
        with contextlib.suppress(HubError):
            either.raw_certificate(either.certificate("other"), "owner").close()
        with either.logins.connect() as sender:
            sender.publish(EVENT, b"still there")
        assert next_payload(owner) == b"still there"


def test_a_will_passes_the_listener_for_certificates(either: LocalBroker) -> None:
    either.add("mortal", Role.VIEWER)
    with either.logins.connect() as watcher:
        watcher.subscribe("hiveot/presence/mortal")
        shown = either.certificate("mortal")
        vanish(either.raw_certificate(shown, "mortal", will=("hiveot/presence/mortal", b"gone")))
        assert next_payload(watcher) == b"gone"


# limits


def test_too_large_a_message_ends_the_connection_not_the_broker(either: LocalBroker) -> None:
    token = either.add("bulky", Role.SERVICE)
    with either.raw("bulky", token) as client, pytest.raises(HubUnavailable):
        client.publish("hiveot/event/bulky/x/y", b"x" * 1_100_000)
    either.raw("bulky", token).close()


@pytest.mark.parametrize("listener", ["port", "certificate_port"])
def test_garbage_does_no_harm(either: LocalBroker, listener: str) -> None:
    port, context = getattr(either, listener), either.certificate("steady")
    token = either.add("steady", Role.VIEWER)
    for data in (b"", b"\x00" * 100, b"GET / HTTP/1.1\r\n\r\n", os.urandom(2000)):
        with socket.create_connection(("127.0.0.1", port)) as plain:
            plain.sendall(data)
    for data in (b"\x10\xff\xff\xff\xff\x7f", b"\x10\xff\xff\xff\x7f", b"\x30\x02ab", b"\x10\x03abc", os.urandom(500)):
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as tls,
            contextlib.suppress(OSError),
        ):
            tls.sendall(data)
            tls.settimeout(0.5)
            tls.recv(100)
    either.raw("steady", token).close()
    either.raw_certificate(either.certificate("steady"), "steady").close()


def test_the_next_version_of_mqtt_is_refused_or_spoken(either: LocalBroker) -> None:
    """Clients try MQTT 5 first; a broker without it says so, on both listeners."""
    either.add("modern", Role.VIEWER)
    context = either.certificate("modern")
    body = b"\x00\x04MQTT\x05\x02\x00\x3c\x00" + b"\x00\x06modern"
    connection = RawMqtt("127.0.0.1", either.certificate_port, context)
    connection._send(0x10, body)
    answer = connection._expect(2)
    assert answer[1] == (0 if either.driver is Driver.MOSQUITTO else 0x84)
    connection.close()


# life


def test_a_renewed_certificate_is_taken_into_use_without_asking_the_clients(either: LocalBroker) -> None:
    new = ssl.PEM_cert_to_DER_cert(either.new_server_certificate().decode())
    either.broker.reload()
    client = either.certificate("whoever")

    def served(port: int) -> bytes | None:
        with (
            socket.create_connection(("127.0.0.1", port), 5) as plain,
            client.wrap_socket(plain, server_hostname="localhost") as tls,
        ):
            return tls.getpeercert(binary_form=True)

    wait_until(lambda: served(either.port) == new, 5, "the new certificate")
    wait_until(lambda: served(either.certificate_port) == new, 5, "the new certificate")
    either.raw("later", either.add("later", Role.VIEWER)).close()


def test_the_brokers_files_are_private(either: LocalBroker) -> None:
    token = either.add("private", Role.SERVICE)
    either.raw("private", token).close()
    assert loose_files(either.folder) == []
    for file in either.folder.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert token.encode() not in content
            assert either.logins._secret.encode() not in content


@pytest.mark.parametrize(
    "either",
    [Driver.NATS, pytest.param(Driver.MOSQUITTO, marks=[pytest.mark.slow, pytest.mark.timeout(200)])],
    indirect=True,
    ids=lambda driver: driver.value,
    scope="module",
)
def test_half_open_connections_are_closed(either: LocalBroker) -> None:
    """NATS closes them after seconds, Mosquitto after 90, which cannot be changed."""
    made = [socket.create_connection(("127.0.0.1", port)) for port in (either.port, either.certificate_port)]
    opened = time.monotonic()
    for connection in made:
        with connection:
            connection.settimeout(110 - (time.monotonic() - opened))
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""
        print(f"{either.driver.value}: closed after {time.monotonic() - opened:.0f} s")
