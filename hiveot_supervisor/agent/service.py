"""The agent process: threads, signals and the one queue around `core.Agent`.

Started by supervisord as `[eventlistener:launcher]`. Standard input and output belong to the listener protocol; what is
said goes to standard error (logs/launcher.log). If this process dies supervisord starts it again and it reconciles.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from hiveot_supervisor import __version__
from hiveot_supervisor.agent import reconcile
from hiveot_supervisor.agent.core import Agent
from hiveot_supervisor.agent.folder import FolderWatch
from hiveot_supervisor.agent.health import Health
from hiveot_supervisor.agent.inbox import (
    Asked,
    Delivered,
    HubDown,
    HubReady,
    HubUp,
    Present,
    Probed,
    PropertyDelivered,
    Provisioned,
    Renewed,
    Reported,
    Retired,
    Signalled,
    Stored,
    SupervisordGone,
)
from hiveot_supervisor.agent.monitor import Monitor
from hiveot_supervisor.agent.outside import BackgroundCredentials, MachineProcesses, end_orphans
from hiveot_supervisor.agent.probes import Probes
from hiveot_supervisor.agent.provisioning import Provisioner, refresh_own
from hiveot_supervisor.agent.publisher import Publisher
from hiveot_supervisor.agent.renewal_worker import RenewalWorker
from hiveot_supervisor.agent.renewing import Renewals
from hiveot_supervisor.agent.reports import Reports
from hiveot_supervisor.agent.requests import Requests
from hiveot_supervisor.agent.samples import Usage
from hiveot_supervisor.agent.state import State, StateError
from hiveot_supervisor.agent.strays import escaped
from hiveot_supervisor.agent.strays import find as find_strays
from hiveot_supervisor.clock import SystemClock
from hiveot_supervisor.credentials.memory import forbid_core_dumps
from hiveot_supervisor.credentials.provision import ask_via
from hiveot_supervisor.errors import (
    ConfigError,
    HiveotError,
    HubError,
    HubUnavailable,
    SupervisordFault,
    SupervisordUnreachable,
)
from hiveot_supervisor.hub.admission import Allowance
from hiveot_supervisor.hub.client import Account, HubClient, Notification, NotificationKind, Request, Right
from hiveot_supervisor.hub.connect import make_client
from hiveot_supervisor.model import Cause, Launcher, Plugin, ProbeKind, checked, from_json
from hiveot_supervisor.supervisord.listener import Eof, ListenerThread
from hiveot_supervisor.supervisord.process import start_time
from hiveot_supervisor.supervisord.rpc import ProcessInfo, SupervisordClient
from hiveot_supervisor.supervisord.states import Mood

log = logging.getLogger("agent")

SAMPLE_INTERVAL = 5.0
SAMPLE_SHARE, SAMPLE_LIMIT = 0.005, 15.0
"""Seconds between two samples, and the share of a core that they may take: with very many plugins they come rarer, up
to a limit, because the first look at a busy machine takes long and limits of plugins want several.
"""

_FIGURES = tuple(f.name for f in fields(Usage))
BATCH = 200
"""Items of the queue that are handled, and stored, together at most."""

ALLOWANCE = Allowance(rate=200.0, burst=500, unanswered=64, total=192)
"""Of requests of one consumer; what waits here together waits before supervisord's reports in the queue."""

LAST_REPORTS = 0.005
"""Seconds for the reports that came before the signal to get from the listener thread to the queue."""

FLUSH_TIMEOUT = 3.0
"""Seconds to deliver the last events before leaving."""

_LEVELS = {"warn": "WARNING", "warning": "WARNING", "info": "INFO", "debug": "DEBUG", "error": "ERROR"}


class QueueListener:
    """Puts what the hub binding reports into the queue."""

    def __init__(self, inbox: queue.SimpleQueue[Any]) -> None:
        self._inbox = inbox

    def on_connected(self) -> None:
        self._inbox.put(HubUp())

    def on_disconnected(self, reason: str) -> None:
        self._inbox.put(HubDown(reason))

    def on_refused(self, reason: str) -> None:
        self._inbox.put(HubDown(reason, refused=True))

    def on_request(self, request: Request) -> None:
        self._inbox.put(Asked(request))


