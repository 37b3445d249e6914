"""The HiveOT envelopes: request, response and notification, and the values that travel in them.

Owns the exact JSON of the wire (docs/hiveot-hub-protocol.md §3; over MQTT plus `replyTo`, `expires`, `seq`, `epoch`,
docs/mqtt-hub.md §3) and the tolerant reading of the forms of hub and hivekit (§10). Pure: never sends anything,
never looks at a clock unless asked to make a new message.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Any, TypeAlias

from hiveot_supervisor.errors import HubError, HubRefused

MAX_MESSAGE = 1_048_576
"""Largest message, bytes, that is read or sent (the brokers' limit, docs/mqtt-hub.md §1)."""


class Operation(StrEnum):
    """The operations that we send or handle. Envelopes keep any text: unknown ones are answered with an error."""

    INVOKE_ACTION = "invokeaction"
    WRITE_PROPERTY = "writeproperty"
    READ_PROPERTY = "readproperty"
    READ_ALL_PROPERTIES = "readallproperties"
    OBSERVE_PROPERTY = "observeproperty"
    OBSERVE_ALL_PROPERTIES = "observeallproperties"
    SUBSCRIBE_EVENT = "subscribeevent"
    SUBSCRIBE_ALL_EVENTS = "subscribeallevents"
    PING = "ping"


class BadMessage(HubError):
    """What was received is not a message of the protocol."""


def new_id() -> str:
    """A globally unique message or correlation ID (32 hex digits)."""
    return uuid.uuid4().hex


@dataclass(frozen=True, slots=True)
class ErrorValue:
    """Why a request failed. `status` is an HTTP status; the Go hub itself only ever sends 400."""

    title: str
    status: int = 400
    type: str = "Bad request"
    detail: str = ""

    @classmethod
    def make(cls, title: str, *, detail: str = "", status: int = 400) -> ErrorValue:
        """An error with the `type` that belongs to `status`, spelled as the hub does ("Bad request")."""
        try:
            kind = HTTPStatus(status).phrase.capitalize()
        except ValueError:
            kind = "Error"
        return cls(title=title, status=status, type=kind, detail=detail)

    @classmethod
    def from_json(cls, data: Any) -> ErrorValue | None:
        """Read the `error` member; None for null and for the hub's empty error (no title, status 0)."""
        if data is None:
            return None
        source = _mapping(data, "error")
        value = cls(
            title=_text(source, "title"),
            status=_integer(source, "status") or 0,
            type=_text(source, "type"),
            detail=_text(source, "detail"),
        )
        return value if value.title or value.status else None

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {"status": self.status, "type": self.type, "title": self.title}
        if self.detail:
            data["detail"] = self.detail
        return data

    def to_exception(self) -> HubError:
        """HubRefused when rights are missing (401, 403, the hub's text), else HubError; `what` is the title."""
        denied = self.status in (401, 403) or self.title.startswith("unauthorized")
        return (HubRefused if denied else HubError)(self.title or self.type, why=self.detail)


@dataclass(frozen=True, slots=True)
class ActionStatus:
    """Progress or result of an action, as the Go hub puts it in `value` and `status`."""

    state: str = ""
    output: Any = None
    error: ErrorValue | None = None
    action_id: str = ""
    agent_id: str = ""
    thing_id: str = ""
    name: str = ""
    input: Any = None
    sender_id: str = ""
    time_requested: str = ""
    time_updated: str = ""
    time_ended: str = ""

    @classmethod
    def from_json(cls, data: Any) -> ActionStatus:
        source = _mapping(data, "action status")
        return cls(
            output=source.get("output"),
            error=ErrorValue.from_json(source.get("error")),
            input=source.get("input"),
            **{field: _text(source, key) for key, field in _STATUS_TEXTS.items()},
        )

    def to_json(self) -> dict[str, Any]:
        data = {key: getattr(self, field) for key, field in _STATUS_TEXTS.items() if getattr(self, field)}
        if self.error is not None:
            data["error"] = self.error.to_json()
        data |= {key: v for key, v in (("input", self.input), ("output", self.output)) if v is not None}
        return data


_STATUS_TEXTS = {
    "actionID": "action_id",
    "agentID": "agent_id",
    "name": "name",
    "senderID": "sender_id",
    "state": "state",
    "thingID": "thing_id",
    "timeEnded": "time_ended",
    "timeRequested": "time_requested",
    "timeUpdated": "time_updated",
}


@dataclass(frozen=True, slots=True)
class ThingValue:
    """The last value of an affordance, as the Go hub answers `readproperty`. All empty: no value is known."""

    data: Any = None
    name: str = ""
    thing_id: str = ""
    affordance_type: str = ""
    timestamp: str = ""

    @classmethod
    def from_json(cls, data: Any) -> ThingValue:
        source = _mapping(data, "thing value")
        return cls(
            data=source.get("data"),
            name=_text(source, "name"),
            thing_id=_text(source, "thingID"),
            affordance_type=_text(source, "affordanceType"),
            timestamp=_text(source, "timestamp"),
        )

    def to_json(self) -> dict[str, Any]:
        data = {
            "affordanceType": self.affordance_type,
            "data": self.data,
            "name": self.name,
            "thingID": self.thing_id,
            "timestamp": self.timestamp,
        }
        return {key: value for key, value in data.items() if value not in ("", None)}


@dataclass(frozen=True, slots=True)
class RequestMessage:
    """A consumer asks. `reply_to` (inbox topic) and `expires` (time) are MQTT's; `action_id` is WSS's."""

    operation: str
    thing_id: str = ""
    name: str = ""
    input: Any = None
    correlation_id: str = ""
    message_id: str = ""
    created: str = ""
    sender_id: str = ""
    action_id: str = ""
    reply_to: str = ""
    expires: str = ""

    def to_json(self) -> dict[str, Any]:
        data = {"messageType": "request", "operation": self.operation, "thingID": self.thing_id}
        data["messageID"] = self.message_id
        return _with_optional(data, self, _REQUEST_OPTIONAL)


@dataclass(frozen=True, slots=True)
class ResponseMessage:
    """The one answer to a request.

    `output` is the result; `value` is where the Go hub puts it for everything but actions. `status` is an object
    (hub) or a text (hivekit); `statuses` and `values` are the maps of the multi-value operations. Use `result`.
    """

    operation: str
    thing_id: str = ""
    name: str = ""
    correlation_id: str = ""
    error: ErrorValue | None = None
    output: Any = None
    value: Any = None
    message_id: str = ""
    timestamp: str = ""
    sender_id: str = ""
    status: Any = None
    statuses: Any = None
    values: Any = None

    def to_json(self) -> dict[str, Any]:
        data = {
            "messageType": "response",
            "operation": self.operation,
            "name": self.name,
            "timestamp": self.timestamp,
            "senderID": self.sender_id,
            "error": None if self.error is None else self.error.to_json(),
            "value": self.value,
        }
        return _with_optional(data, self, _RESPONSE_OPTIONAL)

    def result(self) -> Any:
        """The output, by the reading rules of hiveot-hub-protocol.md §3.6 and §10; None when there is none.

        Raises HubError (HubRefused when rights are missing) when the response reports a failure.
        """
        if self.error is not None:
            raise self.error.to_exception()
        if self.output is not None:
            return self.output
        for candidate in (self.status, self.value):
            if not isinstance(candidate, Mapping):
                continue
            if "state" in candidate:
                status = ActionStatus.from_json(candidate)
                if status.state == "failed":
                    raise (status.error or ErrorValue("the action failed")).to_exception()
                return status.output
            if "affordanceType" in candidate:
                return ThingValue.from_json(candidate).data
        if self.status == "failed":
            raise ErrorValue("the action failed").to_exception()
        return self.value


@dataclass(frozen=True, slots=True)
class NotificationMessage:
    """An event, a property value, or the progress of an action. `seq`/`epoch` number an agent's events over MQTT.

    hivekit sends `affordance_type` in place of the operation; `kind` tells either way.
    """

    operation: str
    thing_id: str = ""
    name: str = ""
    value: Any = None
    correlation_id: str = ""
    message_id: str = ""
    timestamp: str = ""
    sender_id: str = ""
    affordance_type: str = ""
    seq: int | None = None
    epoch: str | None = None

    @property
    def kind(self) -> str:
        """`event`, `property`, `action`, or empty when unknown."""
        return self.affordance_type or _KINDS.get(self.operation, "")

    def to_json(self) -> dict[str, Any]:
        data = {
            "messageType": "notification",
            "operation": self.operation,
            "thingID": self.thing_id,
            "value": self.value,
            "timestamp": self.timestamp,
            "senderID": self.sender_id,
        }
        return _with_optional(data, self, _NOTIFICATION_OPTIONAL)


Message: TypeAlias = RequestMessage | ResponseMessage | NotificationMessage

_KINDS: dict[str, str] = {
    Operation.SUBSCRIBE_EVENT: "event",
    Operation.SUBSCRIBE_ALL_EVENTS: "event",
    Operation.OBSERVE_PROPERTY: "property",
    Operation.OBSERVE_ALL_PROPERTIES: "property",
    Operation.INVOKE_ACTION: "action",
}

# members that are left out when empty, as Go's `omitempty`; those of any type only when there is none
_ANY = ("input", "output", "status", "statuses", "values")
_REQUEST_OPTIONAL = {
    "name": "name",
    "input": "input",
    "correlationID": "correlation_id",
    "created": "created",
    "senderID": "sender_id",
    "actionID": "action_id",
    "replyTo": "reply_to",
    "expires": "expires",
}
_RESPONSE_OPTIONAL = {
    "messageID": "message_id",
    "thingID": "thing_id",
    "correlationID": "correlation_id",
    "output": "output",
    "status": "status",
    "statuses": "statuses",
    "values": "values",
}
_NOTIFICATION_OPTIONAL = {
    "messageID": "message_id",
    "name": "name",
    "correlationID": "correlation_id",
    "affordanceType": "affordance_type",
    "seq": "seq",
    "epoch": "epoch",
}


def encode(message: Message) -> bytes:
    """The message as UTF-8 JSON. Raises BadMessage when a value in it has no JSON form or it is too large."""
    return encode_json(message.to_json())


def encode_json(value: Any) -> bytes:
    """A value as compact UTF-8 JSON. Raises BadMessage when it has no JSON form (NaN, objects) or is too large."""
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        try:
            data = text.encode()
        except UnicodeEncodeError:  # lone surrogates, for instance of undecodable file names
            data = json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as exc:
        raise BadMessage("a value cannot be sent as JSON", why=str(exc)) from exc
    if len(data) > MAX_MESSAGE:
        raise BadMessage("a message is too large to be sent", why=f"{len(data)} bytes, limit {MAX_MESSAGE}")
    return data


def decode(data: bytes | str) -> Message:
    """Read one message, in the form of the hub or of hivekit. Unknown members are ignored.

    Raises BadMessage for everything that is not a message: no JSON, not an object, unknown messageType, a member of
    the wrong type, larger than MAX_MESSAGE.
    """
    return from_json(decode_json(data))


def decode_json(data: bytes | str) -> Any:
    """Parse JSON text strictly (no NaN). Raises BadMessage when it is none or larger than MAX_MESSAGE."""
    if len(data) > MAX_MESSAGE:
        raise BadMessage("a message is too large", why=f"{len(data)} bytes, limit {MAX_MESSAGE}")
    try:
        return json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as exc:
        raise BadMessage("a message is not valid JSON", why=str(exc)) from exc


def from_json(data: Any) -> Message:
    """The message in a decoded JSON value. Raises BadMessage."""
    source = _mapping(data, "message")
    match source.get("messageType"):
        case "request":
            return _read_request(source)
        case "response":
            return _read_response(source)
        case "notification":
            return _read_notification(source)
        case other:
            raise BadMessage("a message has no known messageType", why=f"{other!r}"[:80])


def _read_request(source: Mapping[str, Any]) -> RequestMessage:
    return RequestMessage(
        operation=_text(source, "operation"),
        thing_id=_text(source, "thingID"),
        input=source.get("input"),
        message_id=_text(source, "messageID"),
        **{field: _text(source, key) for key, field in _REQUEST_OPTIONAL.items() if key not in ("input", "created")},
        created=_text(source, "created") or _text(source, "timestamp"),
    )


def _read_response(source: Mapping[str, Any]) -> ResponseMessage:
    return ResponseMessage(
        operation=_text(source, "operation"),
        thing_id=_text(source, "thingID"),
        name=_text(source, "name"),
        correlation_id=_text(source, "correlationID"),
        error=ErrorValue.from_json(source.get("error")),
        output=source.get("output"),
        value=source.get("value"),
        message_id=_text(source, "messageID"),
        timestamp=_text(source, "timestamp"),
        sender_id=_text(source, "senderID"),
        status=source.get("status"),
        statuses=source.get("statuses"),
        values=source.get("values"),
    )


def _read_notification(source: Mapping[str, Any]) -> NotificationMessage:
    return NotificationMessage(
        operation=_text(source, "operation"),
        thing_id=_text(source, "thingID"),
        name=_text(source, "name"),
        value=source["value"] if "value" in source else source.get("data"),
        correlation_id=_text(source, "correlationID"),
        message_id=_text(source, "messageID"),
        timestamp=_text(source, "timestamp"),
        sender_id=_text(source, "senderID"),
        affordance_type=_text(source, "affordanceType"),
        seq=_integer(source, "seq"),
        epoch=_text(source, "epoch") or None,
    )


def _with_optional(data: dict[str, Any], message: Message, optional: Mapping[str, str]) -> dict[str, Any]:
    for key, field in optional.items():
        value = getattr(message, field)
        if value is not None and (value != "" or key in _ANY):
            data[key] = value
    return data


def _mapping(data: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise BadMessage(f"the {what} is not a JSON object", why=f"it is {type(data).__name__}")
    return data


def _text(source: Mapping[str, Any], key: str) -> str:
    value = source.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadMessage(f"member {key} of a message is not text", why=f"it is {type(value).__name__}")
    return value


def _integer(source: Mapping[str, Any], key: str) -> int | None:
    value = source.get(key)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise BadMessage(f"member {key} of a message is not an integer", why=f"it is {type(value).__name__}")


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
