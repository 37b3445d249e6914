"""The hub's own files: made once, kept byte for byte, renewed when due, and taken over from a Go installation."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import pytest
from fakes.runtimes import loose_files, tree

from hiveot_supervisor.credentials import certificates, expiry, keys, store, tokens
from hiveot_supervisor.errors import ConfigError, CredentialError
from hiveot_supervisor.model import Hub
from hiveot_supervisor.runtime import bootstrap
from hiveot_supervisor.runtime.accounts import AccountStore, ClientType
from hiveot_supervisor.runtime.bootstrap import DAY, HubFiles
from hiveot_supervisor.runtime.roles import Role

HUB = Hub()


class Site:
    """A certs folder and an account store, prepared as at a start of the runtime."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.files = HubFiles(home / "certs")

    def prepare(self, *, hub: Hub = HUB, now: float | None = None) -> AccountStore:
        wall = now or time.time()
        bootstrap.prepare_tls(self.files, hub, now=wall)
        signer = bootstrap.prepare_signer(self.files)
        accounts = AccountStore(self.home / "stores" / "accounts.db")
        bootstrap.prepare_accounts(accounts, self.files, signer, "launcher")
        bootstrap.renew_tokens(accounts, self.files, signer, "launcher", lambda: wall)
        accounts.close()
        return accounts


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_first_and_second_start(site: Site) -> None:
    accounts = site.prepare()
    first = tree(site.files.certs)
    assert sorted(first) == sorted(
        [
            *("admin.key", "admin.token", "authn.key", "authn.pub", "authn.token", "launcher.key", "launcher.token"),
            *(
                "caCert.pem",
                "caKey.pem",
                "hubCert.pem",
                "hubKey.pem",
                "launcher-prestart.key",
                "launcher-prestart.token",
            ),
        ]
    )
    assert loose_files(site.home) == []
    assert {a.client_id: (a.type, a.role) for a in accounts.all()} == {
        "admin": (ClientType.CONSUMER, Role.ADMIN),
        "authn": (ClientType.SERVICE, Role.SERVICE),
        "launcher": (ClientType.SERVICE, Role.SERVICE),
        "launcher-prestart": (ClientType.SERVICE, Role.NONE),
    }
    site.prepare()
    assert tree(site.files.certs) == first
    names = certificates.server_names(first["hubCert.pem"])
    assert {"localhost", "127.0.0.1", "::1"} <= names


def test_tokens_are_renewed_when_due_and_only_then(site: Site) -> None:
    site.prepare()
    first = tree(site.files.certs)
    site.prepare(now=time.time() + 240 * DAY)
    assert {n for n, data in tree(site.files.certs).items() if data != first[n]} == set()
    site.prepare(now=time.time() + 245 * DAY)
    changed = {n for n, data in tree(site.files.certs).items() if data != first[n]}
    assert changed == {"admin.token", "authn.token", "launcher.token", "launcher-prestart.token", "hubCert.pem"}


def test_a_lost_or_foreign_token_is_replaced(site: Site) -> None:
    site.prepare()
    site.files.token("admin").write_text(tokens.issue(keys.generate(), "admin", now=time.time(), lifetime=DAY))
    site.files.token("launcher").unlink()
    before = site.files.token("authn").read_bytes()
    site.prepare()
    signer = keys.load(site.files.signer)
    for client_id in ("admin", "launcher"):
        token = site.files.token(client_id).read_text()
        assert tokens.verify(token, signer.public_key(), now=time.time()).client_id == client_id
    assert site.files.token("authn").read_bytes() == before


def test_a_new_host_name_needs_a_new_certificate(site: Site) -> None:
    site.prepare()
    hub = Hub(url="mqtts://hub.example:8883")
    assert bootstrap.prepare_tls(site.files, hub, now=time.time())
    assert "hub.example" in certificates.server_names(site.files.server.read_bytes())
    assert not bootstrap.prepare_tls(site.files, hub, now=time.time())
    assert not bootstrap.prepare_tls(site.files, HUB, now=time.time())  # one name too many is no reason


def test_names_for_the_network_and_unusable_ones() -> None:
    must, _ = bootstrap.host_names(Hub(listen_host="192.168.7.7"))
    assert "192.168.7.7" in must
    must, _ = bootstrap.host_names(Hub(certificates_host="192.168.7.8", certificates_port=8884))
    assert "192.168.7.8" in must
    must, _ = bootstrap.host_names(dataclasses.replace(HUB, listen_host="0.0.0.0"))
    assert "0.0.0.0" not in must
    must, _ = bootstrap.host_names(Hub(url="mqtts://[::1]:8883", listen_host="::1"))
    assert "::1" in must
    must, _ = bootstrap.host_names(Hub(url="mqtts://b_d/"))
    assert "b_d" not in must


