"""What the comparison measures: one function a row of the table, for any peer; seconds, bytes and percent."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from peers import Peer, Stamps, descendants

POLL = 0.001
SHARE, SPREAD = 0.05, 0.02
"""Looking for many workers takes processor time from those who start and stop them: at most this share of a core, as
long as that makes the figure wrong by no more than this share of it."""

SETTLE = 5.0
"""Seconds after which the consequences of a start are over."""


@contextlib.contextmanager
def running(peer: Peer, count: int, *, notify: bool = False) -> Iterator[float]:
    """A configured and started peer; gives the seconds from the start command until all workers ran."""
    folder = Path(tempfile.mkdtemp(prefix="hb", dir="/tmp"))
    try:
        peer.configure(folder, count, notify=notify)
        begun = time.monotonic()
        peer.start()
        await_workers(peer, count)
        yield time.monotonic() - begun
    finally:
        peer.clean_up()
        shutil.rmtree(folder, ignore_errors=True)


def await_workers(peer: Peer, count: int, timeout: float = 180.0) -> None:
    begun = time.monotonic()
    while True:
        looked = time.monotonic()
        if (found := len(peer.workers())) == count:
            return
        now = time.monotonic()
        if now > begun + timeout:
            raise TimeoutError(f"{peer.name}: {found} of {count} workers after {timeout:.0f} s")
        time.sleep(max(POLL, min((now - looked) / SHARE, (now - begun) * SPREAD)))


def stop(peer: Peer) -> float:
    """Seconds from the stop command until no worker is left, nor anything of the manager's own."""
    own = set() if peer.name == "systemd" else managers(peer)
    begun = time.monotonic()
    peer.stop()
    await_workers(peer, 0)
    while left := [pid for pid in own if alive(pid)]:
        if time.monotonic() - begun > 180:
            raise TimeoutError(f"{peer.name}: {len(left)} of its own processes are left")
        time.sleep(POLL)
    return time.monotonic() - begun


def alive(pid: int) -> bool:
    """It runs; a zombie does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def restarts(peer: Peer, samples: int, budget: float) -> list[float]:
    """Seconds from kill -9 of a worker until its successor has been executed; each worker is killed once at most."""
    found: list[float] = []
    ends = time.monotonic() + budget
    for name in random.sample(sorted(peer.workers()), samples):
        if time.monotonic() > ends and found:
            break
        pid = peer.workers()[name]
        begun = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        while peer.workers().get(name, pid) == pid:
            if time.monotonic() - begun > 30:
                raise TimeoutError(f"{peer.name} does not start {name} again")
            time.sleep(POLL)
        found.append(time.monotonic() - begun)
        time.sleep(0.05)
    return found


def notifications(peer: Peer, samples: int, budget: float) -> list[float]:
    """Seconds from kill -9 of a worker until another process was told. Nothing else runs meanwhile."""
    stamps = Stamps()
    found: list[float] = []
    with peer.listen(stamps):
        ends = time.monotonic() + budget
        names = sorted(peer.workers())
        for name in random.sample(names, min(samples, len(names))):
            if time.monotonic() > ends and found:
                break
            pid = peer.workers()[name]
            time.sleep(0.1)  # what the last one has caused is over
            begun = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            found.append(stamps.wait(name, begun) - begun)
        await_workers(peer, len(names))
    return found


def status(peer: Peer, samples: int) -> list[float]:
    """Seconds that the status command takes."""
    found = []
    for _ in range(samples):
        begun = time.monotonic()
        # without a time-out, with which it would look for the end in steps of up to 50 ms
        subprocess.run(peer.status(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        found.append(time.monotonic() - begun)
    return found


def managers(peer: Peer) -> set[int]:
    return descendants(peer.roots()) - set(peer.workers().values())


def memory(pids: set[int]) -> tuple[int, int]:
    """RSS and PSS of processes together, bytes. RSS counts shared pages again and again, PSS shares them out."""
    totals = {"Rss": 0, "Pss": 0}
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                key, _, rest = line.partition(":")
                if key in totals:
                    totals[key] += int(rest.split()[0]) * 1024
    return totals["Rss"], totals["Pss"]


def idle(pids: set[int], seconds: float) -> float:
    """Percent of one core that processes use while nothing happens, once what the start has caused is over."""
    time.sleep(SETTLE)
    before = {pid: cpu(pid) for pid in pids}
    begun = time.monotonic()
    time.sleep(seconds)
    used = sum(cpu(pid) - was for pid, was in before.items())
    return 100 * used / (time.monotonic() - begun)


def cpu(pid: int) -> float:
    """Seconds of processor time, to the nanosecond, of a process's living threads."""
    total = 0
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
            total += int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
    return total / 1e9
