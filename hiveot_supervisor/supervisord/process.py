"""What Linux knows about a process, from /proc and prctl, without psutil.

Small reads for questions about single processes (pid reuse, is it still the pre-start hook, who is its parent) and
the parent-death signal. Measuring is the agent's monitor's job; nothing here starts a process.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import time
from functools import cache
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_GET_PDEATHSIG = 2


def stat_fields(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third on (state, ppid, pgrp, …; proc_pid_stat(5)); None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since boot: with the pid it names one process for ever."""
    fields = stat_fields(pid)
    return int(fields[19]) if fields else None


def start_wall(pid: int) -> float | None:
    """When the process started, in wall seconds by today's clock (10 ms exact); None when it is gone."""
    ticks = start_time(pid)
    if ticks is None:
        return None
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return booted + ticks / os.sysconf("SC_CLK_TCK")


def parent(pid: int) -> int | None:
    """Its parent's pid; None when it is gone."""
    fields = stat_fields(pid)
    return int(fields[1]) if fields else None


def is_alive(pid: int, started: int | None = None) -> bool:
    """It exists and is not a zombie. With `started` (of `start_time`) a reused pid counts as dead."""
    fields = stat_fields(pid) if pid > 0 else None
    return fields is not None and fields[0] not in "ZX" and started in (None, int(fields[19]))


def resident(pid: int) -> int | None:
    """Resident memory of one process in bytes; None when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def cmdline(pid: int) -> list[str]:
    """Its argument list; empty when it is gone, a zombie, or belongs to somebody who hides it."""
    try:
        data = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return [os.fsdecode(word) for word in data.split(b"\0")[:-1]] if data else []


def kill_group(pid: int, number: int = signal.SIGKILL) -> bool:
    """Send a signal to the process group that `pid` leads. False when there is none any more.

    Raises PermissionError, and ValueError for pids that do not name one process group (0, 1, negative).
    """
    if pid <= 1:
        raise ValueError(f"not the leader of a process group: {pid}")
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return False
    return True


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def set_parent_death_signal(number: int) -> None:
    """Have the kernel send us `number` when our parent dies (prctl(2)); 0 switches it off.

    It survives exec, but not a change of uid or the exec of a setuid program, and fork does not inherit it. A parent
    that is dead already sends nothing: look at os.getppid() afterwards. Raises OSError.
    """
    _prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(number))


def parent_death_signal() -> int:
    """The signal that we get when our parent dies, 0 for none. Raises OSError."""
    number = ctypes.c_int(0)
    _prctl(PR_GET_PDEATHSIG, ctypes.byref(number))
    return number.value


def _prctl(option: int, argument: object) -> None:
    if _libc().prctl(option, argument, 0, 0, 0) != 0:
        code = ctypes.get_errno() or errno.EINVAL
        raise OSError(code, os.strerror(code))


def started_wall(pid: int) -> float | None:
    """When the process started, wall seconds (to 10 ms); None when it is gone."""
    ticks = start_time(pid)
    if ticks is None:
        return None
    boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
    return int(boot.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")