class Service:
    """Everything that one agent process consists of."""

    def __init__(self, launcher: Launcher, generated: Path) -> None:
        self.inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.generated = generated
        self.paths = launcher.paths
        self.state = State(self.paths.state_db)
        self.rpc = SupervisordClient(self.paths.socket)
        account = Account(launcher.id, launcher.token_file, self.paths.ca_cert, ready_file(launcher))
        self.hub: HubClient = make_client(launcher.hub.url, account, version=__version__, allowance=ALLOWANCE)
        self.probes = Probes(self.inbox.put, self.paths)
        plugins = Provisioner(self.paths, ask_via(self.hub))
        self.agent = Agent(
            launcher,
            state=self.state,
            rpc=self.rpc,
            hub=self.hub,
            publisher=Publisher(self.state, self.hub, self.inbox.put),
            credentials=BackgroundCredentials(self.paths, plugins, self.inbox.put),
            processes=MachineProcesses(self.paths),
            probes=self.probes,
            clock=SystemClock(),
        )
        self.requests = Requests(self.agent)
        self.health = Health(self.agent)
        refresh = partial(refresh_own, launcher, self.hub)
        worker = RenewalWorker(plugins, launcher.id, refresh, self.inbox.put)
        self.renewals = Renewals(self.agent, plugins, worker)
        self.reports = Reports(self.agent, snapshot=self.snapshot, reload=self.reload, renew=self.renewals.notice)
        self.monitor = Monitor()
        self._deadline = 0.0
        self._sample_due = 0.0
        self._model_stamp = _stamp(generated)
        self._complain_at = 0.0
        self.folder = FolderWatch(launcher, generated)
        self._supervisord = os.getppid()

    # -- life

    def run(self) -> int:
        """Until SIGTERM or the end of supervisord; returns the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda n, _f: self.inbox.put(Signalled(n)))
        if self.state.recovered:
            log.error("%s", self.state.recovered)
        # files of our own, not sys.stdin's: a thread that waits in those would make the interpreter's end fatal
        events = os.fdopen(0, "rb", closefd=False)
        answers = os.fdopen(1, "wb", closefd=False)
        ListenerThread(events, answers, self._reported).start()
        if any(uses_presence(p) for p in self.agent.launcher.plugins):
            self.hub.subscribe([NotificationKind.PRESENCE], self._presence)
        self.hub.subscribe([NotificationKind.ACK], self._stored, agent_id=self.agent.launcher.id)
        self.hub.start(QueueListener(self.inbox))
        self._begin()
        while True:
            batch = self._wait()
            self._stored_together(partial(self._turn, batch))
            self.requests.settle()
            if any(isinstance(item, (Signalled, SupervisordGone)) for item in batch):
                orphaned = SupervisordGone() in batch or os.getppid() != self._supervisord
                (self._orphaned if orphaned else self._leave)()
                return 0

    def _begin(self) -> None:
        identity = f"{self._supervisord}:{start_time(self._supervisord)}"
        same_boot = self.state.meta("supervisord") == identity
        reconcile.begin(self.agent, self.snapshot(), same_boot=same_boot)
        self.state.set_meta("supervisord", identity)
        log.info("launcher agent %s, supervisord %d%s", __version__, self._supervisord, " (again)" if same_boot else "")

    def snapshot(self) -> list[ProcessInfo]:
        """All of supervisord's processes; waits for its socket, which opens before we are started."""
        deadline = time.monotonic() + 10.0
        while True:
            try:
                return self.rpc.snapshot()
            except SupervisordUnreachable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def reload(self) -> None:
        """Take a new generated/launcher.json over, if there is one and it can be read."""
        stamp = _stamp(self.generated)
        if stamp == self._model_stamp:
            return
        self._model_stamp = stamp
        try:
            reconcile.reconfigure(self.agent, read_launcher(self.generated))
        except ConfigError as error:
            log.error("%s", error)

    # -- the loop

    def _wait(self) -> list[Any]:
        """What has happened, as soon as something has or is due; empty when it is only time for something."""
        mono = time.monotonic()
        due = [self._deadline, self.folder.due, self._sample_due, self.renewals.due]
        due += [d for d in (self.requests.next_deadline(), self.agent.publisher.drain(mono)) if d is not None]
        batch: list[Any] = []
        try:
            batch.append(self.inbox.get(timeout=max(0.0005, min(due) - mono)))
            while len(batch) < BATCH:
                batch.append(self.inbox.get_nowait())
        except queue.Empty:
            pass
        return batch

    def _turn(self, batch: list[Any]) -> None:
        """Everything that one look at the queue brings, then what time brings."""
        for item in batch:
            if not isinstance(item, (Signalled, SupervisordGone)):
                self._guarded(item)
        mono = time.monotonic()
        if self.folder.changed(mono):
            self.agent.folder_changed()
        self._sample(mono)
        self.renewals.tick()
        self._deadline = self.agent.tick()

    def _stored_together(self, work: Callable[[], None]) -> None:
        """One transaction for all that a turn changes. A disk that takes nothing must not stop the supervision."""
        try:
            with self.state.transaction():
                work()
        except StateError as error:
            self.agent.teller.forget_told()
            if time.monotonic() > self._complain_at:
                self._complain_at = time.monotonic() + 60.0
                log.error("%s", error)

    def _guarded(self, item: Any) -> None:
        """One broken item must not end the loop: log it and go on."""
        try:
            self._handle(item)
        except Exception:
            log.exception("while handling %r", item)
            if isinstance(item, Asked):
                self.hub.respond_error(item.request, "internal error", status=500)

    def _handle(self, item: Any) -> None:
        match item:
            case Reported(event):
                self.reports.handle(event)
            case HubUp():
                self.agent.hub_connected()
                threading.Thread(target=self._await_accounts, name="hub-ready", daemon=True).start()
            case HubReady():
                self.agent.hub_answers()
            case HubDown(reason, _):
                self.agent.hub_lost(reason)
            case Probed():
                self.health.probed(item)
            case Asked(request):
                self.requests.handle(request)
            case Provisioned(plugin, error, retry):
                self.agent.provisioned(plugin, error, retry)
            case Renewed():
                self.renewals.renewed(item)
            case Retired():
                self.renewals.retired(item)
            case Delivered():
                self.agent.publisher.delivered(item, time.monotonic())
            case PropertyDelivered():
                self.agent.publisher.told(item, time.monotonic())
            case Present(client, online):
                (self.probes.present.add if online else self.probes.present.discard)(client)
            case Stored(consumer, value):
                self.agent.publisher.acknowledged_by(consumer, value, time.monotonic())

    def _reported(self, item: Any) -> None:
        self.inbox.put(SupervisordGone() if isinstance(item, Eof) else Reported(item))

    def _presence(self, notification: Notification) -> None:
        state = notification.value.get("state") if isinstance(notification.value, dict) else None
        self.inbox.put(Present(notification.agent_id, state == "online"))

    def _stored(self, notification: Notification) -> None:
        self.inbox.put(Stored(notification.name, notification.value))

    def _await_accounts(self) -> None:
        """Ask the account service until it answers; a hub without one never does, and `runtimeTimeout` decides then."""
        while self.hub.connected:
            try:
                launcher_id = self.agent.launcher.id
                self.hub.invoke_action(
                    "authn", "Admin", "getClientProfile", launcher_id, right=Right.ADMIN, timeout=1.0
                )
                self.inbox.put(HubReady())
                return
            except HubUnavailable:
                return
            except HubError as error:
                log.info("the hub's account service: %s", error.what)
                time.sleep(0.1)

    def _sample(self, mono: float) -> None:
        """Take a resource sample when it is due."""
        if mono < self._sample_due:
            return
        begun = time.thread_time()
        self._look(mono)
        pause = (time.thread_time() - begun) / SAMPLE_SHARE
        self._sample_due = mono + min(SAMPLE_LIMIT, max(SAMPLE_INTERVAL, pause))

    def _look(self, mono: float) -> None:
        """Look at all processes: resources, strays, and what ended plugins have left behind."""
        roots = {name: e.pid for name, e in self.agent.table.entries.items() if e.running}
        usage, foreign = self.monitor.look(roots, self._supervisord)
        up = [name for name, e in self.agent.table.entries.items() if e.up or e.coming or e.intent is not None]
        self.agent.leftovers.end_escaped(escaped(foreign, str(self.paths.home), up))
        strays = find_strays(self.agent.launcher.plugins, foreign, str(self.paths.home))
        self.health.sampled(usage, strays)
        self.state.samples.add(usage, mono=mono, wall=time.time())
        plugins = {name: {"pid": roots[name]} | {m: getattr(used, m) for m in _FIGURES} for name, used in usage.items()}
        target = self.paths.run / "samples.json"
        fresh = target.with_suffix(".new")
        try:
            fresh.write_text(json.dumps({"time": time.time(), "plugins": plugins}))
            fresh.chmod(0o600)
            fresh.replace(target)
        except OSError as error:
            log.warning("%s: %s", target, error)

    # -- the end

    def _leave(self) -> None:
        """SIGTERM: with supervisord shutting down all others have stopped; else only the agent is to stop."""
        self._drain(LAST_REPORTS)
        if self._shutting_down():
            self.agent.shutting_down = True
            self.agent.all_gone(Cause.SHUTDOWN)
            log.info("supervisord shuts down")
        self._drain(FLUSH_TIMEOUT, until_flushed=True)
        self.hub.close(reason="stopped")
        self.state.close()

    def _shutting_down(self) -> bool:
        if self.agent.shutting_down:
            return True
        try:
            return self.rpc.state() is not Mood.RUNNING
        except (SupervisordFault, SupervisordUnreachable):
            return True

    def _orphaned(self) -> None:
        """supervisord died without a word: nothing of ours may outlive it."""
        log.error("supervisord is gone; ending what is left")
        entries = [e for e in self.agent.table.plugins if e.up]
        self.agent.shutting_down = True
        self.agent.all_gone(Cause.LAUNCHER_LOST)
        self.agent.publisher.drain(time.monotonic())
        end_orphans(entries)
        self._drain(0.3, until_flushed=True)
        self.hub.close(reason="launcher lost", timeout=0.2)
        self.state.close()

    def _drain(self, seconds: float, *, until_flushed: bool = False) -> None:
        """Handle what is still in the queue; with `until_flushed` until the hub has everything (if it is there)."""
        deadline = time.monotonic() + seconds
        while True:
            if until_flushed:
                self.agent.tick()
                self.agent.publisher.drain(time.monotonic())
                if self.agent.publisher.idle or not self.hub.connected:
                    return
            left = deadline - time.monotonic()
            if left <= 0:
                return
            try:
                item = self.inbox.get(timeout=min(left, 0.05))
            except queue.Empty:
                if not until_flushed:
                    return
                continue
            if not isinstance(item, (Signalled, SupervisordGone)):
                self._guarded(item)


