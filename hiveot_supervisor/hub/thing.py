"""Building WoT Thing Descriptions (TD 1.1): small typed helpers, nothing that is special to one Thing.

`Thing.to_json` gives what `HubClient.publish_td` takes; `with_mqtt_forms` adds how the affordances are reached over
MQTT (`mqv:` terms, docs/mqtt-hub.md §3). Only types that HiveOT's Go code can decode are produced
(hiveot-hub-protocol.md §4.1): `@context` is an array, `items` one schema, `required` and `enum` arrays. Pure.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from hiveot_supervisor.hub import topics
from hiveot_supervisor.hub.client import Right

TD_CONTEXT = "https://www.w3.org/2022/wot/td/v1.1"
HIVEOT_CONTEXT: Mapping[str, str] = {"hiveot": "https://www.hiveot.net/vocab/v0.1"}
MQTT_CONTEXT: Mapping[str, str] = {"mqv": "https://www.w3.org/2019/wot/mqtt#"}


class DataType(StrEnum):
    """JSON types of a data schema, in the standard's words (the Go launcher writes `bool`; the hub reads both)."""

    BOOLEAN = "boolean"
    INTEGER = "integer"
    NUMBER = "number"
    STRING = "string"
    OBJECT = "object"
    ARRAY = "array"
    NULL = "null"


@dataclass(frozen=True, slots=True)
class Schema:
    """A data schema. `ref` names an entry of the Thing's `schemaDefinitions`, as HiveOT does (member `schema`)."""

    type: DataType
    title: str = ""
    description: str = ""
    unit: str = ""
    enum: Sequence[Any] = ()
    minimum: float | None = None
    maximum: float | None = None
    items: Schema | None = None
    properties: Mapping[str, Schema] = field(default_factory=dict)
    required: Sequence[str] = ()
    ref: str = ""

    def to_json(self) -> dict[str, Any]:
        return _filled(
            title=self.title,
            description=self.description,
            type=self.type.value,
            unit=self.unit,
            enum=list(self.enum),
            minimum=self.minimum,
            maximum=self.maximum,
            items=self.items.to_json() if self.items is not None else None,
            properties={name: schema.to_json() for name, schema in self.properties.items()},
            required=list(self.required),
            schema=self.ref,
        )


@dataclass(frozen=True, slots=True)
class Property:
    """A property; `write` is the right that a consumer needs to write it, None = read-only."""

    schema: Schema
    observable: bool = False
    write: Right | None = None
    at_type: str = ""

    def to_json(self) -> dict[str, Any]:
        data = _filled(**{"@type": self.at_type}) | self.schema.to_json()
        return data | _filled(readOnly=self.write is None or None, observable=self.observable or None)


@dataclass(frozen=True, slots=True)
class Event:
    """An event; `data` None = it carries nothing."""

    title: str
    description: str = ""
    data: Schema | None = None
    at_type: str = ""

    def to_json(self) -> dict[str, Any]:
        return _filled(
            **{"@type": self.at_type},
            title=self.title,
            description=self.description,
            data=None if self.data is None else self.data.to_json(),
        )


@dataclass(frozen=True, slots=True)
class Action:
    """An action. right: what a consumer needs; it stands in the MQTT topic. safe: changes nothing."""

    title: str
    description: str = ""
    input: Schema | None = None
    output: Schema | None = None
    safe: bool = False
    idempotent: bool = False
    right: Right = Right.ACTION
    at_type: str = ""

    def to_json(self) -> dict[str, Any]:
        return _filled(
            **{"@type": self.at_type},
            title=self.title,
            description=self.description,
            input=None if self.input is None else self.input.to_json(),
            output=None if self.output is None else self.output.to_json(),
            safe=self.safe or None,
            idempotent=self.idempotent or None,
        )


@dataclass(frozen=True, slots=True)
class Thing:
    """A Thing Description without forms. `id` is the bare thing ID; created/modified are ISO 8601 or empty."""

    id: str
    title: str
    description: str = ""
    at_type: str = ""
    created: str = ""
    modified: str = ""
    properties: Mapping[str, Property] = field(default_factory=dict)
    events: Mapping[str, Event] = field(default_factory=dict)
    actions: Mapping[str, Action] = field(default_factory=dict)
    schema_definitions: Mapping[str, Schema] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        head = {"@context": [TD_CONTEXT, dict(HIVEOT_CONTEXT)], "id": self.id}
        texts = _filled(
            **{"@type": self.at_type},
            title=self.title,
            description=self.description,
            created=self.created,
            modified=self.modified,
        )
        parts: dict[str, Any] = {
            "properties": {name: each.to_json() for name, each in self.properties.items()},
            "events": {name: each.to_json() for name, each in self.events.items()},
            "actions": {name: each.to_json() for name, each in self.actions.items()},
        }
        definitions = {name: each.to_json() for name, each in self.schema_definitions.items()}
        return head | texts | parts | _filled(schemaDefinitions=definitions)


def with_mqtt_forms(thing: Thing, *, agent_id: str, url: str) -> dict[str, Any]:
    """The Thing's TD with forms for an MQTT hub at `url`.

    Consumers put their own client ID at `{sender}` of a request's topic (a URI variable); the payload of a request is
    the envelope of docs/mqtt-hub.md §3, that of a property its bare value. Raises InvalidTopic for IDs that cannot
    stand in a topic.
    """
    td = copy.deepcopy(thing.to_json())
    td["@context"].append(dict(MQTT_CONTEXT))
    td["securityDefinitions"] = {"hub": {"scheme": "basic", "in": "auto"}}
    td["security"] = ["hub"]
    for name, each in thing.properties.items():
        forms = [
            _form(url, ["readproperty", "observeproperty"], filter=topics.prop(agent_id, thing.id, name), retain=True)
        ]
        if each.write is not None:
            forms.append(_form(url, ["writeproperty"], topic=_request_topic(each.write, agent_id, thing.id, name)))
            td["properties"][name]["uriVariables"] = _SENDER
        td["properties"][name]["forms"] = forms
    for name in thing.events:
        td["events"][name]["forms"] = [
            _form(url, ["subscribeevent", "unsubscribeevent"], filter=topics.event(agent_id, thing.id, name))
        ]
    for name, action in thing.actions.items():
        topic = _request_topic(action.right, agent_id, thing.id, name)
        td["actions"][name]["forms"] = [_form(url, ["invokeaction"], topic=topic)]
        td["actions"][name]["uriVariables"] = _SENDER
    return td


_SENDER = {"sender": {"type": "string", "description": "client ID of the consumer"}}


def _request_topic(right: Right, agent_id: str, thing_id: str, name: str) -> str:
    return topics.request(right, agent_id, thing_id, name, "sender").removesuffix("sender") + "{sender}"


def _form(url: str, op: Sequence[str], *, topic: str = "", filter: str = "", retain: bool = False) -> dict[str, Any]:
    return _filled(
        **{"mqv:topic": topic, "mqv:filter": filter, "mqv:retain": retain or None},
        href=url,
        op=list(op),
        contentType="application/json",
    ) | {"mqv:qos": "1"}


def _filled(**members: Any) -> dict[str, Any]:
    """The members that are not empty; False and 0 are kept, None is not."""
    return {key: value for key, value in members.items() if value is not None and value not in ("", [], {})}
