"""In which order the hub is told about our Things, although it handles each frame in a task of its own.

The hub drops events and properties of a Thing that it does not know yet, and frames sent right after each other may be
handled in another order. So what belongs to one Thing is held until its set-up (Thing Description, then permissions)
is answered; after that each lane (all events of a Thing; each property) has one frame under way, and the next follows
when the hub has read that. Nothing is kept over a lost connection. Knows no frames and no sockets.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from hiveot_supervisor.errors import HubUnavailable
from hiveot_supervisor.hub.link import complete

MAX_HELD = 10_000
"""Frames that may wait for their turn, of all Things."""

MAX_HELD_BYTES = 32_000_000

AGAIN = 5.0
"""Seconds after which a Thing Description that the hub did not take is sent once more, when there is news of the
Thing."""

Step = Callable[[], Future[Any]]
"""Sends a set-up request; the future completes with its answer."""


@dataclass(slots=True)
class _Frame:
    lane: Hashable
    data: bytes
    future: Future[None]
    connection: int


@dataclass(slots=True)
class _Thing:
    """What is known of a Thing: steps to do, the first of them under way; frames that wait for them; what failed."""

    steps: deque[tuple[Step, Future[None], bool]] = field(default_factory=deque)
    held: list[_Frame] = field(default_factory=list)
    describe: Step | None = None
    stale: bool = False  # described on an earlier connection only
    failure: str = ""
    failed_at: float = 0.0


class Order:
    """Thread-safe. `send` hands a frame to the connection of that number, or fails when there is another by now; its
    future completes when the hub has read the frame."""

    def __init__(self, send: Callable[[bytes, int], Future[None]], monotonic: Callable[[], float]) -> None:
        self._send = send
        self._monotonic = monotonic
        self._lock = threading.Lock()  # guards what follows; never held while something is sent or completed
        self._things: dict[str, _Thing] = {}
        self._lanes: dict[Hashable, deque[_Frame]] = {}
        self._connection = 0
        self._waiting = 0
        self._waiting_bytes = 0

    def describe(self, thing_id: str, step: Step) -> Future[None]:
        """Send a Thing Description; what follows of the Thing waits until the hub has taken it."""
        with self._lock:
            thing = self._things.setdefault(thing_id, _Thing())
            thing.describe = step
            thing.stale = False
        return self._add(thing_id, step, describes=True)

    def connected(self, connection: int) -> None:
        """The connection of that number is there, maybe to a hub that was started anew and knows nothing: what is
        published of a Thing before its owner describes it again is preceded by the last description."""
        with self._lock:
            self._connection = connection
            for thing in self._things.values():
                thing.stale = thing.describe is not None

    def set_up(self, thing_id: str, step: Step) -> Future[None]:
        """Send another request that has to come before what follows of the Thing, whether it succeeds or not."""
        return self._add(thing_id, step, describes=False)

    def publish(self, thing_id: str, lane: Hashable, data: bytes) -> Future[None]:
        """Send a frame of a Thing when it is its turn."""
        again: Step | None = None
        with self._lock:
            frame = _Frame(lane, data, Future(), self._connection)
            thing = self._things.get(thing_id)
            if self._waiting >= MAX_HELD or self._waiting_bytes + len(data) > MAX_HELD_BYTES:
                complete(frame.future, None, HubUnavailable("too many messages wait for the hub"))
                return frame.future
            if thing is not None and thing.stale and not thing.steps:
                thing.stale = False
                again = thing.describe
            elif thing is not None and thing.failure and not thing.steps:
                if self._monotonic() - thing.failed_at < AGAIN or thing.describe is None:
                    complete(frame.future, None, HubUnavailable(thing.failure))
                    return frame.future
                again = thing.describe
            self._waiting += 1
            self._waiting_bytes += len(data)
            if thing is not None and (thing.steps or again):
                thing.held.append(frame)
                send_now = False
            else:
                send_now = self._enter(frame)
        if again is not None:
            self._add(thing_id, again, describes=True)
        elif send_now:
            self._start(frame)
        return frame.future

    def forget(self, thing_id: str) -> None:
        """The Thing was removed."""
        with self._lock:
            thing = self._things.get(thing_id)
            if thing is not None and not thing.steps:
                del self._things[thing_id]

    # set-up

    def _add(self, thing_id: str, step: Step, *, describes: bool) -> Future[None]:
        future: Future[None] = Future()
        with self._lock:
            thing = self._things.setdefault(thing_id, _Thing())
            thing.steps.append((step, future, describes))
            first = len(thing.steps) == 1
        if first:
            self._next_step(thing_id)
        return future

    def _next_step(self, thing_id: str) -> None:
        step = self._things[thing_id].steps[0][0]
        step().add_done_callback(lambda done: self._step_done(thing_id, done))

    def _step_done(self, thing_id: str, done: Future[Any]) -> None:
        error = done.exception()
        start: list[_Frame] = []
        failed: list[_Frame] = []
        again: Step | None = None
        with self._lock:
            thing = self._things[thing_id]
            _, future, describes = thing.steps.popleft()
            if describes:
                thing.failure = f"the hub has not taken the description of {thing_id}: {error}" if error else ""
                thing.failed_at = self._monotonic()
            more = bool(thing.steps)
            if not more and thing.stale and thing.held:
                # that was an answer on the connection of before; on this one it has not been described yet
                thing.stale, again = False, thing.describe
            elif not more:
                held, thing.held = thing.held, []
                failed = held if thing.failure else []
                self._release(failed)
                start = [] if thing.failure else [frame for frame in held if self._enter(frame)]
        complete(future, None, error if isinstance(error, Exception) else None)
        if more:
            self._next_step(thing_id)
        if again is not None:
            self._add(thing_id, again, describes=True)
        for frame in failed:
            complete(frame.future, None, HubUnavailable(thing.failure))
        for frame in start:
            self._start(frame)

    # lanes

    def _enter(self, frame: _Frame) -> bool:
        """Put a frame into its lane; True when it is to be sent now. Called with the lock."""
        lane = self._lanes.get(frame.lane)
        if lane is None:
            self._lanes[frame.lane] = deque()
            self._release([frame])
            return True
        lane.append(frame)
        return False

    def _release(self, frames: list[_Frame]) -> None:
        self._waiting -= len(frames)
        self._waiting_bytes -= sum(len(frame.data) for frame in frames)

    def _start(self, frame: _Frame) -> None:
        self._send(frame.data, frame.connection).add_done_callback(lambda done: self._sent(frame, done))

    def _sent(self, frame: _Frame, done: Future[None]) -> None:
        """A frame was read by the hub, or lost with the connection, and with it all that waits behind it."""
        error = done.exception()
        following: _Frame | None = None
        lost: list[_Frame] = []
        with self._lock:
            lane = self._lanes[frame.lane]
            if error is not None:
                lost = list(lane)
                lane.clear()
                self._release(lost)
            if lane:
                following = lane.popleft()
                self._release([following])
            else:
                del self._lanes[frame.lane]
        failure = error if isinstance(error, Exception) else None
        complete(frame.future, None, failure)
        for each in lost:
            complete(each.future, None, failure)
        if following is not None:
            self._start(following)
