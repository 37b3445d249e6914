"""What lies in the certs folder, for people: until when it is good, whose it is, and what is wrong with it.

Reads dates, owners and modes only; never returns anything of a secret.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hiveot_supervisor.cli.home import Home
from hiveot_supervisor.clock import iso8601
from hiveot_supervisor.credentials import expiry, store
from hiveot_supervisor.credentials.expiry import Period
from hiveot_supervisor.credentials.folders import open_folder, user_name
from hiveot_supervisor.credentials.provision import CLOCK_SKEW
from hiveot_supervisor.errors import CredentialError
from hiveot_supervisor.model import Plugin

KEY, TOKEN, CERTIFICATE = "key", "token", "certificate"
DUE = "due for renewal"
"""Problem of what is still good, but not for long."""

_PUBLIC = frozenset({CERTIFICATE})


@dataclass(frozen=True, slots=True)
class Item:
    """One file. expires: wall time, None for keys and what cannot be read; mode: None when there is no file; problem:
    for people, empty when all is well.
    """

    id: str
    kind: str
    path: Path
    expires: float | None
    mode: int | None
    owner: str
    problem: str

    def as_json(self) -> dict[str, Any]:
        """The stable machine-readable form."""
        return {
            "id": self.id,
            "kind": self.kind,
            "file": str(self.path),
            "exists": self.mode is not None,
            "expires": None if self.expires is None else iso8601(self.expires),
            "expires_seconds": None if self.expires is None else round(self.expires - time.time(), 3),
            "mode": None if self.mode is None else f"{self.mode:04o}",
            "owner": self.owner or None,
            "problem": self.problem or None,
        }


def folder_problem(home: Home) -> CredentialError | None:
    """Why no credentials would be kept there."""
    if not home.paths.certs.exists():
        return None
    try:
        os.close(open_folder(home.paths.certs))
    except CredentialError as error:
        return error
    return None


def items(home: Home, plugins: Sequence[Plugin], *, own: bool = True) -> list[Item]:
    """The files of the plugins that get credentials and, with `own`, of launcher and hub before them."""
    launcher, paths = home.launcher, home.paths
    found: list[Item] = []
    if own:
        if launcher.hub.embedded and launcher.runtime is not None:
            found += [_look("ca", CERTIFICATE, paths.ca_cert), _look("ca", KEY, paths.certs / "caKey.pem")]
            found += [
                _look("hub", CERTIFICATE, paths.certs / "hubCert.pem"),
                _look("hub", KEY, paths.certs / "hubKey.pem"),
            ]
            for name in ("authn", "admin"):
                found += [_look(name, KEY, paths.key(name)), _look(name, TOKEN, paths.token(name))]
        found.append(_look(launcher.id, KEY, launcher.key_file, needed=launcher.hub.embedded))
        found.append(_look(launcher.id, TOKEN, launcher.token_file))
    certificates = launcher.hub.url.startswith(("mqtt:", "mqtts:"))
    for plugin in plugins:
        if not plugin.create_cred or plugin is launcher.runtime:
            continue
        # what is missing is made before the start
        found.append(_look(plugin.id, KEY, paths.key(plugin.id), plugin.user, needed=False))
        found.append(_look(plugin.id, TOKEN, paths.token(plugin.id), plugin.user, needed=False))
        if certificates:
            found.append(_look(plugin.id, CERTIFICATE, paths.certificate(plugin.id), plugin.user, needed=False))
    return found


def _look(client_id: str, kind: str, path: Path, user: str | None = None, *, needed: bool = True) -> Item:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return Item(client_id, kind, path, None, None, "", "missing" if needed else "")
    except OSError as error:
        return Item(client_id, kind, path, None, None, "", (error.strerror or str(error)).lower())
    owner, mode = user_name(found.st_uid), stat.S_IMODE(found.st_mode)
    try:
        period = _period(kind, path, client_id)
        problem = _about_time(period)
    except CredentialError as error:
        period, problem = None, error.why or error.what
    problem = problem or _about_access(kind, found, user)
    return Item(client_id, kind, path, None if period is None else period.end, mode, owner, problem)


def _period(kind: str, path: Path, client_id: str) -> Period | None:
    if kind == CERTIFICATE:
        return expiry.certificate_period(store.read_file(path))
    if kind == TOKEN:
        claims = expiry.read_claims(store.read_text(path))
        if claims.client_id != client_id:
            raise CredentialError("not its token", why=f"it is for {claims.client_id[:64]}")
        return claims.period
    if not store.read_file(path).strip():
        raise CredentialError("not a key", why="it is empty")
    return None


def _about_time(period: Period | None) -> str:
    now = time.time()
    if period is None:
        return ""
    if period.expired(now):
        return "expired"
    if period.start > now + CLOCK_SKEW:
        return "not valid yet; is the clock right?"
    return DUE if now >= period.renewal() else ""


def _about_access(kind: str, found: os.stat_result, user: str | None) -> str:
    if stat.S_ISLNK(found.st_mode):
        return "" if kind in _PUBLIC else "a link; it is replaced by a file at the next renewal"
    open_to_others = found.st_mode & (0o022 if kind in _PUBLIC else 0o077)
    if open_to_others:
        return f"open to others; chmod 0{'644' if kind in _PUBLIC else '600'}"
    owner = user_name(found.st_uid)
    if user is not None and os.geteuid() == 0 and owner not in (user, "root"):
        return f"belongs to {owner}, not to {user}; it is made anew at the next start"
    return ""
