"""Who is let in, decided without a broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hiveot_supervisor.credentials import keys, tokens
from hiveot_supervisor.errors import HubRefused
from hiveot_supervisor.runtime.accounts import Account, AccountStore, ClientType, hash_password
from hiveot_supervisor.runtime.logins import PASSWORD_SESSION, PROBE_USER, RUNTIME_USER, Doorkeeper, territory
from hiveot_supervisor.runtime.roles import EVERYTHING, Role, grants

NOW = 1_800_000_000.0
SIGNER = keys.generate()


class Door:
    """A doorkeeper with a clock that can be set."""

    def __init__(self, accounts: AccountStore) -> None:
        self.now = NOW
        self.accounts = accounts
        self.keeper = Doorkeeper(accounts, SIGNER.public_key(), launcher_id="launcher", now=lambda: self.now)

    def add(self, client_id: str, **more: object) -> None:
        values = {"type": ClientType.SERVICE, "role": Role.SERVICE, "created": NOW} | more
        self.accounts.put(Account(client_id, **values))  # type: ignore[arg-type]


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    accounts = AccountStore(tmp_path / "accounts.db")
    yield Door(accounts)
    accounts.close()


def token(client_id: str, *, now: float = NOW, lifetime: float = 3600.0, session: str = "") -> str:
    return tokens.issue(SIGNER, client_id, now=now, lifetime=lifetime, session_id=session)


def test_a_token_lets_in_until_it_expires(door: Door) -> None:
    door.add("history")
    admission = door.keeper.admit("history", token("history"), "history")
    assert admission.expires == NOW + 3600
    assert admission.grants == grants(Role.SERVICE, "history")
    door.now = NOW + 3600
    with pytest.raises(HubRefused, match="expired"):
        door.keeper.admit("history", token("history"), "history")


def test_only_the_launchers_account_has_the_launchers_rights(door: Door) -> None:
    for client_id in ("launcher", "launcher2"):
        door.add(client_id)
        found = door.keeper.admit(client_id, token(client_id), client_id).grants
        assert found == grants(Role.SERVICE, client_id, launcher=client_id == "launcher")


@pytest.mark.parametrize(
    ("user", "password", "reason"),
    [
        ("nobody", token("nobody"), "no such account"),
        ("history", token("admin"), "the token is for admin"),
        ("history", tokens.issue(keys.generate(), "history", now=NOW, lifetime=60), "not issued by this hub"),
        ("history", token("history", now=NOW - 7200), "expired"),
        ("history", token("history", now=NOW + 600), "not valid yet"),
        ("history", token("history", now=NOW - 60), "older than the account"),
        ("history", "", "not a token"),
        ("history", "secret", "not a token"),
        ("history", "v4.public.x", "not a token"),
        ("off", token("off"), "disabled"),
        ("", "", "no such account"),
        (RUNTIME_USER, "", "no such account"),
        (PROBE_USER, "wrong", "no such account"),
    ],
)
def test_refusals(door: Door, user: str, password: str, reason: str) -> None:
    door.add("history")
    door.add("admin", role=Role.ADMIN)
    door.add("off", disabled=True)
    with pytest.raises(HubRefused) as caught:
        door.keeper.admit(user, password, "x")
    assert reason in str(caught.value)


def test_tokens_of_retired_sessions_are_refused_and_no_others(door: Door) -> None:
    door.add("history")
    for session in ("", "old", "new"):
        door.keeper.admit("history", token("history", session=session), "history")
    door.add("history", sessions="old new")
    for session in ("old", "new"):
        door.keeper.admit("history", token("history", session=session), "history")
    door.add("history", sessions="new")
    door.keeper.admit("history", token("history", session="new"), "history")
    for session in ("", "old", "ne", "old new", "new2"):
        with pytest.raises(HubRefused, match="replaced by a newer one"):
            door.keeper.admit("history", token("history", session=session), "history")


def test_passwords_are_for_accounts_that_have_one(door: Door) -> None:
    door.add("bob", type=ClientType.CONSUMER, role=Role.VIEWER, password_hash=hash_password("secret"))
    assert door.keeper.admit("bob", "secret", "phone").expires == NOW + PASSWORD_SESSION
    with pytest.raises(HubRefused, match="wrong password"):
        door.keeper.admit("bob", "Secret", "phone")


def test_the_runtimes_own_logins(door: Door) -> None:
    assert door.keeper.admit(RUNTIME_USER, door.keeper.secret, "x").grants == EVERYTHING
    assert door.keeper.admit(PROBE_USER, door.keeper.secret, "x").grants == grants(Role.NONE, PROBE_USER)
    assert Doorkeeper(door.accounts, SIGNER.public_key(), launcher_id="l", now=lambda: NOW).secret != door.keeper.secret


def test_territories(door: Door) -> None:
    for client_id in ("history", "history-2", "a.b"):
        door.add(client_id)
    owners = {
        "history": "history",
        "history-1": "history",
        "history-2": "history-2",
        "history-2-x": "history-2",
        "history2": None,
        "histor": None,
        "a.b-": "a.b",
        "mosq-abc": None,
        "-": None,
        "": None,
    }
    assert {mqtt_id: territory(mqtt_id, door.accounts) for mqtt_id in owners} == owners
    for mqtt_id in ("history-2", "history-2-x", "a.b"):
        with pytest.raises(HubRefused, match="belongs to the account"):
            door.keeper.admit("history", token("history"), mqtt_id)
    door.keeper.admit("history", token("history"), "history-1")
