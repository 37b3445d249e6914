"""The websocket connection to a HiveOT hub: proof that frames were read, on top of `link`'s threads.

The hub acknowledges no notification. What can be known is that it has read a frame: it answers a ping, and it reads
a connection's frames in order. So the future of a frame sent with `prove` completes with the pong of a ping that was
written after it. What the hub then does with the frame (it may drop it, or be killed before it is handled) it tells
nobody; that is as much as the protocol allows. Knows nothing of envelopes.
"""

from __future__ import annotations

import functools
import secrets
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from hiveot_supervisor.clock import Clock
from hiveot_supervisor.errors import HubError, HubUnavailable
from hiveot_supervisor.hub.client import Account
from hiveot_supervisor.hub.link import BaseLink, LinkHandler, complete
from hiveot_supervisor.hub.wss_session import Login, Session
from hiveot_supervisor.hub.wss_url import Url

SLOW_LIMIT = 3.0  # longest delay between attempts, seconds: a hub that returns is to be back in the picture within 5 s
MAX_PENDING = 10_000  # frames without proof
MAX_PENDING_BYTES = 64_000_000


class Handler(LinkHandler, Protocol):
    """Called from the dispatch thread, but for `link_opening`."""

    def link_opening(self, connection: int) -> None:
        """Logged in for the `connection`th time; nothing can be sent yet. In the network thread: must not block."""
        ...

    def link_frame(self, data: bytes) -> None: ...

    def link_tick(self) -> None:
        """Called every few seconds while connected."""
        ...


@dataclass(frozen=True, slots=True)
class _Unproven:
    """A frame that the hub may not have read yet."""

    session: Session
    number: int
    future: Future[None]
    size: int


class Link(BaseLink[Session]):
    """See the module. Thread-safe; `close` is final."""

    def __init__(self, url: Url, account: Account, handler: Handler, *, clock: Clock) -> None:
        super().__init__(url.address, account, handler, clock=clock, slow_limit=SLOW_LIMIT, exclusive=False)
        self._url = url
        self._receiver = handler
        self._unproven: deque[_Unproven] = deque()  # by session and number; guarded by _changed
        self._unproven_bytes = 0
        self._connection = 0  # how many there have been

    def send(self, frame: bytes, *, prove: bool = True, connection: int | None = None) -> Future[None]:
        """Send a text frame; the future completes when the hub has read it, at once without `prove`.

        connection: only on that one; a later one does not know what was said on it.
        """
        future: Future[None] = Future()
        try:
            with self._changed:
                session = self._ready
                if session is None or connection not in (None, self._connection):
                    raise HubUnavailable("not connected to the hub", why=self._reason)
                if len(self._unproven) >= MAX_PENDING or self._unproven_bytes + len(frame) > MAX_PENDING_BYTES:
                    raise HubUnavailable("too many messages that the hub has not read yet")
                number = session.send(frame, prove=prove)
                if prove:
                    self._unproven.append(_Unproven(session, number, future, len(frame)))
                    self._unproven_bytes += len(frame)
        except HubError as exc:
            future.set_exception(exc)
            return future
        if not prove:
            future.set_result(None)
        return future

    # the sink of the sessions, in the network thread

    def ready(self, session: Session) -> None:
        with self._changed:
            self._connection += 1
        self._receiver.link_opening(self._connection)
        super().ready(session)

    def frame(self, data: bytes) -> None:
        self._receive(len(data) + 200, functools.partial(self._receiver.link_frame, data))

    def proven(self, session: Session, number: int) -> None:
        self._jobs.put(functools.partial(self._complete_up_to, session, number))

    def tick(self) -> None:
        self._jobs.put(self._receiver.link_tick)

    def _new_session(self) -> Session:
        login = Login(
            url=self._url.text,
            host=self._address.host,
            port=self._address.port,
            account=self._account,
            connection_id=f"wss-{secrets.token_hex(6)}",
        )
        return Session(login, self)

    def _complete_up_to(self, session: Session, number: int) -> None:
        done: list[_Unproven] = []
        with self._changed:
            while self._unproven and self._unproven[0].session is session and self._unproven[0].number <= number:
                done.append(self._unproven.popleft())
            self._unproven_bytes -= sum(entry.size for entry in done)
        for entry in done:
            complete(entry.future, None)

    def _fail_pending(self, session: Session | None, reason: str) -> None:
        with self._changed:
            lost = [entry for entry in self._unproven if session is None or entry.session is session]
            self._unproven = deque(
                entry for entry in self._unproven if session is not None and entry.session is not session
            )
            self._unproven_bytes -= sum(entry.size for entry in lost)
        for entry in lost:
            complete(entry.future, None, HubUnavailable("the hub may not have read a message", why=reason))
