"""The roles table, as a table again: what each role may, and that the NATS form means the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiveot_supervisor.runtime.roles import LAUNCHER_EXTRA, Grants, Role, grants, to_nats

# docs/mqtt-hub.md §3, written down a second time: none, viewer, operator, manager, admin, agent, service
ORDER = (Role.NONE, Role.VIEWER, Role.OPERATOR, Role.MANAGER, Role.ADMIN, Role.AGENT, Role.SERVICE)
PUBLISH = {
    "hiveot/td/me/#": ".....xx",
    "hiveot/prop/me/#": ".....xx",
    "hiveot/event/me/#": ".....xx",
    "hiveot/inbox/+/+/me": ".....xx",
    "hiveot/read/+/+/+/me": ".xxxx.x",
    "hiveot/action/+/+/+/me": "..xxx.x",
    "hiveot/config/+/+/+/me": "...xx.x",
    "hiveot/admin/+/+/+/me": "....x..",
    "hiveot/action/authn/User/+/me": "xxxxxxx",
    "hiveot/presence/me": ".xxxxxx",
    "hiveot/ack/+/me": "......x",
}
SUBSCRIBE = {
    "hiveot/td/#": ".xxxx.x",
    "hiveot/prop/#": ".xxxx.x",
    "hiveot/event/#": ".xxxx.x",
    "hiveot/presence/#": ".xxxx.x",
    "hiveot/inbox/me/#": "xxxxxxx",
    "hiveot/read/me/#": ".....xx",
    "hiveot/action/me/#": ".....xx",
    "hiveot/config/me/#": ".....xx",
    "hiveot/admin/me/#": ".....xx",
    "hiveot/ack/me/#": ".....xx",
}


@pytest.mark.parametrize("role", ORDER)
def test_the_table_is_the_documented_one(role: Role) -> None:
    column = ORDER.index(role)
    found = grants(role, "me")
    assert set(found.publish) == {topic for topic, row in PUBLISH.items() if row[column] == "x"}
    assert set(found.subscribe) == {topic for topic, row in SUBSCRIBE.items() if row[column] == "x"}


def test_the_launcher_has_a_little_more() -> None:
    more, less = grants(Role.SERVICE, "l1", launcher=True), grants(Role.SERVICE, "l1")
    assert set(more.publish) - set(less.publish) == {
        "hiveot/admin/authn/+/+/l1",
        "homeassistant/device/hiveot_l1/config",
    }
    assert set(more.subscribe) - set(less.subscribe) == {"homeassistant/status"}
    assert "{u}" not in repr(more)
    assert isinstance(LAUNCHER_EXTRA, Grants)


@pytest.mark.parametrize(
    ("topic", "subjects"),
    [
        ("a/b", ("a.b",)),
        ("a/+/c", ("a.*.c",)),
        ("a/#", ("a", "a.>")),
        ("#", (">",)),
        ("hiveot/td/my.plugin/#", ("hiveot.td.my//plugin", "hiveot.td.my//plugin.>")),
        ("hiveot/inbox/+/+/a.b.c", ("hiveot.inbox.*.*.a//b//c",)),
    ],
)
def test_nats_subjects(topic: str, subjects: tuple[str, ...]) -> None:
    assert to_nats([topic]) == subjects


def mqtt_matches(pattern: str, topic: str) -> bool:
    """MQTT 3.1.1 §4.7."""
    left, right = pattern.split("/"), topic.split("/")
    for at, level in enumerate(left):
        if level == "#":
            return True
        if at >= len(right) or level not in ("+", right[at]):
            return False
    return len(left) == len(right)


def nats_matches(subject: str, other: str) -> bool:
    left, right = subject.split("."), other.split(".")
    for at, token in enumerate(left):
        if token == ">":
            return len(right) > at
        if at >= len(right) or token not in ("*", right[at]):
            return False
    return len(left) == len(right)


LEVEL = st.sampled_from(["a", "b", "x.y", "x", "~"])
FILTER = st.tuples(st.lists(LEVEL | st.just("+"), min_size=1, max_size=4), st.booleans()).map(
    lambda f: "/".join([*f[0], "#"] if f[1] else f[0])
)
TOPIC = st.lists(LEVEL, min_size=1, max_size=5).map("/".join)


@given(FILTER, TOPIC)
def test_a_filter_and_its_subjects_match_the_same_topics(pattern: str, topic: str) -> None:
    subject = topic.replace(".", "//").replace("/", ".").replace("..", "//")  # as the server maps a topic
    assert any(nats_matches(s, subject) for s in to_nats([pattern])) == mqtt_matches(pattern, topic)
