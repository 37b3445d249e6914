"""Sends the outbox to the hub: in order of `seq`, a bounded window at a time, only while connected.

Rows are deleted when a contiguous prefix of them was acknowledged, so that after a crash everything that may be missing
is sent again in order, with the same epoch and seq.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future

from hiveot_supervisor.agent.inbox import Delivered
from hiveot_supervisor.agent.state import State
from hiveot_supervisor.clock import iso8601
from hiveot_supervisor.hub.client import HubClient

log = logging.getLogger(__name__)

WINDOW = 20
"""Events under way at once."""

RETRY = 5.0
"""Seconds to wait after the hub refused an event, so that a refusal is never spun on."""


class Publisher:
    """The outbox drain; used by the main loop only."""

    def __init__(self, state: State, hub: HubClient, put: Callable[[Delivered], None]) -> None:
        self._state = state
        self._hub = hub
        self._put = put
        self._sent = 0
        self._inflight: dict[int, bool] = {}
        self._pending = state.backlog() > 0
        self.open = False
        self._not_before = 0.0

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is under way."""
        return not self._pending and not self._inflight

    def added(self) -> None:
        """There is something new in the outbox."""
        self._pending = True

    def connected(self) -> None:
        """Begin (again) from the first row that is not acknowledged."""
        self.open = True
        self._not_before = 0.0
        self._sent = 0
        self._inflight.clear()
        self._pending = True

    def disconnected(self) -> None:
        self.open = False

    def drain(self, mono: float) -> None:
        """Send what fits into the window. `mono`: monotonic seconds."""
        if not self.open or not self._pending or len(self._inflight) >= WINDOW or mono < self._not_before:
            return
        rows = self._state.unsent(self._sent, WINDOW - len(self._inflight))
        if not rows:
            self._pending = False
        for row in rows:
            self._inflight[row.seq] = False
            self._sent = row.seq
            future = self._hub.publish_event(
                row.thing, row.name, row.value, seq=row.seq, epoch=self._state.epoch, created=iso8601(row.time)
            )
            future.add_done_callback(self._report(row.seq))

    def _report(self, seq: int) -> Callable[[Future[None]], None]:
        def done(future: Future[None]) -> None:
            error = future.exception()
            self._put(Delivered(seq, str(error) if error else ""))

        return done

    def delivered(self, item: Delivered, mono: float) -> None:
        """Take note of an acknowledgement; after a failure everything from that row on is sent again, later."""
        if item.seq not in self._inflight:
            return
        if item.error:
            log.warning("event %d was not taken by the hub: %s", item.seq, item.error)
            self._not_before = mono + RETRY
            self._sent = min(self._inflight) - 1
            self._inflight.clear()
            self._pending = True
            return
        self._inflight[item.seq] = True
        done = []
        for seq in sorted(self._inflight):
            if not self._inflight[seq]:
                break
            done.append(seq)
        for seq in done:
            del self._inflight[seq]
        if done:
            self._state.acknowledged(done)
