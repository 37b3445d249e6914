"""A connection that comes back: the network thread, the dispatch thread, and what awaits acknowledgement.

The network thread runs one `Session` after another and asks `reconnect` when to try again. Everything that others
shall notice goes through one queue to the dispatch thread, which alone calls the handler and completes futures. Knows
nothing of the hub's topics and envelopes.
"""

from __future__ import annotations

import functools
import ipaddress
import logging
import queue
import random
import threading
import urllib.parse
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

from hiveot_supervisor.clock import Clock
from hiveot_supervisor.errors import HubError, HubRefused, HubUnavailable
from hiveot_supervisor.hub import reconnect
from hiveot_supervisor.hub.client import Account
from hiveot_supervisor.hub.limitlog import LimitedLog
from hiveot_supervisor.hub.mqtt_session import Incoming, Login, Session
from hiveot_supervisor.hub.reconnect import Ending

log = logging.getLogger("hiveot.hub")

MAX_PENDING = 10_000  # publishes without acknowledgement
MAX_PENDING_BYTES = 16_000_000
MAX_BACKLOG_BYTES = 16_000_000  # received, not yet dispatched
READY_POLL = 0.01  # seconds between looks at the ready file, in the first minute
FILE_POLL = 0.25  # seconds between looks at the credential files while waiting to try again

_DENIED = 0x87
_UNHEARD = 0x10  # MQTT 5: taken, but nobody subscribes to it


class LinkHandler(Protocol):
    """Called from the dispatch thread only."""

    def link_up(self) -> None: ...

    def link_down(self, reason: str) -> None: ...

    def link_refused(self, reason: str) -> None: ...

    def link_message(self, incoming: Incoming) -> None: ...


