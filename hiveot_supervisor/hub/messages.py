"""The HiveOT envelopes: request, response and notification, and the values that travel in them.

Owns the exact JSON of the wire (docs/hiveot-hub-protocol.md §3; over MQTT plus `replyTo`, `expires`, `seq`, `epoch`,
docs/mqtt-hub.md §3) and the tolerant reading of the forms of hub and hivekit (§10). Pure: never sends anything,
never looks at a clock unless asked to make a new message.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from hiveot_supervisor.hub.values import ActionStatus, ErrorValue, ThingValue
from hiveot_supervisor.hub.wire import (
    MAX_MESSAGE,
    MAX_SENT,
    BadMessage,
    decode_json,
    encode_json,
    integer,
    mapping,
    text,
)


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


def new_id() -> str:
    """A globally unique message or correlation ID (32 hex digits)."""
    return uuid.uuid4().hex


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


def encode(message: Message, *, limit: int = MAX_SENT) -> bytes:
    """The message as UTF-8 JSON. Raises BadMessage when a value in it has no JSON form or it is too large."""
    return encode_json(message.to_json(), limit=limit)


def decode(data: bytes | str, *, limit: int = MAX_MESSAGE) -> Message:
    """Read one message, in the form of the hub or of hivekit. Unknown members are ignored.

    Raises BadMessage for everything that is not a message: no JSON, not an object, unknown messageType, a member of
    the wrong type, larger than `limit`.
    """
    return from_json(decode_json(data, limit=limit))


def from_json(data: Any) -> Message:
    """The message in a decoded JSON value. Raises BadMessage."""
    source = mapping(data, "message")
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
        operation=text(source, "operation"),
        thing_id=text(source, "thingID"),
        input=source.get("input"),
        message_id=text(source, "messageID"),
        **{field: text(source, key) for key, field in _REQUEST_OPTIONAL.items() if key not in ("input", "created")},
        created=text(source, "created") or text(source, "timestamp"),
    )


def _read_response(source: Mapping[str, Any]) -> ResponseMessage:
    return ResponseMessage(
        operation=text(source, "operation"),
        thing_id=text(source, "thingID"),
        name=text(source, "name"),
        correlation_id=text(source, "correlationID"),
        error=ErrorValue.from_json(source.get("error")),
        output=source.get("output"),
        value=source.get("value"),
        message_id=text(source, "messageID"),
        timestamp=text(source, "timestamp"),
        sender_id=text(source, "senderID"),
        status=source.get("status"),
        statuses=source.get("statuses"),
        values=source.get("values"),
    )


def _read_notification(source: Mapping[str, Any]) -> NotificationMessage:
    return NotificationMessage(
        operation=text(source, "operation"),
        thing_id=text(source, "thingID"),
        name=text(source, "name"),
        value=source["value"] if "value" in source else source.get("data"),
        correlation_id=text(source, "correlationID"),
        message_id=text(source, "messageID"),
        timestamp=text(source, "timestamp"),
        sender_id=text(source, "senderID"),
        affordance_type=text(source, "affordanceType"),
        seq=integer(source, "seq"),
        epoch=text(source, "epoch") or None,
    )


def _with_optional(data: dict[str, Any], message: Message, optional: Mapping[str, str]) -> dict[str, Any]:
    for key, field in optional.items():
        value = getattr(message, field)
        if value is not None and (value != "" or key in _ANY):
            data[key] = value
    return data
