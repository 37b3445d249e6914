"""supervisord's event listener protocol, listener's side: read events, acknowledge each at once, hand them on.

Owns reading and answering on the two pipes, and what can be told from the serial numbers alone (duplicates, gaps).
It never decides anything and never waits for anybody but supervisord: one event is in flight at a time, and while a
listener does not acknowledge, supervisord's buffer fills and then drops events.

Protocol: supervisor documentation "Events"; supervisor/process.py and dispatchers.py of 4.3.0.
"""

from __future__ import annotations

import codecs
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, TypeVar

from hiveot_supervisor.errors import HiveotError
from hiveot_supervisor.supervisord.states import EventName, Mood, ProcessState

READY = b"READY\n"
ACKNOWLEDGE = b"RESULT 2\nOKREADY\n"
"""Result and readiness for the next event in one write, which saves supervisord a turn of its loop."""

MAX_HEADER = 4096
MAX_PAYLOAD = 1 << 20
"""Characters of a payload that are kept. A longer one is read to its end and cut, so that we stay in step."""

REMEMBERED = 4096
"""Serials that are remembered for recognising duplicates."""

_EVENT_NAMES: dict[str, str] = {name.value: name for name in EventName}

T = TypeVar("T")


class ListenerError(HiveotError):
    """What arrived is not supervisord's event protocol. Only a new listener process can get back in step."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event. What the event does not carry is None (texts: empty, pid: 0).

    serial: unique in one life of supervisord; pool_serial: counts the events meant for this listener.
    name: an `EventName`, or a plain str for events that we do not know.
    process, group, state, from_state, pid, tries, expected: of PROCESS_STATE (group also of PROCESS_GROUP).
    exitcode (None after a death by signal), signal (None after an exit), maxrss_kb (peak, kB), cpu (user + system
    seconds): of EXITED, STOPPED and BACKOFF; mood and time (wall seconds): of all PROCESS_STATE; these only when our
    extension is active in supervisord.
    type, data: of REMOTE_COMMUNICATION. when: of TICK, wall seconds rounded down to the period.
    truncated: the payload was longer than MAX_PAYLOAD and was cut.
    """

    serial: int
    pool_serial: int
    name: str
    process: str = ""
    group: str = ""
    state: ProcessState | None = None
    from_state: ProcessState | None = None
    pid: int = 0
    tries: int | None = None
    expected: bool | None = None
    exitcode: int | None = None
    signal: int | None = None
    maxrss_kb: int | None = None
    cpu: float | None = None
    mood: Mood | None = None
    time: float | None = None
    type: str = ""
    data: str = ""
    when: int | None = None
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Gap:
    """`missing` events before the next one were never delivered: supervisord's buffer overflowed."""

    missing: int


@dataclass(frozen=True, slots=True)
class Eof:
    """supervisord has closed the pipe or is dead; nothing will follow. `error`: it ended in broken protocol."""

    error: ListenerError | None = None


Item = Event | Gap | Eof


@dataclass(frozen=True, slots=True)
class Header:
    """The header line of an event; `length` is the payload's in characters, not bytes."""

    serial: int
    pool_serial: int
    name: str
    length: int


def parse_header(line: bytes) -> Header:
    """Parse `ver:3.0 server:… serial:1 pool:… poolserial:1 eventname:… len:5`. Raises ListenerError."""
    try:
        fields = _pairs(line.decode())
        header = Header(int(fields["serial"]), int(fields["poolserial"]), fields["eventname"], int(fields["len"]))
    except (ValueError, KeyError) as error:
        raise ListenerError(f"not an event header: {line[:80]!r}", why=f"{error}") from None
    if header.length < 0 or header.serial < 0 or header.pool_serial < 0:
        raise ListenerError(f"negative number in event header: {line[:80]!r}")
    return header


