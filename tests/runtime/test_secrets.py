"""Hashes for a broker that checks secrets itself, when a new secret takes effect, and the list of certificates."""

from __future__ import annotations

import dataclasses
import sqlite3
import threading
import time
from pathlib import Path

import pytest
from fakes.wait import wait_until

from hiveot_supervisor.credentials import certificates, keys
from hiveot_supervisor.errors import HiveotError
from hiveot_supervisor.runtime.accounts import Account, AccountStore, ClientType, StoreError
from hiveot_supervisor.runtime.issued import Issued, IssuedCertificates, stands
from hiveot_supervisor.runtime.pbkdf2 import PASSWORD_ITERATIONS, check_secret, dynsec_password, hash_secret
from hiveot_supervisor.runtime.roles import Role
from hiveot_supervisor.runtime.rotation import Pending, Rotation, is_due

ACCOUNT = Account("a", ClientType.SERVICE, Role.SERVICE, created=1000.0)
NOW = time.time()


# hashes


def test_a_hash_fits_its_secret_alone_and_is_salted() -> None:
    one, other = hash_secret("secret", 101), hash_secret("secret", 101)
    assert one != other
    assert check_secret("secret", one)
    assert not check_secret("Secret", one)
    assert "secret" not in one


@pytest.mark.parametrize(
    "hashed", ["", "x", "scrypt:1:2:3", "pbkdf2-sha512:a:AA==:AA==", "pbkdf2-sha512:1:!:!", "::::"]
)
def test_strange_hashes_fit_nothing(hashed: str) -> None:
    assert not check_secret("", hashed)


def test_a_known_vector() -> None:
    """PBKDF2-HMAC-SHA512, password `password`, salt `salt` x 3, as hashlib and OpenSSL give it."""
    import base64
    import hashlib

    salt = b"salt" * 3
    digest = hashlib.pbkdf2_hmac("sha512", b"password", salt, 2)
    text = f"pbkdf2-sha512:2:{base64.b64encode(salt).decode()}:{base64.b64encode(digest).decode()}"
    assert check_secret("password", text)
    assert dynsec_password(text) == {
        "password": base64.b64encode(digest).decode(),
        "salt": base64.b64encode(salt).decode(),
        "iterations": 2,
    }
    assert dynsec_password("") == {}


def test_what_people_choose_is_expensive_to_guess() -> None:
    assert PASSWORD_ITERATIONS >= 50_000


# when a new secret takes effect


@pytest.mark.parametrize(
    ("file_text", "now", "due"), [("new", 0.0, True), ("old", 0.9, False), ("old", 1.0, True), ("", 0.5, False)]
)
def test_a_secret_takes_effect_when_it_is_written_or_after_the_grace(file_text: str, now: float, due: bool) -> None:
    assert is_due(Pending("new", 1.0), file_text, now) is due


class World:
    """What a Rotation acts on."""

    def __init__(self) -> None:
        self.files = {"a": "old"}
        self.applied: list[tuple[str, str]] = []
        self.expired = 0
        self.failing = False
        self.rotation = Rotation(
            file_text=lambda name: self.files.get(name, ""),
            apply=self.apply,
            next_expiry=lambda: None,
            expire=lambda: None,
        )
        self.rotation.start()

    def apply(self, client_id: str, secret: str) -> None:
        if self.failing:
            self.failing = False
            raise HiveotError("not now")
        self.applied.append((client_id, secret))


def test_files_first_then_the_broker() -> None:
    world = World()
    world.rotation.put("a", "one")
    world.rotation.put("a", "two")  # the first one never takes effect
    world.rotation.put("b", "other")
    assert world.rotation.waits("a")
    world.files["a"] = "two"
    wait_until(lambda: world.applied[:1] == [("a", "two")], 0.9)
    assert not world.rotation.waits("a")
    wait_until(lambda: world.applied == [("a", "two"), ("b", "other")], 3, "the grace has passed")
    world.rotation.stop()


def test_a_dropped_secret_never_takes_effect_and_a_failure_stops_nothing() -> None:
    world = World()
    world.rotation.put("a", "one")
    world.rotation.drop("a")
    world.files["a"] = "one"
    world.failing = True
    world.files["b"], world.files["c"] = "x", "y"
    world.rotation.put("b", "x")
    wait_until(lambda: not world.failing, 3)
    world.rotation.put("c", "y")
    wait_until(lambda: world.applied == [("c", "y")], 3)
    world.rotation.stop()
    assert not any(thread.name == "rotation" and thread is world.rotation._thread for thread in threading.enumerate())


# accounts and certificates


