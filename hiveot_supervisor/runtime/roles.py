"""Who may publish and subscribe what: one table (docs/mqtt-hub.md §3), rendered for each broker.

Pure. The table speaks MQTT topics, with `{u}` for the account's own ID; `to_nats` turns grants into NATS subjects,
`to_dynsec` into the ACL of a role of Mosquitto's Dynamic Security. What is not granted is denied.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from hiveot_supervisor.model import prestart_account


class Role(StrEnum):
    """The roles of the HiveOT hub (docs/hiveot-hub-protocol.md §5.4)."""

    NONE = "none"
    VIEWER = "viewer"
    OPERATOR = "operator"
    MANAGER = "manager"
    ADMIN = "admin"
    AGENT = "agent"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Grants:
    """MQTT topic filters that an account may publish to and subscribe to."""

    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()

    def __or__(self, other: Grants) -> Grants:
        return Grants(self.publish + other.publish, self.subscribe + other.subscribe)

    def __sub__(self, other: Grants) -> Grants:
        publish = tuple(topic for topic in self.publish if topic not in other.publish)
        return Grants(publish, tuple(topic for topic in self.subscribe if topic not in other.subscribe))

    def covers(self, other: Grants) -> bool:
        """Whether every filter of `other` is among these."""
        return set(other.publish) <= set(self.publish) and set(other.subscribe) <= set(self.subscribe)


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of the table: these filters are granted to these roles."""

    roles: frozenset[Role]
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()


COMMON = Grants(subscribe=("hiveot/td/#", "hiveot/prop/#", "hiveot/event/#", "hiveot/presence/#"))
"""What everyone who may see anything may see. The same for all, so that a broker can keep it once."""


_EVERYONE = frozenset(Role)
_AGENTS = frozenset({Role.AGENT, Role.SERVICE})
_VIEWERS = frozenset({Role.VIEWER, Role.OPERATOR, Role.MANAGER, Role.ADMIN, Role.SERVICE})
_OPERATORS = _VIEWERS - {Role.VIEWER}
_MANAGERS = _OPERATORS - {Role.OPERATOR}

TABLE: tuple[_Row, ...] = (
    _Row(_AGENTS, publish=("hiveot/td/{u}/#", "hiveot/prop/{u}/#", "hiveot/event/{u}/#", "hiveot/inbox/+/+/{u}")),
    _Row(_VIEWERS, publish=("hiveot/read/+/+/+/{u}",)),
    _Row(_OPERATORS, publish=("hiveot/action/+/+/+/{u}",)),
    _Row(_MANAGERS, publish=("hiveot/config/+/+/+/{u}",)),
    _Row(frozenset({Role.ADMIN}), publish=("hiveot/admin/+/+/+/{u}",)),
    _Row(_EVERYONE, publish=("hiveot/action/authn/User/+/{u}",), subscribe=("hiveot/inbox/{u}/#",)),
    _Row(_EVERYONE - {Role.NONE}, publish=("hiveot/presence/{u}",)),
    _Row(frozenset({Role.SERVICE}), publish=("hiveot/ack/+/{u}",)),
    _Row(_VIEWERS, subscribe=COMMON.subscribe),
    _Row(
        _AGENTS,
        subscribe=(
            "hiveot/read/{u}/#",
            "hiveot/action/{u}/#",
            "hiveot/config/{u}/#",
            "hiveot/admin/{u}/#",
            "hiveot/ack/{u}/#",
        ),
    ),
)

LAUNCHER_EXTRA = Grants(
    publish=("hiveot/admin/authn/+/+/{u}", "homeassistant/device/hiveot_{u}/config"),
    subscribe=("homeassistant/status",),
)
"""What the launcher's account may beyond its role `service`: manage accounts, and announce itself to Home
Assistant.
"""

PRESTART_EXTRA = Grants(publish=("hiveot/admin/authn/+/+/{u}",))
"""What the account of prestart may beyond its role `none`: manage accounts."""

EVERYTHING = Grants(publish=("#",), subscribe=("#",))
"""For the runtime's own checks; no account has it."""


def grants(role: Role, client_id: str, *, launcher: bool = False) -> Grants:
    """What an account with that role may do. `client_id` must be a valid ID (it becomes a topic level)."""
    return _filled(role, client_id, LAUNCHER_EXTRA if launcher else Grants())


def account_grants(role: Role, client_id: str, *, launcher_id: str) -> Grants:
    """What an account of a hub may do; those of the launcher and of its prestart have rights of their own."""
    special = {launcher_id: LAUNCHER_EXTRA, prestart_account(launcher_id): PRESTART_EXTRA}
    return _filled(role, client_id, special.get(client_id, Grants()))


def _filled(role: Role, client_id: str, extra: Grants) -> Grants:
    rows = [row for row in TABLE if role in row.roles]
    found = Grants(
        tuple(topic for row in rows for topic in row.publish),
        tuple(topic for row in rows for topic in row.subscribe),
    )
    found |= extra
    return Grants(_fill(found.publish, client_id), _fill(found.subscribe, client_id))


def to_nats(filters: Iterable[str]) -> tuple[str, ...]:
    """The NATS subjects of MQTT topic filters, sorted.

    `/` becomes `.`, `.` becomes `//`, `+` becomes `*`; `a/#` also matches `a` in MQTT, so it takes two
    subjects.
    """
    subjects: set[str] = set()
    for topic in filters:
        levels = topic.split("/")
        if levels[-1] == "#":
            subjects.add(".".join([*map(_nats_level, levels[:-1]), ">"]))
            levels = levels[:-1]
        if levels:
            subjects.add(".".join(map(_nats_level, levels)))
    return tuple(sorted(subjects))


def to_dynsec(rights: Grants) -> list[dict[str, object]]:
    """The `acls` of a Dynamic Security role. Its default access must deny everything.

    Receiving is checked besides subscribing: a subscription may be older than a change of the role. Whoever may
    subscribe to something may unsubscribe from anything, which does no harm.
    """
    kinds = [("publishClientSend", topic) for topic in rights.publish]
    kinds += [(kind, topic) for topic in rights.subscribe for kind in ("subscribePattern", "publishClientReceive")]
    if rights.subscribe:
        kinds.append(("unsubscribePattern", "#"))
    return [{"acltype": kind, "topic": topic, "priority": 0, "allow": True} for kind, topic in kinds]


def _nats_level(level: str) -> str:
    return "*" if level == "+" else level.replace(".", "//")


def _fill(filters: tuple[str, ...], client_id: str) -> tuple[str, ...]:
    return tuple(topic.replace("{u}", client_id) for topic in filters)
