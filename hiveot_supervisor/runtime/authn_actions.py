"""What the account service can do: the actions on accounts, tokens and certificates, and who may use them.

One public method `perform`; everything else follows the HiveOT hub (docs/hiveot-hub-protocol.md §5), with its
gaps closed: IDs are checked, the hub's own accounts cannot be touched, nobody gets a token of somebody above.
Knows no messages and no broker; what it must have done there is handed in as `kick` and `forget`.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hiveot_supervisor.credentials import certificates, keys, store, tokens
from hiveot_supervisor.credentials.expiry import Claims
from hiveot_supervisor.errors import CredentialError
from hiveot_supervisor.hub.client import Right
from hiveot_supervisor.runtime import authn_input as given
from hiveot_supervisor.runtime import bootstrap
from hiveot_supervisor.runtime.accounts import (
    Account,
    AccountStore,
    ClientType,
    check_password,
    valid_client_id,
)
from hiveot_supervisor.runtime.authn_input import BadInput, Denied, NotFound
from hiveot_supervisor.runtime.authn_things import ADMIN_RIGHTS, ADMIN_THING, USER_ACTIONS, USER_THING
from hiveot_supervisor.runtime.bootstrap import LIFETIME, HubFiles
from hiveot_supervisor.runtime.roles import Role

_ORDER = list(Right)
_MANAGERS = frozenset({Role.MANAGER, Role.ADMIN, Role.SERVICE})


@dataclass(frozen=True, slots=True)
class Call:
    """A request: which action of which thing, with what right it was sent, and by which account."""

    thing_id: str
    name: str
    input: Any
    sender: str
    right: Right


class AccountActions:
    """The account service without its messages.

    kick: disconnect all clients of an account (they may come back); forget: drop what the broker stores for
    it. Methods may block on the disk and, for passwords, 50 ms on the CPU. Not thread-safe: called from one
    thread.
    """

    def __init__(
        self,
        accounts: AccountStore,
        files: HubFiles,
        signer: keys.SigningKey,
        *,
        launcher_id: str,
        now: Callable[[], float],
        kick: Callable[[str], None],
        forget: Callable[[str], None],
    ) -> None:
        self._accounts = accounts
        self._files = files
        self._signer = signer
        self._launcher_id = launcher_id
        self._protected = bootstrap.builtin_ids(launcher_id)
        self._now = now
        self._kick = kick
        self._forget = forget
        self._ca_key: keys.PrivateKey | None = None

    def perform(self, call: Call) -> Any:
        """Carry out one action and return its output. Raises Denied, BadInput, NotFound, or what the disk
        says.
        """
        sender = self._accounts.get(call.sender)
        if sender is None:
            raise Denied("no such account")
        if call.thing_id == ADMIN_THING and call.name in ADMIN_RIGHTS:
            self._check_admin(sender, call)
        elif call.thing_id == USER_THING and call.name in USER_ACTIONS:
            if _ORDER.index(call.right) < _ORDER.index(Right.ACTION):
                raise Denied(f"{call.name} is to be sent as an action")
        else:
            raise NotFound(f"{call.thing_id} has no action {call.name}")
        handler: Callable[[Account, Any], Any] = getattr(self, f"_{call.thing_id.lower()}_{_snake(call.name)}")
        return handler(sender, call.input)

    def _check_admin(self, sender: Account, call: Call) -> None:
        needed = ADMIN_RIGHTS[call.name]
        if sender.role not in _MANAGERS or _ORDER.index(call.right) < _ORDER.index(needed):
            raise Denied(f"{sender.role} may not use {call.name}, or sent it with too low a right")
        if needed is Right.ADMIN and sender.role is not Role.ADMIN and sender.client_id != self._launcher_id:
            raise Denied(f"{call.name} is for admin and the launcher")

    # Admin

    def _admin_add_service(self, sender: Account, value: Any) -> str:
        client_id = self._new_id(sender, value)
        public_key = given.public_key(value)
        if not public_key:
            public_key = self._create_key(client_id)
        self._put(client_id, ClientType.SERVICE, Role.SERVICE, given.display_name(value), public_key)
        token = self._token(self._in_session(client_id, value))
        if not given.public_key(value):  # as the Go hub: without a key of its own the client reads all from our folder
            store.write_file(self._files.token(client_id), token.encode())
        return token

    def _admin_add_agent(self, sender: Account, value: Any) -> str:
        client_id = self._new_id(sender, value)
        public_key = given.public_key(value) or self._create_key(client_id)
        self._put(client_id, ClientType.AGENT, Role.AGENT, given.display_name(value), public_key)
        return self._token(self._in_session(client_id, value))

    def _admin_add_consumer(self, sender: Account, value: Any) -> None:
        client_id = self._target(sender, given.text(value, "clientID"))
        password = given.text(value, "password", needed=False)
        hashed = given.password_hash(password) if password else ""
        found = self._accounts.get(client_id)
        if found is None:
            account = Account(
                client_id,
                ClientType.CONSUMER,
                Role.NONE,
                display_name=given.display_name(value) or client_id,
                created=self._now(),
            )
        elif found.type is ClientType.CONSUMER:
            account = found
        else:
            raise BadInput(f"{client_id} is the account of a {found.type}")
        self._store(dataclasses.replace(account, password_hash=hashed or account.password_hash))
        if found is not None and hashed:
            self._kick(client_id)

    def _admin_new_agent_token(self, sender: Account, value: Any) -> str:
        account = self._existing(self._target(sender, value))
        return self._token(account)

    def _admin_retire_tokens(self, sender: Account, value: Any) -> None:
        """Accept only tokens of the given token's session; a repetition changes and disconnects nothing."""
        account = self._existing(self._target(sender, given.text(value, "clientID")))
        if account.type is ClientType.CONSUMER:
            raise BadInput(f"{account.client_id} is the account of a consumer")
        claims = self._verified(account, given.text(value, "token"))
        if account.sessions != claims.session_id:
            self._store(dataclasses.replace(account, sessions=claims.session_id))
            self._kick(account.client_id)

    def _admin_issue_certificate(self, sender: Account, value: Any) -> str:
        client_id = given.text(value, "clientID")
        if client_id != sender.client_id:
            client_id = self._target(sender, client_id)
        account, request = self._existing(client_id), given.text(value, "csr")
        if self._ca_key is None:
            self._ca_key = bootstrap.load_ca_key(self._files)
        ca = store.read_file(self._files.ca)
        try:
            pem = certificates.create_client(ca, self._ca_key, request, account.client_id, now=self._now())
        except CredentialError as err:
            raise BadInput(err.what, why=err.why) from err
        return pem.decode("ascii")

    def _admin_get_client_profile(self, sender: Account, value: Any) -> dict[str, Any]:
        return given.profile(self._existing(given.plain(value)))

    def _admin_get_profiles(self, sender: Account, value: Any) -> list[dict[str, Any]]:
        return [given.profile(account) for account in self._accounts.all()]

    def _admin_remove_client(self, sender: Account, value: Any) -> None:
        client_id = self._target(sender, value)
        if self._accounts.remove(client_id):
            self._forget(client_id)
            # The token would be refused for ever although it looks valid to whoever reads the file.
            self._files.token(client_id).unlink(missing_ok=True)

    def _admin_set_client_password(self, sender: Account, value: Any) -> None:
        account = self._existing(self._target(sender, given.text(value, "clientID")))
        if account.type is not ClientType.CONSUMER:
            raise BadInput(f"{account.client_id} is the account of a {account.type}, which logs in by token")
        self._store(dataclasses.replace(account, password_hash=given.password_hash(given.text(value, "password"))))
        self._kick(account.client_id)

    def _admin_update_client_profile(self, sender: Account, value: Any) -> None:
        account = self._existing(self._target(sender, given.text(value, "clientID")))
        kind = given.text(value, "clientType", needed=False) or account.type.value
        disabled = value.get("disabled", account.disabled)
        if kind not in set(ClientType) or not isinstance(disabled, bool):
            raise BadInput("clientType is agent, service or consumer, and disabled is true or false")
        changed = dataclasses.replace(
            account,
            type=ClientType(kind),
            display_name=given.display_name(value) or account.display_name,
            public_key=given.public_key(value) or account.public_key,
            disabled=disabled,
        )
        self._store(changed)
        if disabled and not account.disabled:
            self._kick(account.client_id)

    def _admin_get_client_role(self, sender: Account, value: Any) -> str:
        return self._existing(given.plain(value)).role.value

    def _admin_set_client_role(self, sender: Account, value: Any) -> None:
        account, role = self._existing(self._target(sender, given.text(value, "clientID"))), given.text(value, "role")
        if role not in set(Role):
            raise BadInput(f"there is no role {role[:64]}", hint=f"roles: {', '.join(Role)}")
        if sender.role is not Role.ADMIN:
            raise Denied("only admin may change roles")
        if account.role != role:
            self._store(dataclasses.replace(account, role=Role(role)))
            self._kick(account.client_id)

    # User

    def _user_get_profile(self, sender: Account, value: Any) -> dict[str, Any]:
        return given.profile(sender)

    def _user_login(self, sender: Account, value: Any) -> str:
        if given.text(value, "clientID") != sender.client_id or not sender.password_hash:
            raise Denied("wrong login")
        if not check_password(given.text(value, "password"), sender.password_hash):
            raise Denied("wrong login")
        return self._token(sender, session=secrets.token_hex(8))

    def _user_logout(self, sender: Account, value: Any) -> None:
        self._kick(sender.client_id)

    def _user_refresh_token(self, sender: Account, value: Any) -> str:
        if not isinstance(value, str):
            raise BadInput("the old token is expected")
        return self._token(sender, session=self._verified(sender, value).session_id)

    def _user_update_name(self, sender: Account, value: Any) -> None:
        self._store(dataclasses.replace(sender, display_name=given.display_name({"displayName": value})))

    def _user_update_password(self, sender: Account, value: Any) -> None:
        if sender.type is not ClientType.CONSUMER or sender.client_id in self._protected:
            raise Denied("this account logs in by token")
        self._store(dataclasses.replace(sender, password_hash=given.password_hash(given.plain(value))))

    def _user_update_pub_key(self, sender: Account, value: Any) -> None:
        if sender.client_id in self._protected:
            raise Denied("the hub itself manages this account")
        self._store(dataclasses.replace(sender, public_key=given.public_key({"pubKey": value})))

    # parts

    def _target(self, sender: Account, value: Any) -> str:
        """The ID of an account that `sender` may change. Raises BadInput, Denied."""
        client_id = given.plain(value)
        if not valid_client_id(client_id):
            hint = "use up to 64 of the characters A-Z a-z 0-9 . _ ~ -, beginning with a letter or digit; not ca, hub"
            raise BadInput(f"{client_id[:80]!r} cannot be a client ID", hint=hint)
        if client_id in self._protected:
            raise Denied(f"the hub itself manages the account {client_id}")
        found = self._accounts.get(client_id)
        person = found is not None and (
            found.type is ClientType.CONSUMER or found.role not in (Role.SERVICE, Role.AGENT)
        )
        if person and sender.role is not Role.ADMIN:
            raise Denied(f"{client_id} is the account of a person; only admin may change it")
        return client_id

    def _new_id(self, sender: Account, value: Any) -> str:
        client_id = self._target(sender, given.text(value, "clientID"))
        found = self._accounts.get(client_id)
        if found is not None and found.type is ClientType.CONSUMER:
            raise BadInput(f"{client_id} is the account of a consumer", hint="remove it first, or choose another ID")
        return client_id

    def _existing(self, client_id: str) -> Account:
        account = self._accounts.get(client_id)
        if account is None:
            raise NotFound(f"there is no account {client_id}")
        return account

    def _put(self, client_id: str, kind: ClientType, role: Role, name: str, public_key: str) -> None:
        """Create an account, or bring an existing one to this type, role and key."""
        found = self._accounts.get(client_id) or Account(client_id, kind, role, created=self._now())
        title = name or found.display_name or client_id
        changed = dataclasses.replace(
            found, type=kind, role=role, display_name=title, public_key=public_key, disabled=False
        )
        # made while the clock was wrong, it would be younger than every token that it gets from now on
        self._store(dataclasses.replace(changed, created=min(found.created, self._now())))
        if found.role is not role:
            self._kick(client_id)

    def _store(self, account: Account) -> None:
        self._accounts.put(dataclasses.replace(account, updated=self._now()))

    def _in_session(self, client_id: str, value: Any) -> Account:
        """The account for whose present session, or with `newSession` for a new one, a token is to be made."""
        account = self._existing(client_id)
        if not given.flag(value, "newSession"):
            return account
        session = secrets.token_hex(8)
        self._store(account.with_session(session))
        return dataclasses.replace(account, sessions=session)

    def _verified(self, account: Account, token: str) -> Claims:
        """What a token of this account says that a login would accept. Raises Denied."""
        try:
            claims = tokens.verify(token, self._signer.public_key(), now=self._now())
        except CredentialError as err:
            raise Denied(err.what, why=err.why) from err
        objection = account.objection(claims) if claims.client_id == account.client_id else "it is for somebody else"
        if objection:
            raise Denied("the token is not accepted", why=objection)
        return claims

    def _token(self, account: Account, *, session: str = "") -> str:
        lifetime = LIFETIME[account.type]
        session = session or account.session
        return tokens.issue(self._signer, account.client_id, now=self._now(), lifetime=lifetime, session_id=session)

    def _create_key(self, client_id: str) -> str:
        """The public key of `{id}.key` in our folder, which is made if missing. The private key is never
        sent.
        """
        public_key = keys.public_pem(keys.load_or_create(self._files.key(client_id)))
        store.write_file(self._files.public_key(client_id), public_key.encode())
        return public_key


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
