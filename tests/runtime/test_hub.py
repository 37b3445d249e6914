"""A running hub as strangers and plugins meet it: Debian's mosquitto clients, our hub client, provisioning."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from fakes.runtimes import RuntimeHome, environment_of, loose_files, rss_kb
from fakes.tools import require
from fakes.wait import wait_until

from hiveot_supervisor.credentials import certificates, keys, provision
from hiveot_supervisor.errors import HubError, HubRefused, RequestTimeout
from hiveot_supervisor.hub.client import HubClient, Request, Right
from hiveot_supervisor.hub.mqtt import MqttHubClient


@pytest.fixture(scope="module")
def launcher(hub: RuntimeHome) -> Iterator[MqttHubClient]:
    client = hub.client("launcher", agent=True)
    yield client
    client.close()


@pytest.fixture(scope="module")
def admin(hub: RuntimeHome) -> Iterator[MqttHubClient]:
    client = hub.client("admin")
    yield client
    client.close()


def ask(
    client: HubClient, name: str, value: object = None, *, thing: str = "Admin", right: Right = Right.ADMIN
) -> object:
    return client.invoke_action("authn", thing, name, value, right=right, timeout=5)


def person(admin: MqttHubClient, client_id: str, role: str) -> str:
    """A consumer account with a password, which is returned."""
    ask(admin, "addConsumer", {"clientID": client_id, "password": "correct horse"})
    ask(admin, "setClientRole", {"clientID": client_id, "role": role})
    return "correct horse"


def test_a_stranger_with_admins_token_sees_tds_and_events(hub: RuntimeHome, launcher: MqttHubClient) -> None:
    result = hub.mosquitto("mosquitto_sub", "admin", hub.token("admin"), "-t", "hiveot/td/+/+", "-C", "2", "-W", "5")
    tds = [json.loads(line) for line in result.stdout.splitlines()]
    assert {td["id"] for td in tds} == {"Admin", "User"}
    command = ["stdbuf", "-oL", "mosquitto_sub", "-h", "localhost", "-p", str(hub.port), "-u", "admin", "-q", "1", "-d"]
    command += ["--cafile", str(hub.paths.ca_cert), "-P", hub.token("admin"), "-t", "hiveot/event/#", "-F", "%t %p"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdout is not None
        assert any("SUBACK" in line for line in watcher.stdout)
        launcher.publish_event("Admin", "started", "history").result(5)
        line = next(line for line in watcher.stdout if line.startswith("hiveot/"))
        watcher.terminate()
    topic, payload = line.split(" ", 1)
    assert topic == "hiveot/event/launcher/Admin/started"
    assert json.loads(payload)["value"] == "history"


@pytest.mark.parametrize("password", ["wrong", "", "v4.public.AAAA"])
def test_a_wrong_token_is_refused(hub: RuntimeHome, password: str) -> None:
    result = hub.mosquitto("mosquitto_sub", "admin", password, "-t", "hiveot/td/#", "-C", "1", "-W", "5")
    assert result.returncode != 0
    assert result.stdout == ""
    assert "not authorised" in result.stderr


def test_another_ca_is_refused_by_the_client(hub: RuntimeHome, tmp_path: object) -> None:
    require("mosquitto_pub")
    other = certificates.create_ca(certificates.new_server_key(), now=time.time())
    path = hub.path / "other.pem"
    path.write_bytes(other)
    command = ["mosquitto_pub", "-h", "localhost", "-p", str(hub.port), "--cafile", str(path), "-t", "x", "-m", "x"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    assert result.returncode != 0


class Agent:
    """Records the requests that reach it."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def on_connected(self) -> None: ...

    def on_disconnected(self, reason: str) -> None: ...

    def on_refused(self, reason: str) -> None: ...

    def on_request(self, request: Request) -> None:
        self.requests.append(request)


def test_a_viewer_cannot_send_what_a_manager_may(hub: RuntimeHome, admin: MqttHubClient) -> None:
    from hiveot_supervisor.hub.client import Account

    provision.ensure(provision.Files.of(hub.paths, "target"), provision.ask_via(admin), now=time.time)
    agent, url = Agent(), f"mqtts://localhost:{hub.port}"
    target = MqttHubClient(url, Account("target", hub.paths.token("target"), hub.paths.ca_cert))
    target.start(agent)
    target.wait_connected(5)
    try:
        for user, role in (("vera", "viewer"), ("max", "manager")):
            password = person(admin, user, role)
            for right in ("config", "read"):
                topic = f"hiveot/{right}/target/Admin/{role}{right}/{user}"
                assert hub.mosquitto("mosquitto_pub", user, password, "-t", topic, "-m", "{}").returncode == 0
        wait_until(lambda: "managerread" in [r.name for r in agent.requests], 5)
        assert [r.name for r in agent.requests] == ["viewerread", "managerconfig", "managerread"]
    finally:
        target.close()


def test_without_a_role_there_is_nothing_to_see(hub: RuntimeHome, admin: MqttHubClient) -> None:
    password = person(admin, "nobody", "none")
    with hub.raw("nobody", password) as client:
        for topic in ("hiveot/td/#", "hiveot/event/#", "#"):
            assert client.subscribe(topic) == 0x80
        assert client.subscribe("hiveot/inbox/nobody/#") == 1
        assert client.settle() == []


