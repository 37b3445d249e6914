"""Whether a plugin is ready, and whether it is still alive: log pattern, TCP, HTTP, command, sd_notify, hub.

Checks that may block run in a few threads; results come back as `Probed` items. What follows from them is decided in
`core`. A probe belongs to one process (PID): results about an earlier run are dropped.
"""

from __future__ import annotations

import http.client
import logging
import os
import re
import shlex
import signal
import socket
import subprocess
import threading
import urllib.parse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from hiveot_supervisor.agent.inbox import Probed
from hiveot_supervisor.errors import HiveotError
from hiveot_supervisor.model import Paths, Plugin, Probe, ProbeKind
from hiveot_supervisor.prestart.become import User, find_user
from hiveot_supervisor.supervisord.logfiles import Follower

log = logging.getLogger(__name__)

WORKERS = 4
CHECK_TIMEOUT = 5.0
"""Seconds that one TCP, HTTP or command check may take at most."""

LOG_INTERVAL = 0.1
"""Seconds between two looks at a log file."""


@dataclass(slots=True)
class _Watch:
    """One probe of one run."""

    plugin: Plugin
    pid: int
    probe: Probe
    purpose: str
    due: float
    begun: float
    follower: Follower | None = None
    busy: bool = False
    late: bool = False


@dataclass(slots=True)
class Probes:
    """All probes under way. Used by the main loop; only `put` is called from other threads.

    present: clients that the hub says are online.
    """

    put: Callable[[Probed], None]
    paths: Paths
    present: set[str] = field(default_factory=set)
    _watches: dict[tuple[str, str], _Watch] = field(default_factory=dict)
    _followers: dict[str, Follower] = field(default_factory=dict)
    _pool: ThreadPoolExecutor | None = None
    _notify: _NotifySockets | None = None
    _early: dict[str, tuple[int, int]] = field(default_factory=dict)

    def prepare(self, plugin: Plugin) -> None:
        """Before a start: remember where the log ends now, and open the notify socket."""
        kind = plugin.ready.kind if plugin.ready else None
        if kind is ProbeKind.LOG and plugin.log_file is not None:
            self._followers[plugin.id] = Follower(plugin.log_file)
        if kind is ProbeKind.NOTIFY:
            if self._notify is None:
                self._notify = _NotifySockets(self.paths, self._notified)
            self._early.pop(plugin.id, None)
            self._notify.open(plugin)

    def begin_ready(self, plugin: Plugin, pid: int, mono: float) -> None:
        """The program runs: begin to ask whether it is ready."""
        if plugin.ready is not None:
            follower = self._followers.pop(plugin.id, None)
            watch = _Watch(plugin, pid, plugin.ready, "ready", mono, mono, follower)
            if watch.probe.kind is ProbeKind.LOG and follower is None and plugin.log_file is not None:
                watch.follower = Follower(plugin.log_file, from_start=True)
            self._watches[plugin.id, "ready"] = watch
            self._judge_early(plugin.id)

    def begin_alive(self, plugin: Plugin, pid: int, mono: float) -> None:
        """It is ready: ask from now on whether it is alive."""
        if plugin.alive is not None:
            probe = plugin.alive.probe
            self._watches[plugin.id, "alive"] = _Watch(plugin, pid, probe, "alive", mono + probe.interval, mono)

    def end(self, plugin_id: str) -> None:
        """Its process is gone."""
        for purpose in ("ready", "alive"):
            self._watches.pop((plugin_id, purpose), None)
        self._followers.pop(plugin_id, None)

    def answered(self, item: Probed) -> None:
        """Take note that a check is over; one that is ready needs no further asking."""
        watch = self._watches.get((item.plugin, item.purpose))
        if watch is None or watch.pid != item.pid:
            return
        watch.busy = False
        if item.ok and item.purpose == "ready":
            del self._watches[item.plugin, item.purpose]

    def tick(self, mono: float) -> float:
        """Begin the checks that are due; returns when the next one is (monotonic)."""
        for watch in list(self._watches.values()):
            if watch.due <= mono and not watch.busy:
                self._check(watch, mono)
        return min((w.due for w in self._watches.values() if not w.busy), default=mono + 60.0)

    def _check(self, watch: _Watch, mono: float) -> None:
        probe = watch.probe
        watch.due = mono + (LOG_INTERVAL if probe.kind is ProbeKind.LOG else probe.interval)
        if watch.purpose == "ready" and not watch.late and mono - watch.begun > probe.timeout:
            watch.late = True  # the question stays open, but the others need not wait any longer
            self.put(Probed(watch.plugin.id, watch.pid, "ready", False, f"not ready after {probe.timeout:g} s"))
        if probe.kind is ProbeKind.HUB:
            ok = watch.plugin.id in self.present
            why = "" if ok else "it is not connected to the hub"
            self.put(Probed(watch.plugin.id, watch.pid, watch.purpose, ok, why))
        elif probe.kind is ProbeKind.LOG:
            self._look_at_log(watch)
        elif probe.kind in (ProbeKind.TCP, ProbeKind.HTTP, ProbeKind.COMMAND):
            watch.busy = True
            if self._pool is None:
                self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="probe")
            self._pool.submit(self._ask, watch)

    def _look_at_log(self, watch: _Watch) -> None:
        pattern = re.compile(watch.probe.target)
        for line in watch.follower.lines() if watch.follower else ():
            if pattern.search(line):
                self.put(Probed(watch.plugin.id, watch.pid, watch.purpose, True))
                return

    def _ask(self, watch: _Watch) -> None:
        try:
            problem = check(watch.probe, watch.plugin)
        except Exception as error:  # a check may fail in any way, but must be answered
            log.exception("probe of %s", watch.plugin.id)
            problem = str(error)
        self.put(Probed(watch.plugin.id, watch.pid, watch.purpose, not problem, problem))

    def _notified(self, plugin_id: str, sender: int) -> None:
        """READY=1 came in, maybe before we have seen that the program runs; from the notify thread."""
        try:
            group = os.getpgid(sender)
        except ProcessLookupError:
            group = 0
        self._early[plugin_id] = (sender, group)
        self._judge_early(plugin_id)

    def _judge_early(self, plugin_id: str) -> None:
        """The sender must be the plugin's process or belong to its process group. Saying it twice does no harm."""
        watch, sent_by = self._watches.get((plugin_id, "ready")), self._early.get(plugin_id)
        if watch is None or sent_by is None or watch.probe.kind is not ProbeKind.NOTIFY:
            return
        if watch.pid in sent_by:
            self.put(Probed(plugin_id, watch.pid, "ready", True))
        self._early.pop(plugin_id, None)


