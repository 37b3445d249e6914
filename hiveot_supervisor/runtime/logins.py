"""Who is let in: the decision about one login, by token or password.

Reads the accounts and the clock that it is given; does no I/O and knows no broker, beyond a login's user
name, password and MQTT client ID. Refusals carry a reason for the log, which the client never sees.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass

from hiveot_supervisor.credentials import keys, tokens
from hiveot_supervisor.credentials.expiry import TOKEN_HEADER
from hiveot_supervisor.errors import CredentialError, HubRefused
from hiveot_supervisor.runtime.accounts import Account, AccountStore, check_password
from hiveot_supervisor.runtime.roles import EVERYTHING, Grants, Role, account_grants, grants

INTERNAL = "~"
"""With this begin the names of the runtime's own logins; an account ID cannot."""
RUNTIME_USER = f"{INTERNAL}runtime"
"""The runtime's own login, with all rights."""
PROBE_USER = f"{INTERNAL}probe"
"""The role-less login of the negative probe."""

PASSWORD_SESSION = 30 * 86400.0
"""Seconds after which a client that logged in by password has to do so again."""


TICKET_HEADER = f"{INTERNAL}ticket."
"""With this begin one-time logins, which the listener for certificates uses."""
TICKET_LIFETIME = 10.0


@dataclass(frozen=True, slots=True)
class _Ticket:
    """A one-time login of `user`, to be used `until` then; the connection ends at `expires`. Wall times."""

    user: str
    until: float
    expires: float


@dataclass(frozen=True, slots=True)
class Admission:
    """A login that is granted: what the client may do, and until when (wall time)."""

    grants: Grants
    expires: float


class Doorkeeper:
    """Judges logins against the account store. Thread-safe; a password costs 50 ms of CPU, a token 0.3 ms."""

    def __init__(
        self, accounts: AccountStore, issuer: keys.VerifyKey, *, launcher_id: str, now: Callable[[], float]
    ) -> None:
        self._accounts = accounts
        self._issuer = issuer
        self._launcher_id = launcher_id
        self._now = now
        self.secret = secrets.token_urlsafe(32)
        """Password of the runtime's own logins; lives in this process only."""
        self._lock = threading.Lock()
        self._tickets: dict[str, _Ticket] = {}

    def admit(self, user: str, password: str, mqtt_id: str) -> Admission:
        """Let a client in. Raises HubRefused with the reason."""
        if user in (RUNTIME_USER, PROBE_USER):
            return self._admit_internal(user, password)
        account = self._accounts.get(user)
        if account is None:
            raise HubRefused("no such account")
        if account.disabled:
            raise HubRefused("the account is disabled")
        owner = territory(mqtt_id, self._accounts)
        if owner not in (None, user):
            raise HubRefused(f"the MQTT client ID belongs to the account {owner}")
        expires = self._check(account, password)
        rights = account_grants(account.role, account.client_id, launcher_id=self._launcher_id)
        return Admission(rights, expires)

    def ticket(self, user: str, expires: float) -> str:
        """A password for one login of an account that has shown its certificate; good for a few seconds.

        expires: wall time at which the connection ends.
        """
        text, now = TICKET_HEADER + secrets.token_urlsafe(32), self._now()
        with self._lock:
            self._tickets = {key: each for key, each in self._tickets.items() if each.until > now}
            self._tickets[text] = _Ticket(user, now + TICKET_LIFETIME, expires)
        return text

    def _check(self, account: Account, password: str) -> float:
        """Until when this proof of identity is good."""
        now = self._now()
        if password.startswith(TICKET_HEADER):
            with self._lock:
                ticket = self._tickets.pop(password, None)
            if ticket is None or ticket.user != account.client_id or ticket.until <= now or ticket.expires <= now:
                raise HubRefused("the one-time login is not valid")
            return ticket.expires
        if password.startswith(TOKEN_HEADER):
            try:
                claims = tokens.verify(password, self._issuer, now=now)
            except CredentialError as err:
                raise HubRefused(str(err)) from err
            if claims.client_id != account.client_id:
                raise HubRefused(f"the token is for {claims.client_id}")
            if objection := account.objection(claims):
                raise HubRefused(objection)
            return claims.expires
        if not account.password_hash:
            raise HubRefused("the password is not a token")
        if not check_password(password, account.password_hash):
            raise HubRefused("wrong password")
        return now + PASSWORD_SESSION

    def _admit_internal(self, user: str, password: str) -> Admission:
        if not secrets.compare_digest(password.encode(), self.secret.encode()):
            raise HubRefused("no such account")
        rights = EVERYTHING if user == RUNTIME_USER else grants(Role.NONE, PROBE_USER)
        return Admission(rights, self._now() + 3600)


def territory(mqtt_id: str, accounts: AccountStore) -> str | None:
    """The account that owns an MQTT client ID: the longest ID with `mqtt_id` == ID or beginning with `ID-`.

    Whoever logs in with a client ID takes over the connection and the queue of that ID.
    """
    if accounts.get(mqtt_id) is not None:
        return mqtt_id
    for at in range(len(mqtt_id) - 1, 0, -1):
        if mqtt_id[at] == "-" and accounts.get(mqtt_id[:at]) is not None:
            return mqtt_id[:at]
    return None
