"""The MQTT topics of the hub (docs/mqtt-hub.md §3): building, parsing, filters. Pure, no I/O.

Every level that comes from outside is checked against the ID pattern before it gets into a topic, so neither a
wildcard nor a space nor an extra level can be smuggled in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from hiveot_supervisor.errors import HubError
from hiveot_supervisor.hub.client import Right

ROOT = "hiveot"

_RIGHTS = frozenset(right.value for right in Right)
_ID = re.compile(r"[A-Za-z0-9._~-]{1,128}")


class InvalidTopic(HubError):
    """A topic, or an ID that shall stand in one, is not of the hub's scheme."""


class Kind(StrEnum):
    """What a topic carries; the second level, with the four request classes taken together as REQUEST."""

    TD = "td"
    PROPERTY = "prop"
    EVENT = "event"
    REQUEST = "request"
    INBOX = "inbox"
    PRESENCE = "presence"
    ACK = "ack"


@dataclass(frozen=True, slots=True)
class Topic:
    """A parsed topic; levels that the kind does not have are empty, `right` is None but for requests.

    INBOX: `sender` asked, `instance` is one of its processes, `agent` answers. PRESENCE: `agent` is the client.
    ACK: `agent` published, `sender` is the consumer.
    """

    kind: Kind
    agent: str
    thing: str = ""
    name: str = ""
    sender: str = ""
    instance: str = ""
    right: Right | None = None


def valid_id(text: str) -> bool:
    """True when `text` may be a client, thing or affordance ID and so a topic level."""
    return _ID.fullmatch(text) is not None


def _join(*levels: str) -> str:
    for level in levels:
        if not valid_id(level):
            raise InvalidTopic(
                f"{level[:140]!r} cannot be used as an ID",
                why="it would become a level of an MQTT topic",
                hint="use 1 to 128 of the characters A-Z a-z 0-9 . _ ~ -",
            )
    return "/".join((ROOT, *levels))


def td(agent: str, thing: str) -> str:
    return _join("td", agent, thing)


def prop(agent: str, thing: str, name: str) -> str:
    return _join("prop", agent, thing, name)


def event(agent: str, thing: str, name: str) -> str:
    return _join("event", agent, thing, name)


def request(right: Right, agent: str, thing: str, name: str, sender: str) -> str:
    return _join(right.value, agent, thing, name, sender)


def inbox(sender: str, instance: str, agent: str) -> str:
    """Where `agent` answers the process `instance` of `sender`."""
    return _join("inbox", sender, instance, agent)


def presence(client: str) -> str:
    return _join("presence", client)


def ack(agent: str, consumer: str) -> str:
    return _join("ack", agent, consumer)


def inbox_filter(client: str, instance: str) -> str:
    """Subscription of one process for its answers."""
    return _join("inbox", client, instance) + "/#"


def request_filters(agent: str) -> tuple[str, ...]:
    """Subscriptions of an agent for the requests to its Things, one for each right."""
    return tuple(_join(right.value, agent) + "/#" for right in Right)


def observe_filter(kind: Kind, agent: str = "") -> str:
    """Subscription of an observer to all topics of a kind, or to those of one agent."""
    if not agent:
        return f"{ROOT}/{kind.value}/#"
    whole = _join(kind.value, agent)
    return whole if kind is Kind.PRESENCE else whole + "/#"


def request_sender(topic: str) -> str:
    """Who sent a message on a request topic, read quickly; empty for topics of other kinds."""
    _, _, rest = topic.partition("/")
    kind = rest[: rest.find("/")]
    return topic[topic.rfind("/") + 1 :] if kind in _RIGHTS else ""


def parse(topic: str) -> Topic:
    """Take a topic apart. Raises InvalidTopic when it is not of this scheme or a level is not a valid ID."""
    root, *levels = topic.split("/")
    if root != ROOT or not levels or not all(map(valid_id, levels)):
        raise InvalidTopic("a message came on a topic that is not of the hub's scheme", why=repr(topic[:200]))
    match levels:
        case ["td", agent, thing]:
            return Topic(Kind.TD, agent, thing)
        case ["prop", agent, thing, name]:
            return Topic(Kind.PROPERTY, agent, thing, name)
        case ["event", agent, thing, name]:
            return Topic(Kind.EVENT, agent, thing, name)
        case [("read" | "action" | "config" | "admin") as right, agent, thing, name, sender]:
            return Topic(Kind.REQUEST, agent, thing, name, sender, right=Right(right))
        case ["inbox", sender, instance, agent]:
            return Topic(Kind.INBOX, agent, sender=sender, instance=instance)
        case ["presence", client]:
            return Topic(Kind.PRESENCE, client)
        case ["ack", agent, consumer]:
            return Topic(Kind.ACK, agent, sender=consumer)
    raise InvalidTopic("a message came on a topic that is not of the hub's scheme", why=repr(topic[:200]))
