"""What HiveOT's hub does with messages, written from docs/hiveot-hub-protocol.md §3-§5: pure, frames in, frames out.

Directory, values, permissions, account service, routing to agents and back. `fakes.hiveot_hub` adds sockets and files,
and tests/hub/test_wss_vectors.py compares it with frames recorded from the real hub.
"""

from __future__ import annotations

import copy
import json
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Frame = dict[str, Any]
ALL = ("manager", "admin", "service")
NOT_NONE = ("viewer", "operator", "manager", "admin", "agent", "service", "")
READ, QUERY = {"readproperty", "readallproperties"}, {"queryaction", "queryallactions"}
ROLE_TABLE = {
    "viewer": READ,
    "agent": {"invokeaction"},
    "operator": READ | QUERY | {"invokeaction"},
    **dict.fromkeys(ALL, READ | QUERY | {"invokeaction", "writeproperty"}),
}
SERVICES = {
    "dtw:authn:Admin": ALL,
    "dtw:authn:User": NOT_NONE,
    "dtw:authz:Admin": ALL,
    "dtw:authz:User": ("agent", *ALL, "operator"),
    "dtw:digitwin:ThingDirectory": NOT_NONE,
    "dtw:digitwin:ThingValues": NOT_NONE,
}
LISTED = [s for s in SERVICES if s != "dtw:authz:User"]
"""Built-in Things that the directory shows."""


class Bad(Exception):
    """A request that is answered with an error."""


@dataclass
class Connection:
    """One client's connection; subscriptions are (kind, dThingID, name) with + as wildcard."""

    client: str
    role: str
    send: Callable[[Frame], None]
    send_raw: Callable[[bytes], None] = lambda _: None
    subscriptions: set[tuple[str, str, str]] = field(default_factory=set)


@dataclass
class Account:
    """An account as hub.passwd keeps it."""

    id: str
    type: str
    role: str
    display: str = ""
    pub_key: str = ""
    password: str = ""


