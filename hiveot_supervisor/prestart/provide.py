"""Credentials on the way to the start: makes sure they are there, connecting to the hub only when it is needed.

The rules (what is valid, what is asked for, how files are written) are `credentials.provision`'s. Here is only what
the plugin's own PID adds: the short-lived connection with the launcher's account, and files for another user.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hiveot_supervisor.credentials import provision, store
from hiveot_supervisor.credentials.memory import no_core_dumps
from hiveot_supervisor.errors import HubError, HubUnavailable, TryLater
from hiveot_supervisor.prestart import gates
from hiveot_supervisor.prestart.spec import Credentials

if TYPE_CHECKING:
    from hiveot_supervisor.hub.client import HubClient

LOGIN_TIMEOUT = 5.0
"""Seconds; when the hub takes longer, trying later is the agent's job."""


class AccountService:
    """The hub's account service, with an account of the launcher; connects when it is first asked."""

    def __init__(self, url: str, launcher_id: str, token: Path, ca: Path, *, lock: Path) -> None:
        self._url = url
        self._account = (launcher_id, token, ca)
        self._lock = lock
        self._hub: HubClient | None = None
        self._turn = contextlib.ExitStack()

    def __call__(self, name: str, arguments: Mapping[str, Any]) -> Any:
        return provision.ask_via(self.hub())(name, arguments)

    def hub(self) -> HubClient:
        """The connected client. Raises HubUnavailable, HubRefused."""
        if self._hub is None:
            self._hub = self._connect()
        return self._hub

    def _connect(self) -> HubClient:
        from hiveot_supervisor.hub.client import Account
        from hiveot_supervisor.hub.connect import make_client

        try:
            gates.check_hub(self._url)  # the client itself would go on trying
        except TryLater as error:
            raise HubUnavailable(error.what, why=error.why) from error
        # one after another: a broker may allow one connection an account
        self._turn.enter_context(store.locked(self._lock, timeout=provision.LOCK_TIMEOUT))
        hub = make_client(self._url, Account(*self._account), agent=False)
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


def hub_lock(folder: Path) -> Path:
    """Held by whoever is connected with that account. folder: that of the accounts' locks."""
    return folder / "hub.lock"


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
    service = AccountService(
        given.hub_url, given.launcher_id, Path(given.launcher_token), files.ca, lock=hub_lock(files.lock.parent)
    )
    try:
        with no_core_dumps():
            outcome = provision.ensure(files, service, now=time.time, certificate=given.certificate_wanted, owner=owner)
        note = _retire(files, service) if outcome.superseded else outcome.note
    finally:
        service.close()
    if owner is not None:
        _hand_over(files, owner)
    return Provided(outcome.written, outcome.valid_until, note)


def _retire(files: provision.Files, service: AccountService) -> str:
    """Have the hub forget the old token; a hub that does not answer takes it until it expires."""
    try:
        return provision.retire(files, service)
    except HubError as error:
        return f"the hub may keep taking the old token of {files.client_id} until it expires: {error.what}"


def _hand_over(files: provision.Files, owner: tuple[int, int]) -> None:
    """Give existing files to the user, and let it pass through the folder and read the CA's (public) certificate.

    The folder gets the mode 0711: names in it can be used, not listed, and every secret still is its owner's alone.
    """
    for path in (files.key, files.token, files.certificate):
        with contextlib.suppress(FileNotFoundError):
            store.give(path, owner)
    store.open_up(files.key.parent, 0o011)
    store.open_up(files.ca, 0o044)
