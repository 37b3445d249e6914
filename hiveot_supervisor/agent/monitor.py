"""CPU, memory, threads and open files of process trees, and what else runs on the machine.

One pass over /proc serves all plugins: one small file a process, read by hand, as it is done every few seconds for ever
(psutil takes 130 us a process for the same). CPU is the share of one core since the previous pass. It judges nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import psutil

from hiveot_supervisor.agent.samples import Usage
from hiveot_supervisor.agent.strays import Foreign

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class _Process(NamedTuple):
    """From /proc/PID/stat: cpu in seconds, rss in bytes, started in ticks since boot."""

    pid: int
    parent: int
    cpu: float
    threads: int
    started: int
    rss: int


class Monitor:
    """Samples trees by their root PID; remembers CPU times between calls."""

    def __init__(self) -> None:
        self._times: dict[tuple[int, int], float] = {}
        self._last = time.monotonic()
        self._known: dict[tuple[int, int], Foreign | None] = {}

    def look(self, roots: Mapping[str, int], supervisord: int) -> tuple[dict[str, Usage], list[Foreign]]:
        """Usage of each tree in `roots` (name -> PID of its root), and the processes that are not supervisord's.

        Trees that are gone are left out.
        """
        processes = {p.pid: p for name in os.listdir("/proc") if name.isdigit() and (p := _read(int(name)))}  # noqa: PTH208
        owned = {supervisord: "", os.getpid(): ""}
        foreign = [p for p in processes.values() if _owner(p.pid, processes, owned) is None]
        return self._sample(roots, processes), self._foreign(foreign)

    def _foreign(self, processes: list[_Process]) -> list[Foreign]:
        """What is known of foreign processes; each is looked at once in its life."""
        seen: dict[tuple[int, int], Foreign | None] = {}
        for process in processes:
            key = (process.pid, process.started)
            try:
                seen[key] = self._known[key] if key in self._known else _describe(psutil.Process(process.pid))
            except psutil.Error:
                continue
        self._known = seen
        return [f for f in seen.values() if f is not None]

    def _sample(self, roots: Mapping[str, int], processes: dict[int, _Process]) -> dict[str, Usage]:
        now = time.monotonic()
        elapsed = max(now - self._last, 0.001)
        owners = {pid: name for name, pid in roots.items()}
        members: dict[str, list[_Process]] = {}
        for process in processes.values():
            owner = _owner(process.pid, processes, owners)
            if owner is not None:
                members.setdefault(owner, []).append(process)
        times: dict[tuple[int, int], float] = {}
        result = {name: self._usage(trees, elapsed, times) for name, trees in members.items()}
        self._times, self._last = times, now
        return result

    def _usage(self, processes: list[_Process], elapsed: float, times: dict[tuple[int, int], float]) -> Usage:
        used, rss, threads, count = 0.0, 0, 0, 0
        files: int | None = 0
        for process in processes:
            try:
                opened = _open_files(process.pid)
            except OSError:
                continue
            key = (process.pid, process.started)
            times[key] = process.cpu
            used += process.cpu - self._times.get(key, process.cpu)
            rss += process.rss
            threads += process.threads
            files = None if files is None or opened is None else files + opened
            count += 1
        return Usage(round(100 * used / elapsed, 1), rss, count, threads, files)


def _read(pid: int) -> _Process | None:
    """One process; None when it is gone. Fields: proc_pid_stat(5)."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        data = os.read(fd, 4096)
    except OSError:
        return None
    finally:
        os.close(fd)
    fields = data[data.rindex(b")") + 2 :].split()
    cpu = (int(fields[11]) + int(fields[12])) / _TICKS
    return _Process(pid, int(fields[1]), cpu, int(fields[17]), int(fields[19]), int(fields[21]) * _PAGE)


def _open_files(pid: int) -> int | None:
    """Number of open file descriptors; None when the process is somebody else's and hides them."""
    folder = f"/proc/{pid}/fd"
    try:
        # the size is the number since Linux 6.2
        return os.stat(folder).st_size or sum(1 for _ in Path(folder).iterdir())  # noqa: PTH116
    except PermissionError:
        return None


def _describe(process: psutil.Process) -> Foreign | None:
    """Command line and home of a process; None for kernel threads and what hides itself."""
    argv = tuple(process.cmdline())
    if not argv:
        return None
    try:
        environment = process.environ()
    except psutil.Error:
        environment = {}
    home, program = environment.get("HIVEOT_HOME", ""), environment.get("SUPERVISOR_PROCESS_NAME", "")
    return Foreign(process.pid, process.create_time(), argv, home, program)


def _owner(pid: int, processes: Mapping[int, _Process], owners: Mapping[int, str]) -> str | None:
    for _ in range(64):
        if pid in owners:
            return owners[pid]
        process = processes.get(pid)
        if process is None or process.parent <= 1:
            return None
        pid = process.parent
    return None
