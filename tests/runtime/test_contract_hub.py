"""What every hub must hold, whatever its broker: the account service and clients around new and revoked credentials."""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fakes.runtimes import RuntimeHome
from fakes.wait import wait_until

from hiveot_supervisor.credentials import certificates, keys, provision, store
from hiveot_supervisor.errors import HubError, HubRefused
from hiveot_supervisor.hub.client import HubClient, Notification, NotificationKind, Right
from hiveot_supervisor.hub.mqtt import MqttHubClient
from hiveot_supervisor.model import Driver

RATE = 50.0  # messages per second
CLIENTS = 20


@pytest.fixture
def launcher(any_hub: RuntimeHome) -> Iterator[MqttHubClient]:
    client = any_hub.client("launcher", agent=True)
    yield client
    client.close()


@pytest.fixture
def admin(any_hub: RuntimeHome) -> Iterator[MqttHubClient]:
    client = any_hub.client("admin")
    yield client
    client.close()


def ask(client: HubClient, name: str, value: object = None, *, thing: str = "Admin") -> Any:
    right = Right.ADMIN if thing == "Admin" else Right.ACTION
    return client.invoke_action("authn", thing, name, value, right=right, timeout=5)


def new_service(launcher: HubClient, client_id: str) -> str:
    return str(ask(launcher, "addService", {"clientID": client_id, "pubKey": keys.public_pem(keys.generate())}))


def service_with_files(hub: RuntimeHome, launcher: HubClient, client_id: str) -> MqttHubClient:
    """A plugin as prestart and agent make it, connected."""
    files = provision.Files.of(hub.paths, client_id)
    provision.ensure(files, provision.ask_via(launcher), now=time.time)
    return hub.client(client_id, agent=True)


def rotate(hub: RuntimeHome, launcher: HubClient, client_id: str) -> str:
    """A new token for an account, written where its client reads it; returns the old one."""
    old = hub.token(client_id)
    new = new_service(launcher, client_id)
    store.write_file(hub.paths.token(client_id), new.encode())
    return old


def test_a_hundred_accounts_within_a_second(any_hub: RuntimeHome, launcher: MqttHubClient) -> None:
    """On an idle machine; here the CPU time of runtime and broker is held, which others cannot lengthen much."""
    pub = keys.public_pem(keys.generate())
    assert any_hub.process is not None
    processes = (any_hub.process.pid, any_hub.broker_pid())
    used = sum(map(cpu_seconds, processes))
    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        made = pool.map(lambda n: ask(launcher, "addService", {"clientID": f"many{n}", "pubKey": pub}), range(100))
        tokens = [str(token) for token in made]
    seconds, used = time.monotonic() - began, sum(map(cpu_seconds, processes)) - used
    print(f"{any_hub.driver.value}: 100 accounts in {seconds:.2f} s, {used:.2f} s of CPU")
    assert len(set(tokens)) == 100
    assert used < 1
    for number in (0, 99):
        any_hub.raw(f"many{number}", tokens[number]).close()


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Stream:
    """Clients that publish numbered events in turn; what was not acknowledged is sent again, as an outbox does."""

    def __init__(self, clients: list[MqttHubClient]) -> None:
        self._clients = clients
        self._stop = threading.Event()
        self.sent = 0
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(len(clients))]

    def _run(self, index: int) -> None:
        client, number = self._clients[index], 0
        while not self._stop.wait(len(self._clients) / RATE):
            while not self._stop.is_set():
                try:
                    client.publish_event("counter", "count", [index, number]).result(5)
                    break
                except HubError:
                    time.sleep(0.02)
            else:
                return
            number += 1
            self.sent += 1

    def __enter__(self) -> Stream:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(10)


def test_rotation_of_all_tokens_under_load_loses_nothing(any_hub: RuntimeHome, launcher: MqttHubClient) -> None:
    names = [f"turn{n}" for n in range(CLIENTS)]
    clients = [service_with_files(any_hub, launcher, name) for name in names]
    seen: list[list[tuple[int, float]]] = [[] for _ in names]

    def note(notification: Notification) -> None:
        if notification.thing_id == "counter":
            index, number = notification.value
            seen[index].append((number, time.monotonic()))

    watcher = any_hub.client("admin")
    watcher.subscribe([NotificationKind.EVENT], note).result(5)
    with Stream(clients) as stream:
        wait_until(lambda: stream.sent >= 2 * CLIENTS, 10, "the stream flows")
        began = time.monotonic()
        time.sleep(1.1)  # tokens count whole seconds: only then are they new
        old = {name: rotate(any_hub, launcher, name) for name in names}
        rotated = time.monotonic()
        wait_until(lambda: all(client.connected for client in clients), 5, "all are back")
        wait_until(lambda: all(len([t for _, t in each if t > rotated + 2]) >= 2 for each in seen), 15, "it flows on")
    wait_until(lambda: sum(len({n for n, _ in each}) for each in seen) >= stream.sent, 10, "all has arrived")
    worst = 0.0
    for each in seen:
        numbers = list(dict.fromkeys(number for number, _ in each))
        assert numbers == list(range(len(numbers)))  # none is missing, none overtook another
        times = [moment for _, moment in each if moment > began]
        worst = max([worst, *(b - a for a, b in itertools.pairwise(times))])
    print(f"{any_hub.driver.value}: {stream.sent} events, longest gap of a client {worst:.2f} s")
    assert worst < 2 + CLIENTS / RATE
    for name in names[:3]:
        if any_hub.driver is Driver.MOSQUITTO:
            with pytest.raises(HubRefused):
                any_hub.raw(name, old[name], name)
    for client in [*clients, watcher]:
        client.close()


