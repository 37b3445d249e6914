"""The account store: what was written survives, whoever is killed; what is damaged is said."""

from __future__ import annotations

import dataclasses
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hiveot_supervisor.runtime.accounts import (
    MAX_SESSIONS,
    Account,
    AccountStore,
    ClientType,
    StoreError,
    check_password,
    hash_password,
    valid_client_id,
)
from hiveot_supervisor.runtime.roles import Role

BOB = Account("bob", ClientType.CONSUMER, Role.VIEWER, "Bob", "PEM", "hash", True, 1.5, 2.5)


def test_accounts_survive_a_new_store(tmp_path: Path) -> None:
    path = tmp_path / "runtime" / "accounts.db"
    first = AccountStore(path)
    assert first.fresh
    first.put(BOB)
    first.put(dataclasses.replace(BOB, client_id="alice"))
    first.put(dataclasses.replace(BOB, display_name="Bob the second"))
    assert first.remove("alice")
    assert not first.remove("alice")
    first.close()
    again = AccountStore(path)
    assert not again.fresh
    assert again.all() == [dataclasses.replace(BOB, display_name="Bob the second")]
    assert again.get("alice") is None
    again.close()


def test_a_file_of_a_version_without_sessions(tmp_path: Path) -> None:
    path = tmp_path / "runtime" / "accounts.db"
    first = AccountStore(path)
    first.put(BOB)
    first.close()
    with sqlite3.connect(path) as db:
        db.execute("ALTER TABLE accounts DROP COLUMN sessions")
    for _ in range(2):
        again = AccountStore(path)
        assert again.all() == [BOB]
        again.put(dataclasses.replace(BOB, sessions="a b"))
        again.put(BOB)
        again.close()


def test_the_accepted_sessions() -> None:
    assert (BOB.session, BOB.with_session("a")) == ("bob", BOB)  # any is accepted
    retired = dataclasses.replace(BOB, sessions="a")
    assert retired.with_session("b").sessions == "a b"
    assert retired.with_session("b").session == "b"
    many = retired
    for number in range(20):
        many = many.with_session(str(number))
    assert many.sessions.split() == [str(n) for n in range(20 - MAX_SESSIONS, 20)]


def test_the_file_is_private_also_its_journal(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        accounts = AccountStore(tmp_path / "runtime" / "accounts.db")
        accounts.put(BOB)
        modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "runtime").iterdir()}
    finally:
        os.umask(old)
    accounts.close()
    assert len(modes) > 1
    assert set(modes.values()) == {0o600}


def test_kill_9_loses_nothing_that_was_confirmed(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from hiveot_supervisor.runtime.accounts import *; from hiveot_supervisor.runtime.roles import Role\n"
        "s = AccountStore(Path(sys.argv[1]))\n"
        "for n in range(100000):\n"
        "    s.put(Account(f'a{n}', ClientType.SERVICE, Role.SERVICE)); print(n, flush=True)\n"
    )
    path = tmp_path / "accounts.db"
    writer = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    confirmed = [int(writer.stdout.readline()) for _ in range(200)]
    writer.send_signal(signal.SIGKILL)
    confirmed += [int(line) for line in writer.stdout.read().split()]
    writer.wait()
    accounts = AccountStore(path)
    present = {account.client_id for account in accounts.all()}
    accounts.close()
    assert {f"a{n}" for n in confirmed} <= present
    assert len(present) <= len(confirmed) + 1


def test_a_damaged_store_is_named(tmp_path: Path) -> None:
    path = tmp_path / "accounts.db"
    path.write_bytes(b"this is no database, but long enough to be looked at" * 20)
    with pytest.raises(StoreError, match="cannot open the account store") as caught:
        AccountStore(path)
    assert "not a database" in caught.value.why


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "accounts.db").mkdir()
    with pytest.raises(StoreError, match="cannot open"):
        AccountStore(tmp_path / "accounts.db")


def test_passwords() -> None:
    stored = hash_password("correct horse")
    assert "correct" not in stored
    assert check_password("correct horse", stored)
    assert not check_password("correct hors", stored)
    assert hash_password("correct horse") != stored  # salted
    assert check_password("пароль", hash_password("пароль"))
    for wrong in ("", "scrypt::", "plain:YQ==:YQ=="):
        assert not check_password("correct horse", wrong)
    assert not check_password("x" * 5000, stored)
    for bad in ("", "1234", "x" * 1025):
        with pytest.raises(ValueError, match="characters"):
            hash_password(bad)


@pytest.mark.parametrize("good", ["a", "history", "zwave-js.1", "A_b~c", "9lives", "x" * 64])
def test_good_ids(good: str) -> None:
    assert valid_client_id(good)


@pytest.mark.parametrize(
    "bad",
    [
        "",
        ".",
        "..",
        "-a",
        "~a",
        "_a",
        "a/b",
        "a b",
        "a:b",
        "a+",
        "#",
        "a\n",
        "ä",
        "x" * 65,
        "ca",
        "hub",
        None,
        7,
        ["a"],
    ],
)
def test_bad_ids(bad: object) -> None:
    assert not valid_client_id(bad)
