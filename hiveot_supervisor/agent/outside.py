"""The agent's ports to the machine: processes seen through /proc, prestart's reasons, credentials made aside."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterable

from hiveot_supervisor.agent.inbox import Provisioned
from hiveot_supervisor.agent.provisioning import Provisioner
from hiveot_supervisor.agent.table import Entry, Gate
from hiveot_supervisor.credentials import expiry, store
from hiveot_supervisor.errors import CredentialError, ExitCode, HiveotError, HubError, HubUnavailable, RequestTimeout
from hiveot_supervisor.foreign import clean
from hiveot_supervisor.model import Paths

log = logging.getLogger(__name__)

_PRESTART = b"hiveot_supervisor.prestart"
WORKERS = 4
"""Plugins whose credentials are made at the same time."""

_MAX_REASON = 65536  # bytes; the file may be the work of the plugin's own user
_GATES = (int(ExitCode.TRY_LATER), int(ExitCode.NEVER))


class MachineProcesses:
    """Processes of this machine, through /proc."""

    def __init__(self, paths: Paths) -> None:
        self._reasons = paths.prestart_dir
        self._script = str(paths.plugin_dir).encode()
        self._parent = _command_line(os.getppid())

    def executed(self, pid: int) -> bool:
        """The process runs the plugin's own program, or is gone (its end will be reported)."""
        line = _command_line(pid)
        if not line:
            return False
        words = line.split(b"\0")
        ours = any(w.startswith(self._script) and w.endswith(b".sh") for w in words[1:2]) or _PRESTART in words
        return line != self._parent and not ours

    def signal_group(self, leader: int, number: int) -> bool:
        """Signal what is left of a process group whose leader is gone; False when nothing is."""
        try:
            os.killpg(leader, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def signal(self, pid: int, number: int) -> None:
        """Signal one process, if it is still there."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)

    def gate(self, plugin_id: str, pid: int) -> Gate | None:
        """prestart's reason for an exit 111 or 100, if it is of this very process."""
        try:
            with (self._reasons / f"{plugin_id}.json").open("rb") as file:
                data = json.loads(file.read(_MAX_REASON))
            if data["pid"] != pid or data["code"] not in _GATES:
                return None
            return Gate(int(data["code"]), clean(str(data["reason"]), 500))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None


def _command_line(pid: int) -> bytes:
    """Asked again every few milliseconds during a start, hence without pathlib and io."""
    try:
        fd = os.open(f"/proc/{pid}/cmdline", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, 65536)
    except OSError:
        return b""
    finally:
        os.close(fd)


class BackgroundCredentials:
    """Makes credentials in threads of its own, a few at a time, in the order asked for, over the agent's connection.

    Most of the time goes by waiting: for the hub's answers and for the disk.
    """

    def __init__(self, paths: Paths, plugins: Provisioner, put: Callable[[Provisioned], None]) -> None:
        self._paths = paths
        self._plugins = plugins
        self._put = put
        self._jobs: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def valid(self, plugin_id: str) -> bool:
        """All that is needed is there and not expired (a renewal may be due)."""
        try:
            return self._plugins.valid(plugin_id)
        except (HiveotError, OSError):
            return False

    def _ensure(self, plugin_id: str) -> None:
        if self._plugins.ensure(plugin_id).superseded:
            try:
                note = self._plugins.retire(plugin_id)
            except HubError as error:
                note = error.what
            if note:
                log.warning("old token of %s: %s", plugin_id, note)

    def token_expires(self, plugin_id: str) -> float | None:
        """Wall time at which a plugin's token expires; None without a usable one."""
        try:
            return expiry.read_claims(store.read_text(self._paths.token(plugin_id))).expires
        except (CredentialError, OSError):
            return None

    def prepare(self, plugin_id: str) -> None:
        """Queue a plugin; a `Provisioned` item tells the outcome."""
        self._jobs.put(plugin_id)
        if len(self._threads) < WORKERS:
            self._threads.append(threading.Thread(target=self._work, name="credentials", daemon=True))
            self._threads[-1].start()

    def _work(self) -> None:
        while True:
            plugin_id = self._jobs.get()
            try:
                self._ensure(plugin_id)
                self._put(Provisioned(plugin_id))
            except (HubUnavailable, RequestTimeout) as error:
                self._put(Provisioned(plugin_id, str(error.what), retry=True))
            except (HiveotError, OSError) as error:
                log.error("credentials of %s: %s", plugin_id, error)
                self._put(Provisioned(plugin_id, f"no credentials: {error}".splitlines()[0]))


def end_orphans(entries: Iterable[Entry], *, grace: float = 1.0) -> None:
    """supervisord is dead: end what is left of the plugins' process groups, TERM first, KILL after `grace` seconds."""
    groups = [e.pid for e in entries if e.pid > 0 and _is_group_of(e.pid)]
    for number in (signal.SIGTERM, signal.SIGKILL):
        for group in groups:
            try:
                os.killpg(group, number)
            except (ProcessLookupError, PermissionError):
                continue
        deadline = time.monotonic() + grace
        while number == signal.SIGTERM and time.monotonic() < deadline and any(_group_alive(g) for g in groups):
            time.sleep(0.02)
        groups = [g for g in groups if _group_alive(g)]


def _is_group_of(pid: int) -> bool:
    """The PID still leads a process group (supervisord makes each child a group leader), or its group lives on."""
    try:
        return os.getpgid(pid) == pid
    except ProcessLookupError:
        return _group_alive(pid)
    except PermissionError:
        return False


def _group_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