def test_a_hundred_accounts_over_one_connection(launcher: MqttHubClient) -> None:
    pub = keys.public_pem(keys.generate())
    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        tokens = list(
            pool.map(lambda n: ask(launcher, "addService", {"clientID": f"many{n}", "pubKey": pub}), range(100))
        )
    seconds = time.monotonic() - began
    print(f"100 accounts in {seconds:.2f} s")
    assert len(set(map(str, tokens))) == 100
    assert seconds < 5  # target 1 s, seen 0.2 to 0.4 s


def test_provisioning_a_plugin_end_to_end(hub: RuntimeHome, launcher: MqttHubClient) -> None:
    files = provision.Files.of(hub.paths, "history")
    outcome = provision.ensure(files, provision.ask_via(launcher), now=time.time)
    assert outcome.written == (files.key, files.token, files.certificate)
    assert outcome.certificates_offered
    assert certificates.signed_by(files.certificate.read_bytes(), hub.paths.ca_cert.read_bytes())
    again = provision.ensure(files, lambda name, value: pytest.fail("asked the hub"), now=time.time)
    assert again.written == ()
    client = hub.client("history", agent=True)
    client.publish_td({"id": "history", "title": "x"}).result(5)
    client.close()


def test_a_plugin_gets_no_token_for_another_account(hub: RuntimeHome, launcher: MqttHubClient) -> None:
    provision.ensure(provision.Files.of(hub.paths, "greedy"), provision.ask_via(launcher), now=time.time)
    client = hub.client("greedy", agent=True)
    try:
        with pytest.raises((HubError, RequestTimeout)):
            client.invoke_action("authn", "Admin", "newAgentToken", "history", right=Right.ADMIN, timeout=0.5)
        with pytest.raises(HubRefused):
            ask(client, "newAgentToken", "history", right=Right.CONFIG)
        profile = ask(client, "getProfile", thing="User", right=Right.ACTION)
        assert isinstance(profile, dict)
        assert profile["clientID"] == "greedy"
    finally:
        client.close()


def test_a_removed_account_is_disconnected_and_refused(hub: RuntimeHome, admin: MqttHubClient) -> None:
    token = str(ask(admin, "addAgent", {"clientID": "leaver", "pubKey": keys.public_pem(keys.generate())}))
    with hub.raw("leaver", token, "leaver", clean=False) as client:
        client.subscribe("hiveot/config/leaver/#")
        ask(admin, "removeClient", "leaver")
        with pytest.raises(HubError):
            client.receive(5)
    with pytest.raises(HubRefused):
        hub.raw("leaver", token, "leaver")
    again = str(ask(admin, "addAgent", {"clientID": "leaver", "pubKey": keys.public_pem(keys.generate())}))
    with hub.raw("leaver", again, "leaver", clean=False) as client:
        assert client.settle() == []


def test_a_changed_role_takes_effect_at_once(hub: RuntimeHome, admin: MqttHubClient) -> None:
    password = person(admin, "riser", "none")
    with hub.raw("riser", password) as client:
        assert client.subscribe("hiveot/td/#") == 0x80
        ask(admin, "setClientRole", {"clientID": "riser", "role": "viewer"})
        with pytest.raises(HubError):
            client.receive(5)
    with hub.raw("riser", password) as client:
        assert client.subscribe("hiveot/td/#") == 1


def test_a_refreshed_token_logs_in(hub: RuntimeHome, admin: MqttHubClient, launcher: MqttHubClient) -> None:
    new = ask(launcher, "refreshToken", hub.token("launcher"), thing="User", right=Right.ACTION)
    with hub.raw("launcher", str(new), "launcher-test") as client:
        assert client.subscribe("hiveot/td/#") == 1


def test_errors_name_the_reason(admin: MqttHubClient) -> None:
    with pytest.raises(HubError, match="there is no account nobody-there"):
        ask(admin, "getClientRole", "nobody-there")
    with pytest.raises(HubError, match="cannot be a client ID"):
        ask(admin, "addService", {"clientID": "a/b"})
    with pytest.raises(HubError, match="has no action selfDestruct"):
        ask(admin, "selfDestruct")


def test_nothing_of_the_home_is_open_or_secret_in_ps_and_log(hub: RuntimeHome) -> None:
    assert hub.process is not None
    assert loose_files(hub.paths.certs) == []
    assert loose_files(hub.paths.stores) == []
    assert loose_files(hub.paths.run) == []
    public = environment_of(hub.process.pid) + environment_of(hub.broker_pid()) + hub.log.read_text()
    for client_id in ("admin", "launcher", "authn"):
        assert hub.token(client_id) not in public
    assert "v4.public" not in public
    assert "PRIVATE KEY" not in public
    assert "correct horse" not in public


def test_memory(hub: RuntimeHome) -> None:
    assert hub.process is not None
    ours, brokers = rss_kb(hub.process.pid) / 1024, rss_kb(hub.broker_pid()) / 1024
    print(f"RSS: runtime {ours:.0f} MB, broker {brokers:.0f} MB")
    assert ours < 100
