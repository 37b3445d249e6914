"""Provisioning one account: what is decided, what is asked of the hub, and what stays on the disk after a
failure.
"""

from __future__ import annotations

import multiprocessing
import os
import stat
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiveot_supervisor.credentials import certificates, expiry, keys, provision, store, tokens
from hiveot_supervisor.credentials.expiry import Period
from hiveot_supervisor.credentials.provision import Files, Renew, Status
from hiveot_supervisor.errors import CredentialError, HubError, HubUnavailable

DAY = 86400.0


class Hub:
    """A hub's account service in memory: real signatures, and a record of what it was asked."""

    def __init__(self, *, lifetime: float = 365 * DAY, issues: bool = True) -> None:
        self.signer = keys.generate()
        self.ca_key = certificates.new_server_key()
        self.ca = certificates.create_ca(self.ca_key, now=time.time())
        self.lifetime, self.issues = lifetime, issues
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.away: set[str] = set()
        self.retires = True

    def __call__(self, name: str, arguments: Mapping[str, Any]) -> Any:
        self.asked.append((name, dict(arguments)))
        if name in self.away:
            raise HubUnavailable("the hub is away")
        if name == "addService":
            session = f"s{len(self.asked)}" if arguments.get("newSession") else ""
            return tokens.issue(
                self.signer, arguments["clientID"], now=time.time(), lifetime=self.lifetime, session_id=session
            )
        if name == "issueCertificate" and self.issues:
            client_id = arguments["clientID"]
            return certificates.create_client(
                self.ca, self.ca_key, arguments["csr"], client_id, now=time.time()
            ).decode()
        if name == "retireTokens" and self.retires:
            return None
        raise HubError(f"unknown action {name}")

    def names(self) -> list[str]:
        return [name for name, _ in self.asked]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return files_in(tmp_path)


def files_in(home: Path, name: str = "history") -> Files:
    certs = home / "certs"
    return Files(
        client_id=name,
        key=certs / f"{name}.key",
        token=certs / f"{name}.token",
        certificate=certs / f"{name}Cert.pem",
        ca=certs / "caCert.pem",
        issuer=certs / "authn.pub",
        lock=home / "run" / "credentials" / f"{name}.lock",
    )


def ensure(files: Files, hub: Hub, **options: Any) -> provision.Outcome:
    return provision.ensure(files, hub, now=options.pop("now", time.time), **options)


def content(files: Files) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(files.key.parent.iterdir())}


def test_everything_missing(files: Files) -> None:
    hub = Hub()
    outcome = ensure(files, hub)
    assert outcome.written == (files.key, files.token, files.certificate)
    assert hub.names() == ["addService", "issueCertificate"]
    for path in outcome.written:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(files.key.parent.stat().st_mode) == 0o700
    key = keys.load(files.key)
    sent = hub.asked[0][1]
    assert sent == {"clientID": "history", "displayName": "history", "pubKey": keys.public_pem(key)}
    assert certificates.belongs_to(files.certificate.read_bytes(), key)
    # the certificate (30 days) is due before the token (365 days)
    assert outcome.valid_until == pytest.approx(time.time() + 20 * DAY, abs=DAY)


def test_the_private_key_never_reaches_the_hub(files: Files) -> None:
    hub = Hub()
    ensure(files, hub)
    secret = "".join(files.key.read_text().splitlines()[1:-1])
    assert secret not in repr(hub.asked)
    assert "PRIVATE" not in repr(hub.asked)


def test_a_second_time_nothing_is_asked_and_nothing_changes(files: Files) -> None:
    hub = Hub()
    ensure(files, hub)
    before = content(files)
    again = ensure(files, hub)
    assert again.written == ()
    assert len(hub.asked) == 2
    assert content(files) == before