class Router:
    """The hub's state and rules. `now()` gives the timestamp text; `token_of(account, pub_key)` issues a token."""

    def __init__(self, now: Callable[[], str], token_of: Callable[[Account, str], str] | None = None) -> None:
        self.now = now
        self.token_of = token_of or (lambda account, _: f"token of {account.id}")
        self.accounts: dict[str, Account] = {}
        self.connections: list[Connection] = []
        self.things: dict[str, dict[str, Any]] = {}
        self.permissions: dict[str, dict[str, list[str]]] = {}
        self.properties: dict[str, dict[str, Frame]] = {}
        self.events: dict[str, dict[str, Frame]] = {}
        self.actions: dict[str, dict[str, dict[str, Any]]] = {}
        self.waiting: dict[str, tuple[Connection, str, str, str]] = {}
        self.dropped: list[tuple[str, str]] = []

    # -- connections

    def connect(self, client: str, send: Callable[[Frame], None]) -> Connection:
        account = self.accounts.get(client)
        connection = Connection(client, account.role if account else "", send)
        self.connections.append(connection)
        return connection

    def disconnect(self, connection: Connection) -> None:
        if connection in self.connections:
            self.connections.remove(connection)

    # -- frames

    def receive(self, connection: Connection, text: str | bytes) -> None:
        """Handle one frame; what cannot be decoded is dropped without an answer, and noted in `dropped`."""
        try:
            frame = json.loads(text)
            kind = frame["messageType"]
            _check_types(frame)
            handler = {"request": self._request, "response": self._response, "notification": self._notification}[kind]
        except (ValueError, KeyError, TypeError, Bad) as error:
            self._drop(connection, f"undecodable: {error!r}")
            return
        handler(connection, frame)

    def _drop(self, connection: Connection, why: str) -> None:
        self.dropped.append((connection.client, why))

    # -- requests

    def _request(self, connection: Connection, frame: Frame) -> None:
        operation, thing, name = frame.get("operation", ""), frame.get("thingID", ""), frame.get("name", "")
        if operation == "ping":
            return self._answer(connection, frame, value="pong")
        if (subscription := _subscription(operation, thing, name)) is not None:
            adding, key = subscription
            (connection.subscriptions.add if adding else connection.subscriptions.discard)(key)
            return self._answer(connection, frame, value=None)
        role = self.accounts[connection.client].role if connection.client in self.accounts else connection.role
        if not self._allowed(role, operation, thing):
            title = (
                f"unauthorized. client '{connection.client}' does not have permission to invoke operation "
                f"'{operation}' on Thing '{thing}'"
            )
            return self._refuse(connection, frame, title)
        try:
            return self._carry_out(connection, frame, operation, thing, name)
        except Bad as error:
            return self._refuse(connection, frame, str(error))

    def _allowed(self, role: str, operation: str, thing: str) -> bool:
        record = self.permissions.get(thing)
        if record is not None:
            if record.get("allow"):
                return role in record["allow"]
            return bool(record.get("deny")) and role not in record["deny"]
        if thing in SERVICES:
            return role in SERVICES[thing]
        return operation in ROLE_TABLE.get(role, set())

    def _carry_out(self, connection: Connection, frame: Frame, operation: str, thing: str, name: str) -> None:
        match operation:
            case "readproperty":
                value = self.properties.get(thing, {}).get(name, {})
                return self._answer(connection, frame, value=value)
            case "readallproperties":
                values = self.properties.get(thing, {})
                texts = {k: _as_text(v.get("data")) for k, v in values.items()}
                return self._answer(connection, frame, value=values, values=texts)
            case "queryaction":
                status = self.actions.get(thing, {}).get(name, {})
                return self._answer(connection, frame, value=status, status=_status(status))
            case "queryallactions":
                found = self.actions.get(thing, {})
                statuses = {k: _status(v) for k, v in found.items()}
                return self._answer(connection, frame, value=found, statuses=statuses)
            case "invokeaction" if thing in SERVICES:
                output = self._service(connection, thing, name, frame.get("input"))
                return self._done(connection, frame, output)
            case "invokeaction" | "writeproperty":
                return self._forward(connection, frame, thing, name)
        raise Bad(f"unknown request operation '{operation}' from client '{connection.client}'")

    def _forward(self, connection: Connection, frame: Frame, thing: str, name: str) -> None:
        parts = thing.split(":")
        agent, bare = (parts[1], parts[2]) if len(parts) == 3 else ("", thing)
        target = next((c for c in self.connections if c.client == agent), None)  # the oldest
        if target is None:
            raise Bad(f"ForwardRequestToRemoteAgent: Agent '{agent}' not reachable. Ignored")
        correlation = frame.get("correlationID", "")
        created = frame.get("created") or self.now()
        self.waiting[correlation] = (connection, agent, thing, bare)
        forwarded = {
            "messageType": "request",
            "operation": frame["operation"],
            "thingID": bare,
            "name": name,
            "messageID": frame.get("messageID", ""),
            "created": created,
            "senderID": connection.client,
        }
        if frame.get("input") is not None:
            forwarded["input"] = frame["input"]
        if correlation:
            forwarded |= {"correlationID": correlation, "actionID": correlation}
        target.send(forwarded)
        if frame["operation"] == "invokeaction":
            self._pending(connection, frame, thing, name, created)

    def _pending(self, connection: Connection, frame: Frame, thing: str, name: str, created: str) -> None:
        action = self.things.get(thing, {}).get("actions", {}).get(name)
        value: dict[str, Any] = {}
        if action is not None and not action.get("safe"):
            old = self.actions.get(thing, {}).get(name, {})
            value = {k: old[k] for k in ("output", "error", "timeUpdated") if k in old}
            value |= {"actionID": frame.get("correlationID", ""), "name": name, "senderID": connection.client}
            value |= {"state": "pending", "thingID": thing, "timeRequested": created}
            if "input" in frame:
                value["input"] = frame["input"]
            self.actions.setdefault(thing, {})[name] = copy.deepcopy(value)
        note = {"operation": "invokeaction", "thingID": thing, "name": name, "value": value, "senderID": ""}
        if frame.get("correlationID"):
            note["correlationID"] = frame["correlationID"]
        connection.send(self._envelope("notification", note))

    # -- answers

    def _envelope(self, kind: str, members: Frame) -> Frame:
        return {"messageType": kind, "messageID": uuid.uuid4().hex[:9], "timestamp": self.now(), **members}

    def _answer(self, connection: Connection, frame: Frame, *, error: Any = None, **members: Any) -> None:
        answer = {
            "operation": frame.get("operation", ""),
            "name": frame.get("name", ""),
            "senderID": "",
            "error": error,
            **members,
        }
        answer |= {k: frame[k] for k in ("thingID", "correlationID") if frame.get(k)}
        connection.send(self._envelope("response", answer))

    def _done(self, connection: Connection, frame: Frame, output: Any) -> None:
        status = self._action_status(connection, frame) | ({} if output is None else {"output": output})
        self._answer(connection, frame, value=status, **({} if output is None else {"output": output}))

    def _refuse(self, connection: Connection, frame: Frame, title: str) -> None:
        error = {"status": 400, "type": "Bad request", "title": title}
        is_action = frame.get("operation") == "invokeaction"
        value = self._action_status(connection, frame) | {"error": error} if is_action else None
        self._answer(connection, frame, error=error, value=value)

    def _action_status(self, connection: Connection, frame: Frame) -> dict[str, Any]:
        now = self.now()
        status = {
            "name": frame.get("name", ""),
            "senderID": connection.client,
            "state": "completed",
            "thingID": frame.get("thingID", ""),
            "timeRequested": now,
            "timeUpdated": now,
        }
        return status | ({"input": frame["input"]} if frame.get("input") is not None else {})

    # -- what agents send

    def _response(self, connection: Connection, frame: Frame) -> None:
        correlation = frame.get("correlationID", "")
        found = self.waiting.get(correlation)
        if found is None or found[1] != connection.client:
            return self._drop(connection, f"response to no request: {correlation!r}")
        del self.waiting[correlation]
        requester, agent, thing, bare = found
        answer = {k: frame[k] for k in ("operation", "name", "correlationID", "messageID") if k in frame}
        answer |= {"messageType": "response", "thingID": thing, "senderID": agent, "error": frame.get("error")}
        answer["timestamp"] = frame.get("timestamp") or self.now()
        error = frame.get("error")
        if frame.get("operation") != "invokeaction" or error:
            answer["value"] = frame.get("value")
        else:
            status = frame.get("status") or {}
            output = frame["output"] if "output" in frame else status.get("output")
            result = {} if output is None else {"output": output}
            answer["value"] = {"name": frame["name"], "state": "completed", "thingID": bare, **result}
            answer |= result
        if frame.get("operation") == "invokeaction":
            stored = self.actions.setdefault(thing, {}).setdefault(frame["name"], {"name": frame["name"]})
            stored |= {"state": "completed"}
            stored.setdefault("thingID", bare)
            stored |= {"error": error} if error else {}
            if not error and "output" in answer:
                stored["output"] = answer["output"]
        requester.send(answer)
        return None

    def _notification(self, connection: Connection, frame: Frame) -> None:
        bare, name = frame.get("thingID", ""), frame.get("name", "")
        thing = f"dtw:{connection.client}:{bare}"
        operation = frame.get("operation")
        if operation == "invokeaction":
            found = self.waiting.get(frame.get("correlationID", ""))
            if found is None:
                return self._drop(connection, "progress of no request")
            return found[0].send(self._forwarded(connection, frame, thing))
        if thing not in self.things:
            return self._drop(connection, f"{operation} {name} of the unknown Thing {thing}")
        if operation == "observeallproperties":
            for each, value in (frame.get("value") or {}).items():
                one = frame | {"operation": "observeproperty", "name": each, "value": value}
                self._publish(connection, one, thing, "property")
            return None
        if operation not in ("subscribeevent", "observeproperty"):
            return self._drop(connection, f"notification with operation {operation!r}")
        return self._publish(connection, frame, thing, "event" if operation == "subscribeevent" else "property")

    def _publish(self, connection: Connection, frame: Frame, thing: str, kind: str) -> None:
        message = self._forwarded(connection, frame, thing)
        name = message["name"]
        value = {
            "affordanceType": kind,
            "data": message["value"],
            "name": name,
            "thingID": thing,
            "timestamp": message["timestamp"],
        }
        store = self.events if kind == "event" else self.properties
        store.setdefault(thing, {})[name] = value
        self._spread(kind, thing, name, message)

    def _spread(self, kind: str, thing: str, name: str, message: Frame) -> None:
        for each in list(self.connections):
            wanted = any(k == kind and t in ("+", thing) and n in ("+", name) for k, t, n in each.subscriptions)
            if wanted:
                each.send(message)

    def _forwarded(self, connection: Connection, frame: Frame, thing: str) -> Frame:
        known = ("operation", "name", "correlationID", "messageID", "value")
        message = {k: frame[k] for k in known if k in frame}
        message.setdefault("value", None)
        stamp = frame.get("timestamp") or self.now()
        return message | {
            "messageType": "notification", "thingID": thing, "senderID": connection.client, "timestamp": stamp
        }  # fmt: skip

    # -- built-in services

    def _service(self, connection: Connection, thing: str, name: str, given: Any) -> Any:
        words = "_".join([*thing.split(":")[1:], name])
        action = getattr(self, "_" + re.sub(r"(?<![_A-Z])([A-Z])", r"_\1", words).lower(), None)
        if action is None:
            raise Bad(f"Unknown Method '{name}' of service '{thing.split(':')[2]}'")
        try:
            return action(connection, given)
        except (TypeError, KeyError, AttributeError) as error:
            raise Bad(f"bad function argument: {error}") from error

    def _digitwin_thing_directory_update_thing(self, connection: Connection, given: Any) -> None:
        if not isinstance(given, str):
            raise Bad("bad function argument: a Thing Description is JSON in a string")
        try:
            td = json.loads(given)
        except ValueError as error:
            raise Bad(f"bad function argument: {error}") from error
        check_td(td)
        full = f"dtw:{connection.client}:{td['id']}"
        self.things[full] = twin_of(td, full)
        note = {"operation": "subscribeevent", "thingID": "dtw:digitwin:ThingDirectory", "name": "thingUpdated"}
        note |= {"senderID": "", "value": json.dumps(self.things[full])}
        self._spread("event", note["thingID"], note["name"], self._envelope("notification", note))

    _digitwin_thing_directory_create_thing = _digitwin_thing_directory_update_thing

    def _digitwin_thing_directory_delete_thing(self, connection: Connection, given: str) -> None:
        self.things.pop(given, None)
        note = {"operation": "subscribeevent", "thingID": "dtw:digitwin:ThingDirectory", "name": "thingDeleted"}
        note |= {"senderID": "", "value": given}
        self._spread("event", note["thingID"], note["name"], self._envelope("notification", note))

    def _digitwin_thing_directory_retrieve_thing(self, connection: Connection, given: str) -> str:
        if given not in self.things:
            raise Bad(f"thing with ID '{given}' not found")
        return json.dumps(self.things[given])

    def _digitwin_thing_directory_retrieve_all_things(self, connection: Connection, given: dict[str, Any]) -> list[str]:
        built_in = [{"id": each, "title": each} for each in LISTED]
        listed = [*self.things.values(), *built_in]
        return [json.dumps(td) for td in listed[given.get("offset", 0) : given.get("limit", 0)]]

    def _authz_user_set_permissions(self, connection: Connection, given: dict[str, Any]) -> None:
        role = self.accounts[connection.client].role
        if given["agentID"] != connection.client and role != "admin":
            raise Bad(f"agent '{given['agentID']}' is not the sender")
        record = {k: given[k] for k in ("allow", "deny") if given.get(k)}
        self.permissions[f"dtw:{given['agentID']}:{given['thingID']}"] = record

    def _authz_admin_set_client_role(self, connection: Connection, given: dict[str, Any]) -> None:
        self.accounts[given["clientID"]].role = given["role"]

    def _authz_admin_get_client_role(self, connection: Connection, given: str) -> str:
        return self.accounts[given].role

    def _authn_admin_add_service(self, connection: Connection, given: dict[str, Any]) -> str:
        client = given["clientID"]
        if not client:
            raise Bad("missing clientID")
        account = Account(client, "service", "service", given.get("displayName", ""), given.get("pubKey", ""))
        self.accounts[client] = account
        return self.token_of(account, account.pub_key)

    def _authn_admin_add_consumer(self, connection: Connection, given: dict[str, Any]) -> None:
        client = given["clientID"]
        account = self.accounts.setdefault(client, Account(client, "consumer", ""))
        account.password = given.get("password", "")

    def _authn_admin_remove_client(self, connection: Connection, given: str) -> None:
        self.accounts.pop(given, None)

    def _authn_admin_get_client_profile(self, connection: Connection, given: str) -> dict[str, Any]:
        if given not in self.accounts:
            raise Bad(f"clientID '{given}' not found")
        return _profile(self.accounts[given])

    def _authn_admin_get_profiles(self, connection: Connection, given: Any) -> list[dict[str, Any]]:
        return [_profile(account) for account in self.accounts.values()]

    def _authn_user_get_profile(self, connection: Connection, given: Any) -> dict[str, Any]:
        return _profile(self.accounts[connection.client])


