"""A supervisord whose children end, are killed and restarted at random, while it is reloaded: is anything lost or left?

Shared by the test (seconds) and benchmarks/stress.py (a minute, 200 children).
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import time
from dataclasses import dataclass, field

from fakes.supervisords import Supervisord
from fakes.wait import wait_until

from hiveot_supervisor.supervisord.states import ProcessState

TROUBLE = "overflowed|trouble with|CRIT uncaptured|waitpid error|unknown pid"


@dataclass
class Result:
    """What happened; no complaint means that nothing was missed and nothing is left."""

    starts: int = 0
    ends: int = 0
    kills: int = 0
    reloads: int = 0
    descriptors: list[int] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


def run(daemon: Supervisord, *, children: int, seconds: float, reloads: int, seed: int) -> Result:
    """All children live longer than a second, if nobody kills them: the brake for crash loops does not apply."""
    chance = random.Random(seed)
    longest = 1 + children / 20
    for number in range(children):
        daemon.program(
            f"p{number}", f"/bin/sleep {chance.uniform(1.05, longest):.2f}", autostart="true", autorestart="true"
        )
    daemon.start()
    wait_until(lambda: daemon.log_count(r"spawned: 'p\d+'") >= children, 60.0, "all were started")
    result = Result()
    for _ in range(reloads + 1):
        _kill_for(daemon, seconds / (reloads + 1), chance, result)
        _settle(daemon, children, result)
        if result.reloads < reloads:
            daemon.reload()
            result.reloads += 1
    daemon.terminate(60)
    _judge(daemon, result)
    return result


def _kill_for(daemon: Supervisord, seconds: float, chance: random.Random, result: Result) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        for info in chance.sample(daemon.client.snapshot(), 5):
            # the young ones are spared: their restart would be braked
            if info.name != "listener" and info.pid and time.time() - info.start > 1.0:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(info.pid, chance.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV]))
                    result.kills += 1
        time.sleep(0.05)


def _settle(daemon: Supervisord, children: int, result: Result) -> None:
    """Each runs again, if not all at one moment; descriptors are counted then."""
    seen: set[str] = set()

    def up() -> bool:
        seen.update(p.name for p in daemon.client.snapshot() if p.state is ProcessState.RUNNING)
        return len(seen) == children + 1

    try:
        wait_until(up, 60.0)
    except AssertionError:
        never = [p for p in daemon.client.snapshot() if p.name not in seen]
        raise AssertionError(f"{len(never)} children do not come up again: {never[:5]}") from None
    result.descriptors.append(daemon.fds())
    dead = set(daemon.zombies())
    wait_until(lambda: not dead & set(daemon.zombies()), 10.0, "the dead are reaped")


def _judge(daemon: Supervisord, result: Result) -> None:
    result.starts = daemon.log_count(r"spawned: 'p\d+'")
    result.ends = daemon.log_count(r"(exited|stopped|terminated): p\d+ \(|exited: p\d+")
    trouble = [line for line in daemon.log.read_text().splitlines() if re.search(TROUBLE, line)]
    result.complaints += [f"in supervisord's log: {line}" for line in trouble]
    if daemon.remains():
        result.complaints.append(f"{len(daemon.remains())} processes are left")
    if max(result.descriptors) - min(result.descriptors) > 6:  # a child may just be between two lives
        result.complaints.append(f"descriptors: {result.descriptors}")
    up: dict[str, bool] = {}
    ends = 0
    for _, event in daemon.events():
        if event.state is ProcessState.STARTING:
            if up.get(event.process):
                result.complaints.append(f"a missed end of {event.process}")
            up[event.process] = True
        elif event.state in (ProcessState.EXITED, ProcessState.STOPPED):
            ends += 1
            up[event.process] = False
            if event.exitcode is None and event.signal is None:
                result.complaints.append(f"an end of {event.process} without exit code and signal")
    if ends != result.starts:
        result.complaints.append(f"{result.starts} starts in supervisord's log, {ends} ends told")
