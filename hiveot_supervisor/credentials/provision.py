"""Makes sure that one account has its key, token and certificate, asking the hub only for what is missing or
due.

Used by prestart (in the plugin's PID) and by the agent (ahead of time); both may do it at once for the same
plugin. `inspect` + `plan` cost a few file reads and no third-party import. The private key never leaves the
machine, and nothing that is still valid is replaced before it is due.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hiveot_supervisor.credentials import expiry, store
from hiveot_supervisor.credentials.expiry import Period
from hiveot_supervisor.errors import CredentialError, HubError, HubUnavailable, RequestTimeout

if TYPE_CHECKING:
    from hiveot_supervisor.credentials.keys import PrivateKey
    from hiveot_supervisor.hub.client import HubClient
    from hiveot_supervisor.model import Paths

Ask = Callable[[str, Mapping[str, Any]], Any]
"""Invoke an action of the hub's account service: (name, input) -> output; raises HubError. May connect when
first used.
"""

RESERVED_IDS = frozenset({"ca", "hub"})
"""No account can have these IDs: its certificate would be caCert.pem or hubCert.pem."""

CLOCK_SKEW = 300.0
"""Seconds by which the hub's clock may be ahead of ours."""

_ENDINGS = {"key": ".key", "token": ".token", "certificate": "Cert.pem"}

LOCK_TIMEOUT = 30.0
"""Seconds to wait for another process that provisions the same account."""


class Renew(Enum):
    """How much is replaced: only what is missing or due, token and certificate whatever their age, or the key too."""

    DUE = auto()
    ALL = auto()
    KEYS = auto()


@dataclass(frozen=True, slots=True)
class Files:
    """Where one account's credentials lie. `issuer`: public key of the hub's token signer, if the hub is
    local.
    """

    client_id: str
    key: Path
    token: Path
    certificate: Path
    ca: Path
    issuer: Path
    lock: Path

    @classmethod
    def of(cls, paths: Paths, client_id: str) -> Files:
        """The files of `client_id` in a home. Raises CredentialError for an ID that cannot have any."""
        if client_id in RESERVED_IDS:
            why = "its certificate would replace the hub's"
            hint = "give the plugin another name"
            raise CredentialError(f"{client_id} cannot have credentials", why=why, hint=hint)
        return cls(
            client_id=client_id,
            key=paths.key(client_id),
            token=paths.token(client_id),
            certificate=paths.certificate(client_id),
            ca=paths.ca_cert,
            issuer=paths.certs / "authn.pub",
            lock=paths.run / "credentials" / f"{client_id}.lock",
        )


@dataclass(frozen=True, slots=True)
class Status:
    """What is on the disk: None = missing or unusable. A period may lie in the past."""

    has_key: bool
    token: Period | None
    certificate: Period | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done. `must`: without it the account cannot log in (missing or expired), as opposed to
    merely due.

    valid_until: wall time until which nothing of what is there needs renewal.
    """

    key: bool
    token: bool
    certificate: bool
    must: bool
    valid_until: float

    @property
    def nothing(self) -> bool:
        return not (self.key or self.token or self.certificate)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What `ensure` did: files written, until when (wall time) nothing needs renewal, whether the hub issues
    certificates at all, and a remark for the log when a renewal was put off. superseded: the hub still takes the
    token that was replaced, until `retire` is called."""

    written: tuple[Path, ...]
    valid_until: float
    certificates_offered: bool = True
    note: str = ""
    superseded: bool = False


def ask_via(hub: HubClient, *, timeout: float = 10.0) -> Ask:
    """The account service of a connected hub (agent `authn`, thing `Admin`)."""
    from hiveot_supervisor.hub.client import Right

    def ask(name: str, arguments: Mapping[str, Any]) -> Any:
        return hub.invoke_action("authn", "Admin", name, dict(arguments), right=Right.ADMIN, timeout=timeout)

    return ask


def inspect(files: Files, owner: tuple[int, int] | None = None) -> Status:
    """Read what is there. Signatures are only verified when the key that made them is newer than the file.

    What belongs to somebody else than us, root and `owner` counts as missing: its secret is theirs. Raises
    CredentialError when a file exists but cannot be read.
    """
    return Status(
        has_key=_owned(files.key, owner) and _has_key(files),
        token=_token_period(files) if _owned(files.token, owner) else None,
        certificate=_certificate_period(files) if _owned(files.certificate, owner) else None,
    )