def test_files_of_a_go_installation_are_used_as_they_are(files: Files) -> None:
    hub = Hub(issues=False)
    store.ensure_folder(files.key.parent)
    for path, data in (
        (files.key, keys.private_pem(keys.generate())),
        (files.token, hub("addService", {"clientID": "history"}).encode()),
    ):
        path.write_bytes(data)
        path.chmod(0o400)
    before = content(files)
    hub.asked.clear()
    outcome = ensure(files, hub)
    assert outcome.certificates_offered is False
    assert hub.names() == ["issueCertificate"]
    assert content(files) == before
    assert outcome.valid_until == pytest.approx(time.time() + 365 * DAY * 2 / 3, abs=60)
    assert ensure(files, hub, certificate=False).written == ()
    assert hub.names() == ["issueCertificate"]


@pytest.mark.parametrize("damage", [b"", b"garbage", b"v4.public.AAAA"])
def test_an_unusable_token_is_replaced_the_key_kept(files: Files, damage: bytes) -> None:
    hub = Hub()
    ensure(files, hub)
    key = files.key.read_bytes()
    files.token.write_bytes(damage)
    assert ensure(files, hub).written == (files.token,)
    assert files.key.read_bytes() == key


def test_a_token_of_another_account_is_replaced(files: Files) -> None:
    hub = Hub()
    ensure(files, hub)
    files.token.write_text(tokens.issue(hub.signer, "admin", now=time.time(), lifetime=DAY))
    assert ensure(files, hub).written == (files.token,)
    assert expiry.read_claims(files.token.read_text()).client_id == "history"


def test_token_and_certificate_of_a_former_hub_are_replaced(files: Files) -> None:
    ensure(files, Hub())
    hub = Hub()
    files.issuer.write_text(keys.public_pem(hub.signer))
    files.ca.write_bytes(hub.ca)
    future = time.time() + 5
    os.utime(files.issuer, (future, future))
    os.utime(files.ca, (future, future))
    assert ensure(files, hub).written == (files.token, files.certificate)
    assert certificates.signed_by(files.certificate.read_bytes(), hub.ca)


def test_a_restored_issuer_key_that_fits_changes_nothing(files: Files) -> None:
    hub = Hub()
    ensure(files, hub)
    files.issuer.write_text(keys.public_pem(hub.signer))
    files.ca.write_bytes(hub.ca)
    assert ensure(files, hub).written == ()


def test_a_certificate_for_another_key_is_replaced(files: Files) -> None:
    hub = Hub()
    ensure(files, hub)
    time.sleep(0.01)  # so that the file's time stamp differs
    files.key.write_bytes(keys.private_pem(keys.generate()))
    assert files.certificate in ensure(files, hub).written


def test_only_what_is_due_is_renewed(files: Files) -> None:
    hub = Hub()
    ensure(files, hub)
    token = files.token.read_bytes()
    assert ensure(files, hub, now=lambda: time.time() + 21 * DAY).written == (files.certificate,)
    assert files.token.read_bytes() == token


def test_a_due_renewal_waits_for_the_hub_but_an_expired_one_does_not(files: Files) -> None:
    hub = Hub(lifetime=30 * DAY)
    ensure(files, hub)
    before = content(files)
    hub.away = {"addService", "issueCertificate"}
    outcome = ensure(files, hub, now=lambda: time.time() + 21 * DAY)
    assert outcome.written == ()
    assert "put off" in outcome.note
    with pytest.raises(HubUnavailable):
        ensure(files, hub, now=lambda: time.time() + 31 * DAY)
    assert content(files) == before


def test_hub_away_leaves_nothing_half_made(files: Files) -> None:
    hub = Hub()
    hub.away = {"addService"}
    with pytest.raises(HubUnavailable):
        ensure(files, hub)
    assert content(files) == {}
    hub.away = {"issueCertificate"}
    with pytest.raises(HubUnavailable):
        ensure(files, hub)
    assert sorted(content(files)) == ["history.key", "history.token"]
    before = content(files)
    hub.away = set()
    assert ensure(files, hub).written == (files.certificate,)
    assert {k: v for k, v in content(files).items() if k in before} == before


def test_a_missing_key_beside_a_valid_token_keeps_the_token(files: Files) -> None:
    hub = Hub()
    ensure(files, hub)
    token = files.token.read_bytes()
    files.key.unlink()
    assert ensure(files, hub).written == (files.key, files.certificate)
    assert files.token.read_bytes() == token
    assert hub.names().count("addService") == 2  # the hub learned the new public key


