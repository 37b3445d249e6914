"""The Mosquitto broker of the hub: its process, its files, and the runtime's own way in.

Closed at first by a server certificate that nobody trusts but the runtime. Who may log in is `dynsec_accounts`'.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from hiveot_supervisor.clock import iso8601
from hiveot_supervisor.credentials import store
from hiveot_supervisor.hub import topics
from hiveot_supervisor.hub.wire import encode_json
from hiveot_supervisor.runtime import dynsec
from hiveot_supervisor.runtime.accounts import AccountStore
from hiveot_supervisor.runtime.bootstrap import HubFiles
from hiveot_supervisor.runtime.dynsec import Dynsec, DynsecClient
from hiveot_supervisor.runtime.dynsec_accounts import DynsecAccounts, ToldBroker
from hiveot_supervisor.runtime.issued import IssuedCertificates
from hiveot_supervisor.runtime.local import LocalLogins
from hiveot_supervisor.runtime.logins import PROBE_USER, RUNTIME_USER
from hiveot_supervisor.runtime.mosquitto_files import MosquittoFiles
from hiveot_supervisor.runtime.mosquitto_process import SOCKET, MosquittoProcess, MosquittoSettings
from hiveot_supervisor.runtime.pbkdf2 import TOKEN_ITERATIONS, hash_secret
from hiveot_supervisor.runtime.roles import EVERYTHING, Grants, Role, grants
from hiveot_supervisor.runtime.tokenfiles import TokenFiles

log = logging.getLogger("hiveot.runtime")

_CONTROL = Grants(publish=("$CONTROL/#",), subscribe=("$CONTROL/#",))


class MosquittoBroker(ToldBroker):
    """See `broker.Broker`, and `dynsec_accounts.Place`. on_exit: called (from another thread) when it ends."""

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
        self._files = MosquittoFiles(folder, files, accounts, issued)
        self._secret = secrets.token_urlsafe(32)
        self.logins = LocalLogins(host, port, self._files.own_ca, self._secret, socket=folder / SOCKET)
        self._dynsec = Dynsec(lambda: self.logins.connect(keep_alive=0))
        self._told = DynsecAccounts(accounts, token_files, self._dynsec, self, launcher_id=launcher_id)
        settings = MosquittoSettings(host, port, folder, binary, certificates, self._files.revocation)
        self.process = MosquittoProcess(settings, on_exit, self._told.refused)

    @property
    def ca_file(self) -> Path:
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
        if os.geteuid() == 0:
            log.info("the broker runs as root, as everything here; better is an ordinary user")
        if not self._files.revocation:
            log.warning("revoked certificates stay valid: the hub's CA cannot sign a list of them")
        self._files.adopt_certificates()
        self._files.write_closed()
        self._files.write_crl()
        own = hash_secret(self._secret, TOKEN_ITERATIONS)
        internal = [
            DynsecClient(RUNTIME_USER, EVERYTHING | _CONTROL, own),
            DynsecClient(PROBE_USER, grants(Role.NONE, PROBE_USER), own),
        ]
        self._files.write_state([*internal, *self._told.as_clients()])
        self.process.start()
        self._told.start()

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
        self._told.stop()
        self.process.stop()

    # the place

    def connected(self, client_id: str) -> bool:
        return self.process.connected(client_id)

    def remove(self, client_id: str) -> None:
        self._dynsec.run(dynsec.remove(client_id), missing_is_fine=True)
        self.logins.drop_session(client_id)

    def say_offline(self, client_id: str, reason: str) -> None:
        document = {"state": "offline", "reason": reason, "since": iso8601(time.time()), "host": "", "version": ""}
        with self.logins.connect() as connection:
            connection.publish(topics.presence(client_id), encode_json(document), retain=True)

    def recheck_certificates(self) -> None:
        if self._files.write_crl():
            self.process.reload()
