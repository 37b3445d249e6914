"""What has been received and waits to be handled is bounded, for each sender of requests and in all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hiveot_supervisor.clock import SystemClock
from hiveot_supervisor.hub.client import Account
from hiveot_supervisor.hub.link import MAX_BACKLOG_BYTES, MAX_SENDER_BACKLOG, Address
from hiveot_supervisor.hub.mqtt_link import Link
from hiveot_supervisor.hub.mqtt_session import Incoming
from hiveot_supervisor.hub.topics import request_sender


class Handler:
    def __init__(self) -> None:
        self.topics: list[str] = []

    def link_message(self, incoming: Incoming) -> None:
        self.topics.append(incoming.topic)

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


@pytest.fixture
def link() -> Link:
    """A link whose dispatch thread does not run: all that comes in waits."""
    account = Account("launcher", Path("/none"), Path("/none"))
    options: dict[str, Any] = {"client_id": "launcher", "subscriptions": (), "will": None, "clock": SystemClock()}
    return Link(Address("localhost", 1), account, Handler(), **options)


def receive(link: Link, topic: str, size: int = 1000) -> None:
    link.message(Incoming(topic, bytes(size), False))


def handle(link: Link) -> list[str]:
    """Do what the dispatch thread would do; the topics that were handled."""
    while not link._jobs.empty():
        job = link._jobs.get()
        assert job is not None
        job()
    return link._receiver.topics  # type: ignore[attr-defined]


def test_a_flood_of_one_sender_leaves_room_for_others(link: Link) -> None:
    for _ in range(100_000):
        receive(link, "hiveot/read/launcher/Admin/listPlugins/flooder")
    receive(link, "hiveot/config/launcher/Admin/stopPlugin/manager")
    receive(link, "hiveot/inbox/launcher/1/authn")
    topics = handle(link)
    assert MAX_SENDER_BACKLOG // 1500 < len(topics) <= MAX_SENDER_BACKLOG // 1000
    assert topics[-2:] == ["hiveot/config/launcher/Admin/stopPlugin/manager", "hiveot/inbox/launcher/1/authn"]
    receive(link, "hiveot/read/launcher/Admin/listPlugins/flooder")
    assert len(handle(link)) == len(topics)  # it has room again; `topics` is the same list
    assert topics[-1].endswith("/flooder")
    assert not link._backlog
    assert not link._backlog_of


def test_many_senders_together_are_bounded_too(link: Link) -> None:
    for n in range(40):
        for _ in range(20):
            receive(link, f"hiveot/read/launcher/Admin/listPlugins/s{n}", 40_000)
    assert link._backlog <= MAX_BACKLOG_BYTES


def test_a_single_large_request_is_taken(link: Link) -> None:
    receive(link, "hiveot/read/launcher/Admin/listPlugins/a", 1_000_000)
    receive(link, "hiveot/read/launcher/Admin/listPlugins/b", 1_000_000)
    assert len(handle(link)) == 2


@pytest.mark.parametrize(
    ("topic", "sender"),
    [
        ("hiveot/read/launcher/Admin/listPlugins/vera", "vera"),
        ("hiveot/admin/launcher/Admin/stopAllPlugins/admin", "admin"),
        ("hiveot/event/history/t/n", ""),
        ("hiveot/inbox/launcher/1/authn", ""),
        ("hiveot/presence/read", ""),
        ("hiveot", ""),
        ("", ""),
        ("/read/x", "x"),
    ],
)
def test_the_sender_is_read_from_the_topic(topic: str, sender: str) -> None:
    assert request_sender(topic) == sender