def test_everything_can_be_renewed_before_it_is_due(files: Files) -> None:
    hub = Hub()
    ensure(files, hub)
    before = content(files)
    outcome = ensure(files, hub, renew=Renew.ALL)
    assert outcome.written == (files.token, files.certificate)
    assert outcome.superseded
    assert hub.asked[2][1]["newSession"] is True  # so that the hub can tell the old token from the new one
    after = content(files)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"history.token", "historyCert.pem"}
    assert certificates.belongs_to(files.certificate.read_bytes(), keys.load(files.key))
    hub.away = {"addService"}
    with pytest.raises(HubUnavailable):
        ensure(files, hub, renew=Renew.ALL)
    assert content(files) == after


def test_a_key_is_replaced_only_together_with_its_certificate(files: Files) -> None:
    hub = Hub()
    ensure(files, hub)
    before = content(files)
    hub.away = {"issueCertificate"}
    with pytest.raises(HubUnavailable):
        ensure(files, hub, renew=Renew.KEYS)
    assert content(files) == before
    hub.away = set()
    assert ensure(files, hub, renew=Renew.KEYS).written == (files.key, files.token, files.certificate)
    assert files.key.read_bytes() != before["history.key"]
    assert certificates.belongs_to(files.certificate.read_bytes(), keys.load(files.key))
    assert hub.asked[-2][1]["pubKey"] == keys.public_pem(keys.load(files.key))


def test_the_hub_is_told_to_forget_the_old_token(files: Files) -> None:
    hub = Hub()
    assert not ensure(files, hub).superseded
    assert not ensure(files, hub, now=lambda: time.time() + 21 * DAY).superseded  # only the certificate was due
    assert ensure(files, hub, now=lambda: time.time() + 250 * DAY).superseded
    assert not ensure(files, hub, certificate=False, renew=Renew.ALL).superseded  # HiveOT's own hub
    assert "newSession" not in hub.asked[-1][1]
    assert provision.retire(files, hub) == ""
    assert hub.asked[-1] == ("retireTokens", {"clientID": "history", "token": files.token.read_text()})
    hub.away = {"retireTokens"}
    with pytest.raises(HubUnavailable):
        provision.retire(files, hub)
    hub.away, hub.retires = set(), False  # as the HiveOT hub
    assert "until it expires" in provision.retire(files, hub)


def test_a_token_that_has_expired_need_not_be_retired(files: Files) -> None:
    hub = Hub()
    ensure(files, hub)
    files.token.write_text(tokens.issue(hub.signer, "history", now=time.time() - DAY, lifetime=60))
    assert not ensure(files, hub).superseded
    assert "newSession" not in hub.asked[-1][1]


def test_removing_takes_the_account_first(files: Files) -> None:
    ensure(files, Hub())
    before = content(files)

    def refuse() -> None:
        raise HubUnavailable("the hub is away")

    with pytest.raises(HubUnavailable):
        provision.remove(files, refuse)
    assert content(files) == before
    seen: list[dict[str, bytes]] = []
    provision.remove(files, lambda: seen.append(content(files)))
    assert seen == [before]
    assert content(files) == {}


def test_a_token_from_a_clock_that_was_ahead_is_replaced_but_may_be_tried(files: Files) -> None:
    hub = Hub()
    ensure(files, hub)
    todo = provision.plan(provision.inspect(files), now=time.time() - DAY)
    assert (todo.token, todo.certificate, todo.must) == (True, True, False)
    assert provision.plan(provision.inspect(files), now=time.time() - 200).nothing


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
def test_what_a_third_user_had_is_made_anew(files: Files) -> None:
    """The user of the plugin was changed in launcher.yaml: the former one knows the secrets."""
    hub = Hub()
    ensure(files, hub, owner=(65534, 65534))
    before = content(files)
    assert ensure(files, hub, owner=(65534, 65534)).written == ()
    outcome = ensure(files, hub, owner=(12345, 12345))
    assert outcome.written == (files.key, files.token, files.certificate)
    assert outcome.superseded
    assert files.key.read_bytes() != before["history.key"]
    assert {p.stat().st_uid for p in outcome.written} == {12345}
    assert ensure(files, hub).written == (files.key, files.token, files.certificate)  # and back to our own


