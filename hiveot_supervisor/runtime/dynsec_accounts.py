"""Our accounts as clients of a Mosquitto: one client with one role each, kept in step by commands.

Mosquitto judges logins by itself, so everything that a login depends on is told to it beforehand. It knows one secret
an account and no expiry; when a secret takes effect is `rotation`'s. Whether the broker is ours is not known here:
what differs by that is handed in as a `Place`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import secrets
import threading
import time
from collections.abc import Iterator
from typing import Protocol

from hiveot_supervisor.errors import HiveotError
from hiveot_supervisor.runtime import dynsec
from hiveot_supervisor.runtime.accounts import Account, AccountStore
from hiveot_supervisor.runtime.dynsec import Command, Dynsec, DynsecClient
from hiveot_supervisor.runtime.pbkdf2 import TOKEN_ITERATIONS, check_secret, hash_secret
from hiveot_supervisor.runtime.roles import Grants, account_grants
from hiveot_supervisor.runtime.rotation import Rotation
from hiveot_supervisor.runtime.tokenfiles import Token, TokenFiles

log = logging.getLogger("hiveot.runtime")

_FIRST_SECRET = 0.05  # seconds that a new account without any is kept back
_SYNC_EVERY = 1.0  # seconds between looks at the token files, however many logins are refused


class Place(Protocol):
    """What can be done with a broker besides commands depends on whose it is."""

    def connected(self, client_id: str) -> bool:
        """Whether a client is logged in with that account; True when that cannot be known."""
        ...

    def remove(self, client_id: str) -> None:
        """Remove client, role and what is stored for it. Raises HiveotError."""
        ...

    def say_offline(self, client_id: str, reason: str) -> None:
        """Publish the presence of whom the broker disconnects on command, without last will. Raises HiveotError."""
        ...

    def recheck_certificates(self) -> None:
        """Which certificates count may have changed. Raises HiveotError."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """What the broker shall know of an account, besides its secret."""

    rights: Grants
    disabled: bool


class DynsecAccounts:
    """See `broker.AccountPort`. Thread-safe."""

    def __init__(
        self, accounts: AccountStore, token_files: TokenFiles, commands: Dynsec, place: Place, *, launcher_id: str
    ) -> None:
        self._accounts = accounts
        self._token_files = token_files
        self._dynsec = commands
        self._place = place
        self._launcher_id = launcher_id
        self._lock = threading.RLock()  # guards what follows, and the order of commands about one account
        self._known: dict[str, Wanted] = {}
        self._new: dict[str, float] = {}  # account -> until when (monotonic) its first secret is waited for
        self._ended: dict[str, float] = {}  # account -> when its secret expired, which nobody can log in with any more
        self._applied: dict[str, str] = {}  # account -> hash of the secret that the broker was given last
        self._synced = 0.0
        self._rotation = Rotation(
            file_text=token_files.text, apply=self._apply_secret, next_expiry=self._next_expiry, expire=self._expire
        )

    def start(self) -> None:
        """From now on secrets take effect and end by themselves."""
        self._rotation.start()

    def stop(self) -> None:
        """Idempotent."""
        self._rotation.stop()
        self._dynsec.close()

    def as_clients(self) -> list[DynsecClient]:
        """All accounts with their secrets, for a state file; the broker is taken to know them from now on."""
        found = []
        for account in self._accounts.all():
            wanted = self._known[account.client_id] = self.wanted(account)
            hashed = self._hash_at_start(account)
            found.append(DynsecClient(account.client_id, wanted.rights, hashed, wanted.disabled))
        return found

    def know(self, client_id: str, wanted: Wanted) -> None:
        """The broker knows this account already, so."""
        with self._lock:
            self._known[client_id] = wanted

    def wanted(self, account: Account) -> Wanted:
        """What the broker shall know of an account. A disabled one has no rights: a certificate would let it in."""
        if account.disabled:
            return Wanted(Grants(), disabled=True)
        rights = account_grants(account.role, account.client_id, launcher_id=self._launcher_id)
        return Wanted(rights, disabled=False)

    # the port

    def put(self, account: Account) -> None:
        client_id, wanted = account.client_id, self.wanted(account)
        with self._lock:
            known = self._known.get(client_id)
            if known is None and not wanted.disabled:
                # it gets its secret in the next moment: making both at once halves what the broker has to write
                self._new[client_id] = time.monotonic() + _FIRST_SECRET
                self._rotation.wake()
                return
            if known == wanted:
                return
            online = self._place.connected(client_id)
            self._dynsec.run(_changes(client_id, known, wanted))
            self._known[client_id] = wanted
        if wanted.disabled and online:
            with logged(f"{client_id} may still be shown as online"):
                self._place.say_offline(client_id, "account disabled")
        if wanted.disabled or (known is not None and known.disabled):
            self._recheck_certificates()

    def set_secret(self, client_id: str, secret: str, *, at_once: bool = False) -> None:
        with self._lock:
            if client_id in self._new:
                self._create(client_id, secret)
                return
        if self._place.connected(client_id) and not at_once:
            self._rotation.put(client_id, secret)
        else:
            self._rotation.drop(client_id)
            self._apply_secret(client_id, secret)
            self._rotation.wake()  # to see when it expires

    def kick(self, client_id: str) -> None:
        with self._lock, logged(f"clients of {client_id} may still be connected"):
            known = self._known.get(client_id)
            if known is not None and not known.disabled and self._place.connected(client_id):
                self._dynsec.run(dynsec.hang_up(client_id))

    def forget(self, client_id: str) -> None:
        self._rotation.drop(client_id)
        online = self._place.connected(client_id)
        with self._lock, logged(f"what the broker stores for {client_id} may still be there"):
            self._new.pop(client_id, None)
            self._known.pop(client_id, None)
            self._applied.pop(client_id, None)
            self._place.remove(client_id)
        if online:
            with logged(f"{client_id} may still be shown as online"):
                self._place.say_offline(client_id, "account removed")
        self._recheck_certificates()

    def recheck(self) -> None:
        self._recheck_certificates()
        self._sync()

    def refused(self) -> None:
        """A login was refused: maybe of somebody of this home whose token the broker does not know. Returns at once."""
        now = time.monotonic()
        if now - self._synced >= _SYNC_EVERY:
            self._synced = now
            threading.Thread(target=self._sync, name="token-files", daemon=True).start()

    # parts

    def _recheck_certificates(self) -> None:
        with self._lock, logged("revoked certificates may still be accepted"):
            self._place.recheck_certificates()

    def _hash_at_start(self, account: Account) -> str:
        """What an account logs in with from now on; the token in its file, if it has a good one."""
        if account.password_hash:
            if not account.secret_hash:
                hint = "its password was set under another driver, set it again"
                log.warning("%s cannot log in by password: %s", account.client_id, hint)
            return account.secret_hash
        token = self._token_files.good(account)
        if token is not None and not check_secret(token.text, account.secret_hash):
            return self._remember(account.client_id, token)
        if account.secret_expires and account.secret_expires <= time.time():
            self._ended[account.client_id] = account.secret_expires
            return ""
        return account.secret_hash

    def _remember(self, client_id: str, token: Token) -> str:
        secret_hash = hash_secret(token.text, TOKEN_ITERATIONS)
        self._accounts.set_secret(client_id, secret_hash, token.expires)
        return secret_hash

    def _create(self, client_id: str, secret: str = "") -> None:
        """Tell the broker of a new account, with its secret if it has one by now."""
        account = self._accounts.get(client_id)
        if self._new.pop(client_id, None) is not None and account is not None:
            wanted = self.wanted(account)
            self._dynsec.run(dynsec.create(client_id, wanted.rights, secret))
            self._known[client_id] = wanted
            self._applied[client_id] = hash_secret(secret, 1)

    def _apply_secret(self, client_id: str, secret: str) -> None:
        with self._lock:
            new = client_id not in self._known  # then it will get it with the rest
            if not new and not check_secret(secret, self._applied.get(client_id, "")):
                self._dynsec.run(dynsec.set_password(client_id, secret))
                self._applied[client_id] = hash_secret(secret, 1)

    def _sync(self) -> None:
        """Let clients of this home in with the tokens that are in their files."""
        for account in self._accounts.all():
            client_id = account.client_id
            if account.password_hash or account.disabled or self._rotation.waits(client_id):
                continue
            text = self._token_files.text(client_id)
            if not text or check_secret(text, account.secret_hash):
                continue
            token = self._token_files.good(account)
            if token is not None:
                with logged(f"the broker does not know the token in the file of {client_id}"):
                    self._apply_secret(client_id, token.text)
                    self._remember(client_id, token)
                    self._rotation.wake()

    def _next_expiry(self) -> float | None:
        ends = [a.secret_expires for a in self._accounts.all() if self._ends(a)]
        if self._new:
            return _FIRST_SECRET
        return min(ends) - time.time() if ends else None

    def _expire(self) -> None:
        """End the secrets whose token has expired, with the connections that were made with them."""
        with self._lock:
            for client_id in [name for name, until in self._new.items() if time.monotonic() >= until]:
                self._create(client_id)
        now = time.time()
        for account in self._accounts.all():
            if self._ends(account) and account.secret_expires <= now:
                self._apply_secret(account.client_id, secrets.token_urlsafe(32))
                self._ended[account.client_id] = account.secret_expires

    def _ends(self, account: Account) -> bool:
        return bool(account.secret_expires) and self._ended.get(account.client_id) != account.secret_expires


class ToldBroker:
    """The account's part of a broker that is told of accounts."""

    one_secret = True
    _told: DynsecAccounts

    def put(self, account: Account) -> None:
        self._told.put(account)

    def set_secret(self, client_id: str, secret: str, *, at_once: bool = False) -> None:
        self._told.set_secret(client_id, secret, at_once=at_once)

    def kick(self, client_id: str) -> None:
        self._told.kick(client_id)

    def forget(self, client_id: str) -> None:
        self._told.forget(client_id)

    def recheck(self) -> None:
        self._told.recheck()


def _changes(client_id: str, known: Wanted | None, wanted: Wanted) -> list[Command]:
    commands: list[Command] = []
    if known is None:
        commands += dynsec.create(client_id, wanted.rights)
    elif known.rights != wanted.rights:
        commands += dynsec.change_rights(client_id, wanted.rights)
    if wanted.disabled != (known is not None and known.disabled):
        commands.append({"command": f"{'dis' if wanted.disabled else 'en'}ableClient", "username": client_id})
    return commands


@contextlib.contextmanager
def logged(what: str) -> Iterator[None]:
    """Log what fails in the block instead of raising it. `what`: what may be the case then."""
    try:
        yield
    except HiveotError as err:
        log.warning("%s: %s", what, err)
