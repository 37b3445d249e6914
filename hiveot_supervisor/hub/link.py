"""A connection that comes back: the network thread, the dispatch thread, and when to try again.

Shared by the bindings. The network thread runs one session after another and asks `reconnect` when to try again.
Everything that others shall notice goes through one queue to the dispatch thread, which alone calls the handler and
completes futures. Knows nothing of protocols: what a session is and what awaits an answer is the subclass's.
"""

from __future__ import annotations

import functools
import ipaddress
import logging
import queue
import random
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from hiveot_supervisor.clock import Clock
from hiveot_supervisor.errors import HubRefused, HubUnavailable
from hiveot_supervisor.hub import reconnect
from hiveot_supervisor.hub.client import Account
from hiveot_supervisor.hub.limitlog import LimitedLog
from hiveot_supervisor.hub.reconnect import Ending

log = logging.getLogger("hiveot.hub")

MAX_BACKLOG_BYTES = 16_000_000  # received, not yet dispatched
MAX_SENDER_BACKLOG = 1_000_000  # the same, of requests of one sender: at most some tenths of a second for the others
READY_POLL = 0.01  # seconds between looks at the ready file, in the first minute
FILE_POLL = 0.25  # seconds between looks at the credential files while waiting to try again


class LinkHandler(Protocol):
    """Called from the dispatch thread only."""

    def link_up(self) -> None: ...

    def link_down(self, reason: str) -> None: ...

    def link_refused(self, reason: str) -> None: ...


class BaseSession(Protocol):
    """One connection, used once."""

    def run(self) -> tuple[Ending, str]:
        """Connect and serve until the connection ends; how it ended and why, for people."""
        ...

    def close(self) -> None:
        """Disconnect in good order; `run` returns soon after. Any thread."""
        ...


S = TypeVar("S", bound=BaseSession)


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


class BaseLink(Generic[S]):
    """See the module. Thread-safe; `close` is final. Subclasses give `_new_session` and `_fail_pending`."""

    def __init__(
        self,
        address: Address,
        account: Account,
        handler: LinkHandler,
        *,
        clock: Clock,
        slow_limit: float = reconnect.SLOW_LIMIT,
        exclusive: bool = True,
    ) -> None:
        self._address = address
        self._account = account
        self._handler = handler
        self._clock = clock
        self._slow_limit = slow_limit
        self._exclusive = exclusive
        self._limited = LimitedLog(log, clock.monotonic)
        self._changed = threading.Condition()  # guards what follows
        self._session: S | None = None
        self._ready: S | None = None
        self._reason = "the connection has not been started"
        self._refused = ""
        self._closed = False
        self._backlog = 0
        self._backlog_of: dict[str, int] = {}
        self._stop = threading.Event()
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._retry = reconnect.RetryState()  # the network thread's
        name = f"hub-{account.client_id}"
        self._network = threading.Thread(target=self._run_network, name=f"{name}-network", daemon=True)
        self._dispatch = threading.Thread(target=self._run_dispatch, name=f"{name}-dispatch", daemon=True)

    def _new_session(self) -> S:
        """A session that is not connected yet; called in the network thread."""
        raise NotImplementedError

    def _fail_pending(self, session: S | None, reason: str) -> None:
        """Fail what awaits an answer on that session, or on any."""
        raise NotImplementedError

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

    # the sink of the sessions, in the network thread

    def ready(self, session: S) -> None:
        self._retry = reconnect.succeeded(self._retry, self._clock.monotonic())
        with self._changed:
            if self._closed:
                return
            self._ready, self._refused, self._reason = session, "", ""
            self._changed.notify_all()
        self._jobs.put(self._handler.link_up)

    def _receive(self, size: int, deliver: Callable[[], None], sender: str = "") -> None:
        """Have `deliver` called in the dispatch thread; dropped when too many bytes (`size`) await that, in all or
        from the same `sender` of requests (empty: it is no request)."""
        with self._changed:
            own = self._backlog_of.get(sender, 0)
            fits = not self._backlog or self._backlog + size <= MAX_BACKLOG_BYTES  # a single large one is fine
            fits = fits and (not sender or not own or own + size <= MAX_SENDER_BACKLOG)
            if fits:
                self._backlog += size
                self._backlog_of[sender] = own + size
        if fits:
            self._jobs.put(functools.partial(self._deliver, deliver, size, sender))
        else:
            self._limited.warning(
                "backlog", "messages from the hub are dropped: they come faster than they are handled"
            )

    # threads

    def _run_dispatch(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception:
                log.exception("a handler of hub messages failed")

    def _deliver(self, deliver: Callable[[], None], size: int, sender: str) -> None:
        with self._changed:
            self._backlog -= size
            self._backlog_of[sender] -= size
            if not self._backlog_of[sender]:
                del self._backlog_of[sender]
        deliver()

    def _run_network(self) -> None:
        while True:
            self._await_ready_file()
            files = self._file_stamps()
            session = self._new_session()
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

    def _after(self, session: S, ending: Ending, reason: str) -> float:
        """Tell what happened and return for how many seconds to wait."""
        retry = reconnect.next_try(
            self._retry,
            ending,
            self._clock.monotonic(),
            loopback=self._address.loopback,
            jitter=random.uniform(-1, 1),
            slow_limit=self._slow_limit,
            exclusive=self._exclusive,
        )
        self._retry = retry.state
        if retry.contested:
            reason = (
                f"the hub closed the connection of {self._account.client_id} again and again right after the login: "
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
        """Wait, but no longer than until a credential file changes: then the reason may be gone."""
        end = self._clock.monotonic() + delay
        while (left := end - self._clock.monotonic()) > 0:
            if self._stop.wait(min(left, FILE_POLL)) or self._file_stamps() != files:
                return

    def _file_stamps(self) -> tuple[Any, ...]:
        stamps: list[Any] = []
        account = self._account
        for path in (account.token_file, account.ca_file, account.certificate, account.key):
            if path is None:
                continue
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
