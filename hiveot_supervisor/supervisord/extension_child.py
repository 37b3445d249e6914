"""Inside supervisord: how children are forked, executed and reaped.

Part of our extension; it replaces methods of one `options` object (there is a new one after each reload).

* fork: no signal can get lost between fork and exec, when the child still has supervisord's Python handlers.
* execve: the child gets a parent-death signal, default SIGPIPE and SIGXFSZ, and supervisord's original umask, and loses
  supervisord's descriptors in one system call instead of one for each that may exist (3,000 for 1,000 programs).
* waitpid: wait4, so that exit code, signal and resource usage of the last reaped child are known.
* write: a full pipe to a listener that does not read makes supervisord wait, instead of ending it.

Nothing here decides when something starts or stops. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hiveot_supervisor.supervisord.process import parent_death_signal, set_parent_death_signal

HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR2)
"""Signals that supervisord handles (options.setsignals); exec would reset them, but only then."""

IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)
"""Signals that Python ignores, which exec would hand on."""

PRIVATE_UMASK = 0o077
FIRST_OWN = 3
"""supervisord closes what is open in a child from this descriptor on, up to its `minfds`."""

REPLACED = ("fork", "execve", "waitpid", "write")


@dataclass(frozen=True, slots=True)
class Ending:
    """How a child ended: exit code (-1 after a signal), signal (0 after an exit), peak RSS in kB, CPU in seconds."""

    pid: int
    exitcode: int
    signal: int
    maxrss_kb: int
    cpu: float


class Children:
    """The replaced methods of one `options` object. `on_reaped` is called after each reaped child."""

    def __init__(self, options: Any, death_signal: int, on_reaped: Callable[[], None]) -> None:
        self.options = options
        self.last: Ending | None = None
        self._death_signal = death_signal
        self._on_reaped = on_reaped
        self._supervisor = 0
        self._umask: int | None = None
        self._descriptors = 0
        self._stock = {name: getattr(options, name) for name in REPLACED}
        parent_death_signal()  # loads libc here, not in each child

    def attach(self) -> None:
        for name in REPLACED:
            setattr(self.options, name, getattr(self, name))

    def detach(self) -> None:
        for name, method in self._stock.items():
            setattr(self.options, name, method)
        if self._umask is not None:
            os.umask(self._umask)

    def make_private(self) -> None:
        """From now on supervisord's own files (logs above all) are for its user only. After daemonising."""
        if self._umask is None:
            self._umask = os.umask(PRIVATE_UMASK)
            with contextlib.suppress(OSError, TypeError):
                log = Path(self.options.logfile)  # opened before we were loaded; never touch /dev/null or /dev/stdout
                if stat.S_ISREG(log.lstat().st_mode):
                    log.chmod(0o600)

    def fork(self) -> int:
        """os.fork with all signals blocked until the child has default handlers and both know its process group."""
        self._supervisor = os.getpid()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
            with contextlib.suppress(Exception):
                if pid == 0:
                    self._after_fork()
                else:
                    # so that a stop of the whole group also works before the child has come to its own setpgrp
                    os.setpgid(pid, pid)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return pid

    def _after_fork(self) -> None:
        signal.set_wakeup_fd(-1)
        for number in HANDLED:
            signal.signal(number, signal.SIG_DFL)
        self._descriptors, self.options.minfds = self.options.minfds, FIRST_OWN
        if self._umask is not None:
            os.umask(self._umask)

    def execve(self, filename: str, argv: list[str], env: dict[str, str]) -> Any:
        """In the child, after setuid (which would clear the parent-death signal) and immediately before exec."""
        with contextlib.suppress(Exception):
            os.closerange(FIRST_OWN, max(self._descriptors, FIRST_OWN))
            for number in IGNORED:
                signal.signal(number, signal.SIG_DFL)
            if self._death_signal:
                set_parent_death_signal(self._death_signal)
                if os.getppid() != self._supervisor:
                    os._exit(127)  # supervisord died before the kernel knew that it matters
        return self._stock["execve"](filename, argv, env)

    def waitpid(self) -> tuple[int | None, int | None]:
        """Reap one child, if there is one, and remember how it ended."""
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except OSError:
            stock: tuple[int | None, int | None] = self._stock["waitpid"]()
            return stock
        if pid:
            code = os.waitstatus_to_exitcode(status)
            self.last = Ending(pid, max(code, -1), max(-code, 0), usage.ru_maxrss, usage.ru_utime + usage.ru_stime)
            self._on_reaped()
        return pid, status

    def write(self, fd: int, data: Any) -> int:
        """Bytes written; 0 when the pipe is full. The caller keeps the rest and comes back when it is writable."""
        try:
            return int(self._stock["write"](fd, data))
        except BlockingIOError:
            return 0
