"""Sends the outbox to the hub: events in order of `seq`, a bounded window at a time, only while connected.

A row is forgotten when the hub has acknowledged it and everything before it. When durable consumers have announced
themselves (`hiveot/ack/…`), the hub's acknowledgement is no proof: rows are kept until all of those have stored them,
and sent again when they do not get on. After a crash everything that may be missing is sent again, in order, with the
same epoch and seq. An event that the hub refuses is kept aside until the next connection; it holds up nobody.

A property value goes out after the events that were there when it was put in, in a window of its own, so that events
never wait behind values. It is forgotten when the hub has acknowledged it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from hiveot_supervisor.agent.inbox import Delivered, PropertyDelivered
from hiveot_supervisor.agent.state import GAP, Event, State
from hiveot_supervisor.clock import iso8601
from hiveot_supervisor.errors import HubUnavailable
from hiveot_supervisor.hub.client import HubClient

log = logging.getLogger(__name__)

WINDOW = 20
"""Events under way at once, and property values."""

RETRY = 1.0
"""Seconds to wait after a delivery failed although the connection is there."""

RESEND_FIRST, RESEND_LIMIT = 3.0, 60.0
"""Seconds without progress of the durable consumers after which what they lack is sent again; doubles each time."""

_CONSUMERS = "consumers"


class Publisher:
    """The outbox drain; used by the main loop only."""

    def __init__(self, state: State, hub: HubClient, put: Callable[[Delivered | PropertyDelivered], None]) -> None:
        self._state = state
        self._hub = hub
        self._put = put
        self._sent = 0
        self._inflight: dict[int, bool] = {}
        self._refused: set[int] = set()
        self._pending = state.backlog() > 0
        self._told = 0
        self._telling: set[int] = set()
        self._untold = state.properties.count() > 0
        self._consumers: dict[str, int] = json.loads(state.meta(_CONSUMERS) or "{}")
        self._not_before = 0.0
        self._resend_at: float | None = None
        self._resend_after = RESEND_FIRST
        self.open = False

    @property
    def idle(self) -> bool:
        """Nothing waits to be sent and nothing is under way."""
        return self._events_idle and not self._untold and not self._telling

    @property
    def _events_idle(self) -> bool:
        return not self._pending and not self._inflight

    @property
    def busy(self) -> bool:
        """More events wait than come of a few plugins: values, which may soon change again, had better wait as well."""
        return self._state.last_seq - self._sent + len(self._inflight) >= WINDOW // 2

    @property
    def refused(self) -> int:
        """How many events the hub refused on this connection: somebody has to look at its permissions."""
        return len(self._refused)

    def added(self) -> None:
        """There is a new event in the outbox."""
        self._pending = True

    def put_property(self, thing: str, name: str, value: Any, *, lasting: bool = True) -> None:
        """Have a property value sent; lasting: even if this process ends before that."""
        self._state.put_property(thing, name, value, lasting=lasting)
        self._untold = True

    def forget_properties(self, thing: str) -> None:
        """The Thing is gone: what waits to be told about it is out of date."""
        self._state.properties.forget(thing)

    def connected(self) -> None:
        """Begin (again) from the first row that is not acknowledged."""
        self.open = True
        self._refused.clear()
        self._restart()

    def disconnected(self) -> None:
        self.open = False
        self._inflight.clear()
        self._telling.clear()

    def _restart(self) -> None:
        self._not_before = 0.0
        self._sent = self._told = 0
        self._inflight.clear()
        self._telling.clear()
        self._pending = self._untold = True
        self._resend_at = None

    def drain(self, mono: float) -> float | None:
        """Send what fits into the window. Returns when (monotonic) it wants to be called again, None = on a change."""
        if not self.open:
            return None
        if self._resend_at is not None and mono >= self._resend_at:
            self._resend_after = min(RESEND_LIMIT, self._resend_after * 2)
            self._restart()
        if mono < self._not_before:
            return self._not_before
        if self._pending and len(self._inflight) < WINDOW:
            rows = self._state.unsent(self._sent, WINDOW - len(self._inflight))
            self._pending = bool(rows)
            if not rows:
                self._sent = self._state.last_seq
            for row in rows:
                self._sent = row.seq
                if row.seq not in self._refused:
                    self._send(row)
        if self._untold and len(self._telling) < WINDOW:
            self._tell()
        self._watch_consumers(mono)
        return self._resend_at

    def _send(self, row: Event) -> None:
        self._inflight[row.seq] = False
        numbers = {"seq": row.seq, "epoch": self._state.epoch}
        # in the value as well, because not every hub's envelope has a place for them
        value = {**row.value, **numbers} if isinstance(row.value, dict) and row.name != GAP else row.value
        future = self._hub.publish_event(
            row.thing, row.name, value, seq=row.seq, epoch=self._state.epoch, created=iso8601(row.time)
        )
        future.add_done_callback(self._report(Delivered, row.seq))

    def _tell(self) -> None:
        """Send the property values whose turn it is: all events before them are on their way."""
        up_to = self._sent if self._pending else self._state.last_seq
        rows = self._state.properties.waiting(self._told, up_to, WINDOW - len(self._telling))
        self._untold = bool(rows) or self._pending
        for row in rows:
            self._told = row.id
            self._telling.add(row.id)
            future = self._hub.publish_property(row.thing, row.name, row.value)
            future.add_done_callback(self._report(PropertyDelivered, row.id))

    def _report(self, item: type[Delivered] | type[PropertyDelivered], number: int) -> Callable[[Future[None]], None]:
        def done(future: Future[None]) -> None:
            error = future.exception()
            refused = error is not None and not isinstance(error, HubUnavailable)
            self._put(item(number, str(error) if error else "", refused))

        return done

    def delivered(self, item: Delivered, mono: float) -> None:
        """Take note of what became of an event."""
        if item.seq not in self._inflight:
            return
        if item.refused:
            log.error("the hub refuses event %d: %s", item.seq, item.error)
            self._refused.add(item.seq)
            self._state.set_alarm(
                f"the hub refuses events of the launcher: {item.error}; are its rights as they should be?"
            )
            del self._inflight[item.seq]
        elif item.error:
            log.info("event %d is sent again: %s", item.seq, item.error)
            self._restart()
            self._not_before = mono + RETRY
            return
        else:
            self._inflight[item.seq] = True
        self._forget_prefix()

    def told(self, item: PropertyDelivered, mono: float) -> None:
        """Take note of what became of a property value. One that is refused is given up: it is told anew anyway."""
        if item.id not in self._telling:
            return
        if item.error and not item.refused:
            log.info("a property is told again: %s", item.error)
            self._restart()
            self._not_before = mono + RETRY
            return
        if item.refused:
            log.error("the hub refuses a property: %s", item.error)
        self._telling.discard(item.id)
        self._state.properties.acknowledged([item.id])

    def _forget_prefix(self) -> None:
        done = []
        for seq in sorted(self._inflight):
            if not self._inflight[seq]:
                break
            done.append(seq)
        for seq in done:
            del self._inflight[seq]
        if done and not self._consumers:
            self._state.acknowledged(done)

    # -- durable consumers

    def acknowledged_by(self, consumer: str, value: Any, mono: float) -> None:
        """A durable consumer has told how far it has stored our events (`{"epoch", "seq"}`), or (None) is gone."""
        if value is None:
            self._consumers.pop(consumer, None)
        else:
            try:
                same = value["epoch"] == self._state.epoch
                seq = int(value["seq"]) if same else 0
            except (KeyError, TypeError, ValueError, OverflowError):
                log.warning("%s sent an unreadable acknowledgement: %.200r", consumer, value)
                return
            if seq > self._state.newest():
                log.warning("%s acknowledged event %.30s, which there has never been", consumer, seq)
                return
            if seq <= self._consumers.get(consumer, -1):
                return
            self._consumers[consumer] = seq
            self._resend_after = RESEND_FIRST
        self._state.set_meta(_CONSUMERS, json.dumps(self._consumers))
        if self._consumers:
            self._state.acknowledged_up_to(min(self._consumers.values()))
        self._resend_at = None
        self._watch_consumers(mono)

    def _watch_consumers(self, mono: float) -> None:
        """Plan the next resend while consumers lack something that the hub has taken."""
        lacking = self._consumers and self._events_idle and self._state.backlog() > len(self._refused)
        if not lacking:
            self._resend_at = None
        elif self._resend_at is None:
            self._resend_at = mono + self._resend_after
