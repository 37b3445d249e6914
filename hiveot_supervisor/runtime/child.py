"""A broker's process as our child: starting, reading what it says, watching and stopping it.

It dies with us (parent-death signal), whatever ends us. Knows nothing of any broker: what a line means is the
caller's business.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import resource
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from hiveot_supervisor.errors import HiveotError

log = logging.getLogger("hiveot.runtime")

START_TIMEOUT = 20.0
STOP_TIMEOUT = 25.0
"""Seconds; NATS takes about 10 ms per connected QoS 1 client to stop, supervisord waits 30 s for us."""

_PR_SET_PDEATHSIG = 1


class BrokerError(HiveotError):
    """The broker cannot be started or reached, ended, or refused a command."""


class Child:
    """One run of a broker's program.

    take: called from a thread of its own with each line that the program writes to stderr; on_exit: called from
    there when it has ended. `complaints`: the last things it complained about, as `take` finds them.
    """

    def __init__(self, take: Callable[[str], None], on_exit: Callable[[], None]) -> None:
        self._take = take
        self._on_exit = on_exit
        self._process: subprocess.Popen[str] | None = None
        self._complaints: list[str] = []
        self.ready = threading.Event()

    def start(self, command: Sequence[str | Path], *, folder: Path | None = None) -> None:
        """Run it, in `folder` if given. Raises BrokerError."""
        parent, libc = os.getpid(), ctypes.CDLL(None, use_errno=True)
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]

        def before_exec() -> None:
            # Only system calls: this runs between fork and exec. KILL, because nothing may outlive us for long, and
            # the store survives it.
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)
            with contextlib.suppress(OSError, ValueError):  # each client is an open file
                resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

        try:
            self._process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                cwd=folder,
                process_group=0,  # a Ctrl-C or stopasgroup meant for us must not end it behind our back
                preexec_fn=before_exec,
            )
        except OSError as err:
            raise BrokerError(f"cannot run {command[0]}", why=str(err)) from err
        threading.Thread(target=self._read, args=(self._process,), name="broker-log", daemon=True).start()

    def wait_ready(self) -> None:
        """Block until the caller of `take` has set `ready`. Raises BrokerError with the program's own words."""
        if not self.ready.wait(START_TIMEOUT):
            raise BrokerError("the broker does not get ready", why=f"waited {START_TIMEOUT:g} s", hint=self.words())
        if not self.running:
            raise BrokerError("the broker ended at once", why=self.words())

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self._process is not None:
            self._process.send_signal(number)

    def complain(self, text: str) -> None:
        """Remember what went wrong for `words`."""
        self._complaints = [*self._complaints[-4:], text]

    def words(self) -> str:
        """Its last complaint."""
        return self._complaints[-1] if self._complaints else "it says nothing"

    def exit_words(self) -> str:
        """Why it is not running, as far as it can be told."""
        code = self._process.poll() if self._process is not None else None
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return f"{how}; {self.words()}" if self._complaints else how

    def stop(self) -> None:
        """Stop it and wait; killed when it does not obey. Idempotent."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            log.warning("the broker did not stop within %g s, killing it", STOP_TIMEOUT)
            self._process.kill()
            self._process.wait()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            self._take(line.rstrip("\n"))
        process.wait()
        self.ready.set()
        self._on_exit()


class BrokerProcess:
    """What is the same of every broker's process. `version`: of the program, once it runs."""

    _child: Child
    version = ""

    @property
    def running(self) -> bool:
        return self._child.running

    @property
    def pid(self) -> int:
        return self._child.pid

    def exit_words(self) -> str:
        """Why it is not running, as far as it can be told."""
        return self._child.exit_words()

    def stop(self) -> None:
        """Stop it and wait; killed when it does not obey. Idempotent."""
        self._child.stop()
