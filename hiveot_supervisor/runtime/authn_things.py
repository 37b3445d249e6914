"""The Thing Descriptions of the account service: `Admin` and `User` of the agent `authn`.

Names are those of the HiveOT hub (docs/hiveot-hub-protocol.md §5), texts our own; `issueCertificate`, `retireTokens`
and the role actions on `Admin` are additions. Pure.
"""

from __future__ import annotations

from typing import Any

from hiveot_supervisor.hub.client import Right
from hiveot_supervisor.runtime.roles import Role

ADMIN_THING, USER_THING = "Admin", "User"


def _string(title: str, description: str = "", **more: Any) -> dict[str, Any]:
    return {"title": title, "type": "string", **({"description": description} if description else {}), **more}


_CLIENT = _string("Client ID", "ID of the account; also its MQTT user name")
_NAME = _string("Display name")
_PUBLIC_KEY = _string("Public key", "PEM of type PUBLIC KEY; the private key stays with the client")
_PASSWORD = _string("Password", minLength=5)
_TOKEN = _string("Token", "Bearer token, the client's MQTT password")
_ROLE = _string("Role", enum=[role.value for role in Role])
_PROFILE: dict[str, Any] = {
    "title": "Client profile",
    "type": "object",
    "properties": {
        "clientID": _CLIENT,
        "clientType": _string("Type", enum=["agent", "service", "consumer"]),
        "disabled": {"title": "Disabled", "description": "It cannot log in", "type": "boolean"},
        "displayName": _NAME,
        "pubKey": _PUBLIC_KEY,
        "updated": _string("Updated", "When the profile was last changed, ISO 8601"),
    },
}


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required}


def _action(title: str, description: str, **more: Any) -> dict[str, Any]:
    return {"title": title, "description": description, **more}


_SESSION = {
    "title": "New session",
    "description": "The token belongs to a session of its own, so that the tokens before it can be retired",
    "type": "boolean",
}
_NEW = _object(["clientID"], clientID=_CLIENT, displayName=_NAME, pubKey=_PUBLIC_KEY, newSession=_SESSION)
_READ = {"safe": True, "idempotent": True}

_ADMIN_ACTIONS: dict[str, dict[str, Any]] = {
    "addService": _action(
        "Add a service", "Create or update the account of a service, and get a token for it",
        input=_NEW, output=_TOKEN,
    ),
    "addAgent": _action(
        "Add an agent", "Create or update the account of a device agent, and get a token for it",
        input=_NEW, output=_TOKEN,
    ),
    "addConsumer": _action(
        "Add a consumer",
        "Create the account of a person or application, at first without a role; of an existing one set the password",
        input=_object(["clientID"], clientID=_CLIENT, displayName=_NAME, password=_PASSWORD),
    ),
    "newAgentToken": _action("New token", "A new token for an existing account", input=_CLIENT, output=_TOKEN),
    "retireTokens": _action(
        "Retire tokens", "Accept only tokens of the given one's session from now on; the account's clients reconnect",
        input=_object(["clientID", "token"], clientID=_CLIENT, token=_TOKEN), idempotent=True,
    ),
    "issueCertificate": _action(
        "Issue a certificate",
        "A client certificate of the hub's CA for an existing account",
        input=_object(["clientID", "csr"], clientID=_CLIENT, csr=_string("Request", "PKCS#10, PEM")),
        output=_string("Certificate", "PEM of type CERTIFICATE"),
    ),
    "revokeCertificates": _action(
        "Revoke certificates", "Accept no certificate of an account that was issued so far", input=_CLIENT
    ),
    "getClientProfile": _action("Get a profile", "Profile of an account", input=_CLIENT, output=_PROFILE, **_READ),
    "getProfiles": _action(
        "Get all profiles", "Profiles of all accounts", output={"type": "array", "items": _PROFILE}, **_READ
    ),
    "removeClient": _action("Remove a client", "Remove an account and disconnect its clients", input=_CLIENT),
    "setClientPassword": _action(
        "Set a password", "Set the password of a consumer",
        input=_object(["clientID", "password"], clientID=_CLIENT, password=_PASSWORD),
    ),
    "updateClientProfile": _action("Update a profile", "Change what is given of a profile", input=_PROFILE),
    "getClientRole": _action("Get a role", "Role of an account", input=_CLIENT, output=_ROLE, **_READ),
    "setClientRole": _action(
        "Set a role", "Change the role of an account; its clients reconnect",
        input=_object(["clientID", "role"], clientID=_CLIENT, role=_ROLE),
    ),
}  # fmt: skip

_USER_ACTIONS: dict[str, dict[str, Any]] = {
    "getProfile": _action("Get profile", "The caller's own profile", output=_PROFILE, **_READ),
    "login": _action(
        "Log in", "Exchange the caller's password for a token",
        input=_object(["clientID", "password"], clientID=_CLIENT, password=_PASSWORD), output=_TOKEN,
    ),
    "logout": _action("Log out", "Disconnect all of the caller's clients"),
    "refreshToken": _action("Refresh the token", "A new token for a valid one", input=_TOKEN, output=_TOKEN),
    "updateName": _action("Change the name", "Set the caller's display name", input=_NAME),
    "updatePassword": _action("Change the password", "Set the caller's password", input=_PASSWORD),
    "updatePubKey": _action("Change the public key", "Set the caller's public key", input=_PUBLIC_KEY),
}  # fmt: skip

ADMIN_RIGHTS: dict[str, Right] = {
    name: Right.CONFIG if action.get("safe") else Right.ADMIN for name, action in _ADMIN_ACTIONS.items()
}
"""The least right that each action of `Admin` demands; those of `User` demand ACTION."""
USER_ACTIONS = frozenset(_USER_ACTIONS)


def thing_descriptions(created: str) -> list[dict[str, Any]]:
    """The TDs of both Things. `created`: ISO 8601 time."""
    return [
        _thing(ADMIN_THING, "Accounts of the hub", "Manage services, agents and consumers", _ADMIN_ACTIONS, created),
        _thing(USER_THING, "Own account", "What every client may do about its own account", _USER_ACTIONS, created),
    ]


def _thing(thing_id: str, title: str, description: str, actions: dict[str, Any], created: str) -> dict[str, Any]:
    return {
        "@context": ["https://www.w3.org/2022/wot/td/v1.1", {"hiveot": "https://www.hiveot.net/vocab/v0.1"}],
        "@type": "hiveot:service",
        "id": thing_id,
        "title": title,
        "description": description,
        "created": created,
        "modified": created,
        "properties": {},
        "events": {},
        "actions": actions,
    }
