"""The values inside HiveOT's envelopes: errors, the status of an action, the last value of an affordance. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from hiveot_supervisor.errors import HubError, HubRefused
from hiveot_supervisor.hub.wire import integer, mapping, text


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
        source = mapping(data, "error")
        value = cls(
            title=text(source, "title"),
            status=integer(source, "status") or 0,
            type=text(source, "type"),
            detail=text(source, "detail"),
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
        source = mapping(data, "action status")
        return cls(
            output=source.get("output"),
            error=ErrorValue.from_json(source.get("error")),
            input=source.get("input"),
            **{field: text(source, key) for key, field in _STATUS_TEXTS.items()},
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
        source = mapping(data, "thing value")
        return cls(
            data=source.get("data"),
            name=text(source, "name"),
            thing_id=text(source, "thingID"),
            affordance_type=text(source, "affordanceType"),
            timestamp=text(source, "timestamp"),
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
