"""supervisord's XML-RPC over its unix socket: typed requests, typed answers, errors for people.

Every request returns at once; what comes of it is told by events (or seen in the next snapshot). Nothing is ever
asked with wait=True: supervisord spins a whole core while it waits for a stop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from hiveot_supervisor.errors import SupervisordFault, SupervisordUnreachable
from hiveot_supervisor.foreign import clean
from hiveot_supervisor.supervisord import wire
from hiveot_supervisor.supervisord.answers import ConfigChange, ProcessInfo, Tail, from_struct, parse_mood, parse_status
from hiveot_supervisor.supervisord.states import Fault, Mood
from hiveot_supervisor.supervisord.transport import ForeignSocket, Transport, clear_stale

__all__ = ["ConfigChange", "ForeignSocket", "ProcessInfo", "SupervisordClient", "Tail", "clear_stale"]

T = TypeVar("T")

TIMEOUT = 10.0
"""Seconds for one answer. It takes milliseconds, but a snapshot of 1,000 programs without our extension a second."""

_FAULT_TEXT: dict[int, str] = {
    Fault.UNKNOWN_METHOD: "supervisord does not know this request",
    Fault.INCORRECT_PARAMETERS: "supervisord does not accept the parameters",
    Fault.BAD_ARGUMENTS: "supervisord does not accept the arguments",
    Fault.SHUTDOWN_STATE: "supervisord is shutting down or restarting",
    Fault.BAD_NAME: "supervisord has no such process",
    Fault.BAD_SIGNAL: "no such signal",
    Fault.NO_FILE: "the file does not exist",
    Fault.NOT_EXECUTABLE: "the file cannot be executed",
    Fault.FAILED: "supervisord could not do it",
    Fault.ABNORMAL_TERMINATION: "the process ended too early",
    Fault.SPAWN_ERROR: "the process could not be started",
    Fault.ALREADY_STARTED: "it is already running",
    Fault.NOT_RUNNING: "it is not running",
    Fault.ALREADY_ADDED: "it has already been added",
    Fault.STILL_RUNNING: "it is still running",
    Fault.CANT_REREAD: "supervisord cannot read its configuration",
}


class SupervisordClient:
    """One supervisord. May be shared between threads: requests take turns on one kept-alive connection.

    All methods raise SupervisordUnreachable, and SupervisordFault when the answer is a fault (`.code` is a `Fault`).
    A program in its own group is named by its name alone, any other `group:name`.
    """

    def __init__(self, path: Path, *, timeout: float = TIMEOUT) -> None:
        self.path = path
        self._transport = Transport(path, timeout)
        self._extension = True

    def close(self) -> None:
        """Drop the connection; the next request makes a new one."""
        self._transport.close()

    def state(self) -> Mood:
        """supervisord's mood. While it is RESTARTING it also answers SHUTDOWN, when our extension is missing."""
        try:
            return self._read(lambda answer: Mood(answer["statecode"]), self._call("supervisor.getState"))
        except SupervisordFault as fault:
            if fault.code != Fault.SHUTDOWN_STATE:
                raise
        text = self._status()
        return Mood.SHUTDOWN if text is None else self._read(parse_mood, text)

    def snapshot(self) -> list[ProcessInfo]:
        """All processes: one compact call with our extension, also during a shutdown; else getAllProcessInfo."""
        text = self._status()
        if text is not None:
            return self._read(parse_status, text)
        answer = self._call("supervisor.getAllProcessInfo")
        return self._read(lambda structs: [from_struct(struct) for struct in structs], answer)

    def start(self, name: str) -> None:
        """Start a process. Success means tried: EXITED, BACKOFF or FATAL may follow at once, as events.

        Faults: ALREADY_STARTED, BAD_NAME, NO_FILE, NOT_EXECUTABLE, …; then nothing was tried and no event comes.
        """
        try:
            self._call("supervisor.startProcess", name, False)
        except SupervisordFault as fault:
            # it ended (or fork failed) before the answer was made; the events tell, as if it had lived a moment longer
            if fault.code != Fault.SPAWN_ERROR:
                raise

    def start_all(self, names: Sequence[str]) -> dict[str, SupervisordFault]:
        """Start processes in this order; with our extension in one request. Returns the faults by name."""
        if len(names) > 1 and self._extension:
            try:
                return self._read(partial(_faults, names), self._call("hiveot.start", list(names)))
            except SupervisordFault as fault:
                if fault.code != Fault.UNKNOWN_METHOD:
                    raise
                self._extension = False
        faults = {}
        for name in names:
            try:
                self.start(name)
            except SupervisordFault as fault:
                faults[name] = fault
        return faults

    def stop(self, name: str) -> None:
        """Send the stop signal; supervisord kills after stopwaitsecs. Fault NOT_RUNNING when it does not run."""
        self._call("supervisor.stopProcess", name, False)

    def signal(self, name: str, sig: str | int) -> None:
        """Send a signal (`HUP`, `SIGHUP` or a number) to the process alone, not to its group."""
        self._call("supervisor.signalProcess", name, str(int(sig) if isinstance(sig, int) else sig))

    def shutdown(self) -> None:
        """Have everything stopped and supervisord end; returns at once. Nothing to do when it is ending already."""
        if self.state() is Mood.SHUTDOWN:
            return
        try:
            self._call("supervisor.shutdown")
        except SupervisordUnreachable as error:
            # with nothing to stop it is gone before the answer is out
            if isinstance(error.__cause__, TimeoutError):
                raise

    def reload_config(self) -> ConfigChange:
        """Read the configuration file again, without acting on it. Fault CANT_REREAD tells what is wrong in it."""
        return self._read(_config_change, self._call("supervisor.reloadConfig"))

    def add_group(self, name: str) -> None:
        """Make a group of the configuration (as last read) active; its autostart programs start."""
        self._call("supervisor.addProcessGroup", name)

    def remove_group(self, name: str) -> None:
        """Take a stopped group out. Fault STILL_RUNNING when it is not stopped."""
        self._call("supervisor.removeProcessGroup", name)

    def send_remote_event(self, kind: str, data: str) -> None:
        """Have supervisord send a REMOTE_COMMUNICATION event (`type`, `data`) to its listeners."""
        self._call("supervisor.sendRemoteCommEvent", kind, data)

    def tail(self, name: str, offset: int = 0, length: int = 1 << 16) -> Tail:
        """The end of a process's stdout log, at most `length` bytes; from an earlier answer's offset on, the news."""
        return self._read(
            lambda answer: Tail(*answer), self._call("supervisor.tailProcessStdoutLog", name, offset, length)
        )

    def clear_log(self, name: str) -> None:
        """Empty a process's log files."""
        self._call("supervisor.clearProcessLogs", name)

    def extension(self) -> str | None:
        """Version and mode of our extension in supervisord, e.g. `0.1.0 full`; None when it is not loaded."""
        try:
            return str(self._call("hiveot.version"))
        except SupervisordFault as fault:
            if fault.code != Fault.UNKNOWN_METHOD:
                raise
            return None

    def _status(self) -> str | None:
        if not self._extension:
            return None
        try:
            return str(self._call("hiveot.status"))
        except SupervisordFault as fault:
            if fault.code != Fault.UNKNOWN_METHOD:
                raise
            self._extension = False
            return None

    def _call(self, method: str, *params: Any) -> Any:
        connections = self._transport.connections
        body = self._transport.post(wire.request(method, params))
        if self._transport.connections != connections:
            self._extension = True  # it may be another supervisord than before
        try:
            return wire.answer(body)
        except Exception as error:
            raise self._refusal(error, params) from error

    def _refusal(self, error: Exception, params: tuple[Any, ...]) -> Exception:
        """What an answer that is none means: a fault, or that nobody speaks XML-RPC there."""
        import xmlrpc.client
        from xml.parsers.expat import ExpatError

        if isinstance(error, xmlrpc.client.Fault):
            return _fault(error.faultCode, error.faultString, params)
        # AttributeError: what xmlrpc.client's parser does with some elements in the wrong place
        if isinstance(error, (ExpatError, xmlrpc.client.Error, ValueError, LookupError, TypeError, AttributeError)):
            return self._stranger(f"no XML-RPC from {self.path}", error)
        return error

    def _read(self, convert: Callable[[Any], T], answer: Any) -> T:
        """An answer as what it should be. Raises SupervisordUnreachable when it is something else."""
        try:
            return convert(answer)
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
            raise self._stranger(f"an unexpected answer from {self.path}", error) from error

    @staticmethod
    def _stranger(why: str, error: Exception) -> SupervisordUnreachable:
        return SupervisordUnreachable(
            "what answers is not supervisord",
            why=clean(f"{why} ({error!r})", 300),
            hint="stop what listens there, or use another home",
        )


def _config_change(answer: Any) -> ConfigChange:
    added, changed, removed = (tuple(map(str, names)) for names in answer[0])
    return ConfigChange(added, changed, removed)


def _faults(names: Sequence[str], answer: str) -> dict[str, SupervisordFault]:
    """From the answer of `hiveot.start`; a start that was tried is none (see `start`)."""
    faults = {}
    for name, line in zip(names, answer.split("\n"), strict=True):
        code, _, text = line.partition(" ")
        if code and int(code) != Fault.SPAWN_ERROR:
            faults[name] = _fault(int(code), text, (name,))
    return faults


def _fault(code: int, text: str, params: tuple[Any, ...]) -> SupervisordFault:
    """supervisord's texts are `BAD_NAME: what`; the latter is worth showing, unless it repeats the argument."""
    name = next((f.name for f in Fault if f == code), "")
    detail = clean(text, 500).removeprefix(name).removeprefix(":").strip()
    subject = str(params[0]) if params else ""
    what = _FAULT_TEXT.get(code, f"supervisord answers fault {code}")
    return SupervisordFault(
        f"{subject}: {what}" if subject else what, code=code, why="" if detail == subject else detail
    )