def plan(status: Status, *, now: float, certificate: bool = True, renew: Renew = Renew.DUE) -> Plan:
    """What to do about `status` at wall time `now`. `certificate`: whether one is wanted at all."""
    key = not status.has_key or renew is Renew.KEYS
    token = _due(status.token, now) or renew is not Renew.DUE
    wanted = certificate and (_due(status.certificate, now) or key or renew is not Renew.DUE)
    must = not status.has_key or _unusable(status.token, now) or (certificate and _unusable(status.certificate, now))
    periods = [status.token, status.certificate if certificate else None]
    renewals = [p.renewal() for p in periods if p is not None]
    nothing = not key and not token and not wanted
    return Plan(
        key=key,
        token=token,
        certificate=wanted,
        must=must or renew is not Renew.DUE,
        valid_until=min(renewals) if nothing and renewals else now,
    )


def ensure(
    files: Files,
    ask: Ask,
    *,
    now: Callable[[], float],
    certificate: bool = True,
    display_name: str = "",
    owner: tuple[int, int] | None = None,
    renew: Renew = Renew.DUE,
) -> Outcome:
    """Create or renew what `plan` asks for. Returns at once, without asking the hub, when nothing is to be
    done.

    now: wall clock; certificate: want one (False for hubs that do not take them); owner: (uid, gid) of the
    files. When the hub is away and everything is merely due, the renewal is put off. Raises CredentialError
    (files), HubUnavailable/RequestTimeout (later), HubError (refused), TimedOut (another process holds the
    lock).
    """
    store.ensure_folder(files.key.parent)
    with store.locked(files.lock, timeout=LOCK_TIMEOUT):
        status = inspect(files, owner)
        todo = plan(status, now=now(), certificate=certificate, renew=renew)
        _tighten(files)
        if todo.nothing:
            return Outcome((), todo.valid_until)
        # HiveOT's own hub, which issues no certificates, knows no sessions either: a token lives until it expires
        expired = status.token is not None and status.token.expired(now())
        replaces = files.token.exists() and todo.token and certificate and not expired
        order = _Order(files, todo, ask, now, display_name or files.client_id, owner, replaces)
        try:
            written, offered = _carry_out(order)
        except (HubUnavailable, RequestTimeout) as err:
            if todo.must:
                raise
            return Outcome((), now(), note=f"renewal of {files.client_id}'s credentials put off: {err.what}")
        after = plan(inspect(files, owner), now=now(), certificate=certificate and offered)
        superseded = order.replaces_token and files.token in written
        return Outcome(tuple(written), after.valid_until, certificates_offered=offered, superseded=superseded)


def retire(files: Files, ask: Ask) -> str:
    """Have the hub forget the tokens before the one that is on the disk; it disconnects the account's clients, which
    then log in with the new one. To be called when that is in its place.

    Returns why it could not be done (such a hub keeps a token until it expires), else an empty text. Raises
    HubUnavailable/RequestTimeout (later), CredentialError.
    """
    try:
        ask("retireTokens", {"clientID": files.client_id, "token": store.read_text(files.token)})
    except (HubUnavailable, RequestTimeout):
        raise
    except HubError as err:
        return f"the hub keeps taking the old token of {files.client_id} until it expires: {err.what}"
    except FileNotFoundError:
        return f"{files.token} is gone"
    return ""


def remove(files: Files, forget: Callable[[], object]) -> None:
    """Have the hub forget the account, then take its files away; nobody makes them anew meanwhile.

    forget: does the former; what it raises leaves the files as they are. Raises CredentialError, TimedOut.
    """
    with store.locked(files.lock, timeout=LOCK_TIMEOUT):
        forget()
        for path in (files.token, files.certificate, files.key):
            store.remove_file(path)


def kinds(written: Iterable[Path]) -> tuple[str, ...]:
    """What files of an account are: `key`, `token`, `certificate`."""
    names = [path.name for path in written]
    return tuple(kind for kind, end in _ENDINGS.items() if any(name.endswith(end) for name in names))


@dataclass(frozen=True, slots=True)
class _Order:
    """A plan with what it takes to carry it out."""

    files: Files
    todo: Plan
    ask: Ask
    now: Callable[[], float]
    display_name: str
    owner: tuple[int, int] | None
    replaces_token: bool

    def write(self, path: Path, data: bytes) -> Path:
        store.write_file(path, data, owner=self.owner)
        return path


def _carry_out(order: _Order) -> tuple[list[Path], bool]:
    """The files written, and whether the hub issues certificates.

    A first key is on the disk before a certificate is asked for, so that nothing is made twice when the hub goes away.
    A key that replaces another waits for its certificate: whoever logs in by certificate needs the pair.
    """
    from hiveot_supervisor.credentials import keys

    files, todo = order.files, order.todo
    key: PrivateKey = keys.generate() if todo.key else keys.load(files.key)
    written: list[Path] = []
    early = todo.key and todo.certificate and files.key.exists()
    # The hub learns the public key first: a key file that it does not know would never be registered later.
    token = _new_token(order, keys.public_pem(key)) if todo.key or todo.token else ""
    pem = _new_certificate(files, order.ask, key) if early else None
    if todo.key:
        written.append(order.write(files.key, keys.private_pem(key)))
    if todo.token:
        written.append(order.write(files.token, token.encode("ascii")))
    if todo.certificate and not early:
        pem = _new_certificate(files, order.ask, key)
    if pem is not None:
        written.append(order.write(files.certificate, pem))
    return written, pem is not None or not todo.certificate


