"""The account service's actions and who may use them, without a broker."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.runtimes import loose_files

from hiveot_supervisor.credentials import certificates, expiry, keys, tokens
from hiveot_supervisor.hub.client import Right
from hiveot_supervisor.model import Hub
from hiveot_supervisor.runtime import bootstrap
from hiveot_supervisor.runtime.accounts import Account, AccountStore
from hiveot_supervisor.runtime.authn_actions import AccountActions, Call
from hiveot_supervisor.runtime.authn_input import BadInput, Denied, NotFound
from hiveot_supervisor.runtime.authn_things import ADMIN_RIGHTS, USER_ACTIONS, thing_descriptions
from hiveot_supervisor.runtime.bootstrap import DAY, HubFiles
from hiveot_supervisor.runtime.issued import IssuedCertificates
from hiveot_supervisor.runtime.pbkdf2 import check_secret
from hiveot_supervisor.runtime.roles import Role


class RecordingBroker:
    """What a broker would be told. one_secret: as Mosquitto, which knows one secret an account."""

    def __init__(self) -> None:
        self.one_secret = False
        self.rechecked = 0
        self.kicked: list[str] = []
        self.forgotten: list[str] = []
        self.put_accounts: list[str] = []
        self.secrets: list[tuple[str, str, bool]] = []

    def put(self, account: Account) -> None:
        self.put_accounts.append(account.client_id)

    def set_secret(self, client_id: str, secret: str, *, at_once: bool = False) -> None:
        self.secrets.append((client_id, secret, at_once))

    def kick(self, client_id: str) -> None:
        self.kicked.append(client_id)

    def forget(self, client_id: str) -> None:
        self.forgotten.append(client_id)

    def recheck(self) -> None:
        self.rechecked += 1


class Service:
    """The actions over a real store and real files; `broker` records what the broker would be told."""

    def __init__(self, home: Path) -> None:
        self.files = HubFiles(home / "certs")
        bootstrap.prepare_tls(self.files, Hub(), now=time.time())
        self.signer = bootstrap.prepare_signer(self.files)
        self.accounts = AccountStore(home / "accounts.db")
        bootstrap.prepare_accounts(self.accounts, self.files, self.signer, "launcher")
        self.issued = IssuedCertificates(home / "accounts.db")
        self.broker = RecordingBroker()
        self.kicked, self.forgotten = self.broker.kicked, self.broker.forgotten
        self.actions = AccountActions(
            self.accounts,
            self.files,
            self.signer,
            launcher_id="launcher",
            now=time.time,
            broker=self.broker,
            issued=self.issued,
        )

    def admin(self, name: str, value: Any = None, *, sender: str = "admin", right: Right = Right.ADMIN) -> Any:
        return self.actions.perform(Call("Admin", name, value, sender, right))

    def user(self, sender: str, name: str, value: Any = None, *, right: Right = Right.ACTION) -> Any:
        return self.actions.perform(Call("User", name, value, sender, right))

    def person(self, client_id: str, role: str, password: str = "secret") -> None:
        self.admin("addConsumer", {"clientID": client_id, "password": password})
        self.admin("setClientRole", {"clientID": client_id, "role": role})
        self.kicked.clear()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path)
    yield made
    made.accounts.close()


def public() -> str:
    return keys.public_pem(keys.generate())


def test_add_service_with_the_clients_own_key(service: Service) -> None:
    pub = public()
    token = service.admin(
        "addService", {"clientID": "history", "displayName": "History", "pubKey": pub}, sender="launcher"
    )
    claims = tokens.verify(token, service.signer.public_key(), now=time.time())
    assert (claims.client_id, claims.session_id) == ("history", "history")
    assert claims.expires == pytest.approx(time.time() + 365 * DAY, abs=5)
    assert not list(service.files.certs.glob("history*"))  # the caller keeps its own files
    profile = service.admin("getClientProfile", "history")
    assert profile.pop("updated").endswith("Z")
    assert profile == {"clientID": "history", "clientType": "service", "displayName": "History", "pubKey": pub}
    assert service.admin("getClientRole", "history") == "service"


def test_add_service_without_a_key_makes_the_files_of_the_go_hub(service: Service) -> None:
    token = service.admin("addService", {"clientID": "remote"})
    key = keys.load(service.files.key("remote"))
    assert service.files.token("remote").read_text() == token
    assert service.files.public_key("remote").read_text() == keys.public_pem(key)
    assert service.admin("getClientProfile", "remote")["pubKey"] == keys.public_pem(key)
    assert "PRIVATE" not in token
    assert loose_files(service.files.certs) == []
    before = service.files.key("remote").read_bytes()
    service.admin("addService", {"clientID": "remote"})
    assert service.files.key("remote").read_bytes() == before


def test_add_service_again_changes_the_key_and_keeps_the_account(service: Service) -> None:
    service.admin("addService", {"clientID": "a", "displayName": "One", "pubKey": public()})
    created = service.accounts.get("a")
    service.admin("addService", {"clientID": "a", "pubKey": public()})
    again = service.accounts.get("a")
    assert created is not None
    assert again is not None
    assert (again.created, again.display_name) == (created.created, "One")
    assert again.public_key != created.public_key


def test_agents_and_consumers(service: Service) -> None:
    token = service.admin("addAgent", {"clientID": "sensor", "pubKey": public()})
    assert expiry.read_claims(token).expires == pytest.approx(time.time() + 90 * DAY, abs=5)
    assert service.admin("getClientRole", "sensor") == "agent"
    assert service.admin("addConsumer", {"clientID": "bob", "password": "secret"}) is None
    assert service.admin("getClientRole", "bob") == "none"
    assert service.kicked == []
    service.admin("setClientRole", {"clientID": "bob", "role": "operator"})
    assert service.admin("getClientRole", "bob") == "operator"
    service.admin("setClientPassword", {"clientID": "bob", "password": "other secret"})
    assert service.kicked == ["bob", "bob"]
    assert [p["clientID"] for p in service.admin("getProfiles")] == [
        *("admin", "authn", "bob", "launcher", "launcher-prestart", "sensor")
    ]


def test_removing_a_client(service: Service) -> None:
    service.admin("addService", {"clientID": "gone"})
    service.admin("removeClient", "gone", sender="launcher")
    assert service.forgotten == ["gone"]
    assert service.accounts.get("gone") is None
    assert not service.files.token("gone").exists()  # so that nobody thinks it were still good
    assert service.files.key("gone").exists()
    service.admin("removeClient", "gone")  # as in the Go hub, not an error
    assert service.forgotten == ["gone"]


def test_new_token_and_disabling(service: Service) -> None:
    service.admin("addAgent", {"clientID": "sensor", "pubKey": public()})
    token = service.admin("newAgentToken", "sensor", sender="launcher")
    assert expiry.read_claims(token).client_id == "sensor"
    service.admin("updateClientProfile", {"clientID": "sensor", "displayName": "Sensor", "disabled": True})
    assert service.kicked == ["sensor"]
    assert service.admin("getClientProfile", "sensor")["disabled"] is True
    with pytest.raises(NotFound):
        service.admin("newAgentToken", "nobody")


def test_certificates(service: Service) -> None:
    key = keys.generate()
    service.admin("addService", {"clientID": "history", "pubKey": keys.public_pem(key)})
    request = {"clientID": "history", "csr": certificates.create_request(key, "whatever")}
    pem = service.admin("issueCertificate", request, sender="launcher").encode()
    assert certificates.common_name(pem) == "history"
    assert certificates.belongs_to(pem, key)
    assert certificates.signed_by(pem, service.files.ca.read_bytes())
    for bad in ({"clientID": "history", "csr": "junk"}, {"clientID": "history"}, "history"):
        with pytest.raises(BadInput):
            service.admin("issueCertificate", bad)
    with pytest.raises(NotFound):
        service.admin("issueCertificate", request | {"clientID": "nobody"})
    with pytest.raises(Denied):
        service.admin("issueCertificate", request | {"clientID": "admin"}, sender="launcher")
    own = service.admin("issueCertificate", request | {"clientID": "launcher"}, sender="launcher")
    assert certificates.common_name(own.encode()) == "launcher"


@pytest.mark.parametrize("client_id", ["admin", "launcher", "authn"])
@pytest.mark.parametrize("sender", ["admin", "launcher"])
def test_the_hubs_own_accounts_cannot_be_touched(service: Service, client_id: str, sender: str) -> None:
    before = service.accounts.all()
    for name, value in {
        "addService": {"clientID": client_id},
        "addAgent": {"clientID": client_id},
        "addConsumer": {"clientID": client_id, "password": "secret"},
        "newAgentToken": client_id,
        "retireTokens": {"clientID": client_id, "token": "x"},
        "removeClient": client_id,
        "setClientPassword": {"clientID": client_id, "password": "secret"},
        "updateClientProfile": {"clientID": client_id, "pubKey": public()},
        "setClientRole": {"clientID": client_id, "role": "none"},
    }.items():
        with pytest.raises(Denied):
            service.admin(name, value, sender=sender)
    assert service.accounts.all() == before
    assert service.kicked == []


def test_the_launcher_has_no_power_over_people(service: Service) -> None:
    service.person("boss", "admin")
    before = service.accounts.all()
    for name, value in {
        "addService": {"clientID": "boss", "pubKey": public()},
        "addConsumer": {"clientID": "boss", "password": "hijacked"},
        "newAgentToken": "boss",
        "retireTokens": {"clientID": "boss", "token": "x"},
        "removeClient": "boss",
        "setClientPassword": {"clientID": "boss", "password": "hijacked"},
        "updateClientProfile": {"clientID": "boss", "pubKey": public()},
        "issueCertificate": {"clientID": "boss", "csr": certificates.create_request(keys.generate(), "boss")},
    }.items():
        with pytest.raises(Denied, match="account of a person"):
            service.admin(name, value, sender="launcher")
    with pytest.raises(Denied):
        service.admin("setClientRole", {"clientID": "boss", "role": "none"}, sender="launcher")
    with pytest.raises(BadInput, match="account of a consumer"):
        service.admin("addService", {"clientID": "boss", "pubKey": public()})  # nor by mistake of admin
    assert service.accounts.all() == before


ALL = {name: {"clientID": "x"} for name in ADMIN_RIGHTS}


@pytest.mark.parametrize("role", [*Role])
def test_which_roles_may_use_admin(service: Service, role: Role) -> None:
    """Reading from manager up; changing only admin and the launcher, whatever class a request came with."""
    service.person("somebody", role.value)
    readers = {Role.MANAGER, Role.ADMIN, Role.SERVICE}
    for name, needed in ADMIN_RIGHTS.items():
        allowed = role in readers if needed is Right.CONFIG else role is Role.ADMIN
        for right in Right:
            try:
                service.admin(name, ALL[name], sender="somebody", right=right)
                denied = False
            except Denied:
                denied = True
            except (BadInput, NotFound):
                denied = False
            enough = list(Right).index(right) >= list(Right).index(needed)
            assert denied == (not (allowed and enough)), (name, right)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("addService", None),
        ("addService", "history"),
        ("addService", {}),
        ("addService", {"clientID": ""}),
        ("addService", {"clientID": 7}),
        ("addService", {"clientID": "../etc"}),
        ("addService", {"clientID": "a b"}),
        ("addService", {"clientID": "a/b"}),
        ("addService", {"clientID": "#"}),
        ("addService", {"clientID": "ca"}),
        ("addService", {"clientID": "hub"}),
        ("addService", {"clientID": "x" * 65}),
        ("addService", {"clientID": "a", "pubKey": "junk"}),
        ("addService", {"clientID": "a", "pubKey": 7}),
        ("addService", {"clientID": "a", "displayName": "x" * 257}),
        ("addService", {"clientID": "a", "displayName": "x\nforged log line"}),
        ("addConsumer", {"clientID": "a", "password": "1234"}),
        ("addConsumer", {"clientID": "a", "password": ["secret"]}),
        ("setClientRole", {"clientID": "bob", "role": "king"}),
        ("updateClientProfile", {"clientID": "bob", "clientType": "king"}),
        ("updateClientProfile", {"clientID": "bob", "disabled": "no"}),
        ("newAgentToken", {"clientID": "bob"}),
        ("removeClient", None),
    ],
)
def test_bad_input(service: Service, name: str, value: object) -> None:
    service.person("bob", "viewer")
    before = service.accounts.all()
    with pytest.raises(BadInput):
        service.admin(name, value)
    assert service.accounts.all() == before


def test_what_everybody_may_do(service: Service) -> None:
    service.person("bob", "viewer")
    assert service.user("bob", "getProfile")["clientID"] == "bob"
    service.user("bob", "updateName", "Robert")
    pub = public()
    service.user("bob", "updatePubKey", pub)
    assert service.user("bob", "getProfile")["displayName"] == "Robert"
    assert service.user("bob", "getProfile")["pubKey"] == pub
    service.user("bob", "updatePassword", "new secret")
    for value in ({"clientID": "bob", "password": "secret"}, {"clientID": "alice", "password": "new secret"}):
        with pytest.raises(Denied):
            service.user("bob", "login", value)
    token = service.user("bob", "login", {"clientID": "bob", "password": "new secret"})
    claims = tokens.verify(token, service.signer.public_key(), now=time.time())
    assert claims.session_id not in ("", "bob")
    assert claims.expires == pytest.approx(time.time() + 30 * DAY, abs=5)
    service.user("bob", "logout")
    assert service.kicked == ["bob"]


def test_refreshing_a_token(service: Service) -> None:
    old = service.admin("addService", {"clientID": "a", "pubKey": public()})
    service.admin("addService", {"clientID": "b", "pubKey": public()})
    assert expiry.read_claims(service.user("a", "refreshToken", old)).client_id == "a"
    for sender, token in (("b", old), ("a", old[:-3] + "AAA"), ("a", "junk")):
        with pytest.raises(Denied):
            service.user(sender, "refreshToken", token)
    with pytest.raises(BadInput):
        service.user("a", "refreshToken", None)


def test_tokens_are_retired_when_the_new_one_is_in_use(service: Service) -> None:
    """Both are good until then, whenever they were made; a repetition disconnects nobody."""
    old = service.admin("addService", {"clientID": "a", "pubKey": public()})
    new = service.admin("addService", {"clientID": "a", "pubKey": public(), "newSession": True}, sender="launcher")
    for token in (old, new):
        assert service.user("a", "refreshToken", token)
    assert service.kicked == []
    for _ in range(2):
        service.admin("retireTokens", {"clientID": "a", "token": new}, sender="launcher")
        assert service.kicked == ["a"]
    with pytest.raises(Denied, match="not accepted") as caught:
        service.user("a", "refreshToken", old)
    assert "replaced by a newer one" in caught.value.why
    for token in (new, service.user("a", "refreshToken", new), service.admin("newAgentToken", "a")):
        assert service.user("a", "refreshToken", token)
    later = service.admin("addService", {"clientID": "a", "pubKey": public(), "newSession": True})
    for token in (new, later):
        assert service.user("a", "refreshToken", token)
    service.admin("retireTokens", {"clientID": "a", "token": later})
    with pytest.raises(Denied):
        service.user("a", "refreshToken", new)
    with pytest.raises(Denied):
        service.admin("retireTokens", {"clientID": "a", "token": old})


def test_retiring_needs_a_token_of_that_very_account(service: Service) -> None:
    for client_id in ("a", "b"):
        service.admin("addService", {"clientID": client_id, "pubKey": public()})
    foreign = service.admin("newAgentToken", "b")
    forged = tokens.issue(keys.generate(), "a", now=time.time(), lifetime=60, session_id="x")
    for token in (foreign, forged, "junk"):
        with pytest.raises(Denied):
            service.admin("retireTokens", {"clientID": "a", "token": token})
    service.person("bob", "viewer")
    with pytest.raises(BadInput):
        service.admin("retireTokens", {"clientID": "bob", "token": foreign})
    with pytest.raises(BadInput):
        service.admin("addService", {"clientID": "a", "newSession": "yes"})
    assert service.kicked == []


def test_an_account_made_while_the_clock_was_ahead(service: Service) -> None:
    service.admin("addService", {"clientID": "a", "pubKey": public()})
    made = service.accounts.get("a")
    assert made is not None
    service.accounts.put(dataclasses.replace(made, created=time.time() + 1e8))
    token = service.admin("addService", {"clientID": "a", "pubKey": public()})
    assert service.user("a", "refreshToken", token)


def test_no_passwords_for_services_and_no_new_keys_for_the_hub(service: Service) -> None:
    service.admin("addService", {"clientID": "a", "pubKey": public()})
    for sender in ("a", "launcher", "admin"):
        with pytest.raises(Denied):
            service.user(sender, "updatePassword", "secret")
    for sender in ("launcher", "admin", "authn"):
        with pytest.raises(Denied):
            service.user(sender, "updatePubKey", public())


@pytest.mark.parametrize(
    ("thing", "name"),
    [
        ("Admin", "getProfile"),
        ("User", "addService"),
        ("Admin", "perform"),
        ("Other", "x"),
        ("admin", "getProfiles"),
        ("", ""),
    ],
)
def test_what_does_not_exist(service: Service, thing: str, name: str) -> None:
    with pytest.raises(NotFound):
        service.actions.perform(Call(thing, name, None, "admin", Right.ADMIN))


def test_a_removed_sender_and_a_reading_right(service: Service) -> None:
    with pytest.raises(Denied):
        service.user("nobody", "getProfile")
    with pytest.raises(Denied):
        service.user("admin", "getProfile", right=Right.READ)


def test_the_thing_descriptions_name_every_action() -> None:
    admin, user = thing_descriptions("2027-01-15T08:00:00.000Z")
    assert (admin["id"], user["id"]) == ("Admin", "User")
    assert set(admin["actions"]) == set(ADMIN_RIGHTS)
    assert set(user["actions"]) == USER_ACTIONS
    assert isinstance(admin["@context"], list)
    for name in (*ADMIN_RIGHTS, *USER_ACTIONS):
        thing = "admin" if name in ADMIN_RIGHTS else "user"
        handler = "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
        assert hasattr(AccountActions, f"_{thing}_{handler}")


def test_a_broker_with_one_secret_an_account(service: Service) -> None:
    """Each new secret is told to it, with the hash kept for its next start; a password is not ended by a token."""
    service.broker.one_secret = True
    token = service.admin("addAgent", {"clientID": "sensor", "pubKey": public()})
    assert service.broker.put_accounts == ["sensor"]
    assert service.broker.secrets == [("sensor", token, False)]
    account = service.accounts.get("sensor")
    assert account is not None
    assert check_secret(token, account.secret_hash)
    assert account.secret_expires == pytest.approx(time.time() + 90 * DAY, abs=5)
    service.person("bob", "viewer", "battery staple")
    assert service.broker.secrets[-1] == ("bob", "battery staple", True)
    person = service.accounts.get("bob")
    assert person is not None
    assert check_secret("battery staple", person.secret_hash)
    assert person.secret_expires == 0
    for refused in (
        lambda: service.admin("newAgentToken", "bob"),
        lambda: service.user("bob", "login", {"clientID": "bob", "password": "battery staple"}),
    ):
        with pytest.raises(Denied, match="takes no token of bob"):
            refused()
    service.user("bob", "updatePassword", "another one")  # answered first: it takes effect a moment later
    assert service.broker.secrets[-1] == ("bob", "another one", False)
    with pytest.raises(BadInput):
        service.admin("addConsumer", {"clientID": "eve", "password": "x"})
    assert service.accounts.get("eve") is None


def test_other_brokers_need_no_hash_of_a_password(service: Service) -> None:
    service.person("bob", "viewer")
    person = service.accounts.get("bob")
    assert person is not None
    assert person.password_hash
    assert person.secret_hash == ""
    assert service.user("bob", "login", {"clientID": "bob", "password": "secret"})


def test_prestart_manages_accounts_but_not_those_of_the_hub(service: Service) -> None:
    assert service.admin("addService", {"clientID": "history", "pubKey": public()}, sender="launcher-prestart")
    for protected in ("launcher", "launcher-prestart", "admin", "authn"):
        with pytest.raises(Denied):
            service.admin("newAgentToken", protected, sender="launcher-prestart")
    with pytest.raises(Denied):
        service.admin("setClientRole", {"clientID": "history", "role": "admin"}, sender="launcher-prestart")


def test_issued_certificates_are_listed_and_taken_back(service: Service) -> None:
    service.admin("addService", {"clientID": "history", "pubKey": public()})
    request = certificates.create_request(keys.generate(), "history")
    pem = service.admin("issueCertificate", {"clientID": "history", "csr": request}).encode()
    serial = certificates.parse(pem).serial_number
    listed = service.issued.get(serial)
    assert listed is not None
    assert (listed.client_id, listed.revoked) == ("history", False)
    service.admin("revokeCertificates", "history", sender="launcher")
    assert service.issued.void(service.accounts, now=time.time()) == [serial]
    assert service.broker.rechecked == 1
    assert service.kicked == ["history"]
    service.admin("addService", {"clientID": "other", "pubKey": public()})
    other = service.admin(
        "issueCertificate", {"clientID": "other", "csr": certificates.create_request(keys.generate(), "other")}
    )
    service.admin("removeClient", "other")
    assert service.forgotten == ["other"]
    listed = service.issued.get(certificates.parse(other.encode()).serial_number)
    assert listed is not None
    assert listed.revoked
