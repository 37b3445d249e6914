"""The hub's accounts: who there is, with what role, and how they prove it. Kept in one SQLite file (0600).

A change is on the disk before the call returns, and survives `kill -9`. Decides nothing about rights.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import os
import re
import secrets
import sqlite3
import threading
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from hiveot_supervisor.credentials import store
from hiveot_supervisor.credentials.expiry import Claims
from hiveot_supervisor.credentials.provision import RESERVED_IDS
from hiveot_supervisor.errors import HiveotError
from hiveot_supervisor.runtime.roles import Role

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,63}")
MIN_PASSWORD, MAX_PASSWORD = 5, 1024
MAX_SESSIONS = 8
_AGE_SLACK = 1.0  # tokens count whole seconds


class ClientType(StrEnum):
    """Account types of the HiveOT hub."""

    SERVICE = "service"
    AGENT = "agent"
    CONSUMER = "consumer"


@dataclass(frozen=True, slots=True)
class Account:
    """One account. `created`/`updated`: wall time; tokens issued before `created` are not this account's.

    password_hash: empty = no login by password; sessions: the sessions whose tokens are accepted, the newest last,
    separated by spaces; empty = any (nothing was ever retired). secret_hash: of the token or password that was given
    out last, as `pbkdf2` makes it, for a broker that checks one secret an account by itself (Mosquitto);
    secret_expires: wall time until which that is good, 0 = no end.
    """

    client_id: str
    type: ClientType
    role: Role
    display_name: str = ""
    public_key: str = ""
    password_hash: str = ""
    disabled: bool = False
    created: float = 0.0
    updated: float = 0.0
    sessions: str = ""
    secret_hash: str = ""
    secret_expires: float = 0.0

    def objection(self, claims: Claims) -> str:
        """Why a genuine token of this account is not accepted (any more); empty when it is.

        Sessions are compared, not times: two tokens may be made within one second, and clocks are set.
        """
        if claims.issued < self.created - _AGE_SLACK:
            return "the token is older than the account"
        if self.sessions and claims.session_id not in self.sessions.split():
            return "the token was replaced by a newer one"
        return ""

    @property
    def session(self) -> str:
        """The session of the next token; the client's own ID until tokens were retired for the first time."""
        return self.sessions.split()[-1] if self.sessions else self.client_id

    def with_session(self, session: str) -> Account:
        """The account with one more accepted session. At most some are kept, however often nobody retires the old."""
        if not self.sessions:
            return self
        kept = [s for s in self.sessions.split() if s != session][1 - MAX_SESSIONS :]
        return dataclasses.replace(self, sessions=" ".join([*kept, session]))


class StoreError(HiveotError):
    """The account store cannot be opened or written."""


def valid_client_id(client_id: object) -> bool:
    """True when an account may have that ID: it becomes a topic level, a file name and a certificate's
    name.
    """
    return isinstance(client_id, str) and _ID.fullmatch(client_id) is not None and client_id not in RESERVED_IDS


_COLUMNS = tuple(field.name for field in dataclasses.fields(Account))
_SCHEMA = """CREATE TABLE IF NOT EXISTS accounts (client_id TEXT PRIMARY KEY, type TEXT NOT NULL, role TEXT NOT NULL,
    display_name TEXT NOT NULL, public_key TEXT NOT NULL, password_hash TEXT NOT NULL, disabled INTEGER NOT
    NULL, created REAL NOT NULL, updated REAL NOT NULL) STRICT, WITHOUT ROWID"""
_TEXT = "TEXT NOT NULL DEFAULT ''"
_ADDED = {"sessions": _TEXT, "secret_hash": _TEXT, "secret_expires": "REAL NOT NULL DEFAULT 0"}
"""Columns that older files lack."""


class AccountStore:
    """All accounts, read from memory, written through. Thread-safe. `fresh`: the file did not exist
    before.
    """

    def __init__(self, path: Path) -> None:
        store.ensure_folder(path.parent)
        self._path = path
        self._lock = threading.Lock()
        self.fresh = not path.exists()
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, store.PRIVATE_MODE))
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute(_SCHEMA)
            present = {row[1] for row in self._db.execute("PRAGMA table_info(accounts)")}
            for column in _ADDED.keys() - present:
                self._db.execute(f"ALTER TABLE accounts ADD COLUMN {column} {_ADDED[column]}")
            rows = self._db.execute(f"SELECT {', '.join(_COLUMNS)} FROM accounts").fetchall()
            self._accounts = {row[0]: _from_row(row) for row in rows}
        except (OSError, sqlite3.Error, ValueError) as err:
            hint = "it must be a writable file of the user who runs the runtime; without it all accounts are made anew"
            raise StoreError(f"cannot open the account store {path}", why=str(err), hint=hint) from err

    def get(self, client_id: str) -> Account | None:
        return self._accounts.get(client_id)

    def all(self) -> list[Account]:
        """Every account, by ID."""
        with self._lock:
            return sorted(self._accounts.values(), key=lambda account: account.client_id)

    def put(self, account: Account) -> None:
        """Add or replace an account. Raises StoreError, and then nothing has changed."""
        values = dataclasses.astuple(account)
        marks = ", ".join("?" * len(_COLUMNS))
        with self._lock:
            self._execute(f"INSERT OR REPLACE INTO accounts ({', '.join(_COLUMNS)}) VALUES ({marks})", values)
            self._accounts[account.client_id] = account

    def set_secret(self, client_id: str, secret_hash: str, expires: float) -> None:
        """Change what an account logs in with, and nothing else of it. Raises StoreError."""
        with self._lock:
            account = self._accounts.get(client_id)
            if account is not None:
                found = dataclasses.replace(account, secret_hash=secret_hash, secret_expires=expires)
                statement = "UPDATE accounts SET secret_hash = ?, secret_expires = ? WHERE client_id = ?"
                self._execute(statement, (secret_hash, expires, client_id))
                self._accounts[client_id] = found

    def remove(self, client_id: str) -> bool:
        """Remove an account; False when there was none. Raises StoreError."""
        with self._lock:
            self._execute("DELETE FROM accounts WHERE client_id = ?", (client_id,))
            return self._accounts.pop(client_id, None) is not None

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _execute(self, statement: str, values: tuple[object, ...]) -> None:
        try:
            self._db.execute(statement, values)
        except sqlite3.Error as err:
            raise StoreError(f"cannot write the account store {self._path}", why=str(err)) from err


def hash_password(password: str) -> str:
    """A salted scrypt hash (RFC 7914; 16 MB, about 50 ms). Raises ValueError when the length is not
    acceptable.
    """
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise ValueError(f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters")
    salt = secrets.token_bytes(16)
    return f"scrypt:{_base64(salt)}:{_base64(_scrypt(password, salt))}"


def check_password(password: str, password_hash: str) -> bool:
    """True when `password` is the one that was hashed. Takes as long for a wrong one."""
    kind, salt, expected = [*password_hash.split(":"), "", ""][:3]
    if kind != "scrypt" or len(password) > MAX_PASSWORD:
        return False
    return hmac.compare_digest(_scrypt(password, base64.b64decode(salt)), base64.b64decode(expected))


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode("utf-8", "surrogatepass"), salt=salt, n=2**14, r=8, p=1, dklen=32)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _from_row(row: tuple[Any, ...]) -> Account:
    values: dict[str, Any] = dict(zip(_COLUMNS, row, strict=True))
    values |= {"type": ClientType(values["type"]), "role": Role(values["role"]), "disabled": bool(values["disabled"])}
    return Account(**values)