def test_a_client_that_refreshes_its_own_token_gets_the_answer_first(
    any_hub: RuntimeHome, launcher: MqttHubClient
) -> None:
    client = service_with_files(any_hub, launcher, "selfmade")
    try:
        time.sleep(1.1)  # tokens count whole seconds
        old = any_hub.token("selfmade")
        new = str(ask(client, "refreshToken", old, thing="User"))
        assert new != old
        store.write_file(any_hub.paths.token("selfmade"), new.encode())
        if any_hub.driver is Driver.MOSQUITTO:
            wait_until(lambda: refused(any_hub, "selfmade", old), 5, "the old token is refused")
        wait_until(lambda: client.connected, 5, "it is back")
        assert ask(client, "getProfile", thing="User")["clientID"] == "selfmade"
    finally:
        client.close()


def refused(hub: RuntimeHome, user: str, password: str) -> bool:
    try:
        hub.raw(user, password, f"{user}-test").close()
    except HubRefused:
        return True
    return False


def test_a_token_that_nobody_wrote_down_locks_nobody_out(any_hub: RuntimeHome, launcher: MqttHubClient) -> None:
    """Whoever asked died before the answer: what is in the file must go on to work."""
    client = service_with_files(any_hub, launcher, "unlucky")
    try:
        time.sleep(1.1)
        new_service(launcher, "unlucky")  # and the answer is lost
        time.sleep(1.2)  # more than the grace
        wait_until(lambda: client.connected, 10, "it is back with the token in its file")
        client.publish_event("x", "y", 1).result(5)
    finally:
        client.close()


def test_a_removed_service_is_shown_as_offline(
    any_hub: RuntimeHome, launcher: MqttHubClient, admin: MqttHubClient
) -> None:
    presence: list[str] = []
    wanted = [NotificationKind.PRESENCE]
    admin.subscribe(wanted, lambda n: presence.append(n.value["state"]), agent_id="leaver").result(5)
    client = service_with_files(any_hub, launcher, "leaver")
    token = any_hub.token("leaver")
    wait_until(lambda: presence == ["online"], 5, "it is online")
    ask(launcher, "removeClient", "leaver")
    wait_until(lambda: presence[-1:] == ["offline"], 5, "it is offline")
    assert refused(any_hub, "leaver", token)
    assert not any_hub.paths.token("leaver").exists()
    client.close()


def test_people_log_in_by_password(any_hub: RuntimeHome, admin: MqttHubClient) -> None:
    ask(admin, "addConsumer", {"clientID": "vera", "password": "correct horse"})
    ask(admin, "setClientRole", {"clientID": "vera", "role": "viewer"})
    with any_hub.raw("vera", "correct horse", "vera") as client:
        assert client.subscribe("hiveot/td/#") == 1
    any_hub.paths.token("vera").write_text("correct horse")
    vera = any_hub.client("vera")
    try:
        ask(vera, "updatePassword", "battery staple", thing="User")  # answered although it ends the old one
        wait_until(lambda: refused(any_hub, "vera", "correct horse"), 5, "the old password is refused")
        any_hub.raw("vera", "battery staple").close()
    finally:
        vera.close()
        any_hub.paths.token("vera").unlink()
    ask(admin, "setClientPassword", {"clientID": "vera", "password": "third time"})
    assert refused(any_hub, "vera", "battery staple")
    any_hub.raw("vera", "third time").close()
    if any_hub.driver is Driver.MOSQUITTO:  # a token would end the password
        with pytest.raises(HubError, match="takes no token of vera, which has a password"):
            ask(admin, "newAgentToken", "vera")
    else:
        any_hub.raw("vera", ask(admin, "newAgentToken", "vera")).close()
    any_hub.raw("vera", "third time").close()


