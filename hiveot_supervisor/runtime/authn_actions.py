"""What the account service can do: the actions on accounts, tokens and certificates, and who may use them.

One public method `perform`; everything else follows the HiveOT hub (docs/hiveot-hub-protocol.md §5), with its
gaps closed: IDs are checked, the hub's own accounts cannot be touched, nobody gets a token of somebody above.
Knows no messages, and of the broker only the port that is told of changes.
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
from hiveot_supervisor.model import prestart_account
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
from hiveot_supervisor.runtime.broker import AccountPort
from hiveot_supervisor.runtime.issued import IssuedCertificates
from hiveot_supervisor.runtime.pbkdf2 import PASSWORD_ITERATIONS, TOKEN_ITERATIONS, hash_secret
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

    broker: told of every change; issued: the list of certificates. Methods may block on the disk, on the broker and,
    for passwords, 100 ms on the CPU. Not thread-safe: called from one thread.
    """

    def __init__(
        self,
        accounts: AccountStore,
        files: HubFiles,
        signer: keys.SigningKey,
        *,
        launcher_id: str,
        now: Callable[[], float],
        broker: AccountPort,
        issued: IssuedCertificates,
    ) -> None:
        self._accounts = accounts
        self._files = files
        self._signer = signer
        self._launchers = frozenset({launcher_id, prestart_account(launcher_id)})
        self._protected = bootstrap.builtin_ids(launcher_id)
        self._now = now
        self._broker = broker
        self._issued = issued
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
        launcher = sender.client_id in self._launchers
        if (sender.role not in _MANAGERS and not launcher) or _ORDER.index(call.right) < _ORDER.index(needed):
            raise Denied(f"{sender.role} may not use {call.name}, or sent it with too low a right")
        if needed is Right.ADMIN and sender.role is not Role.ADMIN and not launcher:
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
        if password:
            given.check_password_length(password)
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
        self._store(account)
        if password:
            self._set_password(account, password, at_once=True)
            if found is not None:
                self._broker.kick(client_id)

    def _admin_new_agent_token(self, sender: Account, value: Any) -> str:
        account = self._existing(self._target(sender, value))
        self._check_token_useful(account)
        return self._token(account)

    def _admin_retire_tokens(self, sender: Account, value: Any) -> None:
        """Accept only tokens of the given token's session; a repetition changes and disconnects nothing."""
        account = self._existing(self._target(sender, given.text(value, "clientID")))
        if account.type is ClientType.CONSUMER:
            raise BadInput(f"{account.client_id} is the account of a consumer")
        token = given.text(value, "token")
        claims = self._verified(account, token)
        if account.sessions != claims.session_id:
            self._store(dataclasses.replace(account, sessions=claims.session_id))
            if self._broker.one_secret:
                self._broker.set_secret(account.client_id, token, at_once=True)
            else:
                self._broker.kick(account.client_id)

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
        self._issued.add(pem, account.client_id, now=self._now())
        return pem.decode("ascii")

    def _admin_revoke_certificates(self, sender: Account, value: Any) -> None:
        client_id = self._existing(self._target(sender, value)).client_id
        self._issued.revoke(client_id)
        self._broker.recheck()
        self._broker.kick(client_id)

    def _admin_get_client_profile(self, sender: Account, value: Any) -> dict[str, Any]:
        return given.profile(self._existing(given.plain(value)))

    def _admin_get_profiles(self, sender: Account, value: Any) -> list[dict[str, Any]]:
        return [given.profile(account) for account in self._accounts.all()]

    def _admin_remove_client(self, sender: Account, value: Any) -> None:
        client_id = self._target(sender, value)
        if self._accounts.remove(client_id):
            self._issued.revoke(client_id)
            self._broker.forget(client_id)
            # The token would be refused for ever although it looks valid to whoever reads the file.
            self._files.token(client_id).unlink(missing_ok=True)

    def _admin_set_client_password(self, sender: Account, value: Any) -> None:
        account = self._existing(self._target(sender, given.text(value, "clientID")))
        if account.type is not ClientType.CONSUMER:
            raise BadInput(f"{account.client_id} is the account of a {account.type}, which logs in by token")
        self._set_password(account, given.text(value, "password"), at_once=True)
        self._broker.kick(account.client_id)

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
            self._broker.kick(account.client_id)

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
            self._broker.kick(account.client_id)

    # User

    def _user_get_profile(self, sender: Account, value: Any) -> dict[str, Any]:
        return given.profile(sender)

    def _user_login(self, sender: Account, value: Any) -> str:
        if given.text(value, "clientID") != sender.client_id or not sender.password_hash:
            raise Denied("wrong login")
        if not check_password(given.text(value, "password"), sender.password_hash):
            raise Denied("wrong login")
        self._check_token_useful(sender)
        return self._token(sender, session=secrets.token_hex(8))

    def _user_logout(self, sender: Account, value: Any) -> None:
        self._broker.kick(sender.client_id)

    def _user_refresh_token(self, sender: Account, value: Any) -> str:
        if not isinstance(value, str):
            raise BadInput("the old token is expected")
        session = self._verified(sender, value).session_id
        self._check_token_useful(sender)
        return self._token(sender, session=session)

    def _user_update_name(self, sender: Account, value: Any) -> None:
        self._store(dataclasses.replace(sender, display_name=given.display_name({"displayName": value})))

    def _user_update_password(self, sender: Account, value: Any) -> None:
        if sender.type is not ClientType.CONSUMER or sender.client_id in self._protected:
            raise Denied("this account logs in by token")
        self._set_password(sender, given.plain(value), at_once=False)

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
        changed = dataclasses.replace(found, type=kind, role=role, display_name=title, public_key=public_key)
        # made while the clock was wrong, it would be younger than every token that it gets from now on
        created = min(found.created, self._now())
        self._store(dataclasses.replace(changed, disabled=False, password_hash="", created=created))
        if found.role is not role:
            self._broker.kick(client_id)

    def _store(self, account: Account) -> None:
        self._accounts.put(dataclasses.replace(account, updated=self._now()))
        self._broker.put(account)

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
        """A new token; the account can log in with it once this has been answered."""
        client_id, now, lifetime = account.client_id, self._now(), LIFETIME[account.type]
        session = session or account.session
        token = tokens.issue(self._signer, client_id, now=now, lifetime=lifetime, session_id=session)
        self._broker.set_secret(client_id, token)
        if not account.password_hash:
            self._accounts.set_secret(client_id, hash_secret(token, TOKEN_ITERATIONS), now + lifetime)
        return token

    def _check_token_useful(self, account: Account) -> None:
        """Raises Denied when a token would end the login by password, which is what the person knows."""
        if self._broker.one_secret and account.password_hash:
            hint = "log in with the password"
            raise Denied(f"the hub's broker takes no token of {account.client_id}, which has a password", hint=hint)

    def _set_password(self, account: Account, password: str, *, at_once: bool) -> None:
        hashed = given.password_hash(password)
        self._broker.set_secret(account.client_id, password, at_once=at_once)
        self._accounts.put(dataclasses.replace(account, password_hash=hashed, updated=self._now()))
        secret_hash = hash_secret(password, PASSWORD_ITERATIONS) if self._broker.one_secret else ""
        self._accounts.set_secret(account.client_id, secret_hash, 0.0)

    def _create_key(self, client_id: str) -> str:
        """The public key of `{id}.key` in our folder, which is made if missing. The private key is never
        sent.
        """
        public_key = keys.public_pem(keys.load_or_create(self._files.key(client_id)))
        store.write_file(self._files.public_key(client_id), public_key.encode())
        return public_key


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