@pytest.mark.parametrize("lost", ["hubCert.pem", "hubKey.pem", "hubCert.pem garbage", "hubKey.pem garbage"])
def test_a_lost_or_damaged_server_certificate_is_made_again(site: Site, lost: str) -> None:
    site.prepare()
    ca = site.files.ca.read_bytes()
    path = site.files.certs / lost.split()[0]
    path.write_bytes(b"garbage") if "garbage" in lost else path.unlink()
    assert bootstrap.prepare_tls(site.files, HUB, now=time.time())
    assert site.files.ca.read_bytes() == ca
    server = site.files.server.read_bytes()
    assert certificates.belongs_to(server, keys.load(site.files.server_key))
    assert certificates.signed_by(server, ca)


def test_a_ca_without_its_key_serves_until_something_must_be_signed(site: Site) -> None:
    site.prepare()
    site.files.ca_key.unlink()
    before = tree(site.files.certs)
    site.prepare()
    assert tree(site.files.certs) == before
    site.files.server.unlink()
    with pytest.raises(CredentialError, match=r"caKey\.pem is missing"):
        site.prepare()
    assert site.files.ca.exists()


def test_a_ca_with_another_key_is_said(site: Site) -> None:
    site.prepare()
    store.write_file(site.files.ca_key, keys.private_pem(certificates.new_server_key()))
    with pytest.raises(CredentialError, match="do not belong together"):
        site.prepare()


def test_an_interrupted_first_start_is_completed(site: Site) -> None:
    store.ensure_folder(site.files.certs)
    store.write_file(site.files.ca_key, keys.private_pem(certificates.new_server_key()))
    site.prepare()
    assert certificates.belongs_to(site.files.ca.read_bytes(), keys.load(site.files.ca_key))


def test_a_go_installation_is_taken_over(site: Site) -> None:
    """Files as HiveOT's Go runtime leaves them: mode 0400/0444, tokens in the local zone, one signing key."""
    store.ensure_folder(site.files.certs)
    now, signer = time.time(), keys.generate()
    ca_key, key = certificates.new_server_key(), certificates.new_server_key()
    ca = certificates.create_ca(ca_key, now=now)
    must, _ = bootstrap.host_names(HUB)
    files = {
        "caCert.pem": ca,
        "caKey.pem": keys.private_pem(ca_key),
        "hubCert.pem": certificates.create_server(ca, ca_key, key, must, now=now),
        "hubKey.pem": keys.private_pem(key),
        "authn.key": keys.private_pem(signer),
    }
    for client_id in ("authn", "admin", "launcher", "history", "zwavejs"):
        files[f"{client_id}.token"] = tokens.issue(signer, client_id, now=now - DAY, lifetime=365 * DAY).encode()
        files.setdefault(f"{client_id}.key", keys.private_pem(keys.generate()))
    files["stranger.token"] = tokens.issue(keys.generate(), "stranger", now=now, lifetime=DAY).encode()
    files["old.token"] = tokens.issue(signer, "old", now=now - 9 * DAY, lifetime=DAY).encode()
    for name, data in files.items():
        (site.files.certs / name).write_bytes(data)
        (site.files.certs / name).chmod(0o400)
    accounts = site.prepare()
    after = tree(site.files.certs)
    assert {name: after[name] for name in files} == files
    assert [a.client_id for a in accounts.all()] == [
        *("admin", "authn", "history", "launcher", "launcher-prestart", "zwavejs")
    ]
    history = accounts.get("history")
    assert history is not None
    assert history.role is Role.SERVICE
    assert history.created <= expiry.read_claims(files["history.token"].decode()).issued


def test_accounts_are_only_taken_over_into_a_fresh_store(site: Site) -> None:
    site.prepare()
    signer = keys.load(site.files.signer)
    token = tokens.issue(signer, "removed", now=time.time(), lifetime=DAY)  # type: ignore[arg-type]
    site.files.token("removed").write_text(token)
    assert site.prepare().get("removed") is None


@pytest.mark.parametrize("launcher_id", ["admin", "authn", "ca", "a/b", ""])
def test_ids_that_the_launcher_cannot_have(site: Site, launcher_id: str) -> None:
    site.prepare()
    accounts = AccountStore(site.home / "stores" / "accounts.db")
    with pytest.raises(ConfigError, match="cannot be the launcher's account"):
        bootstrap.prepare_accounts(accounts, site.files, bootstrap.prepare_signer(site.files), launcher_id)
    accounts.close()
