"""What lies in Mosquitto's folder before it starts: who there is, its certificate, and the list of revoked ones.

All of it follows from the accounts and the certs folder, and is written anew at every start; the broker's own copy of
its state is of no other use. Also makes the certificate with which the broker is closed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from pathlib import Path

from hiveot_supervisor.credentials import certificates, store
from hiveot_supervisor.errors import CredentialError
from hiveot_supervisor.runtime import bootstrap, dynsec
from hiveot_supervisor.runtime.accounts import AccountStore
from hiveot_supervisor.runtime.bootstrap import HubFiles
from hiveot_supervisor.runtime.dynsec import DynsecClient
from hiveot_supervisor.runtime.issued import IssuedCertificates
from hiveot_supervisor.runtime.mosquitto_process import CA, CRL, SERVER, SERVER_KEY, STATE

log = logging.getLogger("hiveot.runtime")

OWN_CA = "own-ca.pem"
"""What the runtime itself trusts: the hub's CA, and the one that vouches for the closed broker."""
_CRL_AGE = 86400.0  # the list is dated back, so that it can be made anew more often than once a second


class MosquittoFiles:
    """Writes them. Not thread-safe."""

    def __init__(self, folder: Path, files: HubFiles, accounts: AccountStore, issued: IssuedCertificates) -> None:
        self.folder = folder
        self._files = files
        self._accounts = accounts
        self._issued = issued
        self._crl_time = 0.0
        self._listed: list[int] | None = None
        self.revocation = certificates.may_sign_crl(store.read_file(files.ca)) and files.ca_key.exists()

    @property
    def own_ca(self) -> Path:
        return self.folder / OWN_CA

    def write_state(self, clients: Iterable[DynsecClient]) -> None:
        """Who may log in, for the start. Raises CredentialError."""
        store.write_file(self.folder / STATE, dynsec.render(clients))

    def write_closed(self) -> None:
        """A server certificate that nobody trusts but the runtime. A client that comes before the account service is
        there would be let in to a hub without one; like this TLS fails, and it just tries again.
        """
        now = time.time()
        ca, key = store.read_file(self._files.ca), certificates.new_server_key()
        closed_ca = certificates.create_ca(key, now=now)
        server_key = store.read_file(self._files.server_key)
        hosts = sorted(certificates.server_names(store.read_file(self._files.server)))
        pem = certificates.create_server(closed_ca, key, bootstrap.load_server_key(self._files), hosts, now=now)
        store.write_file(self.own_ca, closed_ca + ca)
        store.write_file(self.folder / CA, ca)
        store.write_file(self.folder / SERVER_KEY, server_key)
        store.write_file(self.folder / SERVER, pem)

    def write_server(self) -> None:
        """The hub's own server certificate, for everybody. Raises CredentialError."""
        store.write_file(self.folder / SERVER_KEY, store.read_file(self._files.server_key))
        store.write_file(self.folder / SERVER, store.read_file(self._files.server))

    def write_crl(self) -> bool:
        """The list of certificates that count no more; False when it says what it said before. Raises
        CredentialError.
        """
        if not self.revocation:
            return False
        now = time.time()
        void = self._issued.void(self._accounts, now=now)
        if void == self._listed:
            return False
        # OpenSSL keeps the older list beside the newer one, and takes the one with the later date.
        self._crl_time = max(self._crl_time + 1, now - _CRL_AGE)
        ca, ca_key = store.read_file(self._files.ca), bootstrap.load_ca_key(self._files)
        pem = certificates.create_crl(ca, ca_key, void, now=self._crl_time)
        store.write_file(self.folder / CRL, pem)
        self._listed = void
        return True

    def adopt_certificates(self) -> None:
        """Take those certificates into the list that an earlier version has issued for this home's own plugins."""
        try:
            ca = store.read_file(self._files.ca)
        except (FileNotFoundError, CredentialError):
            return
        for account in self._accounts.all():
            self._issued.adopt(self._files.certificate(account.client_id), account.client_id, ca)
