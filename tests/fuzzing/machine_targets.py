"""Fuzzing of what comes from this machine: supervisord's events and answers, prestart's reasons, logs, the journal."""

from __future__ import annotations

import io
import json
import re
import tempfile
import xmlrpc.client
from pathlib import Path
from typing import Any

from fakes.agent_world import World
from fuzzing.target import SECRET, Logged, Target, printable

from hiveot_supervisor.agent.outcomes import valid_request
from hiveot_supervisor.agent.outside import MachineProcesses
from hiveot_supervisor.agent.renewing import Renewals
from hiveot_supervisor.agent.reports import Reports
from hiveot_supervisor.agent.state import Event as Row
from hiveot_supervisor.cli import eventlines
from hiveot_supervisor.cli.output import harmless
from hiveot_supervisor.credentials.provision import Renew
from hiveot_supervisor.errors import SupervisordFault, SupervisordUnreachable
from hiveot_supervisor.model import Paths, Plugin
from hiveot_supervisor.supervisord.listener import ACKNOWLEDGE, READY, Eof, Event, Gap, read_items
from hiveot_supervisor.supervisord.logfiles import Follower, last_lines
from hiveot_supervisor.supervisord.rpc import SupervisordClient

RESET = 2000


def _event(serial: int, name: str, payload: str) -> bytes:
    head = f"ver:3.0 server:supervisor serial:{serial} pool:launcher poolserial:{serial} eventname:{name}"
    return f"{head} len:{len(payload)}\n{payload}".encode()


_ZWAVE = "processname:zwave groupname:zwave from_state:"
_EXIT_FACTS = "RUNNING expected:0 pid:100 exitcode:1 maxrss_kb:99 cpu:0.5 mood:1 time:1800000000.5"
EVENTS = [
    _event(1, "PROCESS_STATE_STARTING", _ZWAVE + "STOPPED tries:0"),
    _event(2, "PROCESS_STATE_RUNNING", _ZWAVE + "STARTING pid:100"),
    _event(3, "PROCESS_STATE_EXITED", _ZWAVE + _EXIT_FACTS),
    _event(4, "PROCESS_STATE_STOPPED", _ZWAVE + "STOPPING pid:100 signal:15 mood:0"),
    _event(5, "REMOTE_COMMUNICATION", 'type:hiveot\n{"op": "disable", "plugin": "zwave", "actor": "root"}'),
    _event(6, "REMOTE_COMMUNICATION", 'type:hiveot\n{"op": "enable", "plugin": "zwave"}'),
    _event(
        6,
        "REMOTE_COMMUNICATION",
        'type:hiveot\n{"op": "renew", "plugin": "zwave", "request": "0123456789abcdef", "keys": true}',
    ),
    _event(7, "PROCESS_GROUP_REMOVED", "groupname:zwave\n"),
    _event(8, "PROCESS_GROUP_ADDED", "groupname:zwave\n"),
    _event(9, "TICK_5", "when:1800000000"),
    _event(10, "PROCESS_STATE_FATAL", _ZWAVE + "BACKOFF"),
]


def listener(folder: Path) -> Target:
    """The protocol reader and what the agent makes of the events: in step, every event acknowledged, one Eof, last."""
    logged = Logged()
    world = _world(folder)
    count = 0

    def check(data: bytes) -> None:
        nonlocal world, count
        count += 1
        if count % RESET == 0:
            world.state.close()
            world = _world(folder)
        answers = io.BytesIO()
        items = list(read_items(io.BufferedReader(io.BytesIO(data)), answers))  # type: ignore[arg-type]
        assert [isinstance(item, Eof) for item in items] == [False] * (len(items) - 1) + [True]
        events = [item for item in items if isinstance(item, Event)]
        written = answers.getvalue()
        acknowledged, rest = divmod(len(written) - len(READY), len(ACKNOWLEDGE))
        assert rest == 0
        assert len(events) <= acknowledged <= data.count(b"\n")
        renewals = _renewals(world)
        reports = Reports(world.agent, snapshot=world.supervisord.snapshot, reload=lambda: None, renew=renewals.notice)
        with world.state.transaction():
            for item in items[:-1][:50]:
                assert isinstance(item, (Event, Gap))
                reports.handle(item)
            world.agent.tick()
        world.supervisord.events.clear()
        logged.take()

    words = (
        b"eventname:",
        b"len:",
        b"serial:",
        b"processname:zwave ",
        b"pid:",
        b"exitcode:",
        b"mood:",
        b"hiveot\n",
        b'"op"',
        b"\n",
    )
    return Target("event listener", (*EVENTS, b"".join(EVENTS), b"".join(EVENTS[:3])), check, words)


class _Worker:
    """In the place of the thread that renews: looks at what is asked of it."""

    def renew(self, account: str, renew: Renew, request: str) -> None:
        assert account in ("zwave", "history", "launcher")
        assert valid_request(request)


def _renewals(world: World) -> Renewals:
    nobody: Any = None
    worker: Any = _Worker()
    return Renewals(world.agent, nobody, worker)


