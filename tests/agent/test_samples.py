"""The resource history: a row a minute, a bounded ring; and what the monitor sees of real processes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.wait import wait_until

from hiveot_supervisor.agent.monitor import Monitor
from hiveot_supervisor.agent.samples import INTERVAL, SampleRing, Usage, history
from hiveot_supervisor.agent.state import Reader, State


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "launcher.db")


def test_a_minute_becomes_one_row_with_mean_and_peaks(state: State, tmp_path: Path) -> None:
    ring = state.samples
    for n in range(12):
        ring.add({"a": Usage(float(n), 100 * n, 1, 2 + n, 10 - n)}, mono=5.0 * n, wall=1000.0 + 5 * n)
    assert Reader(tmp_path / "launcher.db").history("a") == [], "nothing is written before the minute is over"
    ring.add({"a": Usage(12.0, 0, 3, 1, None), "b": Usage(1.0, 7, 1, 1, None)}, mono=INTERVAL, wall=1060.0)
    reader = Reader(tmp_path / "launcher.db")
    (minute,) = reader.history("a")
    assert (minute.time, minute.cpu, minute.rss) == (1060.0, 6.0, 1100)
    assert (minute.processes, minute.threads, minute.files) == (3, 13, 10)
    assert [m.files for m in reader.history("b")] == [None], "hidden files are not 0 files"
    assert reader.history("nobody") == []


def test_the_ring_is_bounded_for_each_plugin_and_in_all(state: State) -> None:
    ring = SampleRing(state.samples.db, keep=5, max_rows=12)
    for n in range(40):
        usage = {name: Usage(0.0, n, 1, 1, 1) for name in ("a", "b")}
        ring.add(usage, mono=n * INTERVAL, wall=float(n))
    assert [m.rss for m in history(ring.db, "a")] == [35, 36, 37, 38, 39]
    for n in range(40, 50):
        ring.add({f"p{k}": Usage(0.0, n, 1, 1, 1) for k in range(6)}, mono=n * INTERVAL, wall=float(n))
    assert ring.db.execute("SELECT COUNT(*) FROM sample").fetchone()[0] == 12


def test_a_clock_that_is_set_back_neither_stops_nor_floods_the_ring(state: State) -> None:
    ring = state.samples
    for n in range(60):
        ring.add({"a": Usage(0.0, n, 1, 1, 1)}, mono=5.0 * n, wall=1e9 - 7200.0 * n)
    assert len(history(ring.db, "a")) == 4


def test_a_plugin_that_is_gone_leaves_no_history(state: State) -> None:
    for mono in (0.0, INTERVAL):
        state.samples.add({"a": Usage(0.0, 1, 1, 1, 1), "b": Usage(0.0, 1, 1, 1, 1)}, mono=mono, wall=1.0)
    state.forget("a")
    assert (len(history(state.samples.db, "a")), len(history(state.samples.db, "b"))) == (0, 1)


BUSY = """
import subprocess, sys, threading, time
files = [open('/dev/null') for _ in range(20)]
for _ in range(7):
    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
child = subprocess.Popen(['sleep', '1000'])
print('up', flush=True)
block = bytearray(30_000_000)
while True:
    pass
"""


@pytest.fixture
def busy() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE, text=True, process_group=0)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield process
    finally:
        subprocess.run(["kill", "-9", "--", f"-{process.pid}"], check=True)
        process.wait()


def test_the_monitor_sees_the_whole_tree(busy: subprocess.Popen[str]) -> None:
    monitor = Monitor()

    def look() -> Usage:
        usage, _ = monitor.look({"busy": busy.pid, "gone": 2**22 + 1}, 1)
        assert set(usage) == {"busy"}
        return usage["busy"]

    found = wait_until(lambda: (u := look()).rss > 30_000_000 and u.cpu > 20 and u)
    assert found.processes == 2
    assert found.threads == 9  # eight of its own, one of the child
    assert found.files is not None
    assert 23 <= found.files <= 40


def test_fifty_plugins_cost_less_than_a_hundredth_of_a_core() -> None:
    """A look every 5 s may take 50 ms; CPU time is counted, so that other load does not."""
    sleepers = [subprocess.Popen(["sleep", "1000"]) for _ in range(50)]
    try:
        monitor, roots = Monitor(), {f"p{n}": s.pid for n, s in enumerate(sleepers)}
        monitor.look(roots, 1)
        begun = time.process_time()
        for _ in range(10):
            usage, _ = monitor.look(roots, 1)
        assert (time.process_time() - begun) / 10 < 0.05
        assert len(usage) == 50
    finally:
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.wait()
