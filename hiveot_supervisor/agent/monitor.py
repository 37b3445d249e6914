"""CPU, memory, threads and open files of process trees, sampled with psutil.

One pass over all processes serves all plugins; CPU is the share of one core since the previous pass. It judges nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from hiveot_supervisor.agent.samples import Usage
from hiveot_supervisor.agent.strays import Foreign


class Monitor:
    """Samples trees by their root PID; remembers CPU times between calls."""

    def __init__(self) -> None:
        self._times: dict[tuple[int, float], float] = {}
        self._last = time.monotonic()
        self._known: dict[tuple[int, float], Foreign | None] = {}

    def look(self, roots: Mapping[str, int], supervisord: int) -> tuple[dict[str, Usage], list[Foreign]]:
        """Usage of each tree in `roots` (name -> PID of its root), and the processes that are not supervisord's.

        Trees that are gone are left out.
        """
        processes, parents = self._processes()
        owned = {supervisord: "", os.getpid(): ""}
        foreign = [p for pid, p in processes.items() if _owner(pid, parents, owned) is None]
        return self._sample(roots, processes, parents), self._foreign(foreign)

    def _foreign(self, processes: list[psutil.Process]) -> list[Foreign]:
        """What is known of foreign processes; each is looked at once in its life."""
        seen: dict[tuple[int, float], Foreign | None] = {}
        for process in processes:
            try:
                key = (process.pid, process.create_time())
                seen[key] = self._known[key] if key in self._known else _describe(process)
            except psutil.Error:
                continue
        self._known = seen
        return [f for f in seen.values() if f is not None]

    def _sample(
        self, roots: Mapping[str, int], processes: dict[int, psutil.Process], parents: dict[int, int]
    ) -> dict[str, Usage]:
        now = time.monotonic()
        elapsed = max(now - self._last, 0.001)
        owners = {pid: name for name, pid in roots.items()}
        members: dict[str, list[psutil.Process]] = {}
        for pid, process in processes.items():
            owner = _owner(pid, parents, owners)
            if owner is not None:
                members.setdefault(owner, []).append(process)
        times: dict[tuple[int, float], float] = {}
        result = {name: self._usage(trees, elapsed, times) for name, trees in members.items()}
        self._times, self._last = times, now
        return result

    @staticmethod
    def _processes() -> tuple[dict[int, psutil.Process], dict[int, int]]:
        processes: dict[int, psutil.Process] = {}
        parents: dict[int, int] = {}
        for process in psutil.process_iter():
            try:
                parents[process.pid] = process.ppid()
            except psutil.Error:
                continue
            processes[process.pid] = process
        return processes, parents

    def _usage(self, processes: list[psutil.Process], elapsed: float, times: dict[tuple[int, float], float]) -> Usage:
        used, rss, threads = 0.0, 0, 0
        files: int | None = 0
        for process in processes:
            try:
                with process.oneshot():
                    cpu = process.cpu_times()
                    rss += process.memory_info().rss
                    key = (process.pid, process.create_time())
                threads += _threads(process.pid)
                opened = _open_files(process.pid)
            except (psutil.Error, OSError):
                continue
            files = None if files is None or opened is None else files + opened
            times[key] = cpu.user + cpu.system
            used += times[key] - self._times.get(key, times[key])
        return Usage(round(100 * used / elapsed, 1), rss, len(processes), threads, files)


def _threads(pid: int) -> int:
    """Number of threads: each has a folder in `task` (psutil reads another file for it: 18 us instead of 2)."""
    return Path(f"/proc/{pid}/task").stat().st_nlink - 2


def _open_files(pid: int) -> int | None:
    """Number of open file descriptors; None when the process is somebody else's and hides them."""
    folder = Path(f"/proc/{pid}/fd")
    try:
        return folder.stat().st_size or sum(1 for _ in folder.iterdir())  # the size is the number since Linux 6.2
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


def _owner(pid: int, parents: Mapping[int, int], owners: Mapping[int, str]) -> str | None:
    for _ in range(64):
        if pid in owners:
            return owners[pid]
        pid = parents.get(pid, 0)
        if pid <= 1:
            return None
    return None
