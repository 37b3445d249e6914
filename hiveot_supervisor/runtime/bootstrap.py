"""What must exist before the hub opens: CA, server certificate, signing key, and the built-in accounts with
tokens.

Makes what is missing and renews what is due; whatever is still good stays as it is, byte for byte. Existing
files of a Go installation are used (docs/hiveot-hub-protocol.md §1.3, §8).
"""

from __future__ import annotations

import dataclasses
import ipaddress
import logging
import re
import socket
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hiveot_supervisor.credentials import certificates, expiry, keys, store, tokens
from hiveot_supervisor.errors import ConfigError, CredentialError
from hiveot_supervisor.model import prestart_account
from hiveot_supervisor.runtime.accounts import Account, AccountStore, ClientType, valid_client_id
from hiveot_supervisor.runtime.roles import Role

if TYPE_CHECKING:
    from hiveot_supervisor.model import Hub

log = logging.getLogger("hiveot.runtime")

AUTHN, ADMIN = "authn", "admin"
DAY = 86400.0
LIFETIME = {ClientType.SERVICE: 365 * DAY, ClientType.AGENT: 90 * DAY, ClientType.CONSUMER: 30 * DAY}
"""Validity of tokens, seconds, by account type (as the Go hub's)."""
BUILTIN_LIFETIME = 365 * DAY

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class HubFiles:
    """The hub's own files in the certs folder; names as in the Go hub."""

    certs: Path

    @property
    def ca(self) -> Path:
        return self.certs / "caCert.pem"

    @property
    def ca_key(self) -> Path:
        return self.certs / "caKey.pem"

    @property
    def server(self) -> Path:
        return self.certs / "hubCert.pem"

    @property
    def server_key(self) -> Path:
        return self.certs / "hubKey.pem"

    @property
    def signer(self) -> Path:
        return self.certs / "authn.key"

    @property
    def signer_public(self) -> Path:
        return self.certs / "authn.pub"

    def token(self, client_id: str) -> Path:
        return self.certs / f"{client_id}.token"

    def certificate(self, client_id: str) -> Path:
        return self.certs / f"{client_id}Cert.pem"

    def key(self, client_id: str) -> Path:
        return self.certs / f"{client_id}.key"

    def public_key(self, client_id: str) -> Path:
        return self.certs / f"{client_id}.pub"


def builtin_ids(launcher_id: str) -> frozenset[str]:
    """Accounts that only the runtime itself manages."""
    return frozenset({AUTHN, ADMIN, launcher_id, prestart_account(launcher_id)})


def host_names(hub: Hub) -> tuple[list[str], list[str]]:
    """The names and addresses that the server certificate must be for, and those that a new one gets
    besides.
    """
    name = socket.gethostname()
    must = ["localhost", "127.0.0.1", name, urllib.parse.urlsplit(hub.url).hostname or ""]
    listening = [hub.listen_host, *([hub.certificates_host] if hub.certificates else [])]
    must += [_lan_address() if host in ("0.0.0.0", "::") else host for host in listening]
    extra = ["::1", *([f"{name}.local"] if "." not in name else [])]
    return _usable(must), _usable(extra)


def prepare_tls(files: HubFiles, hub: Hub, *, now: float) -> bool:
    """Make sure of CA and server certificate. True when there is a new server certificate. Raises
    CredentialError.
    """
    store.ensure_folder(files.certs)
    must, extra = host_names(hub)
    ca = _load_ca(files, now)
    reason = _server_reason(files, ca, set(must), now)
    if not reason:
        return False
    key = _server_key(files)
    hosts = list(dict.fromkeys([*must, *extra]))
    pem = certificates.create_server(ca, load_ca_key(files), key, hosts, now=now)
    store.write_file(files.server, pem)
    log.info("new server certificate (%s) for %s", reason, ", ".join(hosts))
    return True


def load_ca_key(files: HubFiles) -> keys.PrivateKey:
    """The CA's private key. Raises CredentialError when it is not here."""
    try:
        return keys.load(files.ca_key)
    except FileNotFoundError as err:
        hint = "restore it, or remove caCert.pem to have a new CA made (all clients then need the new caCert.pem)"
        raise CredentialError(f"{files.ca_key} is missing", why="certificates cannot be signed", hint=hint) from err


def prepare_signer(files: HubFiles) -> keys.SigningKey:
    """The key that signs all tokens (of the account `authn`), and its public part beside it. Raises
    CredentialError.
    """
    key = keys.load_or_create(files.signer)
    public = keys.public_pem(key).encode()
    if _read(files.signer_public) != public:
        store.write_file(files.signer_public, public)
    return key


