"""Inside supervisord: its main loop wakes up when something happened, instead of up to a second later.

Part of our extension. Wake-up: signals arrive as a byte on a pipe that the loop polls. Delivery: events that a turn
has brought go out to the listeners before the loop sleeps, not in its next turn. Kick: what only another turn does (a
restart, the next step of a shutdown) gets that turn at once. Deadlines: the poll time-out ends when a process is due
to become RUNNING, to be tried again or to be killed. A turn looks at every process, so none is taken in vain: what is
only reading and writing of pipes (extension_pipes) is done here.

Besides, restarts of a process that dies at once, which the slow loop used to brake, stay limited to one a second, and
at a shutdown listeners get the events that they still have coming before they are stopped themselves.

It never starts, stops or reaps anything itself. Standard library and supervisor only; all runs in supervisord's one
thread, and since an exception would end supervisord, every entry point catches everything.
"""

from __future__ import annotations

import contextlib
import functools
import heapq
import itertools
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from supervisor import xmlrpc

from hiveot_supervisor.supervisord.extension_pipes import Pipes
from hiveot_supervisor.supervisord.extension_stop import Stops
from hiveot_supervisor.supervisord.states import Mood, ProcessState

POLL_CAP = 0.05
"""Poll time-out in seconds when we cannot work out a better one: 1 % CPU for 50 processes, 50 ms of delay."""

DEFERRED_DELAY = 0.01
"""Seconds between two looks at a deferred reply (stop with wait=True); stock is 0, which takes a whole core."""

RESTART_INTERVAL = 1.0
"""Least seconds between two starts of an `autorestart` process that died before that."""

DELIVERY = 2.0
"""Most seconds that a shutdown waits for a listener to take another one of the remaining events."""

LISTENING = (10, 20, 30)
"""Listener states READY, BUSY and ACKNOWLEDGED (supervisor.states.EventListenerStates), that is not UNKNOWN."""

READY, BUSY = 10, 20

REAPED_A_TURN = 100
"""Children that supervisord reaps at most in one turn (Supervisor.reap); there may be more."""

SLACK = 0.001
"""supervisord's comparisons are strict, so be there a moment after the deadline."""

Report = Callable[[str], None]


class _Patience:
    """With a listener pool at a shutdown: lost when it has taken no event for DELIVERY seconds."""

    def __init__(self) -> None:
        self._until = time.monotonic() + DELIVERY
        self._taken = -1

    def lost(self, taken: int) -> bool:
        """taken: how many events it has taken so far."""
        now = time.monotonic()
        if taken > self._taken:
            self._taken, self._until = taken, now + DELIVERY
        return now >= self._until


