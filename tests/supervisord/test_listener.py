from __future__ import annotations

import contextlib
import io
import json
import os
import queue
import resource
import signal
import sys
from pathlib import Path
from typing import BinaryIO

import pytest
from fakes.supervisords import Supervisord
from fakes.wait import wait_until
from hypothesis import given
from hypothesis import strategies as st

from hiveot_supervisor.supervisord import listener
from hiveot_supervisor.supervisord.listener import (
    Eof,
    Event,
    Gap,
    Header,
    Item,
    ListenerError,
    ListenerThread,
    Sequence,
    parse_event,
    parse_header,
    read_characters,
    read_items,
)
from hiveot_supervisor.supervisord.states import EventName, Mood, ProcessState

EXITED = (
    "processname:zwave groupname:zwave from_state:RUNNING expected:0 pid:77 "
    "exitcode:3 signal:0 maxrss_kb:4096 cpu:0.250 mood:1 time:1700000000.250000"
)


def message(serial: int, name: str, payload: str, pool_serial: int | None = None) -> bytes:
    """As supervisor/process.py writes it: `len` counts characters."""
    return (
        f"ver:3.0 server:supervisor serial:{serial} pool:launcher "
        f"poolserial:{serial if pool_serial is None else pool_serial} eventname:{name} len:{len(payload)}\n{payload}"
    ).encode()


def follow(data: bytes) -> tuple[list[Item], bytes]:
    out = io.BytesIO()
    items = list(read_items(io.BytesIO(data), out))
    return items, out.getvalue()


def one(name: str, payload: str) -> Event:
    return parse_event(Header(7, 8, name, len(payload)), payload)


def test_exited_with_the_facts_of_the_extension() -> None:
    assert one("PROCESS_STATE_EXITED", EXITED) == Event(
        7,
        8,
        EventName.PROCESS_STATE_EXITED,
        process="zwave",
        group="zwave",
        state=ProcessState.EXITED,
        from_state=ProcessState.RUNNING,
        pid=77,
        expected=False,
        exitcode=3,
        maxrss_kb=4096,
        cpu=0.25,
        mood=Mood.RUNNING,
        time=1700000000.25,
    )


def test_exited_without_the_extension() -> None:
    event = one("PROCESS_STATE_EXITED", "processname:cat groupname:pets from_state:RUNNING expected:1 pid:7")
    assert (event.process, event.group, event.expected, event.pid) == ("cat", "pets", True, 7)
    assert (event.exitcode, event.signal, event.mood, event.time, event.cpu) == (None,) * 5


def test_death_by_signal_has_no_exit_code() -> None:
    event = one(
        "PROCESS_STATE_STOPPED", "processname:a groupname:a from_state:STOPPING pid:5 exitcode:-1 signal:9 mood:-1"
    )
    assert (event.exitcode, event.signal, event.mood) == (None, 9, Mood.SHUTDOWN)


@pytest.mark.parametrize(
    ("name", "payload", "expected"),
    [
        ("PROCESS_STATE_STARTING", "processname:a groupname:a from_state:BACKOFF tries:2", {"tries": 2, "pid": 0}),
        ("PROCESS_STATE_FATAL", "processname:a groupname:a from_state:BACKOFF", {"state": ProcessState.FATAL}),
        ("PROCESS_GROUP_ADDED", "groupname:zwave\n", {"group": "zwave", "state": None, "process": ""}),
        ("TICK_5", "when:1700000005", {"when": 1700000005, "state": None}),
        ("SUPERVISOR_STATE_CHANGE_STOPPING", "", {"name": EventName.SUPERVISOR_STATE_CHANGE_STOPPING, "pid": 0}),
        ("REMOTE_COMMUNICATION", 'type:hiveot\n{"a b": 1}\nmore', {"type": "hiveot", "data": '{"a b": 1}\nmore'}),
        ("PROCESS_LOG_STDOUT", "processname:a groupname:a pid:5 channel:stdout\ntext", {"name": "PROCESS_LOG_STDOUT"}),
        (
            "PROCESS_STATE_EXITED",
            "pid:x expected: exitcode:1e9 mood:77 time:soon",
            {"pid": 0, "mood": None, "exitcode": None},
        ),
        ("PROCESS_STATE_EXITED", "utter nonsense", {"process": "", "state": ProcessState.EXITED}),
    ],
)
def test_payloads(name: str, payload: str, expected: dict[str, object]) -> None:
    event = one(name, payload)
    assert {key: getattr(event, key) for key in expected} == expected