def parse_event(header: Header, payload: str) -> Event:
    """The typed event. Never fails: unknown fields are left out, unreadable ones become None."""
    name = _EVENT_NAMES.get(header.name, header.name)
    truncated = len(payload) < header.length
    if name == EventName.REMOTE_COMMUNICATION:
        kind, _, data = payload.partition("\n")
        return Event(
            header.serial, header.pool_serial, name, type=kind.removeprefix("type:"), data=data, truncated=truncated
        )
    fields = _pairs(payload.partition("\n")[0])
    expected = _number(int, fields, "expected")
    exitcode, signal = _number(int, fields, "exitcode"), _number(int, fields, "signal")
    return Event(
        header.serial,
        header.pool_serial,
        name,
        process=fields.get("processname", ""),
        group=fields.get("groupname", ""),
        state=name.state if isinstance(name, EventName) else None,
        from_state=ProcessState.__members__.get(fields.get("from_state", "")),
        pid=_number(int, fields, "pid") or 0,
        tries=_number(int, fields, "tries"),
        expected=None if expected is None else expected != 0,
        exitcode=None if exitcode is None or exitcode < 0 else exitcode,
        signal=signal or None,
        maxrss_kb=_number(int, fields, "maxrss_kb"),
        cpu=_number(float, fields, "cpu"),
        mood=_number(lambda text: Mood(int(text)), fields, "mood"),
        time=_number(float, fields, "time"),
        when=_number(int, fields, "when"),
        truncated=truncated,
    )


def _pairs(text: str) -> dict[str, str]:
    return {key: value for key, colon, value in (word.partition(":") for word in text.split(" ")) if colon}


def _number(convert: Callable[[str], T], fields: Mapping[str, str], key: str) -> T | None:
    try:
        return convert(fields[key])
    except (KeyError, ValueError):
        return None


class Sequence:
    """Tells from the serial numbers what is a duplicate and how much is missing."""

    def __init__(self) -> None:
        self._seen: OrderedDict[int, None] = OrderedDict()
        self._last: int | None = None

    def accept(self, serial: int, pool_serial: int) -> int | None:
        """How many events are missing before this one; None when it was seen already (sent again).

        An event that comes late and out of order (supervisord re-buffers in reverse) was reported missing before.
        """
        if serial in self._seen:
            return None
        self._seen[serial] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        last, self._last = self._last, max(pool_serial, self._last or 0)
        return 0 if last is None else max(0, pool_serial - last - 1)


def read_characters(stream: BinaryIO, count: int, keep: int = MAX_PAYLOAD) -> str | None:
    """Read exactly `count` characters of UTF-8, return the first `keep` of them; None at end of file.

    supervisord counts characters but sends bytes. Each missing character is at least one more byte, so asking for as
    many bytes as characters are missing never reads into the next event. Raises ListenerError when it is not UTF-8.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    kept: list[str] = []
    missing = count
    while missing:
        chunk = stream.read(min(missing, 1 << 16))
        if not chunk:
            return None
        try:
            text = decoder.decode(chunk)
        except UnicodeDecodeError as error:
            raise ListenerError("event payload is not UTF-8", why=str(error)) from None
        if keep > 0:
            kept.append(text[:keep])
            keep -= len(text)
        missing -= len(text)
    return "".join(kept)


def read_items(stdin: BinaryIO, stdout: BinaryIO) -> Iterator[Item]:
    """Follow the protocol until the end: yields events, each acknowledged already, gaps before them, then one Eof.

    stdin must be buffered (a read gives all bytes that were asked for, or fewer only at the end).
    """
    sequence = Sequence()
    try:
        _write(stdout, READY)
        while True:
            line = stdin.readline(MAX_HEADER)
            if not line:
                yield Eof()
                return
            if not line.endswith(b"\n"):
                raise ListenerError(f"event header without end: {line[:80]!r}")
            header = parse_header(line)
            payload = read_characters(stdin, header.length)
            if payload is None:
                raise ListenerError("supervisord went away in the middle of an event")
            _write(stdout, ACKNOWLEDGE)
            missing = sequence.accept(header.serial, header.pool_serial)
            if missing is None:
                continue
            if missing:
                yield Gap(missing)
            yield parse_event(header, payload)
    except ListenerError as error:
        yield Eof(error)
    except (OSError, ValueError):  # ValueError: the file was closed under us
        yield Eof()


def _write(stdout: BinaryIO, data: bytes) -> None:
    stdout.write(data)
    stdout.flush()


class ListenerThread(threading.Thread):
    """Reads in a thread of its own and calls `put` with each item, in order; the last one is always an Eof.

    `put` must not block (a queue's put). As a daemon thread it does not keep the process alive.
    """

    def __init__(self, stdin: BinaryIO, stdout: BinaryIO, put: Callable[[Item], object]) -> None:
        super().__init__(name="listener", daemon=True)
        self._stdin = stdin
        self._stdout = stdout
        self._put = put

    def run(self) -> None:
        for item in read_items(self._stdin, self._stdout):
            self._put(item)