class Loop:
    """The additions to one generation (start or reload) of supervisord's main loop; itself an entry of its fd map."""

    def __init__(self, supervisord: Any, report: Report, stops: Stops) -> None:
        self.supervisord = supervisord
        self.options = supervisord.options
        self.kicked = True
        self._report = report
        self._reaped = 0
        self._deadlines: list[tuple[float, int, Any, int]] = []
        self._count = itertools.count()
        self._poll = self.options.poller.poll
        self._pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._pipes = Pipes(supervisord)
        self._stops = stops
        self._pools: list[Any] | None = None

    def attach(self) -> None:
        self.options.get_socket_map()[self._pipe[0]] = self
        signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        self.options.poller.poll = self.poll
        self._pipes.attach()

    def detach(self) -> None:
        """Take everything back. On a reload supervisord closes all descriptors, but keeps the map of them."""
        signal.set_wakeup_fd(-1)
        self._pipes.detach()
        self.options.poller.poll = self._poll
        self.options.get_socket_map().pop(self._pipe[0], None)
        for fd in self._pipe:
            os.close(fd)

    # -- the entry in the fd map

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def handle_read_event(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while len(os.read(self._pipe[0], 512)) == 512:
                pass

    def handle_error(self) -> None:
        self._report("reading the wake-up pipe")

    # -- what the loop calls

    def poll(self, timeout: float) -> tuple[list[int], list[int]]:
        """In place of the poller's poll: returns when the loop has something to do, and after `timeout` at the latest.

        What supervisord's pipes bring and take meanwhile is dealt with.
        """
        ends = time.monotonic() + timeout
        while True:
            timeout = self._before_poll(ends - time.monotonic())
            readable, writable = self._poll(timeout)
            if not readable and not writable:
                return readable, writable
            others = self._pipes.handle(readable, writable)
            if self._stopping and others in (([], []), ([self._pipe[0]], [])):
                self.handle_read_event()  # nothing but the ends of children, and other signals keep the loop awake
                continue
            if others[0] or others[1] or timeout <= 0 or self.options.mood < Mood.RUNNING:
                return others  # at a shutdown the next step may wait for what a listener has just said

    @property
    def _stopping(self) -> bool:
        """Plugins are being stopped: there is no need for a turn of the loop for each of them."""
        return self.options.mood < Mood.RUNNING and self._stops.under_way

    def _stop_more(self) -> float | None:
        """Reap children and stop those whose turn it is; returns when (in seconds) it is somebody's in any case."""
        received = self.options.signal_receiver._signals_recvd
        if self._stopping and signal.SIGCHLD in received:
            received[:] = [number for number in received if number != signal.SIGCHLD]
            self.supervisord.reap()
        return self._stops.step()

    def _before_poll(self, timeout: float) -> float:
        """Send and register what is to be; returns how long to wait."""
        try:
            if self.options.mood < Mood.RUNNING:
                pause = self._stop_more()
                timeout = timeout if pause is None else min(timeout, pause)
            self._deliver()
            self._pipes.register()
            return max(0.0, self.shorten(timeout))
        except Exception:  # noqa: BLE001
            self._report("working out the poll time-out")
            return max(0.0, min(timeout, POLL_CAP))

    def _deliver(self) -> None:
        """Send waiting events to the listeners that are ready."""
        if self._pools is None:
            groups = self.supervisord.process_groups.values()
            self._pools = [group for group in groups if hasattr(group, "event_buffer")]
        for pool in self._pools:
            running = [p.listener_state for p in pool.processes.values() if p.state == ProcessState.RUNNING]
            if pool.event_buffer and READY in running:
                pool.dispatch()

    def shorten(self, timeout: float) -> float:
        """Seconds until something is due, at most `timeout`."""
        now = time.time()
        while self._deadlines and self._deadlines[0][0] <= now:
            _, _, process, state = heapq.heappop(self._deadlines)
            self.kicked = self.kicked or process is None or process.state == state
        kicked, self.kicked, self._reaped = self.kicked, False, 0
        if kicked or self.options.signal_receiver._signals_recvd or self._group_is_down():
            return 0
        if self._deadlines:
            timeout = min(timeout, self._deadlines[0][0] - now)
        for channel in list(self.options.get_socket_map().values()):
            timeout = min(timeout, self._deferred_delay(channel) or timeout)
        return timeout

    def on_event(self, event: Any) -> None:
        """Any supervisord event: remember when a turn of the loop has to look at the process again."""
        process: Any = getattr(event, "process", None)
        state = getattr(process, "state", None)
        if process is None:
            self._pools = None  # a group may have come or gone
        else:
            self._pipes.changed(process)
        if process is None or (self.options.mood < Mood.RUNNING and not self._stops.under_way):
            self.kicked = True
        if state == ProcessState.STARTING:
            self.add_deadline(process.laststart + process.config.startsecs, process)
        elif state == ProcessState.STOPPING:
            self.add_deadline(process.delay, process)
        elif state == ProcessState.BACKOFF:
            self.kicked = True  # it may be the last try
            self.add_deadline(process.delay, process)
        elif state == ProcessState.EXITED and process.config.autorestart:
            self.kicked = True
            self._brake(process)

    def on_reaped(self) -> None:
        """A child was reaped."""
        self._reaped += 1
        if self._reaped >= REAPED_A_TURN:
            self.kicked = True

    def add_deadline(self, wall: float, process: Any = None) -> None:
        """Have a turn at `wall`, if the process is still in its present state then."""
        state = -1 if process is None else process.state
        heapq.heappush(self._deadlines, (wall + SLACK, next(self._count), process, state))

    def deliver_before_stop(self) -> None:
        """supervisord is about to stop everything: have it stop each listener pool only when its events are out.

        Pools come last (priority -1), but the events of all the others that have just been stopped may still be
        waiting, and nothing more is written to a listener once it was told to stop.
        """
        self.add_deadline(time.time() + DELIVERY)
        for group in self.supervisord.process_groups.values():
            if hasattr(group, "event_buffer"):
                group.stop_all = functools.partial(self._stop_pool, group, group.stop_all, _Patience())

    def _stop_pool(self, pool: Any, stop_all: Callable[[], None], patience: _Patience) -> None:
        running = [p.listener_state for p in pool.processes.values() if p.state == ProcessState.RUNNING]
        coming = BUSY in running or (pool.event_buffer and any(state in LISTENING for state in running))
        if not coming or patience.lost(getattr(pool, "serial", 0) - len(pool.event_buffer)):
            stop_all()  # else this group's turn comes again with every turn of the loop
        else:
            self.add_deadline(time.time() + DELIVERY)

    def _group_is_down(self) -> bool:
        """While shutting down each group takes a turn of the loop, also one in which nothing runs."""
        if self.options.mood >= Mood.RUNNING:
            return False
        groups = self.supervisord.stop_groups
        return not groups or not groups[-1].get_unstopped_processes()

    @staticmethod
    def _deferred_delay(channel: Any) -> float:
        """How soon an http channel wants to look at its deferred reply again; 0 when it waits for none."""
        fifo = getattr(channel, "producer_fifo", None)
        producer = fifo.first() if fifo else None
        if isinstance(producer, xmlrpc.DeferredXMLRPCResponse) and producer.delay < DEFERRED_DELAY:
            producer.delay = DEFERRED_DELAY
        return getattr(channel, "delay", 0) or 0

    def _brake(self, process: Any) -> None:
        """Have the loop pass over a process that died young until a second after its start."""
        pause = min(RESTART_INTERVAL, process.laststart + RESTART_INTERVAL - process.laststop)
        if pause <= 0:
            return
        until = time.monotonic() + pause

        def transition() -> None:
            if process.state == ProcessState.EXITED and time.monotonic() < until:
                return
            process.__dict__.pop("transition", None)
            process.transition()

        process.transition = transition
        self.add_deadline(time.time() + pause)