def test_a_store_of_an_earlier_version_is_brought_up_to_date(tmp_path: Path) -> None:
    old = sqlite3.connect(tmp_path / "accounts.db")
    old.execute(
        "CREATE TABLE accounts (client_id TEXT PRIMARY KEY, type TEXT NOT NULL, role TEXT NOT NULL, "
        "display_name TEXT NOT NULL, public_key TEXT NOT NULL, password_hash TEXT NOT NULL, disabled INTEGER NOT NULL, "
        "created REAL NOT NULL, updated REAL NOT NULL) STRICT, WITHOUT ROWID"
    )
    old.execute("INSERT INTO accounts VALUES ('a', 'service', 'service', 'A', '', '', 0, 1.0, 2.0)")
    old.commit()
    old.close()
    for _ in range(2):
        accounts = AccountStore(tmp_path / "accounts.db")
        found = accounts.get("a")
        assert found is not None
        assert (found.display_name, found.created) == ("A", 1.0)
        accounts.set_secret("a", "hash", 5.0)
        accounts.set_secret("nobody", "hash", 5.0)
        accounts.close()
    again = AccountStore(tmp_path / "accounts.db")
    assert again.get("a") == dataclasses.replace(found, secret_hash="hash", secret_expires=5.0)
    assert again.get("nobody") is None
    again.close()


@pytest.mark.parametrize(
    ("issued", "account", "good"),
    [
        (Issued(1, "a", 1000.0, 2000.0), ACCOUNT, True),
        (Issued(1, "a", 1000.0, 2000.0, revoked=True), ACCOUNT, False),
        (Issued(1, "a", 998.0, 2000.0), ACCOUNT, False),
        (Issued(1, "a", 1000.0, 2000.0), None, False),
        (Issued(1, "a", 1000.0, 2000.0), dataclasses.replace(ACCOUNT, disabled=True), False),
    ],
)
def test_which_certificates_count(issued: Issued, account: Account | None, good: bool) -> None:
    assert stands(issued, account) is good


class Ca:
    def __init__(self) -> None:
        self.key = certificates.new_server_key()
        self.pem = certificates.create_ca(self.key, now=NOW)

    def client(self, client_id: str) -> bytes:
        request = certificates.create_request(keys.generate(), client_id)
        return certificates.create_client(self.pem, self.key, request, client_id, now=NOW)


def test_certificates_are_remembered_until_they_expire(tmp_path: Path) -> None:
    ca = Ca()
    accounts = AccountStore(tmp_path / "accounts.db")
    accounts.put(dataclasses.replace(ACCOUNT, created=NOW - 10))
    issued = IssuedCertificates(tmp_path / "accounts.db")
    first, second = ca.client("a"), ca.client("a")
    serials = [certificates.parse(pem).serial_number for pem in (first, second)]
    issued.add(first, "a", now=NOW)
    issued.revoke("a")
    issued.add(second, "a", now=NOW)
    stranger = ca.client("b")
    issued.add(stranger, "b", now=NOW)
    issued.close()
    issued = IssuedCertificates(tmp_path / "accounts.db")
    lost = certificates.parse(stranger).serial_number
    assert issued.void(accounts, now=NOW) == sorted([serials[0], lost])
    later = NOW + 31 * 86400
    assert issued.void(accounts, now=later) == []
    issued.add(ca.client("a"), "a", now=later)
    assert issued.get(serials[0]) is None  # nobody needs to know of an expired one
    issued.add(second, "a", now=NOW)
    issued.close()
    with pytest.raises(StoreError, match="cannot write the account store"):
        issued.revoke("a")
    accounts.close()


def test_certificates_of_an_earlier_version_are_adopted(tmp_path: Path) -> None:
    ca, foreign = Ca(), Ca()
    AccountStore(tmp_path / "accounts.db").close()
    issued = IssuedCertificates(tmp_path / "accounts.db")
    file = tmp_path / "aCert.pem"
    for content, client_id, adopted in (
        (b"nonsense", "a", False),
        (foreign.client("a"), "a", False),
        (ca.client("b"), "a", False),
        (ca.client("a"), "a", True),
    ):
        file.write_bytes(content)
        issued.adopt(file, client_id, ca.pem)
        if b"CERTIFICATE" in content:
            assert (issued.get(certificates.parse(content).serial_number) is not None) is adopted
    issued.adopt(tmp_path / "missing.pem", "a", ca.pem)
    issued.close()


def test_a_list_of_revoked_certificates() -> None:
    from cryptography import x509

    ca = Ca()
    crl = x509.load_pem_x509_crl(certificates.create_crl(ca.pem, ca.key, [7, 9], now=NOW))
    assert {each.serial_number for each in crl} == {7, 9}
    assert crl.is_signature_valid(certificates.parse(ca.pem).public_key())  # type: ignore[arg-type]
    assert crl.next_update_utc == certificates.parse(ca.pem).not_valid_after_utc
    assert certificates.may_sign_crl(ca.pem)
    assert not certificates.may_sign_crl(ca.client("a"))
