"""Requests to the hub and to other agents over a websocket: send one, match its answer, fail when the connection goes.

The hub matches answers by correlation ID alone, across all its clients, so IDs are random. A request gets a
`pending` notification and one response in any order; only the response counts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from hiveot_supervisor.clock import Clock, iso8601
from hiveot_supervisor.errors import HubError, HubUnavailable
from hiveot_supervisor.hub.link import complete
from hiveot_supervisor.hub.messages import RequestMessage, ResponseMessage, encode, new_id

MAX_SENT = 16_000_000
"""Largest message that is sent, bytes; the hub sets no limit."""


@dataclass(frozen=True, slots=True)
class _Call:
    what: str
    future: Future[Any]
    deadline: float | None


class Calls:
    """Our requests that await their answer. Thread-safe; `handle` and the rest from the dispatch thread."""

    def __init__(self, send: Callable[[bytes], Future[None]], clock: Clock) -> None:
        self._send = send
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[str, _Call] = {}

    def __len__(self) -> int:
        return len(self._open)

    def ask(
        self, operation: str, thing_id: str, name: str = "", input: Any = None, *, timeout: float | None = None
    ) -> Future[Any]:
        """Send a request to `thing_id` (`dtw:agent:thing`, empty = all); the future gets the output or a HubError.

        timeout: seconds after which it fails with HubUnavailable, checked every few seconds; None = the caller's care.
        """
        now = self._clock
        correlation_id = new_id()
        message = RequestMessage(
            operation=operation,
            thing_id=thing_id,
            name=name,
            input=input,
            correlation_id=correlation_id,
            message_id=new_id(),
            created=iso8601(now.wall()),
            action_id=correlation_id,  # the WoT websocket protocol's member; Go's clients fill it too
        )
        data = encode(message, limit=MAX_SENT)
        future: Future[Any] = Future()
        deadline = None if timeout is None else now.monotonic() + timeout
        with self._lock:
            self._open[correlation_id] = _Call(f"{name or operation} of {thing_id}", future, deadline)
        future.add_done_callback(lambda _: self._forget(correlation_id))
        self._send(data).add_done_callback(lambda sent: _fail(future, sent.exception()))
        return future

    def handle(self, message: ResponseMessage) -> None:
        """A response: complete the request that it answers, if there is one."""
        with self._lock:
            call = self._open.get(message.correlation_id)
        if call is None:
            return
        try:
            complete(call.future, message.result())
        except HubError as exc:
            complete(call.future, None, exc)

    def expire(self) -> None:
        """Fail what should have been answered by now."""
        now = self._clock.monotonic()
        with self._lock:
            late = [call for call in self._open.values() if call.deadline is not None and call.deadline < now]
        for call in late:
            _fail(call.future, HubUnavailable(f"the hub did not answer in time: {call.what}"))

    def fail_all(self, reason: str) -> None:
        """The connection is gone, and with it any answer that was on its way."""
        with self._lock:
            calls = list(self._open.values())
        for call in calls:
            _fail(call.future, HubUnavailable(f"the connection was lost during {call.what}", why=reason))

    def _forget(self, correlation_id: str) -> None:
        with self._lock:
            self._open.pop(correlation_id, None)


def _fail(future: Future[Any], error: BaseException | None) -> None:
    if isinstance(error, Exception):
        complete(future, None, error)
