"""The contract of the hub: seven roles against each real broker, every cell of docs/mqtt-hub.md §3 tried out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fakes.runtimes import LocalBroker

from hiveot_supervisor.model import Driver
from hiveot_supervisor.runtime.rawmqtt import REFUSED, RawMqtt
from hiveot_supervisor.runtime.roles import Role

ROLES = (Role.NONE, Role.VIEWER, Role.OPERATOR, Role.MANAGER, Role.ADMIN, Role.AGENT, Role.SERVICE)
#      none, viewer, operator, manager, admin, agent, service
PUBLISH = {
    "hiveot/td/{u}/thing": ".....xx",
    "hiveot/prop/{u}/thing/name": ".....xx",
    "hiveot/event/{u}/thing/name": ".....xx",
    "hiveot/inbox/other/1/{u}": ".....xx",
    "hiveot/td/other/thing": ".......",
    "hiveot/prop/other/thing/name": ".......",
    "hiveot/event/other/thing/name": ".......",
    "hiveot/inbox/other/1/foreign": ".......",
    "hiveot/read/other/thing/name/{u}": ".xxxx.x",
    "hiveot/action/other/thing/name/{u}": "..xxx.x",
    "hiveot/config/other/thing/name/{u}": "...xx.x",
    "hiveot/admin/other/thing/name/{u}": "....x..",
    "hiveot/admin/authn/Admin/addService/{u}": "....x..",
    "hiveot/read/other/thing/name/foreign": ".......",
    "hiveot/action/authn/User/getProfile/{u}": "xxxxxxx",
    "hiveot/action/authn/User/getProfile/other": ".......",
    "hiveot/action/authn/Admin/addService/{u}": "..xxx.x",
    "hiveot/presence/{u}": ".xxxxxx",
    "hiveot/presence/other": ".......",
    "hiveot/ack/other/{u}": "......x",
    "hiveot/ack/other/foreign": ".......",
    "homeassistant/device/hiveot_{u}/config": ".......",
    "homeassistant/status": ".......",
    "$CONTROL/dynamic-security/v1": ".......",
    "$JS/API/STREAM/DELETE/$MQTT_msgs": ".......",
    "hiveot": ".......",
    "elsewhere/{u}": ".......",
}
SUBSCRIBE = {
    "hiveot/td/#": ".xxxx.x",
    "hiveot/prop/#": ".xxxx.x",
    "hiveot/prop/other/#": ".xxxx.x",
    "hiveot/event/+/+/started": ".xxxx.x",
    "hiveot/presence/+": ".xxxx.x",
    "hiveot/inbox/{u}/#": "xxxxxxx",
    "hiveot/inbox/other/#": ".......",
    "hiveot/inbox/+/#": ".......",
    "hiveot/read/{u}/#": ".....xx",
    "hiveot/action/{u}/#": ".....xx",
    "hiveot/config/{u}/#": ".....xx",
    "hiveot/admin/{u}/#": ".....xx",
    "hiveot/ack/{u}/#": ".....xx",
    "hiveot/config/other/#": ".......",
    "hiveot/admin/authn/#": ".......",
    "hiveot/ack/other/#": ".......",
    "hiveot/#": ".......",
    "+/#": ".......",
    "#": ".......",
    "$SYS/#": ".......",
    "$MQTT/#": ".......",
    "homeassistant/#": ".......",
}
assert len(PUBLISH) + len(SUBSCRIBE) >= 27


@pytest.fixture(scope="module")
def watcher(either: LocalBroker) -> Iterator[RawMqtt]:
    """Sees everything that gets through."""
    with either.logins.connect() as connection:
        for topic in ("#", "$CONTROL/#") + (("$JS/API/STREAM/#",) if either.driver is Driver.NATS else ()):
            assert connection.subscribe(topic) == 1  # `#` does not cover what begins with `$`
        if either.driver is Driver.NATS:  # Mosquitto keeps these for its plugin
            connection.publish("$CONTROL/here", b"seen")
            delivery = connection.receive(5)
            assert delivery is not None
            assert delivery.topic == "$CONTROL/here"
        yield connection


@pytest.mark.parametrize("role", ROLES)
def test_publish(either: LocalBroker, watcher: RawMqtt, role: Role) -> None:
    user = f"my.{role.value}-1"  # dots and dashes in IDs must not widen or narrow anything
    with either.raw(user, either.add(user, role)) as client, either.logins.connect() as end:
        watcher.settle()
        for topic in PUBLISH:
            client.publish(topic.replace("{u}", user), role.value.encode())
        end.publish("end", b"end")
        arrived = set()
        while (delivery := watcher.receive(5)) is not None and delivery.topic != "end":
            arrived.add(delivery.topic)
        assert delivery is not None
    column = ROLES.index(role)
    assert arrived == {topic.replace("{u}", user) for topic, row in PUBLISH.items() if row[column] == "x"}


@pytest.mark.parametrize("role", ROLES)
def test_subscribe(either: LocalBroker, role: Role) -> None:
    user = f"my.{role.value}-2"
    with either.raw(user, either.add(user, role)) as client:
        codes = {topic: client.subscribe(topic.replace("{u}", user)) for topic in SUBSCRIBE}
    column = ROLES.index(role)
    assert {t for t, code in codes.items() if code != REFUSED} == {
        t for t, row in SUBSCRIBE.items() if row[column] == "x"
    }


@pytest.mark.parametrize("role", [Role.NONE, Role.AGENT, Role.VIEWER])
def test_retained_messages_are_seen_by_whom_they_are_for(either: LocalBroker, watcher: RawMqtt, role: Role) -> None:
    user = f"reader-{role.value}"
    watcher.publish("hiveot/td/other/thing", b"{}", retain=True)
    try:
        with either.raw(user, either.add(user, role)) as client:
            client.subscribe("hiveot/td/#")
            seen = [(each.topic, each.retained) for each in client.settle()]
        assert seen == ([("hiveot/td/other/thing", True)] if role is Role.VIEWER else [])
    finally:
        watcher.publish("hiveot/td/other/thing", b"", retain=True)


def test_the_launcher_may_ask_authn_and_announce_itself(either: LocalBroker, watcher: RawMqtt) -> None:
    with either.raw("launcher", either.add("launcher", Role.SERVICE)) as client, either.logins.connect() as end:
        watcher.settle()
        for topic in (
            "hiveot/admin/authn/Admin/addService/launcher",
            "hiveot/admin/other/Admin/stop/launcher",
            "homeassistant/device/hiveot_launcher/config",
            "homeassistant/device/hiveot_other/config",
        ):
            client.publish(topic, b"x")
        assert client.subscribe("homeassistant/status") == 1
        end.publish("end", b"end")
        arrived = []
        while (delivery := watcher.receive(5)) is not None and delivery.topic != "end":
            arrived.append(delivery.topic)
    assert arrived == ["hiveot/admin/authn/Admin/addService/launcher", "homeassistant/device/hiveot_launcher/config"]
