"""The outbox drain against a hub that acknowledges, forgets, refuses and vanishes."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from hiveot_supervisor.agent.inbox import Delivered, PropertyDelivered
from hiveot_supervisor.agent.publisher import RESEND_FIRST, RETRY, WINDOW, Publisher
from hiveot_supervisor.agent.state import GAP, Event, State
from hiveot_supervisor.errors import HubRefused, HubUnavailable


class Hub:
    """Takes events and lets the test decide what becomes of them."""

    connected = True

    def __init__(self) -> None:
        self.sent: list[int] = []
        self.futures: dict[int, Future[None]] = {}
        self.values: list[tuple[str, str, Any, int]] = []
        self.told: list[Future[None]] = []

    def publish_event(self, thing: str, name: str, value: Any, *, seq: int, epoch: str, created: str) -> Future[None]:
        self.sent.append(seq)
        self.futures[seq] = Future()
        return self.futures[seq]

    def publish_property(self, thing: str, name: str, value: Any) -> Future[None]:
        self.values.append((thing, name, value, len(self.sent)))
        self.told.append(Future())
        return self.told[-1]

    def take(self, *seqs: int) -> None:
        for seq in seqs or list(self.futures):
            self.futures.pop(seq).set_result(None)

    def fail(self, seq: int, error: Exception) -> None:
        self.futures.pop(seq).set_exception(error)


class Bench:
    def __init__(self, path: Path, **bounds: int) -> None:
        self.state = State(path / "launcher.db", **bounds)
        self.hub = Hub()
        self.reports: list[Delivered | PropertyDelivered] = []
        self.now = 0.0
        self.publisher = Publisher(self.state, self.hub, self.reports.append)

    def add(self, count: int) -> list[int]:
        seqs = [self.state.append(Event(0.0, "started", "p", "p")).seq for _ in range(count)]
        self.publisher.added()
        return seqs

    def turn(self) -> None:
        while self.reports:
            item = self.reports.pop(0)
            if isinstance(item, Delivered):
                self.publisher.delivered(item, self.now)
            else:
                self.publisher.told(item, self.now)
        self.publisher.drain(self.now)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_nothing_is_sent_without_a_connection(bench: Bench) -> None:
    bench.add(3)
    bench.turn()
    assert bench.hub.sent == []
    bench.publisher.connected()
    bench.turn()
    assert bench.hub.sent == [1, 2, 3]


def test_the_window_is_bounded_and_the_order_kept(bench: Bench) -> None:
    bench.add(WINDOW + 10)
    bench.publisher.connected()
    bench.turn()
    assert bench.hub.sent == list(range(1, WINDOW + 1))
    bench.hub.take()
    bench.turn()
    bench.hub.take()
    bench.turn()
    assert bench.hub.sent == list(range(1, WINDOW + 11))
    assert bench.state.backlog() == 0
    assert bench.publisher.idle


def test_only_a_contiguous_prefix_is_forgotten(bench: Bench) -> None:
    bench.add(3)
    bench.publisher.connected()
    bench.turn()
    bench.hub.take(2, 3)
    bench.turn()
    assert [e.seq for e in bench.state.unsent(0, 9)] == [1, 2, 3]
    bench.hub.take(1)
    bench.turn()
    assert bench.state.backlog() == 0


def test_after_a_lost_connection_all_that_is_not_acknowledged_comes_again_in_order(bench: Bench) -> None:
    bench.add(4)
    bench.publisher.connected()
    bench.turn()
    bench.hub.take(1)
    bench.turn()
    bench.publisher.disconnected()
    for seq in (2, 3, 4):
        bench.hub.fail(seq, HubUnavailable("gone"))
    bench.turn()
    bench.publisher.connected()
    bench.turn()
    assert bench.hub.sent == [1, 2, 3, 4, 2, 3, 4]


def test_a_failed_delivery_is_tried_again_after_a_pause(bench: Bench) -> None:
    bench.add(2)
    bench.publisher.connected()
    bench.turn()
    bench.hub.fail(1, HubUnavailable("queue full"))
    bench.turn()
    assert bench.hub.sent == [1, 2]
    bench.now += RETRY
    bench.turn()
    assert bench.hub.sent == [1, 2, 1, 2]


def test_a_refused_event_holds_up_nobody_and_is_kept(bench: Bench) -> None:
    bench.add(3)
    bench.publisher.connected()
    bench.turn()
    bench.hub.fail(2, HubRefused("not allowed"))
    bench.hub.take(1, 3)
    bench.turn()
    assert bench.publisher.refused == 1
    assert [e.seq for e in bench.state.unsent(0, 9)] == [2]
    bench.now += 1000
    bench.turn()
    assert bench.hub.sent == [1, 2, 3], "no spinning"
    bench.publisher.connected()
    bench.turn()
    assert bench.hub.sent == [1, 2, 3, 2]


def test_with_a_durable_consumer_the_hubs_word_is_not_enough(bench: Bench) -> None:
    bench.publisher.acknowledged_by("history", {"epoch": bench.state.epoch, "seq": 0}, bench.now)
    bench.add(3)
    bench.publisher.connected()
    bench.turn()
    bench.hub.take()
    bench.turn()
    assert bench.state.backlog() == 3
    bench.publisher.acknowledged_by("history", {"epoch": bench.state.epoch, "seq": 2}, bench.now)
    assert bench.state.backlog() == 1
    bench.now += RESEND_FIRST
    bench.turn()
    assert bench.hub.sent == [1, 2, 3, 3]
    bench.hub.take()
    bench.turn()
    bench.publisher.acknowledged_by("history", {"epoch": bench.state.epoch, "seq": 3}, bench.now)
    bench.now += 1000
    bench.turn()
    assert bench.hub.sent == [1, 2, 3, 3]
    assert bench.state.backlog() == 0


def test_the_slowest_of_two_consumers_counts_and_leaving_frees(bench: Bench) -> None:
    epoch = bench.state.epoch
    bench.add(3)
    bench.publisher.acknowledged_by("a", {"epoch": epoch, "seq": 3}, 0.0)
    assert bench.state.backlog() == 0
    bench.add(3)
    bench.publisher.acknowledged_by("b", {"epoch": epoch, "seq": 4}, 0.0)
    bench.publisher.acknowledged_by("a", {"epoch": epoch, "seq": 6}, 0.0)
    assert bench.state.backlog() == 2
    bench.publisher.acknowledged_by("b", None, 0.0)
    assert bench.state.backlog() == 0


def test_an_acknowledgement_of_another_numbering_acknowledges_nothing(bench: Bench) -> None:
    bench.add(3)
    bench.publisher.acknowledged_by("history", {"epoch": "older", "seq": 100}, 0.0)
    bench.publisher.acknowledged_by("history", "garbage", 0.0)
    assert bench.state.backlog() == 3


def test_consumers_are_remembered_over_a_restart(bench: Bench, tmp_path: Path) -> None:
    bench.publisher.acknowledged_by("history", {"epoch": bench.state.epoch, "seq": 0}, 0.0)
    bench.add(1)
    bench.state.close()
    again = Bench(tmp_path)
    again.publisher.connected()
    again.turn()
    again.hub.take()
    again.turn()
    assert again.state.backlog() == 1


def test_a_full_outbox_drops_the_oldest_and_says_which(tmp_path: Path) -> None:
    bench = Bench(tmp_path, max_rows=20)
    bench.add(100)
    rows = bench.state.unsent(0, 1000)
    assert len(rows) <= 20
    assert rows[0].name == GAP
    assert rows[0].value == {"first": 1, "last": rows[0].seq}
    assert [r.seq for r in rows] == list(range(rows[0].seq, 101))
    assert bench.state.backlog() == len(rows)


def test_the_outbox_is_bounded_in_bytes_too(tmp_path: Path) -> None:
    state = State(tmp_path / "launcher.db", max_bytes=100_000)
    for _ in range(50):
        state.append(Event(0.0, "x", "p", "y" * 10_000))
    rows = state.unsent(0, 1000)
    assert sum(len(r.value) for r in rows) < 120_000
    assert rows[0].name == GAP


# -- properties


def test_a_value_is_sent_after_the_events_before_it(bench: Bench) -> None:
    bench.add(WINDOW + 5)
    bench.publisher.put_property("plugin-p", "status", "running")
    bench.publisher.connected()
    bench.turn()
    assert bench.hub.values == [], "events that were there before it are still to be sent"
    bench.hub.take()
    bench.turn()
    bench.turn()
    assert bench.hub.values == [("plugin-p", "status", "running", WINDOW + 5)]
    assert not bench.publisher.idle
    bench.hub.take()
    bench.hub.told[0].set_result(None)
    bench.turn()
    assert bench.state.properties.count() == 0
    assert bench.publisher.idle


def test_only_the_newest_value_waits(bench: Bench) -> None:
    for word in ("starting", "running", "stopping"):
        bench.publisher.put_property("plugin-p", "status", word)
    bench.publisher.put_property("plugin-p", "running", False)
    bench.publisher.put_property("plugin-q", "status", "stopped")
    assert bench.state.properties.count() == 3
    bench.publisher.connected()
    bench.turn()
    assert [v[:3] for v in bench.hub.values] == [
        ("plugin-p", "status", "stopping"),
        ("plugin-p", "running", False),
        ("plugin-q", "status", "stopped"),
    ]


def test_a_value_that_changes_under_way_is_sent_again(bench: Bench) -> None:
    bench.publisher.connected()
    bench.publisher.put_property("plugin-p", "status", "starting")
    bench.turn()
    bench.publisher.put_property("plugin-p", "status", "running")
    bench.hub.told[0].set_result(None)
    bench.turn()
    assert [v[2] for v in bench.hub.values] == ["starting", "running"]
    assert bench.state.properties.count() == 1, "the acknowledgement was for the old value"
    bench.hub.told[1].set_result(None)
    bench.turn()
    assert bench.state.properties.count() == 0


def test_values_survive_the_process_and_figures_do_not(bench: Bench, tmp_path: Path) -> None:
    bench.publisher.put_property("plugin-p", "status", "stopped")
    bench.publisher.put_property("plugin-p", "cpu", 12.5, lasting=False)
    assert bench.state.properties.count() == 2
    bench.state.close()
    again = Bench(tmp_path)
    again.publisher.connected()
    again.turn()
    assert [v[:3] for v in again.hub.values] == [("plugin-p", "status", "stopped")]


def test_values_do_not_use_up_numbers_of_events(bench: Bench) -> None:
    (first,) = bench.add(1)
    for n in range(10):
        bench.publisher.put_property("plugin-p", "restarts", n)
    assert bench.add(1) == [first + 1]


def test_after_a_lost_connection_values_come_again_and_a_refused_one_does_not_spin(bench: Bench) -> None:
    bench.publisher.connected()
    bench.publisher.put_property("plugin-p", "status", "running")
    bench.turn()
    bench.publisher.disconnected()
    bench.hub.told[0].set_exception(HubUnavailable("gone"))
    bench.turn()
    bench.publisher.connected()
    bench.turn()
    assert len(bench.hub.values) == 2
    bench.hub.told[1].set_exception(HubRefused("not allowed"))
    bench.turn()
    bench.now += 1000
    bench.turn()
    assert len(bench.hub.values) == 2
    assert bench.publisher.idle


def test_many_values_do_not_hold_up_an_event(bench: Bench) -> None:
    bench.publisher.connected()
    for n in range(10 * WINDOW):
        bench.publisher.put_property("plugin-p", f"name{n}", n)
    bench.turn()
    assert len(bench.hub.values) == WINDOW
    bench.add(1)
    bench.turn()
    assert bench.hub.sent == [1]


def test_what_waits_about_a_removed_thing_is_dropped(bench: Bench) -> None:
    bench.publisher.put_property("plugin-p", "status", "running")
    bench.publisher.put_property("plugin-p", "cpu", 1.0, lasting=False)
    bench.publisher.put_property("plugin-q", "status", "running")
    bench.publisher.forget_properties("plugin-p")
    bench.publisher.connected()
    bench.turn()
    assert [v[0] for v in bench.hub.values] == ["plugin-q"]


@pytest.mark.parametrize("ahead", [1, 2**40, 2**63, 10**30])
def test_a_consumer_cannot_have_stored_what_was_never_sent(bench: Bench, ahead: int) -> None:
    """Any service may announce itself: it must not make us forget what is still to come, nor end the turn."""
    seqs = bench.add(3)
    bench.publisher.acknowledged_by("liar", {"epoch": bench.state.epoch, "seq": seqs[-1] + ahead}, 0.0)
    assert bench.state.oldest() == seqs[0]
    bench.publisher.connected()
    bench.turn()
    bench.hub.take()
    bench.turn()
    assert bench.state.backlog() == 0  # it is no consumer, so the hub's word counts
    later = bench.add(1)
    bench.publisher.acknowledged_by("liar", {"epoch": bench.state.epoch, "seq": later[-1]}, 0.0)
    assert bench.state.backlog() == 0