def prepare_accounts(accounts: AccountStore, files: HubFiles, signer: keys.SigningKey, launcher_id: str) -> None:
    """Make sure of the built-in accounts; a fresh store first takes over the accounts whose tokens we once
    signed.
    """
    if launcher_id in (AUTHN, ADMIN) or not valid_client_id(launcher_id):
        hint = "choose another `id` in launcher.yaml"
        raise ConfigError(f"{launcher_id} cannot be the launcher's account", hint=hint)
    now = time.time()
    if accounts.fresh:
        _adopt(accounts, files, signer, now)
    for client_id, kind, role, title in (
        (AUTHN, ClientType.SERVICE, Role.SERVICE, "Account service"),
        (ADMIN, ClientType.CONSUMER, Role.ADMIN, "Administrator"),
        (launcher_id, ClientType.SERVICE, Role.SERVICE, "Launcher"),
        (prestart_account(launcher_id), ClientType.SERVICE, Role.NONE, "Launcher's prestart"),
    ):
        public_key = keys.public_pem(keys.load_or_create(files.key(client_id)))
        found = accounts.get(client_id) or Account(client_id, kind, role, display_name=title, created=now, updated=now)
        created = min(found.created, now)  # else, made while the clock was wrong, it would be younger than its tokens
        wanted = dataclasses.replace(
            found, type=kind, role=role, public_key=public_key, disabled=False, created=created
        )
        if wanted != accounts.get(client_id):
            accounts.put(wanted)


def renew_tokens(
    accounts: AccountStore, files: HubFiles, signer: keys.SigningKey, launcher_id: str, now: Callable[[], float]
) -> None:
    """Write the built-in accounts' tokens where they are missing, not ours, or due. Raises
    CredentialError.
    """
    for client_id in sorted(builtin_ids(launcher_id)):
        account = accounts.get(client_id)
        period = _token_period(files.token(client_id), signer, client_id, now())
        good = period is not None and account is not None and period.start >= int(account.created) - 1
        if period is None or not good or now() >= period.renewal():
            token = tokens.issue(signer, client_id, now=now(), lifetime=BUILTIN_LIFETIME)
            store.write_file(files.token(client_id), token.encode())
            log.info("new token for %s", client_id)


def _adopt(accounts: AccountStore, files: HubFiles, signer: keys.SigningKey, now: float) -> None:
    """Accounts of tokens that our key has signed: from a Go hub in this home, or after the store was lost."""
    for path in sorted(files.certs.glob("*.token")):
        client_id = path.name.removesuffix(".token")
        if not valid_client_id(client_id):
            continue
        period = _token_period(path, signer, client_id, now)
        if period is None:
            continue
        public_key = (_read(files.public_key(client_id)) or b"").decode("ascii", "replace")
        log.info("taking over the account %s from its token", client_id)
        accounts.put(
            Account(
                client_id,
                ClientType.SERVICE,
                Role.SERVICE,
                display_name=client_id,
                public_key=public_key,
                created=period.start,
                updated=now,
            )
        )


def _token_period(path: Path, signer: keys.SigningKey, client_id: str, now: float) -> expiry.Period | None:
    try:
        claims = tokens.verify(store.read_text(path), signer.public_key(), now=now)
    except (FileNotFoundError, CredentialError):
        return None
    return claims.period if claims.client_id == client_id else None


def _load_ca(files: HubFiles, now: float) -> bytes:
    pem = _read(files.ca)
    if pem is not None:
        certificates.parse(pem)
        if files.ca_key.exists() and not certificates.belongs_to(pem, keys.load(files.ca_key)):
            hint = "restore the pair that belongs together, or remove both for a new CA"
            raise CredentialError(f"{files.ca} and {files.ca_key} do not belong together", hint=hint)
        return pem
    # A key without its certificate is what an interrupted first start leaves: nobody has seen anything of it.
    key = certificates.new_server_key()
    store.write_file(files.ca_key, keys.private_pem(key))
    pem = certificates.create_ca(key, now=now)
    store.write_file(files.ca, pem)
    log.info("new CA certificate %s", files.ca)
    return pem


def _server_reason(files: HubFiles, ca: bytes, must: set[str], now: float) -> str:
    """Why a new server certificate is needed; empty when the present one is good."""
    pem = _read(files.server)
    if pem is None or not files.server_key.exists():
        return "there was none"
    try:
        if not certificates.belongs_to(pem, keys.load(files.server_key)):
            return "key and certificate did not belong together"
        if now >= expiry.certificate_period(pem).renewal():
            return "the old one ends soon"
        if not certificates.signed_by(pem, ca):
            return "the CA has changed"
        missing = must - certificates.server_names(pem)
    except CredentialError as err:
        return err.what
    return f"the old one was not for {', '.join(sorted(missing))}" if missing else ""


def load_server_key(files: HubFiles) -> keys.PrivateKey:
    """The server's private key, after `prepare_tls`. Raises FileNotFoundError, CredentialError."""
    return keys.load(files.server_key)


def _server_key(files: HubFiles) -> keys.PrivateKey:
    try:
        return keys.load(files.server_key)
    except (FileNotFoundError, CredentialError):
        key = certificates.new_server_key()
        store.write_file(files.server_key, keys.private_pem(key))
        return key


def _read(path: Path) -> bytes | None:
    try:
        return store.read_file(path)
    except FileNotFoundError:
        return None


def _usable(hosts: list[str]) -> list[str]:
    return [host for host in dict.fromkeys(hosts) if _is_address(host) or _HOST.fullmatch(host)]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _lan_address() -> str:
    """Our address towards other machines, or an empty text. Sends nothing (a connected UDP socket only picks
    a route).
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return ""