def test_each_event_is_acknowledged_in_one_write_before_it_is_handed_on() -> None:
    writes: list[bytes] = []

    class Out(io.BytesIO):
        def write(self, data: bytes) -> int:  # type: ignore[override]
            writes.append(bytes(data))
            return len(data)

    data = message(1, "TICK_5", "when:5") + message(2, "TICK_5", "when:10")
    items = read_items(io.BytesIO(data), Out())
    assert isinstance(next(items), Event)
    assert writes == [b"READY\n", b"RESULT 2\nOKREADY\n"]
    assert isinstance(next(items), Event)
    assert len(writes) == 3
    assert next(items) == Eof()
    assert list(items) == []


def test_duplicates_are_dropped_but_acknowledged_and_gaps_are_told() -> None:
    data = b"".join(
        message(serial, "TICK_5", f"when:{serial}", pool_serial)
        for serial, pool_serial in [(100, 10), (101, 11), (101, 11), (105, 15), (104, 14), (106, 16)]
    )
    items, out = follow(data)
    assert [item if isinstance(item, (Gap, Eof)) else item.serial for item in items] == [
        100,
        101,
        Gap(3),
        105,
        104,
        106,
        Eof(),
    ]
    assert out.count(b"RESULT") == 6


@pytest.mark.parametrize(
    "data",
    [
        b"hello\n",
        b"ver:3.0 serial:1 poolserial:1 eventname:X\n",
        b"ver:3.0 serial:1 poolserial:1 eventname:X len:-5\n",
        b"ver:3.0 serial:one poolserial:1 eventname:X len:5\n",
        b"ver:3.0 serial:1 poolserial:1 eventname:X len:" + b"9" * 4000 + b"\n",
        b"\xff\xfe\n",
        b"ver:3.0 serial:1",
        b"x" * 100_000,
        message(1, "TICK_5", "when:5")[:-1],
        b"ver:3.0 serial:1 poolserial:1 eventname:X len:3\n\xff\xff\xff",
    ],
    ids=[
        "text",
        "no len",
        "negative",
        "no number",
        "huge number",
        "binary",
        "cut header",
        "no newline",
        "cut",
        "not utf8",
    ],
)
def test_broken_protocol_ends_with_a_typed_error(data: bytes) -> None:
    items, out = follow(data)
    assert len(items) == 1
    assert isinstance(items[0], Eof)
    assert isinstance(items[0].error, ListenerError)
    assert out == b"READY\n"


def test_a_closed_pipe_while_answering_is_the_end() -> None:
    read, write = os.pipe()
    os.close(read)
    with open(write, "wb", buffering=0) as stdout:
        assert list(read_items(io.BytesIO(message(1, "TICK_5", "when:5")), stdout)) == [Eof()]


def test_an_oversized_payload_is_cut_and_keeps_us_in_step() -> None:
    big = "ä" * (listener.MAX_PAYLOAD + 10)
    data = message(1, "REMOTE_COMMUNICATION", f"type:t\n{big}") + message(2, "TICK_5", "when:5")
    items, _ = follow(data)
    assert isinstance(items[0], Event)
    assert items[0].truncated
    assert len(items[0].data) == listener.MAX_PAYLOAD - len("type:t\n")
    assert items[1:] == [Event(2, 2, EventName.TICK_5, when=5), Eof()]


