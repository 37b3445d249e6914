"""Topics: built, parsed, and never anything but the scheme."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiveot_supervisor.hub import topics
from hiveot_supervisor.hub.client import Right
from hiveot_supervisor.hub.topics import InvalidTopic, Kind, Topic

IDS = st.from_regex(r"[A-Za-z0-9._~-]{1,128}", fullmatch=True)


def test_topics_of_the_design() -> None:
    assert topics.td("launcher", "Admin") == "hiveot/td/launcher/Admin"
    assert topics.prop("launcher", "plugin-a.b", "state") == "hiveot/prop/launcher/plugin-a.b/state"
    assert topics.event("launcher", "Admin", "started") == "hiveot/event/launcher/Admin/started"
    assert topics.request(Right.CONFIG, "launcher", "Admin", "stopPlugin", "admin") == (
        "hiveot/config/launcher/Admin/stopPlugin/admin"
    )
    assert topics.inbox("admin", "i1", "launcher") == "hiveot/inbox/admin/i1/launcher"
    assert topics.presence("launcher") == "hiveot/presence/launcher"
    assert topics.ack("launcher", "history") == "hiveot/ack/launcher/history"
    assert topics.inbox_filter("admin", "i1") == "hiveot/inbox/admin/i1/#"
    assert topics.request_filters("launcher") == (
        "hiveot/read/launcher/#",
        "hiveot/action/launcher/#",
        "hiveot/config/launcher/#",
        "hiveot/admin/launcher/#",
    )
    assert topics.observe_filter(Kind.EVENT) == "hiveot/event/#"
    assert topics.observe_filter(Kind.TD, "launcher") == "hiveot/td/launcher/#"
    assert topics.observe_filter(Kind.PRESENCE, "launcher") == "hiveot/presence/launcher"


@given(IDS, IDS, IDS, IDS, st.sampled_from(Right))
def test_what_is_built_is_parsed(agent: str, thing: str, name: str, sender: str, right: Right) -> None:
    assert topics.parse(topics.td(agent, thing)) == Topic(Kind.TD, agent, thing)
    assert topics.parse(topics.prop(agent, thing, name)) == Topic(Kind.PROPERTY, agent, thing, name)
    assert topics.parse(topics.event(agent, thing, name)) == Topic(Kind.EVENT, agent, thing, name)
    assert topics.parse(topics.presence(agent)) == Topic(Kind.PRESENCE, agent)
    assert topics.parse(topics.ack(agent, sender)) == Topic(Kind.ACK, agent, sender=sender)
    inbox = topics.parse(topics.inbox(sender, name, agent))
    assert inbox == Topic(Kind.INBOX, agent, sender=sender, instance=name)
    request = topics.parse(topics.request(right, agent, thing, name, sender))
    assert request == Topic(Kind.REQUEST, agent, thing, name, sender, right=right)


@pytest.mark.parametrize("bad", ["", "a/b", "+", "#", "a b", "a\n", "ü", "$SYS", "a:b", "x" * 129, "a\0", "*", ">"])
def test_bad_ids_are_refused_everywhere(bad: str) -> None:
    assert not topics.valid_id(bad)
    for build in (
        lambda: topics.td("a", bad),
        lambda: topics.prop("a", "b", bad),
        lambda: topics.event(bad, "b", "c"),
        lambda: topics.request(Right.READ, "a", "b", "c", bad),
        lambda: topics.inbox("a", bad, "c"),
        lambda: topics.presence(bad),
        lambda: topics.inbox_filter(bad, "b"),
        lambda: topics.request_filters(bad),
    ):
        with pytest.raises(InvalidTopic):
            build()
    if bad:
        with pytest.raises(InvalidTopic):
            topics.observe_filter(Kind.EVENT, bad)


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "hiveot",
        "other/td/a/b",
        "hiveot/td/a",
        "hiveot/td/a/b/c",
        "hiveot/rpc/a/b/c/d",
        "hiveot/td//b",
        "hiveot/td/a/+",
    ],
)
def test_foreign_topics_are_refused(topic: str) -> None:
    with pytest.raises(InvalidTopic):
        topics.parse(topic)


@given(st.text())
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        topics.parse("hiveot/" + text)
    except InvalidTopic:
        pass