@dataclass(frozen=True, slots=True)
class Address:
    """Where the hub listens."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


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


class Link:
    """See the module. Thread-safe; `close` is final."""

    def __init__(
        self,
        address: Address,
        account: Account,
        handler: LinkHandler,
        *,
        client_id: str,
        subscriptions: Sequence[str],
        will: tuple[str, bytes] | None,
        clock: Clock,
    ) -> None:
        self._address = address
        self._account = account
        self._handler = handler
        self._client_id = client_id
        self._subscriptions = tuple(subscriptions)
        self._will = will
        self._clock = clock
        self._limited = LimitedLog(log, clock.monotonic)
        self._changed = threading.Condition()  # guards what follows
        self._session: Session | None = None
        self._ready: Session | None = None
        self._reason = "the connection has not been started"
        self._refused = ""
        self._closed = False
        self._pending: dict[tuple[Session, int], _Outgoing] = {}
        self._pending_bytes = 0
        self._backlog = 0
        self._stop = threading.Event()
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._retry = reconnect.RetryState()  # the network thread's
        name = f"hub-{account.client_id}"
        self._network = threading.Thread(target=self._run_network, name=f"{name}-network", daemon=True)
        self._dispatch = threading.Thread(target=self._run_dispatch, name=f"{name}-dispatch", daemon=True)

    @property
    def connected(self) -> bool:
        return self._ready is not None

    @property
    def dispatching(self) -> bool:
        """True in the dispatch thread, where waiting for an answer would wait for ever."""
        return threading.current_thread() is self._dispatch

    def start(self) -> None:
        self._reason = "no attempt to connect has ended yet"
        self._dispatch.start()
        self._network.start()

    def wait(self, timeout: float) -> None:
        """See HubClient.wait_connected."""
        where = f"the hub at {self._address.host}:{self._address.port}"
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._refused or self._closed, timeout)
            if self._ready:
                return
            if self._refused:
                raise HubRefused(f"{where} refuses the connection", why=self._refused)
            raise HubUnavailable(f"{where} cannot be reached", why=self._reason)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, must_be_heard: bool = False) -> Future[None]:
        """Publish with QoS 1. must_be_heard: fail with HubUnavailable when the hub says that nobody subscribes."""
        entry = _Outgoing(Future(), f"publish to {topic}", len(payload), must_be_heard)
        return self._hand_over(entry, lambda session: session.publish(topic, payload, retain=retain))

    def subscribe(self, filters: Sequence[str]) -> Future[None]:
        """Subscribe on the present connection; a new connection does not remember it."""
        entry = _Outgoing(Future(), f"subscribe to {', '.join(filters)}")
        return self._hand_over(entry, lambda session: session.subscribe(filters))

    def close(self, timeout: float) -> None:
        """Disconnect, end both threads, fail what is unacknowledged. Waits `timeout` seconds for each thread."""
        with self._changed:
            self._closed = True
            self._refused = ""
            self._reason = "the connection was closed"
            session, self._ready = self._session, None
            self._changed.notify_all()
        self._stop.set()
        if session is not None:
            session.close()
        if self._network.ident is not None:
            self._network.join(timeout)
        self._jobs.put(None)
        if self._dispatch.ident is not None:
            self._dispatch.join(timeout)
        self._fail_pending(None, "the connection was closed")

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

    def ready(self, session: Session) -> None:
        self._retry = reconnect.succeeded(self._retry, self._clock.monotonic())
        with self._changed:
            if self._closed:
                return
            self._ready, self._refused, self._reason = session, "", ""
            self._changed.notify_all()
        self._jobs.put(self._handler.link_up)

    def message(self, incoming: Incoming) -> None:
        size = len(incoming.topic) + len(incoming.payload) + 200
        with self._changed:
            fits = self._backlog + size <= MAX_BACKLOG_BYTES
            if fits:
                self._backlog += size
        if fits:
            self._jobs.put(functools.partial(self._deliver, incoming, size))
        else:
            self._limited.warning(
                "backlog", "messages from the hub are dropped: they come faster than they are handled"
            )

    def published(self, session: Session, mid: int, code: int, text: str) -> None:
        self._jobs.put(functools.partial(self._acknowledged, session, mid, (code,), text))

    def subscribed(self, session: Session, mid: int, codes: Sequence[int], text: str) -> None:
        self._jobs.put(functools.partial(self._acknowledged, session, mid, codes, text))

    # threads

    def _run_dispatch(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception:
                log.exception("a handler of hub messages failed")

    def _deliver(self, incoming: Incoming, size: int) -> None:
        with self._changed:
            self._backlog -= size
        self._handler.link_message(incoming)

    def _run_network(self) -> None:
        while True:
            self._await_ready_file()
            files = self._file_stamps()
            session = Session(self._login(), self)
            with self._changed:
                if self._closed:
                    return
                self._session = session
            ending, reason = session.run()
            self._pause(self._after(session, ending, reason), files)

    def _await_ready_file(self) -> None:
        """Wait until the hub on this machine says that it takes logins, or we are closed."""
        file = self._account.ready_file
        if file is None or file.exists():
            return
        with self._changed:
            if not self._closed:
                self._reason = "the hub on this machine is not ready yet"
        begin = self._clock.monotonic()
        while not file.exists():
            fast = self._clock.monotonic() - begin < reconnect.FAST_PERIOD
            if self._stop.wait(READY_POLL if fast else FILE_POLL):
                return

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

    def _after(self, session: Session, ending: Ending, reason: str) -> float:
        """Tell what happened and return for how many seconds to wait."""
        retry = reconnect.next_try(
            self._retry,
            ending,
            self._clock.monotonic(),
            loopback=self._address.loopback,
            jitter=random.uniform(-1, 1),
        )
        self._retry = retry.state
        if retry.contested:
            reason = (
                f"the hub closed the connection of {self._client_id} again and again right after the login: "
                "another program seems to use the same ID"
            )
        refused = ending is Ending.REFUSED or retry.contested
        with self._changed:
            if self._closed:
                return 0.0
            was_ready, self._ready = self._ready is session, None
            self._session = None
            self._reason, self._refused = reason, reason if refused else ""
            self._changed.notify_all()
        if was_ready:
            self._jobs.put(functools.partial(self._fail_pending, session, reason))
            self._jobs.put(functools.partial(self._handler.link_down, reason))
        if refused:
            self._jobs.put(functools.partial(self._handler.link_refused, reason))
        return retry.delay

    def _pause(self, delay: float, files: tuple[Any, ...]) -> None:
        """Wait, but no longer than until the token or the CA certificate changes: then the reason may be gone."""
        end = self._clock.monotonic() + delay
        while (left := end - self._clock.monotonic()) > 0:
            if self._stop.wait(min(left, FILE_POLL)) or self._file_stamps() != files:
                return

    def _file_stamps(self) -> tuple[Any, ...]:
        stamps: list[Any] = []
        for path in (self._account.token_file, self._account.ca_file):
            try:
                status = path.stat()
                stamps.append((status.st_mtime_ns, status.st_ino, status.st_size))
            except OSError:
                stamps.append(None)
        return tuple(stamps)


def complete(future: Future[Any], result: Any, error: Exception | None = None) -> None:
    """Complete a future that its owner may have cancelled or that may be complete already."""
    if future.done() or not future.set_running_or_notify_cancel():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