def _profile(account: Account) -> dict[str, Any]:
    found = {"clientID": account.id, "clientType": account.type, "displayName": account.display}
    return {k: v for k, v in (found | {"pubKey": account.pub_key}).items() if v}


def _subscription(operation: str, thing: str, name: str) -> tuple[bool, tuple[str, str, str]] | None:
    match = re.fullmatch(r"(un)?(?:subscribe(event|allevents)|observe(property|allproperties))", operation)
    if match is None:
        return None
    kind = "event" if match[2] else "property"
    return match[1] is None, (kind, thing or "+", name or "+")


def _status(status: dict[str, Any]) -> dict[str, Any]:
    known = {k: status[k] for k in ("output", "error") if k in status}
    return {"actionID": "", "timeRequested": "", **known} | {
        k: status.get(k, "") for k in ("actionID", "state", "timeRequested")
    }


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _check_types(frame: Any) -> None:
    """Go decodes into fixed types: one wrong member loses the frame."""
    if not isinstance(frame, dict):
        raise Bad("not an object")
    texts = (
        "operation", "thingID", "name", "correlationID", "messageID", "created", "timestamp", "senderID", "actionID"
    )  # fmt: skip
    for key in texts:
        if not isinstance(frame.get(key, ""), str):
            raise Bad(f"{key} is not text")
    for key in ("status", "error"):
        if key in frame and not isinstance(frame[key], (dict, type(None))):
            raise Bad(f"{key} is not an object")


