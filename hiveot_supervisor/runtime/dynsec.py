"""Mosquitto's Dynamic Security: its state file, and its commands over `$CONTROL/dynamic-security/v1`.

Knows clients, roles and commands; which of them there shall be is the caller's business.
Source: https://mosquitto.org/documentation/dynamic-security/ and the plugin's behaviour in version 2.0.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hiveot_supervisor.errors import HubError, HubUnavailable
from hiveot_supervisor.foreign import clean
from hiveot_supervisor.runtime.child import BrokerError
from hiveot_supervisor.runtime.pbkdf2 import dynsec_password
from hiveot_supervisor.runtime.rawmqtt import REFUSED, RawMqtt
from hiveot_supervisor.runtime.roles import COMMON, Grants, to_dynsec

TOPIC = "$CONTROL/dynamic-security/v1"
RESPONSES = f"{TOPIC}/response"

Command = dict[str, Any]

_TIMEOUT = 5.0
_BATCH = 200  # commands in one message; its size is limited to 1 MiB


@dataclass(frozen=True, slots=True)
class DynsecClient:
    """A client of Dynamic Security with the one role that is its own. `secret_hash`: see `pbkdf2`; empty = none."""

    username: str
    rights: Grants
    secret_hash: str = ""
    disabled: bool = False


COMMON_ROLE = "hiveot-common"
"""The role with what is the same for many. The plugin writes its whole state at every change: what is in there once
instead of once a client makes everything faster."""


def role_name(username: str) -> str:
    """The role of one client; version 2.0 does not put user names into the topics of shared roles."""
    return f"client-{username}"


def _roles(username: str, rights: Grants) -> list[dict[str, str]]:
    shared = [{"rolename": COMMON_ROLE}] if rights.covers(COMMON) else []
    return [{"rolename": role_name(username)}, *shared]


def _own(rights: Grants) -> list[dict[str, object]]:
    """The ACL of a client's own role."""
    return to_dynsec(rights - COMMON if rights.covers(COMMON) else rights)


def render(clients: Iterable[DynsecClient]) -> bytes:
    """The state file: these clients, each with its role, and everything else denied."""
    kinds = ("publishClientSend", "publishClientReceive", "subscribe", "unsubscribe")
    found = list(clients)
    state = {
        "defaultACLAccess": dict.fromkeys(kinds, False),
        "clients": [
            {
                "username": c.username,
                "roles": _roles(c.username, c.rights),
                **dynsec_password(c.secret_hash),
                **({"disabled": True} if c.disabled else {}),
            }
            for c in found
        ],
        "roles": [
            {"rolename": COMMON_ROLE, "acls": to_dynsec(COMMON)},
            *({"rolename": role_name(c.username), "acls": _own(c.rights)} for c in found),
        ],
    }
    return json.dumps(state, indent=1).encode()


def create(username: str, rights: Grants, password: str = "") -> list[Command]:
    """Commands that make a client with its role."""
    role = role_name(username)
    client: Command = {"command": "createClient", "username": username, "roles": _roles(username, rights)}
    if password:
        client["password"] = password
    return [{"command": "createRole", "rolename": role, "acls": _own(rights)}, client]


def change_rights(username: str, rights: Grants) -> list[Command]:
    """Commands that replace what a client may do."""
    return [
        {"command": "modifyRole", "rolename": role_name(username), "acls": _own(rights)},
        {"command": "modifyClient", "username": username, "roles": _roles(username, rights)},
    ]


def remove(username: str) -> list[Command]:
    """Commands that remove a client, which disconnects it, and its role."""
    role = role_name(username)
    return [{"command": "deleteClient", "username": username}, {"command": "deleteRole", "rolename": role}]


def set_password(username: str, password: str) -> list[Command]:
    """Commands that set a client's password, which disconnects it. The broker hashes it with few iterations."""
    return [{"command": "setClientPassword", "username": username, "password": password}]


def hang_up(username: str) -> list[Command]:
    """Commands that disconnect a client, which may come back."""
    return [{"command": name, "username": username} for name in ("disableClient", "enableClient")]


class Dynsec:
    """Sends commands. `connect`: a fresh connection of an administrator. Thread-safe."""

    def __init__(self, connect: Callable[[], RawMqtt]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._connection: RawMqtt | None = None

    def run(self, commands: Sequence[Command], *, missing_is_fine: bool = False) -> list[dict[str, Any]]:
        """Carry out commands in order, many in one message; their responses.

        missing_is_fine: what shall be removed may be gone already. Raises BrokerError with the first refusal; commands
        after it in the same message have been carried out nevertheless.
        """
        responses: list[dict[str, Any]] = []
        with self._lock:
            for start in range(0, len(commands), _BATCH):
                responses += self._batch(commands[start : start + _BATCH])
        for response in responses:
            error = str(response.get("error", ""))
            if error and not (missing_is_fine and error.endswith("not found")):
                what = clean(str(response.get("command")), 80)
                raise BrokerError(f"the broker refused {what}", why=clean(error, 300))
        return responses

    def close(self) -> None:
        with self._lock:
            self._drop()

    def _batch(self, commands: Sequence[Command]) -> list[dict[str, Any]]:
        mark = secrets.token_hex(8)
        message = json.dumps({"commands": [{**c, "correlationData": mark} for c in commands]}).encode()
        fresh = self._connection is None
        try:
            return self._exchange(message, mark)
        except HubUnavailable as err:
            self._drop()
            if fresh:
                raise BrokerError("the broker does not take commands", why=str(err)) from err
        except HubError as err:
            self._drop()
            raise BrokerError("the broker does not take commands", why=str(err)) from err
        try:  # the connection was an old one, which the broker may have closed long ago
            return self._exchange(message, mark)
        except HubError as err:
            self._drop()
            raise BrokerError("the broker does not take commands", why=str(err)) from err

    def _exchange(self, message: bytes, mark: str) -> list[dict[str, Any]]:
        if self._connection is None:
            self._connection = self._connect()
            if self._connection.subscribe(RESPONSES) == REFUSED:
                why = f"it may not subscribe to {RESPONSES}"
                raise HubError("the administrator's account has too few rights", why=why)
        self._connection.publish(TOPIC, message)
        deadline = time.monotonic() + _TIMEOUT
        while (rest := deadline - time.monotonic()) > 0:
            delivery = self._connection.receive(rest)
            if delivery is not None and (found := _responses(delivery.payload, mark)) is not None:
                return found
        raise HubUnavailable("no answer to a command", why=f"waited {_TIMEOUT:g} s; is Dynamic Security loaded?")

    def _drop(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.close()
            self._connection = None


def _responses(payload: bytes, mark: str) -> list[dict[str, Any]] | None:
    """The responses in a message when they are to our commands; other administrators' come here, too."""
    try:
        found = json.loads(payload)["responses"]
        ours = bool(found) and all(each["correlationData"] == mark for each in found)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if ours else None
