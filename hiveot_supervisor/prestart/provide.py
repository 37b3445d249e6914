"""Credentials on the way to the start: makes sure they are there, connecting to the hub only when it is needed.

The rules (what is valid, what is asked for, how files are written) are `credentials.provision`'s. Here is only what
the plugin's own PID adds: the short-lived connection with the launcher's account, and files for another user.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hiveot_supervisor.credentials import provision, store
from hiveot_supervisor.errors import CredentialError, HubUnavailable, TryLater
from hiveot_supervisor.prestart import gates
from hiveot_supervisor.prestart.spec import Credentials

if TYPE_CHECKING:
    from hiveot_supervisor.hub.client import HubClient

LOGIN_TIMEOUT = 5.0
"""Seconds; when the hub takes longer, trying later is the agent's job."""


class AccountService:
    """The hub's account service, with an account of the launcher; connects when it is first asked."""

    def __init__(self, given: Credentials) -> None:
        self._given = given
        self._hub: HubClient | None = None
        self._turn = contextlib.ExitStack()

    def __call__(self, name: str, arguments: Mapping[str, Any]) -> Any:
        if self._hub is None:
            self._hub = self._connect()
        return provision.ask_via(self._hub)(name, arguments)

    def _connect(self) -> HubClient:
        from hiveot_supervisor.hub.client import Account
        from hiveot_supervisor.hub.connect import make_client

        given = self._given
        try:
            gates.check_hub(given.hub_url)  # the client itself would go on trying
        except TryLater as error:
            raise HubUnavailable(error.what, why=error.why) from error
        # one after another: a broker may allow one connection an account
        lock = Path(given.lock).with_name("hub.lock")
        self._turn.enter_context(store.locked(lock, timeout=provision.LOCK_TIMEOUT))
        account = Account(given.launcher_id, Path(given.launcher_token), Path(given.ca))
        hub = make_client(given.hub_url, account, agent=False)
        hub.start()
        try:
            hub.wait_connected(LOGIN_TIMEOUT)
        except BaseException:
            hub.close()
            raise
        return hub

    def close(self) -> None:
        if self._hub is not None:
            self._hub.close()
            self._hub = None
        self._turn.close()


@dataclass(frozen=True, slots=True)
class Provided:
    """written: files made now; until: wall time until which nothing needs renewal; note: remark for the log."""

    written: tuple[Path, ...]
    until: float
    note: str


def provide(given: Credentials, owner: tuple[int, int] | None = None) -> Provided:
    """Make sure that key, token and certificate are there and valid; `owner` (uid, gid) gets them.

    Raises what `provision.ensure` raises.
    """
    files = provision.Files(
        client_id=given.client_id,
        key=Path(given.key),
        token=Path(given.token),
        certificate=Path(given.certificate),
        ca=Path(given.ca),
        issuer=Path(given.issuer),
        lock=Path(given.lock),
    )
    service = AccountService(given)
    try:
        outcome = provision.ensure(files, service, now=time.time, certificate=given.certificate_wanted, owner=owner)
    finally:
        service.close()
    if owner is not None:
        _hand_over(files, owner)
    return Provided(outcome.written, outcome.valid_until, outcome.note)


def _hand_over(files: provision.Files, owner: tuple[int, int]) -> None:
    """Give existing files to the user, and let it pass through the folder and read the CA's (public) certificate.

    The folder gets the mode 0711: names in it can be used, not listed, and every secret still is its owner's alone.
    """
    try:
        for path in (files.key, files.token, files.certificate):
            if path.exists() and not path.is_symlink() and path.stat().st_uid != owner[0]:
                os.chown(path, *owner, follow_symlinks=False)
        _open_up(files.key.parent, owner[0], 0o011)
        if files.ca.exists():
            _open_up(files.ca, owner[0], 0o044)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CredentialError(f"cannot hand over the credentials of {files.client_id}", why=reason) from error


def _open_up(path: Path, uid: int, bits: int) -> None:
    found = path.stat()
    if found.st_uid != uid and found.st_mode & bits != bits:
        path.chmod(stat.S_IMODE(found.st_mode) | bits)