_TD_TYPES: dict[str, type | tuple[type, ...]] = {
    "title": str, "description": str, "type": str, "unit": str, "@type": (str, list), "schema": str,
    "safe": bool, "idempotent": bool, "readOnly": bool, "writeOnly": bool, "observable": bool,
    "minimum": (int, float), "maximum": (int, float), "enum": list, "oneOf": list, "required": list,
    "items": dict, "additionalProperties": dict, "schemaDefinitions": dict, "actions": dict, "events": dict,
    "input": dict, "output": dict, "data": dict, "subscription": dict,
}  # fmt: skip


def check_td(td: Any) -> None:
    """Refuse what the hub's fixed types cannot hold (§4.1). Raises Bad."""
    if not isinstance(td, dict) or not isinstance(td.get("id"), str) or not td["id"] or ":" in td["id"]:
        raise Bad("bad function argument: a Thing Description has an id without colon")
    if not isinstance(td.get("@context"), list):
        raise Bad("bad function argument: @context is not an array")
    _check_part(td)


def _check_part(part: dict[str, Any]) -> None:
    for key, value in part.items():
        kind = _TD_TYPES.get(key)
        if kind is not None and (not isinstance(value, kind) or (kind == (int, float) and isinstance(value, bool))):
            raise Bad(f"bad function argument: {key} has the wrong type")
        if key in ("properties", "actions", "events", "schemaDefinitions"):
            for each in value.values():
                _check_part(each)
        elif key in ("input", "output", "data", "items"):
            _check_part(value)


def twin_of(td: dict[str, Any], full: str) -> dict[str, Any]:
    """The digital twin's description: own id, the hub's forms and security."""
    dropped = ("version", "links", "comment", "allow", "deny")
    twin = {k: copy.deepcopy(v) for k, v in td.items() if k not in dropped}
    href = "wss://localhost:8444/wot/wss"
    for kind in ("properties", "events", "actions"):
        for each in twin.get(kind, {}).values():
            each["forms"] = [{"href": href, "subprotocol": "websocket"}]
    security = {"bearer_paseto": {"scheme": "bearer", "format": "paseto", "alg": "public", "in": "header"}}
    return twin | {
        "id": full, "base": "https://localhost:8444", "forms": [{"href": href, "subprotocol": "websocket"}],
        "security": "bearer_paseto", "securityDefinitions": security,
    }  # fmt: skip