def uses_presence(plugin: Plugin) -> bool:
    """It is ready, or alive, when the hub sees it."""
    probes = [plugin.ready, plugin.alive.probe if plugin.alive else None]
    return any(p is not None and p.kind is ProbeKind.HUB for p in probes)


def ready_file(launcher: Launcher) -> Path | None:
    """The embedded hub's ready signal; None for any other hub."""
    local = launcher.runtime is not None and launcher.hub.embedded
    return launcher.paths.run / "runtime.ready" if local else None


def _stamp(generated: Path) -> tuple[int, int] | None:
    """Changes when `generate` writes another launcher.json."""
    try:
        status = (generated / "launcher.json").stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino


def read_launcher(generated: Path) -> Launcher:
    """The resolved model of the last `generate`. Raises ConfigError."""
    path = generated / "launcher.json"
    try:
        return checked(from_json(Launcher, json.loads(path.read_text())))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ConfigError(f"cannot read {path}", why=str(error), hint="hiveot-launcher generate") from error


def main() -> int:
    """Entry point `hiveot-agent [GENERATED_DIR]` (default: $HIVEOT_GENERATED, else ./generated)."""
    generated = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("HIVEOT_GENERATED", "generated")).absolute()
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    if "SUPERVISOR_SERVER_URL" not in os.environ:
        print("error: the agent is started by supervisord; use: hiveot-launcher up", file=sys.stderr)
        return 2
    forbid_core_dumps()
    try:
        launcher = read_launcher(generated)
        logging.getLogger().setLevel(_LEVELS.get(launcher.log_level, "WARNING"))
        return Service(launcher, generated).run()
    except HiveotError as error:
        log.error("%s", error)
        return int(error.exit_code)