def _new_token(order: _Order, public_key: str) -> str:
    files = order.files
    arguments: dict[str, Any] = {
        "clientID": files.client_id, "displayName": order.display_name, "pubKey": public_key
    }  # fmt: skip
    if order.replaces_token:
        arguments["newSession"] = True  # so that the old one can be told from it
    token = order.ask("addService", arguments)
    if not isinstance(token, str):
        raise HubError(f"the hub gave no token for {files.client_id}", why="its answer is not text")
    try:
        claims = expiry.read_claims(token)
    except CredentialError as err:
        raise HubError(f"the hub gave no usable token for {files.client_id}", why=err.why) from err
    if claims.client_id != files.client_id or claims.period.expired(order.now()):
        why = f"it is for {claims.client_id}" if claims.client_id != files.client_id else "it has already expired"
        raise HubError(f"the hub gave no usable token for {files.client_id}", why=why, hint="are the clocks right?")
    return token.strip()


def _new_certificate(files: Files, ask: Ask, key: PrivateKey) -> bytes | None:
    """A certificate from the hub, or None when it does not issue any (the Go hub)."""
    from hiveot_supervisor.credentials import certificates

    request = certificates.create_request(key, files.client_id)
    try:
        answer = ask("issueCertificate", {"clientID": files.client_id, "csr": request})
    except (HubUnavailable, RequestTimeout):
        raise
    except HubError:
        return None
    pem = answer.encode("ascii", "replace") if isinstance(answer, str) else b""
    try:
        fits = certificates.belongs_to(pem, key) and certificates.common_name(pem) == files.client_id
    except CredentialError:
        fits = False
    if not fits:
        raise HubError(f"the hub gave no usable certificate for {files.client_id}", why="other key or other name")
    return pem


def _owned(path: Path, owner: tuple[int, int] | None) -> bool:
    """The file belongs to somebody who may know what is in it; true when there is none."""
    allowed = {os.geteuid(), 0, *(owner or ())[:1], None}
    return store.owner_of(path) in allowed


def _has_key(files: Files) -> bool:
    try:
        return bool(store.read_file(files.key).strip())
    except FileNotFoundError:
        return False


def _token_period(files: Files) -> Period | None:
    try:
        text = store.read_text(files.token)
    except FileNotFoundError:
        return None
    try:
        claims = expiry.read_claims(text)
    except CredentialError:
        return None
    if claims.client_id != files.client_id:
        return None
    if _newer(files.issuer, files.token) and not _issued_by(text, files.issuer):
        return None
    return claims.period


def _certificate_period(files: Files) -> Period | None:
    try:
        pem = store.read_file(files.certificate)
        period = expiry.certificate_period(pem)
    except FileNotFoundError:
        return None
    except CredentialError as err:
        if str(files.certificate) in err.what:  # unreadable, as opposed to damaged
            raise
        return None
    return period if _fits(files, pem) else None


def _fits(files: Files, pem: bytes) -> bool:
    """False when CA or key were replaced after the certificate had been made, and no longer go with it."""
    from hiveot_supervisor.credentials import certificates, keys

    if _newer(files.ca, files.certificate) and not certificates.signed_by(pem, store.read_file(files.ca)):
        return False
    return not _newer(files.key, files.certificate) or certificates.belongs_to(pem, keys.load(files.key))


def _issued_by(token: str, issuer: Path) -> bool:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from hiveot_supervisor.credentials import keys, tokens

    key = keys.parse_public(store.read_text(issuer))
    if not isinstance(key, Ed25519PublicKey):
        return True  # not a hub that signs as ours does; its tokens cannot be judged here
    try:
        tokens.verify_signature(key, token)
    except CredentialError:
        return False
    return True


def _newer(one: Path, other: Path) -> bool:
    try:
        return one.stat().st_mtime_ns > other.stat().st_mtime_ns
    except OSError:
        return False


def _due(period: Period | None, now: float) -> bool:
    """Missing, at 2/3 of its life, or, made while a clock was wrong, not valid for some time yet."""
    return period is None or now >= period.renewal() or period.start > now + CLOCK_SKEW


def _unusable(period: Period | None, now: float) -> bool:
    return period is None or period.expired(now)


def _tighten(files: Files) -> None:
    for path in (files.key, files.token, files.certificate):
        try:
            store.tighten(path)
        except FileNotFoundError:
            continue