@pytest.mark.parametrize("fail_at", [1, 2, 3])
def test_a_write_that_fails_leaves_a_state_that_the_next_run_completes(
    files: Files, fail_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, real, count = Hub(), store.write_file, 0

    def failing(path: Path, data: bytes, **options: Any) -> None:
        nonlocal count
        count += 1
        if count == fail_at:
            raise CredentialError(f"cannot write {path}", why="no space left on device")
        real(path, data, **options)

    monkeypatch.setattr(store, "write_file", failing)
    with pytest.raises(CredentialError, match="cannot write"):
        ensure(files, hub)
    present = content(files)
    monkeypatch.undo()
    ensure(files, hub)
    assert {k: v for k, v in content(files).items() if k in present} == present
    assert provision.plan(provision.inspect(files), now=time.time()).nothing
    assert certificates.belongs_to(files.certificate.read_bytes(), keys.load(files.key))


@pytest.mark.parametrize("answer", [None, {}, "junk", 7])
def test_a_hub_that_answers_nonsense(files: Files, answer: object) -> None:
    with pytest.raises(HubError, match=r"no (usable )?token"):
        provision.ensure(files, lambda name, arguments: answer, now=time.time)
    assert content(files) == {}


def test_a_token_for_someone_else_is_not_written(files: Files) -> None:
    hub = Hub()
    with pytest.raises(HubError, match="no usable token"):
        provision.ensure(files, lambda n, a: hub(n, {**a, "clientID": "admin"}), now=time.time)
    assert content(files) == {}


def test_loose_modes_are_tightened(files: Files) -> None:
    hub = Hub()
    ensure(files, hub)
    files.key.chmod(0o644)
    ensure(files, hub)
    assert stat.S_IMODE(files.key.stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_files_may_be_given_to_the_plugins_user(files: Files) -> None:
    ensure(files, Hub(), owner=(65534, 65534))
    assert {p.stat().st_uid for p in (files.key, files.token, files.certificate)} == {65534}


def _provision(home: str, signer: bytes, ca: bytes, ca_key: bytes) -> None:
    hub = Hub()
    hub.signer, hub.ca, hub.ca_key = keys.parse_private(signer), ca, keys.parse_private(ca_key)
    ensure(files_in(Path(home)), hub)
    (Path(home) / f"asked.{os.getpid()}").write_text(str(len(hub.asked)))


def test_eight_processes_at_once_make_one_set(tmp_path: Path) -> None:
    hub, files = Hub(), files_in(tmp_path)
    store.ensure_folder(files.key.parent)
    context = multiprocessing.get_context("fork")
    arguments = (str(tmp_path), keys.private_pem(hub.signer), hub.ca, keys.private_pem(hub.ca_key))
    workers = [context.Process(target=_provision, args=arguments) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(20)
        assert worker.exitcode == 0
    asked = sorted(int(p.read_text()) for p in tmp_path.glob("asked.*"))
    assert asked == [0] * 7 + [2]
    assert certificates.belongs_to(files.certificate.read_bytes(), keys.load(files.key))


PERIODS = st.none() | st.tuples(st.floats(0, 1000), st.floats(1, 1000)).map(lambda t: Period(t[0], t[0] + t[1]))


@given(st.builds(Status, has_key=st.booleans(), token=PERIODS, certificate=PERIODS), st.floats(0, 3000), st.booleans())
def test_the_plan(status: Status, now: float, certificate: bool) -> None:
    todo = provision.plan(status, now=now, certificate=certificate)
    if todo.nothing:
        assert status.has_key
        assert status.token is not None
        assert now < status.token.renewal()
        assert todo.valid_until > now
        assert provision.plan(status, now=todo.valid_until, certificate=certificate).nothing is False
    else:
        assert todo.valid_until == now
    if not certificate:
        assert not todo.certificate
        assert todo == provision.plan(replace(status, certificate=None), now=now, certificate=False)
    if status.token is None or now >= status.token.end:
        assert todo.token
        assert todo.must
