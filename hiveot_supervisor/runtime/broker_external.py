"""A Mosquitto that somebody else runs, of which we know an administrator of its Dynamic Security: we keep our accounts
in it, and leave everything else there alone.

What only the owner of a broker can do is not done here: its certificates, its list of revoked ones, and the options
that docs/architecture.md lists. Who may log in is `dynsec_accounts`'.
"""

from __future__ import annotations

import logging
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hiveot_supervisor.credentials import store
from hiveot_supervisor.credentials.trust import trust
from hiveot_supervisor.errors import ConfigError, CredentialError
from hiveot_supervisor.runtime import dynsec
from hiveot_supervisor.runtime.accounts import Account, AccountStore
from hiveot_supervisor.runtime.bootstrap import HubFiles
from hiveot_supervisor.runtime.dynsec import COMMON_ROLE, Command, Dynsec
from hiveot_supervisor.runtime.dynsec_accounts import DynsecAccounts, ToldBroker
from hiveot_supervisor.runtime.local import LocalLogins
from hiveot_supervisor.runtime.logins import PROBE_USER, RUNTIME_USER
from hiveot_supervisor.runtime.pbkdf2 import check_secret
from hiveot_supervisor.runtime.rawmqtt import RawMqtt
from hiveot_supervisor.runtime.roles import COMMON, EVERYTHING, Role, grants, to_dynsec
from hiveot_supervisor.runtime.tokenfiles import TokenFiles

log = logging.getLogger("hiveot.runtime")


class ExternalBroker(ToldBroker):
    """See `broker.Broker`, and `dynsec_accounts.Place`. admin_file: holds `user:password`."""

    pid = 0
    running = True  # the account service's own connection tells when it is not

    def __init__(
        self,
        *,
        url: str,
        files: HubFiles,
        admin_file: Path,
        accounts: AccountStore,
        token_files: TokenFiles,
        launcher_id: str,
    ) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "localhost", parts.port or 8883
        self.version = f"at {self._host} port {self._port}, run by somebody else"
        self.ca_file = files.ca
        self._accounts = accounts
        self._token_files = token_files
        self._admin, self._password = read_admin(admin_file)
        self._secret = secrets.token_urlsafe(32)
        self.logins = LocalLogins(self._host, self._port, files.ca, self._secret, server_name=self._host)
        self._dynsec = Dynsec(self._connect)
        self._told = DynsecAccounts(accounts, token_files, self._dynsec, self, launcher_id=launcher_id)

    def exit_words(self) -> str:
        return ""

    # life

    def start(self) -> None:
        """Make sure of our accounts, and of two for the negative probe. Raises BrokerError, ConfigError."""
        if any(account.client_id == self._admin for account in self._accounts.all()):
            why = "that is an account of this hub, too, whose password and rights we would change"
            hint = "have the broker's administrator make another one for us"
            raise ConfigError(f"the administrator's account must not be {self._admin}", why=why, hint=hint)
        present = self._names("listClients", "clients")
        commands = self._common_role()
        for account in self._accounts.all():
            commands += self._changes(account, present)
        for user, rights in ((RUNTIME_USER, EVERYTHING), (PROBE_USER, grants(Role.NONE, PROBE_USER))):
            if user in present:  # we did not come to our end the last time
                self._dynsec.run(dynsec.remove(user), missing_is_fine=True)
            commands += dynsec.create(user, rights, self._secret)
        self._dynsec.run(commands)
        self._told.start()

    def open(self) -> None:
        """The probe has passed: its accounts are of no more use."""
        for user in (RUNTIME_USER, PROBE_USER):
            self._dynsec.run(dynsec.remove(user))

    def reload(self) -> None:
        """Its certificate is its owner's business."""

    def retained(self) -> int:
        return 0

    def stop(self) -> None:
        self._told.stop()

    # the place

    def connected(self, client_id: str) -> bool:
        """Nobody tells us."""
        return True

    def remove(self, client_id: str) -> None:
        """Its stored session goes with a last clean login in its name."""
        password = secrets.token_urlsafe(32)
        self._dynsec.run(dynsec.set_password(client_id, password), missing_is_fine=True)
        with self._open() as connection:
            connection.login(client_id, client_id, password)
        self._dynsec.run(dynsec.remove(client_id), missing_is_fine=True)

    def say_offline(self, client_id: str, reason: str) -> None:
        """We have no right to speak for others there."""

    def recheck_certificates(self) -> None:
        """Its list of revoked certificates is its owner's business."""

    # parts

    def _open(self) -> RawMqtt:
        context = trust(self.ca_file)
        return RawMqtt(self._host, self._port, context, server_name=self._host)

    def _connect(self) -> RawMqtt:
        connection = self._open()
        connection.login(f"{self._admin}-{secrets.token_hex(4)}", self._admin, self._password, keep_alive=0)
        return connection

    def _names(self, command: str, kind: str) -> set[str]:
        return set(self._dynsec.run([{"command": command}])[0]["data"][kind])

    def _common_role(self) -> list[Command]:
        name = "modifyRole" if COMMON_ROLE in self._names("listRoles", "roles") else "createRole"
        return [{"command": name, "rolename": COMMON_ROLE, "acls": to_dynsec(COMMON)}]

    def _changes(self, account: Account, present: set[str]) -> list[Command]:
        """What has to be told of one account. Who is connected stays so when nothing has changed."""
        client_id, wanted = account.client_id, self._told.wanted(account)
        self._told.know(client_id, wanted)
        token = None if account.password_hash else self._token_files.good(account)
        text = token.text if token is not None else ""
        if client_id not in present:
            if not text:
                log.warning("%s cannot log in: the broker has lost its secret, give it a new one", client_id)
            commands = dynsec.create(client_id, wanted.rights, text)
        else:
            commands = [] if self._has(client_id, to_dynsec(wanted.rights)) else self._new_rights(account)
            if text and not check_secret(text, account.secret_hash):
                commands += dynsec.set_password(client_id, text)
        if wanted.disabled:
            commands.append({"command": "disableClient", "username": client_id})
        return commands

    def _new_rights(self, account: Account) -> list[Command]:
        role: Command = {"command": "createRole", "rolename": dynsec.role_name(account.client_id)}
        if dynsec.role_name(account.client_id) in self._names("listRoles", "roles"):
            role = {}
        changes = dynsec.change_rights(account.client_id, self._told.wanted(account).rights)
        return [role, *changes] if role else changes

    def _has(self, client_id: str, acls: list[dict[str, object]]) -> bool:
        """Whether the broker's client has its own role with exactly these rights, together with the common one."""
        client = self._dynsec.run([{"command": "getClient", "username": client_id}])[0]["data"]["client"]
        found: list[Any] = []
        for role in client.get("roles", []):
            data = self._dynsec.run([{"command": "getRole", "rolename": role["rolename"]}])[0]["data"]
            found += data["role"].get("acls", [])
        return _plain(found) == _plain(acls)


def read_admin(path: Path) -> tuple[str, str]:
    """User and password of the administrator. Raises ConfigError."""
    hint = f"write USER:PASSWORD of an administrator of the broker's Dynamic Security into {path}, mode 0600"
    try:
        user, _, password = store.read_text(path).partition(":")
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist", why="hub.adminFile names it", hint=hint) from None
    except CredentialError as err:
        raise ConfigError(err.what, why=err.why, hint=hint) from err
    if not user or not password:
        raise ConfigError(f"{path} does not hold USER:PASSWORD", hint=hint)
    return user, password


def _plain(acls: list[Any]) -> set[tuple[str, str]]:
    return {(str(each["acltype"]), str(each["topic"])) for each in acls if each.get("allow")}
