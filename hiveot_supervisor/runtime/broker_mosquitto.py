"""The Mosquitto broker: the process, and in it one client with one role for each account.

Mosquitto judges logins by itself, so everything that a login depends on is told to it beforehand: at the start by its
state file, afterwards by commands. It knows one secret an account and no expiry; both are `rotation`'s.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from hiveot_supervisor.clock import iso8601
from hiveot_supervisor.credentials import store
from hiveot_supervisor.errors import HiveotError
from hiveot_supervisor.hub import topics
from hiveot_supervisor.hub.wire import encode_json
from hiveot_supervisor.runtime import dynsec
from hiveot_supervisor.runtime.accounts import Account, AccountStore
from hiveot_supervisor.runtime.bootstrap import HubFiles
from hiveot_supervisor.runtime.dynsec import Command, Dynsec, DynsecClient
from hiveot_supervisor.runtime.issued import IssuedCertificates
from hiveot_supervisor.runtime.local import LocalLogins
from hiveot_supervisor.runtime.logins import PROBE_USER, RUNTIME_USER
from hiveot_supervisor.runtime.mosquitto_files import MosquittoFiles
from hiveot_supervisor.runtime.mosquitto_process import SOCKET, MosquittoProcess, MosquittoSettings
from hiveot_supervisor.runtime.pbkdf2 import TOKEN_ITERATIONS, check_secret, hash_secret
from hiveot_supervisor.runtime.roles import EVERYTHING, Grants, Role, account_grants, grants
from hiveot_supervisor.runtime.rotation import Rotation
from hiveot_supervisor.runtime.tokenfiles import Token, TokenFiles

log = logging.getLogger("hiveot.runtime")

_CONTROL = Grants(publish=("$CONTROL/#",), subscribe=("$CONTROL/#",))
_FIRST_SECRET = 0.05  # seconds that a new account without any is kept back
_SYNC_EVERY = 1.0  # seconds between looks at the token files, however many logins are refused


@dataclasses.dataclass(frozen=True, slots=True)
class _Known:
    """What the broker has been told of an account."""

    rights: Grants
    disabled: bool


class MosquittoBroker:
    """See `broker.Broker`. rights: what an account may do; on_exit: called (from another thread) when it ends."""

    one_secret = True

    def __init__(
        self,
        *,
        host: str,
        port: int,
        certificates: tuple[str, int] | None,
        files: HubFiles,
        folder: Path,
        binary: Path | None,
        accounts: AccountStore,
        issued: IssuedCertificates,
        token_files: TokenFiles,
        launcher_id: str,
        on_exit: Callable[[], None],
    ) -> None:
        store.ensure_folder(folder)
        self._accounts = accounts
        self._token_files = token_files
        self._launcher_id = launcher_id
        self._files = MosquittoFiles(folder, files, accounts, issued)
        settings = MosquittoSettings(host, port, folder, binary, certificates, self._files.revocation)
        self.process = MosquittoProcess(settings, on_exit, self._on_refused)
        self._secret = secrets.token_urlsafe(32)
        self.logins = LocalLogins(host, port, self._files.own_ca, self._secret, socket=folder / SOCKET)
        self._dynsec = Dynsec(lambda: self.logins.connect(keep_alive=0))
        self._lock = threading.RLock()  # guards what follows, and the order of commands about one account
        self._known: dict[str, _Known] = {}
        self._new: dict[str, float] = {}  # account -> until when (monotonic) its first secret is waited for
        self._ended: dict[str, float] = {}  # account -> when its secret expired, which nobody can log in with any more
        self._synced = 0.0
        self._rotation = Rotation(
            file_text=token_files.text, apply=self._apply_secret, next_expiry=self._next_expiry, expire=self._expire
        )

    @property
    def ca_file(self) -> Path:
        """Whom the runtime's own clients trust, also while the broker is closed."""
        return self._files.own_ca

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def version(self) -> str:
        return f"mosquitto {self.process.version}"

    @property
    def running(self) -> bool:
        return self.process.running

    def exit_words(self) -> str:
        return self.process.exit_words()

    # life

    def start(self) -> None:
        """Start it with all accounts, but with a certificate that only the runtime trusts."""
        if not self._files.revocation:
            log.warning(
                "revoked certificates stay valid: the hub's CA cannot sign a list of them (no key, or no right)"
            )
        self._files.adopt_certificates()
        self._files.write_closed()
        self._files.write_crl()
        self._files.write_state(self._all_clients())
        self.process.start()
        self._rotation.start()

    def open(self) -> None:
        self.reload()

    def reload(self) -> None:
        self._files.write_server()
        self._files.write_crl()
        self.process.reload()

    def retained(self) -> int:
        """Mosquitto has loaded all before it listens."""
        return 0

    def stop(self) -> None:
        self._rotation.stop()
        self._dynsec.close()
        self.process.stop()

    # accounts

    def put(self, account: Account) -> None:
        client_id, wanted = account.client_id, self._wanted(account)
        with self._lock:
            known = self._known.get(client_id)
            if known is None and not wanted.disabled:
                # it gets its secret in the next moment: making both at once halves what the broker has to write
                self._new[client_id] = time.monotonic() + _FIRST_SECRET
                self._rotation.wake()
                return
            if known == wanted:
                return
            commands: list[Command] = []
            if known is None:
                commands += dynsec.create(client_id, wanted.rights)
            elif known.rights != wanted.rights:
                commands += dynsec.change_rights(client_id, wanted.rights)
            if wanted.disabled != (known is not None and known.disabled):
                commands.append({"command": f"{'dis' if wanted.disabled else 'en'}ableClient", "username": client_id})
            online = self.process.connected(client_id)
            self._dynsec.run(commands)
            self._known[client_id] = wanted
        if wanted.disabled:
            self._say_offline(client_id, "account disabled", online)
        if wanted.disabled or (known is not None and known.disabled):
            self._recheck_certificates()

    def set_secret(self, client_id: str, secret: str, *, at_once: bool = False) -> None:
        with self._lock:
            if client_id in self._new:
                self._create(client_id, secret)
                return
        if self.process.connected(client_id) and not at_once:
            self._rotation.put(client_id, secret)
        else:
            self._rotation.drop(client_id)
            self._apply_secret(client_id, secret)
            self._rotation.wake()  # to see when it expires

    def kick(self, client_id: str) -> None:
        with self._lock, _logged("clients of %s may still be connected", client_id):
            known = self._known.get(client_id)
            if known is not None and not known.disabled and self.process.connected(client_id):
                self._dynsec.run(dynsec.hang_up(client_id))

    def forget(self, client_id: str) -> None:
        self._rotation.drop(client_id)
        online = self.process.connected(client_id)
        with self._lock, _logged("what the broker stores for %s may still be there", client_id):
            self._new.pop(client_id, None)
            self._known.pop(client_id, None)
            self._dynsec.run(dynsec.remove(client_id), missing_is_fine=True)
            self.logins.drop_session(client_id)
        self._say_offline(client_id, "account removed", online)
        self._recheck_certificates()

    def recheck(self) -> None:
        self._recheck_certificates()
        self._sync_logged()

    # parts

    def _recheck_certificates(self) -> None:
        with self._lock, _logged("revoked certificates of %s may still be accepted", "the hub"):
            if self._files.write_crl():
                self.process.reload()

    def _all_clients(self) -> list[DynsecClient]:
        own = hash_secret(self._secret, TOKEN_ITERATIONS)
        found = [
            DynsecClient(RUNTIME_USER, EVERYTHING | _CONTROL, own),
            DynsecClient(PROBE_USER, grants(Role.NONE, PROBE_USER), own),
        ]
        for account in self._accounts.all():
            wanted = self._known[account.client_id] = self._wanted(account)
            secret_hash = self._hash_at_start(account)
            found.append(DynsecClient(account.client_id, wanted.rights, secret_hash, wanted.disabled))
        return found

    def _wanted(self, account: Account) -> _Known:
        if account.disabled:  # a certificate would still let it in
            return _Known(Grants(), disabled=True)
        return _Known(account_grants(account.role, account.client_id, launcher_id=self._launcher_id), disabled=False)

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
            wanted = self._wanted(account)
            self._dynsec.run(dynsec.create(client_id, wanted.rights, secret))
            self._known[client_id] = wanted

    def _apply_secret(self, client_id: str, secret: str) -> None:
        with self._lock:
            if client_id in self._known:  # not a new one: that will get it with the rest
                self._dynsec.run(dynsec.set_password(client_id, secret))

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
                self._remember(client_id, token)
                self._apply_secret(client_id, token.text)
                self._rotation.wake()

    def _on_refused(self) -> None:
        """In the thread that reads the log: somebody may have a token that the broker does not know."""
        now = time.monotonic()
        if now - self._synced >= _SYNC_EVERY:
            self._synced = now
            threading.Thread(target=self._sync_logged, name="token-files", daemon=True).start()

    def _sync_logged(self) -> None:
        with _logged("the hub does not know all tokens of %s", "this home"):
            self._sync()

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
                self._ended[account.client_id] = account.secret_expires
                self._apply_secret(account.client_id, secrets.token_urlsafe(32))

    def _ends(self, account: Account) -> bool:
        return bool(account.secret_expires) and self._ended.get(account.client_id) != account.secret_expires

    def _say_offline(self, client_id: str, reason: str, online: bool) -> None:
        """The broker sends no last will for whom it disconnects on command."""
        if not online:
            return
        document = {"state": "offline", "reason": reason, "since": iso8601(time.time()), "host": "", "version": ""}
        with _logged("%s may still be shown as online", client_id), self.logins.connect() as connection:
            connection.publish(topics.presence(client_id), encode_json(document), retain=True)


@contextlib.contextmanager
def _logged(what: str, client_id: str) -> Iterator[None]:
    """Log what fails in the block instead of raising it."""
    try:
        yield
    except HiveotError as err:
        log.warning(f"{what}: %s", client_id, err)
