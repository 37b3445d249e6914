"""The port between the hub and its broker: what every driver can do, and what it is told of accounts.

`service` starts and watches a `Broker`, `authn_actions` tells its `AccountPort` what has changed. Nothing else of a
driver is known outside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from hiveot_supervisor.runtime.accounts import Account
from hiveot_supervisor.runtime.local import LocalLogins


class AccountPort(Protocol):
    """Told of each change after it is in the account store. `kick`, `forget` and `recheck` log what fails."""

    @property
    def one_secret(self) -> bool:
        """The broker itself checks logins and knows one secret an account: a new one ends the old one."""
        ...

    def put(self, account: Account) -> None:
        """An account is new, or its role, type or `disabled` may have changed. Raises BrokerError."""
        ...

    def set_secret(self, client_id: str, secret: str, *, at_once: bool = False) -> None:
        """An account has got this token or password. Raises BrokerError.

        When the old one ends by that and the account is connected, it takes effect a moment after the return (unless
        `at_once`): first the answer with it has to reach whoever asked, and the token file to be written.
        """
        ...

    def kick(self, client_id: str) -> None:
        """Hang up on all clients of an account; they may come back."""
        ...

    def forget(self, client_id: str) -> None:
        """Hang up on all clients of a removed account, and drop what is stored for it."""
        ...

    def recheck(self) -> None:
        """Token files have been written, or certificates issued or taken back."""
        ...


class Broker(AccountPort, Protocol):
    """One run of a broker."""

    @property
    def logins(self) -> LocalLogins:
        """The runtime's own logins."""
        ...

    @property
    def ca_file(self) -> Path:
        """Whom the runtime's own clients trust; a closed broker may show another certificate than the hub's."""
        ...

    @property
    def pid(self) -> int:
        """Of its process; 0 when it is none of ours."""
        ...

    @property
    def version(self) -> str:
        """Name and version of the program, for the log."""
        ...

    @property
    def running(self) -> bool: ...

    def start(self) -> None:
        """Start it, closed for all but the runtime itself and the account service. Raises BrokerError,
        CredentialError.
        """
        ...

    def open(self) -> None:
        """Let everyone log in."""
        ...

    def reload(self) -> None:
        """Take a renewed server certificate into use. Raises BrokerError."""
        ...

    def retained(self) -> int:
        """How many stored messages a new client must get before the broker can be called ready. Raises BrokerError."""
        ...

    def exit_words(self) -> str:
        """Why it is not running."""
        ...

    def stop(self) -> None:
        """Stop everything; clients are disconnected. Idempotent."""
        ...
