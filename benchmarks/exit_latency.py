#!/usr/bin/env python3
"""How long after the death of a child supervisord's listener hears of it: bare supervisord and ours, in one run.

    python benchmarks/exit_latency.py [samples]

Also: the stop of everything with 50 programs that obey, and a snapshot of 50 processes. Both supervisords get the
same configuration, in temporary folders; kills alternate between them, so that other load hits both alike.
"""

from __future__ import annotations

import os
import signal
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from fakes.supervisords import Supervisord, supervisord

from hiveot_supervisor.supervisord.states import ProcessState

PROGRAMS = 50


def exit_latency(daemon: Supervisord) -> float:
    """Seconds from kill -9 to the moment at which the listener's standard input becomes readable."""
    pid = daemon.begin("victim")
    time.sleep(0.05)  # let what belongs to the start pass
    killed = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.05)  # looking for the event takes CPU from those who are to send it
    arrived, _ = daemon.await_event("victim", ProcessState.EXITED, after=killed)
    return arrived - killed


def timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def row(what: str, bare: list[float], ours: list[float]) -> None:
    slow, fast = statistics.median(bare) * 1000, statistics.median(ours) * 1000
    worst = f"(worst {max(bare) * 1000:.1f} / {max(ours) * 1000:.1f}, n={len(ours)})"
    print(f"{what:<44}{slow:10.1f}{fast:10.1f}   x{slow / fast:<8.1f}{worst}")


def main() -> None:
    samples = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with ExitStack() as stack:
        bare, ours = (stack.enter_context(supervisord()) for _ in range(2))
        bare.extension = None
        for daemon in (bare, ours):
            daemon.program("victim")
            for number in range(PROGRAMS - 1):
                daemon.program(f"p{number}", autostart="true")
            daemon.start()
            daemon.await_event(f"p{PROGRAMS - 2}", ProcessState.RUNNING)
        print(f"{f'ms, medians, {PROGRAMS} programs':<44}{'bare':>10}{'ours':>10}   ratio")
        latencies = [(exit_latency(bare), exit_latency(ours)) for _ in range(samples)]
        row("child exit -> event at the listener", *map(list, zip(*latencies, strict=True)))
        snapshots = [(timed(bare.client.snapshot), timed(ours.client.snapshot)) for _ in range(samples)]
        row("snapshot of all processes", *map(list, zip(*snapshots, strict=True)))
        for daemon in (bare, ours):
            daemon.begin("victim")
        row("SIGTERM -> everything is gone", [bare.terminate(120)], [ours.terminate(120)])


if __name__ == "__main__":
    main()