def check(probe: Probe, plugin: Plugin) -> str:
    """One TCP, HTTP or command check. Returns what is wrong, empty when nothing is. Blocks up to CHECK_TIMEOUT."""
    if probe.kind is ProbeKind.TCP:
        return _check_tcp(probe.target)
    if probe.kind is ProbeKind.HTTP:
        return _check_http(probe.target)
    return _check_command(probe.target, plugin)


def _check_tcp(target: str) -> str:
    host, _, port = target.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]") or "localhost", int(port)), timeout=CHECK_TIMEOUT):
            return ""
    except (OSError, ValueError) as error:
        return f"tcp {target}: {error}"


def _check_http(target: str) -> str:
    """2xx and 3xx are good. Certificates are not verified: the question is whether it answers, not who it is."""
    import ssl

    url = urllib.parse.urlsplit(target)
    connection: http.client.HTTPConnection
    if url.scheme == "https":
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(
            url.hostname or "localhost", url.port, timeout=CHECK_TIMEOUT, context=context
        )
    else:
        connection = http.client.HTTPConnection(url.hostname or "localhost", url.port, timeout=CHECK_TIMEOUT)
    try:
        connection.request("GET", urllib.parse.urlunsplit(("", "", url.path or "/", url.query, "")))
        status = connection.getresponse().status
        return "" if 200 <= status < 400 else f"http {target}: status {status}"
    except (OSError, http.client.HTTPException) as error:
        return f"http {target}: {error}"
    finally:
        connection.close()


def _check_command(target: str, plugin: Plugin) -> str:
    """Exit 0 is good. Runs in the plugin's folder, with its environment and as its user, without a shell; killed with
    its children.
    """
    environment = {**os.environ, **dict(plugin.environment)}
    environment.pop("SUPERVISOR_SERVER_URL", None)
    try:
        user = find_user(plugin.user)
    except HiveotError as error:
        return f"command {target}: {error.what}"
    # as the plugin's user: what that user can change must not run with more rights
    identity: dict[str, Any] = {}
    if user is not None:
        groups = os.getgrouplist(user.name, user.gid)
        identity = {"user": user.uid, "group": user.gid, "extra_groups": groups}
        environment = {**environment, **dict(user.environment)}
    try:
        process = subprocess.Popen(
            shlex.split(target),
            cwd=plugin.directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            **identity,
        )
    except (OSError, ValueError) as error:
        return f"command {target}: {error}"
    try:
        code = process.wait(CHECK_TIMEOUT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return f"command {target}: no answer within {CHECK_TIMEOUT:g} s"
    return "" if code == 0 else f"command {target}: exit {code}"


def _other_user(plugin: Plugin) -> User | None:
    """The user that the plugin runs as, if that is not ours; prestart tells when that is not possible."""
    try:
        return find_user(plugin.user)
    except HiveotError:
        return None


class _NotifySockets:
    """The datagram sockets of sd_notify(3), one for each plugin: run/notify/NAME.sock, read by one thread."""

    def __init__(self, paths: Paths, ready: Callable[[str, int], None]) -> None:
        import selectors

        self._paths = paths
        self._ready = ready
        self._sockets: dict[str, socket.socket] = {}
        self._selector = selectors.DefaultSelector()

    def open(self, plugin: Plugin) -> None:
        """Open the plugin's socket, for its own user alone, unless it is open."""
        import selectors

        plugin_id, user = plugin.id, _other_user(plugin)
        path = self._paths.notify_socket(plugin_id)
        path.parent.mkdir(mode=0o700, exist_ok=True, parents=True)
        if user is not None:
            for folder in (path.parent, path.parent.parent):  # names in it can be used, not listed
                folder.chmod(0o711)
        if plugin_id in self._sockets:
            return
        path.unlink(missing_ok=True)
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        receiver.bind(str(path))
        path.chmod(0o600)
        if user is not None:
            os.chown(path, user.uid, user.gid, follow_symlinks=False)
        self._sockets[plugin_id] = receiver
        self._selector.register(receiver, selectors.EVENT_READ, plugin_id)
        if len(self._sockets) == 1:
            threading.Thread(target=self._work, name="notify", daemon=True).start()

    def _work(self) -> None:
        import struct

        while True:
            for key, _ in self._selector.select(1.0):
                receiver: socket.socket = self._sockets[key.data]
                data, ancillary, _, _ = receiver.recvmsg(4096, socket.CMSG_SPACE(12))
                sender = 0
                for level, kind, content in ancillary:
                    if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                        sender = struct.unpack("3i", content)[0]
                if b"READY=1" in data.split(b"\n"):
                    self._ready(key.data, sender)