def test_accounts_survive_the_loss_of_everything_the_broker_knows(
    any_hub: RuntimeHome, launcher: MqttHubClient, admin: MqttHubClient
) -> None:
    """Tokens of clients elsewhere, passwords, roles and disabled accounts: all is in our own store."""
    remote = new_service(launcher, "elsewhere")
    ask(admin, "addConsumer", {"clientID": "paul", "password": "correct horse"})
    ask(admin, "setClientRole", {"clientID": "paul", "role": "operator"})
    off = new_service(launcher, "off")
    ask(admin, "updateClientProfile", {"clientID": "off", "disabled": True})
    any_hub.kill()
    for name in ("dynamic-security.json", "mosquitto.conf"):
        (any_hub.paths.stores / "runtime/mosquitto" / name).unlink(missing_ok=True)
    any_hub.start()
    any_hub.raw("elsewhere", remote).close()
    with any_hub.raw("paul", "correct horse", "paul") as client:
        assert client.subscribe("hiveot/td/#") == 1
    assert refused(any_hub, "paul", "wrong")
    assert refused(any_hub, "off", off)
    launcher.wait_connected(10)
    admin.wait_connected(10)
    ask(admin, "updateClientProfile", {"clientID": "off", "disabled": False})
    any_hub.raw("off", off).close()


def test_certificates_can_be_taken_back(any_hub: RuntimeHome, launcher: MqttHubClient) -> None:
    service_with_files(any_hub, launcher, "carded").close()
    pem = any_hub.paths.certificate("carded").read_bytes()
    assert certificates.common_name(pem) == "carded"
    client = any_hub.client("carded", agent=True, certificate_port=any_hub.certificate_port)
    client.publish_td({"id": "thing", "title": "by certificate"}).result(5)
    assert ask(client, "getProfile", thing="User")["clientID"] == "carded"
    ask(launcher, "revokeCertificates", "carded")
    wait_until(lambda: not client.connected, 5, "it is hung up")
    with pytest.raises(HubError):
        any_hub.client("carded", agent=True, certificate_port=any_hub.certificate_port)
    client.close()
    any_hub.raw("carded", any_hub.token("carded")).close()
    if any_hub.driver is Driver.MOSQUITTO:
        crl = (any_hub.paths.stores / "runtime/mosquitto/crl.pem").read_bytes()
        assert certificates.parse(pem).serial_number in revoked_serials(crl)


def revoked_serials(crl: bytes) -> set[int]:
    from cryptography import x509

    return {each.serial_number for each in x509.load_pem_x509_crl(crl)}


def test_prestart_account_asks_for_accounts_and_nothing_else(any_hub: RuntimeHome, launcher: MqttHubClient) -> None:
    client = any_hub.client("launcher-prestart")
    try:
        assert new_service(client, "early").startswith("v4.public.")
        with pytest.raises(HubError):
            ask(client, "newAgentToken", "admin")
        assert launcher.connected  # it is beside the launcher, not in its place
        client.close()
        with any_hub.raw("launcher-prestart", any_hub.token("launcher-prestart"), "launcher-prestart-x") as raw:
            for topic in ("hiveot/td/#", "hiveot/event/#", "hiveot/config/launcher/#", "hiveot/inbox/launcher/#"):
                assert raw.subscribe(topic) == 0x80
    finally:
        client.close()


def test_another_driver_takes_over_the_accounts() -> None:
    """From NATS to Mosquitto: tokens go on to work, in files here and elsewhere; a password has to be set again."""
    home = RuntimeHome(Driver.NATS)
    try:
        RuntimeHome(Driver.MOSQUITTO).close()  # skips where there is none
        home.start()
        launcher = home.client("launcher", agent=True)
        service_with_files(home, launcher, "local").close()
        remote = new_service(launcher, "elsewhere")
        admin = home.client("admin")
        ask(admin, "addConsumer", {"clientID": "paul", "password": "correct horse"})
        launcher.close()
        admin.close()
        assert home.stop() == 0
        home.configure(driver=Driver.MOSQUITTO)
        home.start()
        for user, token in (("local", home.token("local")), ("elsewhere", remote), ("admin", home.token("admin"))):
            home.raw(user, token).close()
        assert refused(home, "paul", "correct horse")
        assert "paul cannot log in by password: its password was set under another driver" in home.log.read_text()
    finally:
        home.close()


def test_nothing_secret_in_log_and_ps(any_hub: RuntimeHome) -> None:
    from fakes.runtimes import environment_of, loose_files

    assert any_hub.process is not None
    public = environment_of(any_hub.process.pid) + environment_of(any_hub.broker_pid()) + any_hub.log.read_text()
    for word in ("v4.public", "PRIVATE KEY", "correct horse", "battery staple"):
        assert word not in public
    for folder in (any_hub.paths.certs, any_hub.paths.stores, any_hub.paths.run):
        assert [name for name in loose_files(folder) if "vera.token" not in name] == []
    assert json.loads((any_hub.paths.run / "runtime.ready").read_text())["port"] == any_hub.port
