"""The token files in our own certs folder, as far as they hold a token that an account may log in with.

A broker that checks secrets by itself must know the token that the client of this home reads: the file is the truth,
whatever became of the answer with which the token was once sent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hiveot_supervisor.credentials import keys, store, tokens
from hiveot_supervisor.errors import CredentialError
from hiveot_supervisor.runtime.accounts import Account
from hiveot_supervisor.runtime.bootstrap import HubFiles


@dataclass(frozen=True, slots=True)
class Token:
    """A good token. `expires`: wall time."""

    text: str
    expires: float


class TokenFiles:
    """Reads them. `now`: wall clock."""

    def __init__(self, files: HubFiles, issuer: keys.VerifyKey, now: Callable[[], float]) -> None:
        self._files = files
        self._issuer = issuer
        self._now = now

    def text(self, client_id: str) -> str:
        """What is in the file, good or not; empty when there is none that can be read."""
        try:
            return store.read_text(self._files.token(client_id))
        except (FileNotFoundError, CredentialError):
            return ""

    def good(self, account: Account) -> Token | None:
        """The file's token, if this account may log in with it now."""
        text = self.text(account.client_id)
        if not text:
            return None
        try:
            claims = tokens.verify(text, self._issuer, now=self._now())
        except CredentialError:
            return None
        if claims.client_id != account.client_id or account.objection(claims):
            return None
        return Token(text, claims.expires)
