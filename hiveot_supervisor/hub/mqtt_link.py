"""The MQTT connection: what awaits acknowledgement by the broker, on top of `link`'s threads and reconnecting.

Knows nothing of the hub's topics and envelopes.
"""

from __future__ import annotations

import functools
import urllib.parse
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from hiveot_supervisor.clock import Clock
from hiveot_supervisor.errors import HubError, HubRefused, HubUnavailable
from hiveot_supervisor.hub.client import Account
from hiveot_supervisor.hub.link import Address, BaseLink, LinkHandler, complete
from hiveot_supervisor.hub.mqtt_session import Incoming, Login, Session
from hiveot_supervisor.hub.topics import request_sender

MAX_PENDING = 10_000  # publishes without acknowledgement
MAX_PENDING_BYTES = 16_000_000

_DENIED = 0x87
_UNHEARD = 0x10  # MQTT 5: taken, but nobody subscribes to it


class Handler(LinkHandler, Protocol):
    """Called from the dispatch thread only."""

    def link_message(self, incoming: Incoming) -> None: ...


def parse_url(url: str) -> Address:
    """`mqtts://host[:port]`, port 8883 by default. Raises HubError for anything else."""
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port or 8883
    except ValueError as exc:
        raise HubError(f"{url!r} is not a hub URL", why=str(exc)) from exc
    if parts.scheme != "mqtts" or not parts.hostname:
        hint = "MQTT without TLS is not supported" if parts.scheme == "mqtt" else ""
        raise HubError(f"{url!r} is not an MQTT hub URL", why="mqtts://host:port is expected", hint=hint)
    return Address(parts.hostname, port)


@dataclass(frozen=True, slots=True)
class _Outgoing:
    """A publish or subscription that the hub has not acknowledged yet."""

    future: Future[None]
    what: str
    size: int = 0
    must_be_heard: bool = False


class Link(BaseLink[Session]):
    """See the module. Thread-safe; `close` is final."""

    def __init__(
        self,
        address: Address,
        account: Account,
        handler: Handler,
        *,
        client_id: str,
        subscriptions: Sequence[str],
        will: tuple[str, bytes] | None,
        clock: Clock,
    ) -> None:
        super().__init__(address, account, handler, clock=clock)
        self._receiver = handler
        self._client_id = client_id
        self._subscriptions = tuple(subscriptions)
        self._will = will
        self._pending: dict[tuple[Session, int], _Outgoing] = {}  # guarded by _changed, as is what follows
        self._pending_bytes = 0

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, must_be_heard: bool = False) -> Future[None]:
        """Publish with QoS 1. must_be_heard: fail with HubUnavailable when the hub says that nobody subscribes."""
        entry = _Outgoing(Future(), f"publish to {topic}", len(payload), must_be_heard)
        return self._hand_over(entry, lambda session: session.publish(topic, payload, retain=retain))

    def subscribe(self, filters: Sequence[str]) -> Future[None]:
        """Subscribe on the present connection; a new connection does not remember it."""
        entry = _Outgoing(Future(), f"subscribe to {', '.join(filters)}")
        return self._hand_over(entry, lambda session: session.subscribe(filters))

    # publishing and acknowledgements

    def _hand_over(self, entry: _Outgoing, send: Callable[[Session], int]) -> Future[None]:
        """Send under the lock, so that no acknowledgement can be looked up before the entry is there."""
        try:
            with self._changed:
                session = self._ready
                if session is None:
                    raise HubUnavailable("not connected to the hub", why=self._reason)
                full = self._pending_bytes + entry.size > MAX_PENDING_BYTES
                if full or len(self._pending) >= MAX_PENDING:
                    raise HubUnavailable("too many messages await acknowledgement by the hub")
                self._pending[session, send(session)] = entry
                self._pending_bytes += entry.size
        except HubError as exc:
            entry.future.set_exception(exc)
        return entry.future

    def _take(self, session: Session, mid: int) -> _Outgoing | None:
        with self._changed:
            entry = self._pending.pop((session, mid), None)
            if entry is not None:
                self._pending_bytes -= entry.size
            return entry

    def _acknowledged(self, session: Session, mid: int, codes: Sequence[int], text: str) -> None:
        entry = self._take(session, mid)
        if entry is None:
            return
        failure = next((code for code in codes if code >= 0x80), 0)
        if failure == _DENIED or (failure and entry.what.startswith("subscribe")):
            error: HubError | None = HubRefused(f"the hub does not allow {self._client_id} to {entry.what}", why=text)
        elif failure:
            error = HubError(f"the hub refused to {entry.what}", why=text)
        elif entry.must_be_heard and _UNHEARD in codes:
            error = HubUnavailable("nobody on the hub listens", why=entry.what)
        else:
            error = None
        complete(entry.future, None, error)

    def _fail_pending(self, session: Session | None, reason: str) -> None:
        """Fail what awaits acknowledgement on that session, or on any."""
        with self._changed:
            keys = [key for key in self._pending if session is None or key[0] is session]
        for key in keys:
            entry = self._take(*key)
            if entry is not None:
                error = HubUnavailable(f"the hub did not acknowledge: {entry.what}", why=reason)
                complete(entry.future, None, error)

    # the sink of the sessions, in the network thread

    def message(self, incoming: Incoming) -> None:
        size = len(incoming.topic) + len(incoming.payload) + 200
        self._receive(size, functools.partial(self._receiver.link_message, incoming), request_sender(incoming.topic))

    def published(self, session: Session, mid: int, code: int, text: str) -> None:
        self._jobs.put(functools.partial(self._acknowledged, session, mid, (code,), text))

    def subscribed(self, session: Session, mid: int, codes: Sequence[int], text: str) -> None:
        self._jobs.put(functools.partial(self._acknowledged, session, mid, codes, text))

    def _new_session(self) -> Session:
        return Session(self._login(), self)

    def _login(self) -> Login:
        return Login(
            host=self._address.host,
            port=self._address.port,
            account=self._account,
            client_id=self._client_id,
            protocol=self._retry.version,
            subscriptions=self._subscriptions,
            will=self._will,
        )
