"""Starting and ending supervisord for a home: the command, stale leftovers, waiting for socket and end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from hiveot_supervisor.cli.home import Home
from hiveot_supervisor.errors import HiveotError, SupervisordFault, SupervisordUnreachable, TimedOut
from hiveot_supervisor.model import Paths
from hiveot_supervisor.supervisord.process import is_alive, set_parent_death_signal
from hiveot_supervisor.supervisord.rpc import ForeignSocket, clear_stale

READY_TIMEOUT = 15.0


def command(paths: Paths) -> list[str]:
    """supervisord of this very environment (the extension is imported by it)."""
    return [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(paths.supervisord_conf)]


def is_running(home: Home) -> bool:
    """A supervisord answers on this home's socket. Raises ForeignSocket when it is somebody else's."""
    try:
        home.supervisord().state()
    except ForeignSocket:
        raise
    except SupervisordUnreachable:
        return False
    except SupervisordFault:
        return True
    return True


def stderr_file(paths: Paths) -> Path:
    """Where supervisord's own standard error goes in the background (a traceback is only said there)."""
    return paths.logs / "supervisord.err"


def spawn(home: Home, *, background: bool) -> subprocess.Popen[bytes]:
    """Start supervisord. In the foreground it ends with us; Ctrl-C reaches only us, so that we stop it in order."""
    clear_stale(home.paths.socket, home.paths.pidfile)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SUPERVISOR_")}
    if background:
        with open(stderr_file(home.paths), "ab", opener=lambda p, flags: os.open(p, flags, 0o600)) as errors:
            return subprocess.Popen(
                command(home.paths),
                cwd=home.paths.home,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
                umask=0o077,
            )
    return subprocess.Popen(
        command(home.paths),
        cwd=home.paths.home,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        process_group=0,
        preexec_fn=lambda: set_parent_death_signal(signal.SIGTERM),
    )


def await_socket(home: Home, process: subprocess.Popen[bytes]) -> None:
    """Wait until supervisord answers. Raises HiveotError when it ended instead, TimedOut."""
    deadline = time.monotonic() + READY_TIMEOUT
    while not (is_running(home) and _pid(home.paths) == process.pid):
        if process.poll() is not None:
            raise HiveotError(
                f"supervisord ended at once (exit {process.returncode})",
                why=_last_words(home.paths),
                hint=f"its log: {home.paths.supervisord_log}",
            )
        if time.monotonic() > deadline:
            raise TimedOut(
                f"supervisord does not answer after {READY_TIMEOUT:.0f} s", hint=str(home.paths.supervisord_log)
            )
        time.sleep(0.02)


def _last_words(paths: Paths) -> str:
    from hiveot_supervisor.supervisord.logfiles import last_lines

    for path in (stderr_file(paths), paths.supervisord_log):
        lines = [line for line in last_lines(path, 5) if line.strip()]
        if lines:
            return lines[-1]
    return ""


def shut_down(home: Home, *, timeout: float) -> bool:
    """Ask supervisord to stop everything and wait for its end. Returns False when it did not run. Raises TimedOut."""
    pid = _pid(home.paths)
    try:
        home.supervisord().shutdown()
    except ForeignSocket:
        raise
    except SupervisordUnreachable:
        clear_stale(home.paths.socket, home.paths.pidfile)
        return False
    except SupervisordFault:
        pass  # it is shutting down already
    deadline = time.monotonic() + timeout
    while pid and is_alive(pid):
        if time.monotonic() > deadline:
            raise TimedOut(
                f"supervisord (pid {pid}) still runs after {timeout:.0f} s",
                hint=f"look at {home.paths.supervisord_log}; what stops slowly: hiveot-launcher list",
            )
        time.sleep(0.02)
    return True


def _pid(paths: Paths) -> int:
    try:
        return int(paths.pidfile.read_text())
    except (OSError, ValueError):
        return 0
