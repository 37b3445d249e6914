"""The account service over a broker that somebody else runs: a Mosquitto with accounts of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.brokers import KEEPER, Mosquitto
from fakes.runtimes import RuntimeHome, require_driver
from fakes.wait import wait_until

from hiveot_supervisor.credentials import keys, provision, store
from hiveot_supervisor.errors import ConfigError, ExitCode, HubError, HubRefused
from hiveot_supervisor.hub.client import Right
from hiveot_supervisor.model import Driver
from hiveot_supervisor.runtime.broker_external import read_admin


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    require_driver(Driver.MOSQUITTO)
    made = Mosquitto(tmp_path / "broker")
    made.start()
    yield made
    made.kill()


@pytest.fixture
def place(broker: Mosquitto) -> Iterator[RuntimeHome]:
    """A home whose hub is that broker; not started."""
    home = RuntimeHome()
    home.port = broker.port
    home.paths.certs.mkdir(mode=0o700)
    store.write_file(home.paths.ca_cert, (broker.folder / "ca.pem").read_bytes())
    admin = home.paths.certs / "broker-admin"
    store.write_file(admin, f"{KEEPER}:password-of-keeper\n".encode())
    home.configure(driver=Driver.EXTERNAL, admin_file=admin)
    yield home
    home.close()


def fails(home: RuntimeHome) -> tuple[int, str]:
    code = home.spawn().wait(20)
    return code, home.log.read_text()


def test_accounts_in_somebody_elses_broker(place: RuntimeHome, broker: Mosquitto) -> None:
    place.start()
    launcher = place.client("launcher", agent=True)
    files = provision.Files.of(place.paths, "history")
    provision.ensure(files, provision.ask_via(launcher), now=time.time)
    plugin = place.client("history", agent=True)
    plugin.publish_td({"id": "thing", "title": "x"}).result(5)

    # rights are ours: a plugin sees no more than its role, whatever the broker grants others
    with place.raw("history", place.token("history"), "history-2") as raw:
        assert raw.subscribe("hiveot/td/#") == 1
        assert raw.subscribe("$CONTROL/#") == 0x80
        assert raw.subscribe("hiveot/inbox/launcher/#") == 0x80
    # the broker's other clients are left alone
    place.raw("viewer", "token-of-viewer").close()

    # a restart disturbs nobody who is connected
    connected = time.monotonic()
    assert place.stop() == 0
    place.start()
    assert plugin.connected
    plugin.publish_td({"id": "thing", "title": "y"}).result(5)
    assert time.monotonic() - connected < 60
    launcher.wait_connected(10)

    # rotation and removal
    old = place.token("history")
    pub = keys.public_pem(keys.generate())
    wait_until(lambda: time.time() % 1 < 0.5, 2)
    time.sleep(1.0)  # tokens count whole seconds
    new = launcher.invoke_action(
        "authn", "Admin", "addService", {"clientID": "history", "pubKey": pub}, right=Right.ADMIN
    )
    store.write_file(place.paths.token("history"), str(new).encode())
    wait_until(lambda: refused(place, "history", old), 5, "the old token is refused")
    wait_until(lambda: plugin.connected, 10, "it is back")
    plugin.close()
    launcher.invoke_action("authn", "Admin", "removeClient", "history", right=Right.ADMIN)
    assert refused(place, "history", str(new))
    launcher.close()


def refused(home: RuntimeHome, user: str, password: str) -> bool:
    try:
        home.raw(user, password, f"{user}-test").close()
    except HubRefused:
        return True
    return False


def test_a_broker_that_lets_everybody_in_is_not_used(place: RuntimeHome, broker: Mosquitto) -> None:
    """The negative probe looks at somebody else's broker, too."""
    broker.stop()
    security = broker.folder / "security.json"
    security.write_text(security.read_text().replace('"subscribe": false', '"subscribe": true'))
    broker.start()
    code, log = fails(place)
    assert code == ExitCode.FAILED
    assert "the broker lets an account without a role read" in log


def test_an_administrator_that_is_refused(place: RuntimeHome) -> None:
    store.write_file(place.paths.certs / "broker-admin", f"{KEEPER}:wrong".encode())
    code, log = fails(place)
    assert code == ExitCode.FAILED
    assert "the broker does not take commands" in log
    assert f"refused the login of {KEEPER}" in log
    assert "wrong" not in log


def test_an_administrator_that_is_one_of_our_accounts(place: RuntimeHome) -> None:
    store.write_file(place.paths.certs / "broker-admin", b"admin:x")
    code, log = fails(place)
    assert code == ExitCode.CONFIG
    assert "the administrator's account must not be admin" in log


@pytest.mark.parametrize(
    ("content", "text"), [(None, "does not exist"), (b"", "does not hold USER:PASSWORD"), (b"user", "does not hold")]
)
def test_the_administrators_file(tmp_path: Path, content: bytes | None, text: str) -> None:
    tmp_path.chmod(0o700)
    if content is not None:
        (tmp_path / "file").write_bytes(content)
    with pytest.raises(ConfigError, match=text) as caught:
        read_admin(tmp_path / "file")
    assert "USER:PASSWORD" in caught.value.hint


def test_what_is_missing_is_said() -> None:
    home = RuntimeHome()
    try:
        home.configure(driver=Driver.EXTERNAL)
        code, log = fails(home)
        assert code == ExitCode.CONFIG
        assert "cannot be managed without an administrator" in log
        home.configure(driver=Driver.EXTERNAL, admin_file=home.paths.certs / "broker-admin")
        code, log = fails(home)
        assert code == ExitCode.CONFIG
        assert "caCert.pem is missing" in log
    finally:
        home.close()


def test_certificates_are_not_issued_without_the_ca(place: RuntimeHome) -> None:
    place.start()
    launcher = place.client("launcher", agent=True)
    try:
        outcome = provision.ensure(provision.Files.of(place.paths, "plain"), provision.ask_via(launcher), now=time.time)
        assert not outcome.certificates_offered
        request = {"clientID": "plain", "csr": "x"}
        with pytest.raises(HubError, match=r"caKey\.pem is missing"):
            launcher.invoke_action("authn", "Admin", "issueCertificate", request, right=Right.ADMIN)
    finally:
        launcher.close()