class Endless(io.RawIOBase):
    """Gives garbage without end."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        view[:] = b"x" * len(view)
        return len(view)


def test_garbage_without_end_takes_no_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    items = list(read_items(io.BufferedReader(Endless()), io.BytesIO()))
    assert isinstance(items[0], Eof)
    assert items[0].error is not None
    assert read_characters(io.BufferedReader(Endless()), 100_000_000, keep=10) == "x" * 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


@given(st.text(), st.text())
def test_characters_are_counted_not_bytes(payload: str, rest: str) -> None:
    stream = io.BytesIO((payload + rest).encode())
    assert read_characters(stream, len(payload)) == payload
    assert stream.read() == rest.encode()


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\n: "), min_size=1, max_size=20)
SERIALS = st.integers(0, 2**63 - 1)


@given(st.lists(st.tuples(SERIALS, TEXT, st.text(max_size=200)), max_size=20, unique_by=lambda t: t[0]))
def test_any_sequence_of_events_comes_through_in_order(sent: list[tuple[int, str, str]]) -> None:
    data = b"".join(
        message(serial, "REMOTE_COMMUNICATION", f"type:{t}\n{d}", i) for i, (serial, t, d) in enumerate(sent)
    )
    items, out = follow(data)
    assert [(i.serial, i.type, i.data) for i in items if isinstance(i, Event)] == sent
    assert items[-1] == Eof()
    assert out == b"READY\n" + listener.ACKNOWLEDGE * len(sent)


@given(
    st.binary(max_size=300)
    | st.lists(
        st.sampled_from(
            [b"serial:1 ", b"poolserial:1 ", b"eventname:TICK_5 ", b"len:", b"5", b"\n", b"\xe4", b"when:", b"-", b" "]
        ),
        max_size=40,
    ).map(b"".join)
)
def test_no_input_raises(data: bytes) -> None:
    items, _ = follow(data)
    assert isinstance(items[-1], Eof)
    assert not any(isinstance(item, Eof) for item in items[:-1])


@given(st.text(max_size=300), st.sampled_from([*EventName, "SOMETHING_ELSE"]))
def test_no_payload_raises(payload: str, name: str) -> None:
    assert one(name, payload).name == name


@given(st.binary(max_size=200))
def test_a_header_is_parsed_or_refused(line: bytes) -> None:
    with contextlib.suppress(ListenerError):
        assert parse_header(line).length >= 0


@given(st.lists(st.booleans(), max_size=60), st.lists(st.integers(0, 5), max_size=60))
def test_gaps_add_up_to_what_was_lost(lost: list[bool], again: list[int]) -> None:
    """Whatever is lost and whatever is sent twice: what is told missing is exactly what was lost after the first."""
    sequence, told, seen, first = Sequence(), 0, [], None
    for serial, (gone, repeat) in enumerate(zip(lost, again, strict=False)):
        if gone:
            continue
        first = serial if first is None else first
        seen.append(serial)
        missing = sequence.accept(serial * 3, serial)
        assert missing is not None
        told += missing
        for earlier in seen[-repeat:] if repeat else []:
            assert sequence.accept(earlier * 3, earlier) is None
    if first is not None:
        assert told == seen[-1] - first + 1 - len(seen)


def test_the_memory_for_duplicates_is_bounded() -> None:
    sequence = Sequence()
    for serial in range(listener.REMEMBERED * 3):
        assert sequence.accept(serial, serial) == 0
    assert len(sequence._seen) == listener.REMEMBERED


def pipes() -> tuple[BinaryIO, BinaryIO]:
    read, write = os.pipe()
    return open(read, "rb"), open(write, "wb", buffering=0)


def test_the_thread_hands_on_while_the_writer_waits_for_acknowledgements() -> None:
    """Like supervisord: the next event is only sent after the acknowledgement of the one before."""
    stdin, to_listener = pipes()
    from_listener, stdout = pipes()
    items: queue.Queue[Item] = queue.Queue()
    thread = ListenerThread(stdin, stdout, items.put)
    thread.start()
    assert from_listener.readline() == b"READY\n"
    for serial in range(50):
        data = message(serial, "REMOTE_COMMUNICATION", f"type:grüße\n{serial} ✓")
        to_listener.write(data[:30])
        to_listener.write(data[30:])
        assert from_listener.readline() == b"RESULT 2\n"
        assert from_listener.readline() == b"OKREADY\n"
        item = items.get(timeout=5)
        assert isinstance(item, Event)
        assert item.data == f"{serial} ✓"
    to_listener.close()
    assert items.get(timeout=5) == Eof()
    thread.join(5)
    assert not thread.is_alive()


LISTENER = """
import json, sys, queue, dataclasses
from hiveot_supervisor.supervisord.listener import ListenerThread, Event
items = queue.Queue()
ListenerThread(sys.stdin.buffer, sys.stdout.buffer, items.put).start()
with open(sys.argv[1], "a") as out:
    while True:
        item = items.get()
        print(json.dumps([type(item).__name__, dataclasses.asdict(item)]), file=out, flush=True)
        if not isinstance(item, Event):
            break
