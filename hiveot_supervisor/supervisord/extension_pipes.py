"""Inside supervisord: the pipes of its children, without a look at all of them in every turn of the main loop.

Part of our extension. Stock supervisord collects, asks and registers the pipes of every process in each turn, and asks
every process whether it is due: 10 ms a turn with 1,000 processes, and a start or a stop takes several turns. Here the
pipes of a process are registered when its state changes, and reads and writes of pipes are done as the loop does them;
the loop itself is left with its sockets. Starts, stops and reaps nothing. Standard library and supervisor only.
"""

from __future__ import annotations

from typing import Any

from supervisor import process

from hiveot_supervisor.supervisord.states import ProcessState

_STEADY = int(ProcessState.RUNNING)


class Pipes:
    """The registered pipes of all processes of one generation of supervisord."""

    def __init__(self, supervisord: Any) -> None:
        self._supervisord = supervisord
        self._options = supervisord.options
        self._dispatchers: dict[int, Any] = {}
        self._inputs: dict[int, Any] = {}
        self._owned: dict[int, list[int]] = {}
        self._changed: dict[int, Any] = {}
        self._transition = process.ProcessGroup.transition

    def attach(self) -> None:
        self._supervisord.get_process_map = dict  # the loop need not look at any
        process.ProcessGroup.transition = _transition

    def detach(self) -> None:
        self._supervisord.__dict__.pop("get_process_map", None)
        process.ProcessGroup.transition = self._transition
        # what still refers to a log file would keep it open, and close its number when something else has it
        for references in (self._dispatchers, self._inputs, self._owned, self._changed):
            references.clear()

    def changed(self, subject: Any) -> None:
        """A process has changed its state: it may have other pipes when this turn is over."""
        self._changed[id(subject)] = subject

    def register(self) -> None:
        """Before a poll: register what is new, and inputs for which something is waiting."""
        if self._changed:
            self._take_changes()
        for fd, dispatcher in self._inputs.items():
            if dispatcher.input_buffer and dispatcher.writable():
                self._options.poller.register_writable(fd)

    def _take_changes(self) -> None:
        changed, self._changed = self._changed, {}
        for key in changed:
            for fd in self._owned.pop(key, ()):
                self._dispatchers.pop(fd, None)
                self._inputs.pop(fd, None)
        # a descriptor may have gone from one to another of them
        for key, subject in changed.items():
            if not subject.dispatchers:
                continue
            self._owned[key] = list(subject.dispatchers)
            self._dispatchers.update(subject.dispatchers)
            for fd, dispatcher in subject.dispatchers.items():
                if hasattr(dispatcher, "input_buffer"):
                    self._inputs[fd] = dispatcher
                elif dispatcher.readable():
                    self._options.poller.register_readable(fd)

    def handle(self, readable: list[int], writable: list[int]) -> tuple[list[int], list[int]]:
        """Read and write what a poll has found; returns the descriptors that are not pipes of processes."""
        poller, sockets = self._options.poller, self._options.get_socket_map()
        others: tuple[list[int], list[int]] = ([], [])
        for fd in readable:
            dispatcher = self._dispatchers.get(fd)
            if dispatcher is not None:
                _guarded(dispatcher, dispatcher.handle_read_event)
                if not dispatcher.readable():
                    poller.unregister_readable(fd)
            elif fd in sockets:
                others[0].append(fd)
            else:  # of a process that is gone; the number is used by something else now
                poller.unregister_readable(fd)
        for fd in writable:
            dispatcher = self._dispatchers.get(fd)
            if dispatcher is not None:
                _guarded(dispatcher, dispatcher.handle_write_event)
                if not dispatcher.writable():
                    poller.unregister_writable(fd)
            elif fd in sockets:
                others[1].append(fd)
            else:
                poller.unregister_writable(fd)
        return others


def _guarded(dispatcher: Any, work: Any) -> None:
    """As supervisord's own loop does it."""
    try:
        work()
    except Exception:  # noqa: BLE001
        dispatcher.handle_error()


def _transition(group: Any) -> None:
    """In place of ProcessGroup.transition: nothing is ever due for a process that runs."""
    for subject in group.processes.values():
        if subject.state != _STEADY:
            subject.transition()