def _world(folder: Path) -> World:
    plugins = [Plugin(name, Path("/bin/true"), order=n) for n, name in enumerate(("zwave", "history"))]
    return World(Path(tempfile.mkdtemp(dir=folder)), plugins)


def xmlrpc_answer(folder: Path) -> Target:
    """supervisord's answers: SupervisordFault or SupervisordUnreachable, nothing else."""
    values = {"name": "zwave", "group": "zwave", "state": 20, "pid": 7, "start": 1, "stop": 0, "exitstatus": 0}
    status = "mood:1 pid:7\nzwave zwave 20 8 1.5 0 0  \nhistory history 0 0 0 2.5  15 %20x\n"
    answers = [status, [values | {"spawnerr": ""}], {"statecode": 1}, True, [[["a"], [], ["b"]]], ["text", 5, False]]
    seeds = [xmlrpc.client.dumps((answer,), methodresponse=True).encode() for answer in answers]
    seeds.append(xmlrpc.client.dumps(xmlrpc.client.Fault(10, "BAD_NAME: x")).encode())

    def check(data: bytes) -> None:
        client = SupervisordClient(folder / "none.sock")
        client._transport.post = lambda body: data  # type: ignore[method-assign]
        for ask in (
            client.snapshot,
            client.state,
            lambda: client.start("zwave"),
            client.extension,
            client.reload_config,
        ):
            try:
                ask()
            except (SupervisordFault, SupervisordUnreachable) as error:
                printable(str(error), also="\n\t")

    return Target(
        "XML-RPC answers",
        tuple(seeds),
        check,
        (b"<value>", b"</value>", b"<int>", b"<!DOCTYPE x [", b"&x;", b"<nil/>"),
    )


def reason(folder: Path) -> Target:
    """run/prestart/NAME.json, which a plugin's user may have written."""
    paths = Paths(*[folder] * 10)
    paths.prestart_dir.mkdir(parents=True, exist_ok=True)
    processes = MachineProcesses(paths)
    good = json.dumps({"pid": 100, "code": 111, "reason": "no /dev/ttyUSB0", "time": 1.0}).encode()

    def check(data: bytes) -> None:
        (paths.prestart_dir / "zwave.json").write_bytes(data)
        gate = processes.gate("zwave", 100)
        if gate is not None:
            assert gate.code in (100, 111)
            assert len(gate.reason) <= 500
            printable(gate.reason, also="")

    return Target("prestart reason", (good, good.replace(b"111", b"100")), check, (b'"pid"', b'"reason"'))


def journal(folder: Path) -> Target:
    """Rows of the journal as lines for people: one line each, nothing that acts on a terminal."""
    change = {
        "pluginID": "zwave", "state": "backoff", "previous": "running", "cause": "crash", "exitCode": 1, "uptime": 3.5,
        "startCount": 2, "attempt": 1, "nextTry": "2026-01-01T00:00:05.000Z", "note": "exit 1", "ready": True,
        "lastLog": ["a", "b"], "device": "h", "time": "2026-01-01T00:00:00.000Z",
    }  # fmt: skip
    rows: list[list[list[Any]]] = [
        [[1.0, "stopped", "zwave", "zwave"], [1.0, "pluginStateChanged", "zwave", change]],
        [[1.0, "started", "zwave", "zwave"]], [[1.0, "limitExceeded", "zwave", {"value": 3}]],
    ]  # fmt: skip

    def check(data: bytes) -> None:
        try:
            document = json.loads(data)
            events = [
                Row(float(t) if 0 <= float(t) < 2e11 else 1.0, str(n), str(p), v, seq)
                for seq, (t, n, p, v) in enumerate(document)
            ]
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
            return
        for line in eventlines.lines(events, color=False, verbose=len(data) % 2 == 0):
            printable(line, also="")
        for event in events:
            json.dumps(eventlines.as_json(event))

    return Target(
        "journal",
        tuple(json.dumps(row).encode() for row in rows),
        check,
        (b"pluginStateChanged", b'"note"', b"\\u001b["),
    )


_COLOUR = re.compile(r"\x1b\[[0-9;]{0,32}m")


def log_file(folder: Path) -> Target:
    """A plugin's log on a terminal: colours, and nothing else that acts; all lines come, from the end and followed."""
    path = folder / "plugin.log"
    good = b"2026-01-01 ready\n\x1b[32mgreen\x1b[0m \xe2\x82\xac\ttab\n\xff\xfe half\nlast"

    def check(data: bytes) -> None:
        path.write_bytes(data)
        for line in [*last_lines(path, 50), *Follower(path, from_start=True).lines()]:
            printable(_COLOUR.sub("", harmless(line, color=True)), also="\t")
            printable(harmless(line, color=False), also="\t")
        assert len(last_lines(path, 3)) <= 3

    words = (
        b"\x1b[",
        b"\x1b[1;31m",
        b"\x1b[2J",
        b"\x1b]52;c;",
        b"\x1bP",
        b"\x07",
        b"\x9b",
        b"\xc2\x9b",
        b"\xe2\x80\xae",
        SECRET.encode(),
    )
    return Target("plugin log", (good, b"one\ntwo\n"), check, words)