"""


def test_our_listener_in_a_real_supervisord(daemon: Supervisord) -> None:
    """Non-ASCII payloads (`len` counts characters), order and completeness over a few hundred events."""
    script = daemon.script("ours.py", LISTENER, sys.executable)
    out = daemon.folder / "ours"
    daemon.listener = False
    daemon.sections = (
        f"[eventlistener:launcher]\ncommand={script} {out}\nautorestart=false\nstartsecs=0\npriority=-1\n"
        "buffer_size=1000\nevents=PROCESS_STATE,REMOTE_COMMUNICATION,SUPERVISOR_STATE_CHANGE\n"
        f"stderr_logfile={daemon.folder}/ours.err\n"
    )
    daemon.program("p")
    daemon.start()
    daemon.client.start("p")
    for number in range(200):
        daemon.client.send_remote_event("grüße", f"{number} ✓ 🦎\nzweite Zeile")
    daemon.client.stop("p")

    def received() -> list[dict[str, object]]:
        lines = out.read_text().splitlines() if out.exists() else []
        return [json.loads(line)[1] for line in lines if json.loads(line)[0] == "Event"]

    wait_until(lambda: any(e.get("name") == "PROCESS_STATE_STOPPED" for e in received()))
    remote = [e["data"] for e in received() if e["name"] == "REMOTE_COMMUNICATION"]
    assert remote == [f"{number} ✓ 🦎\nzweite Zeile" for number in range(200)]
    serials = [e["pool_serial"] for e in received()]
    assert serials == list(range(serials[0], serials[0] + len(serials)))  # type: ignore[arg-type]


def test_a_listener_that_is_too_slow_is_told_of_the_gap(daemon: Supervisord) -> None:
    """Nothing else tells it: supervisord throws the oldest events away and only logs that."""
    script = daemon.script("ours.py", LISTENER.replace("if not isinstance(item, Event)", "if False"), sys.executable)
    out = daemon.folder / "ours"
    daemon.listener = False
    daemon.sections = (
        f"[eventlistener:launcher]\ncommand={script} {out}\nautorestart=false\nstartsecs=0\npriority=-1\n"
        "buffer_size=5\nevents=REMOTE_COMMUNICATION\n"
    )
    daemon.start()
    daemon.client.send_remote_event("n", "first")
    wait_until(lambda: out.exists() and "first" in out.read_text())
    pid = daemon.info("launcher").pid
    os.kill(pid, signal.SIGSTOP)
    threads = list(Path(f"/proc/{pid}/task").iterdir())
    wait_until(lambda: all(") T " in (thread / "stat").read_text() for thread in threads))
    for number in range(20):
        daemon.client.send_remote_event("n", str(number))
    wait_until(lambda: daemon.log_count("buffer overflowed, discarding") == 14)
    os.kill(pid, signal.SIGCONT)
    wait_until(lambda: '"19"' in out.read_text())
    items = [json.loads(line) for line in out.read_text().splitlines()]
    assert [i[1].get("data", i[1]) for i in items] == ["first", "0", {"missing": 14}, "15", "16", "17", "18", "19"]
