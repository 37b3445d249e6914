"""The client certificates that the hub has issued, so that they can be taken back. Kept beside the accounts.

A certificate says who it is for until it expires; whether it still counts is decided here, from this list and the
account. Knows no TLS and no broker.
"""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path

from hiveot_supervisor.credentials import certificates, store
from hiveot_supervisor.errors import CredentialError
from hiveot_supervisor.runtime.accounts import Account, AccountStore, StoreError

_SCHEMA = """CREATE TABLE IF NOT EXISTS certificates (serial TEXT PRIMARY KEY, client_id TEXT NOT NULL,
    issued REAL NOT NULL, expires REAL NOT NULL, revoked INTEGER NOT NULL) STRICT, WITHOUT ROWID"""
_AGE_SLACK = 1.0


@dataclass(frozen=True, slots=True)
class Issued:
    """One certificate. `issued`/`expires`: wall time."""

    serial: int
    client_id: str
    issued: float
    expires: float
    revoked: bool = False


class IssuedCertificates:
    """The list, read from memory, written through to the account store's file. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute(_SCHEMA)
            rows = self._db.execute("SELECT serial, client_id, issued, expires, revoked FROM certificates").fetchall()
            found = [Issued(int(row[0], 16), row[1], row[2], row[3], bool(row[4])) for row in rows]
            self._all = {each.serial: each for each in found}
        except (sqlite3.Error, ValueError) as err:
            raise StoreError(f"cannot open the account store {path}", why=str(err)) from err

    def get(self, serial: int) -> Issued | None:
        return self._all.get(serial)

    def add(self, pem: bytes, client_id: str, *, now: float) -> None:
        """Record a certificate that is about to be handed out, and forget those that have expired. Raises StoreError,
        CredentialError.
        """
        certificate = certificates.parse(pem)
        expires = certificate.not_valid_after_utc.timestamp()
        self._put(Issued(certificate.serial_number, client_id, now, expires))
        self._prune(now)

    def adopt(self, path: Path, client_id: str, ca: bytes) -> None:
        """Record a certificate that an earlier version has issued, which kept no list."""
        try:
            pem = store.read_file(path)
            certificate = certificates.parse(pem)
            ours = certificates.signed_by(pem, ca) and certificates.common_name(pem) == client_id
        except (OSError, CredentialError):
            return
        if ours and certificate.serial_number not in self._all:
            begin = certificate.not_valid_before_utc.timestamp() + certificates.BACKDATE
            end = certificate.not_valid_after_utc.timestamp()
            self._put(Issued(certificate.serial_number, client_id, begin, end))

    def revoke(self, client_id: str) -> None:
        """Take back all certificates of an account, for good. Raises StoreError."""
        for each in [c for c in list(self._all.values()) if c.client_id == client_id and not c.revoked]:
            self._put(Issued(each.serial, each.client_id, each.issued, each.expires, revoked=True))

    def void(self, accounts: AccountStore, *, now: float) -> list[int]:
        """The serial numbers of unexpired certificates that must not be accepted any more, sorted."""
        held = [each for each in list(self._all.values()) if each.expires > now]
        return sorted(each.serial for each in held if not stands(each, accounts.get(each.client_id)))

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _put(self, each: Issued) -> None:
        values = (f"{each.serial:x}", each.client_id, each.issued, each.expires, int(each.revoked))
        with self._lock:
            self._execute("INSERT OR REPLACE INTO certificates VALUES (?, ?, ?, ?, ?)", values)
            self._all[each.serial] = each

    def _prune(self, now: float) -> None:
        with self._lock:
            expired = [each.serial for each in self._all.values() if each.expires <= now]
            for serial in expired:
                self._execute("DELETE FROM certificates WHERE serial = ?", (f"{serial:x}",))
                del self._all[serial]

    def _execute(self, statement: str, values: tuple[object, ...]) -> None:
        try:
            self._db.execute(statement, values)
        except sqlite3.Error as err:
            raise StoreError(f"cannot write the account store {self._path}", why=str(err)) from err


def stands(issued: Issued, account: Account | None) -> bool:
    """Whether a certificate still counts: not taken back, and its account is there, enabled, and not younger."""
    if issued.revoked or account is None or account.disabled:
        return False
    return issued.issued >= account.created - _AGE_SLACK
