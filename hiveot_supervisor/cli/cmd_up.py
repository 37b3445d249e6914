"""`hiveot-launcher up`: generate what is out of date, start supervisord, show what happens until it ends."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from types import FrameType

from hiveot_supervisor.cli import daemon, eventlines
from hiveot_supervisor.cli.home import AGENT, Home, View
from hiveot_supervisor.cli.output import paint, printable, say, use_color
from hiveot_supervisor.errors import ExitCode, HiveotError, SupervisordUnreachable, TimedOut
from hiveot_supervisor.model import RUNTIME_NAME, PluginState
from hiveot_supervisor.supervisord.logfiles import last_lines
from hiveot_supervisor.supervisord.rpc import ProcessInfo
from hiveot_supervisor.supervisord.states import ProcessState

POLL = 0.1
_UNDER_WAY = {PluginState.STARTING, PluginState.STOPPING, PluginState.STOPPED}
_AGENT_TRIES = 3
"""Processes of the agent, one after another, after which `up` gives up."""

_AGENT_WINDOW = 30.0
"""Seconds in which those have to come; an agent that is killed now and then is not a broken one."""

_RUNTIME_TRIES = 2
"""Failed starts of the hub runtime, before it ever ran, after which `up` gives up."""


def configure(parser: ArgumentParser) -> None:
    parser.add_argument("-d", "--detach", action="store_true", help="in the background")
    parser.add_argument("--wait", action="store_true", help="in the background; return when the autostart plugins run")
    parser.add_argument("--timeout", type=float, default=120.0, metavar="SECONDS", help="of --wait (default 120)")


def run(args: Namespace) -> int:
    """Foreground: 0 after Ctrl-C, else supervisord's end. --wait: 1 when a plugin failed, 124 when it took too long."""
    from hiveot_supervisor.cli.context import load_launcher
    from hiveot_supervisor.generate import plan, write

    launcher = load_launcher(args)
    home = Home(launcher.paths)
    detached = args.detach or args.wait
    if daemon.is_running(home):
        if not detached:
            raise HiveotError(
                f"{launcher.paths.home} is already running",
                hint="see it: hiveot-launcher list; follow it: hiveot-launcher events -f; end it: hiveot-launcher down",
            )
        if not args.quiet:
            say("already running")
    else:
        write.write(plan.make(launcher))
        if not detached:
            return _Foreground(home, args).run()
        daemon.await_socket(home, daemon.spawn(home, background=True))
        if not args.quiet:
            place = shlex.quote(str(launcher.paths.home))
            say(f"running in the background; stop it with: hiveot-launcher down --home {place}")
    return _await_plugins(home, args) if args.wait else ExitCode.OK


def _await_plugins(home: Home, args: Namespace) -> int:
    deadline = time.monotonic() + args.timeout
    failures = 0
    agents: set[int] = set()
    while True:
        processes = {p.name: p for p in home.supervisord().snapshot()}
        failures = max(failures, _check_runtime(home, processes, failures))
        _check_agent(home, processes, agents)
        views = [v for v in home.views(processes) if v.autostart and v.enabled]
        if _hub_ready(home) and all(_done(v, views) for v in views):
            break
        if time.monotonic() > deadline:
            slow = ", ".join([v.name for v in views if not _done(v, views)] or ["the hub"])
            raise TimedOut(f"not running after {args.timeout:.0f} s: {slow}", hint="hiveot-launcher list tells why")
        time.sleep(POLL)
    failed = [v for v in views if not v.ready]
    for view in failed:
        say(f"{view.name}: {view.state}; {view.note}")
    if not args.quiet:
        say(f"{len(views) - len(failed)} of {len(views)} autostart plugins run")
    return ExitCode.FAILED if failed else ExitCode.OK


def _hub_ready(home: Home) -> bool:
    """The embedded hub has said that it is ready; true when the hub is somebody else's."""
    launcher = home.launcher
    return launcher.runtime is None or not launcher.hub.embedded or (home.paths.run / "runtime.ready").exists()


def _done(view: View, views: list[View]) -> bool:
    if view.state is PluginState.RUNNING:
        return view.ready
    settled = (PluginState.FAILED, PluginState.MISSING, PluginState.EXITED, PluginState.BACKOFF)
    return view.state in settled or (view.state is PluginState.WAITING and _stuck(view, views))


def _stuck(view: View, views: list[View]) -> bool:
    """It waits, and nothing that could end the waiting is under way."""
    return not any(v.state in _UNDER_WAY for v in views if v is not view)


def _check_runtime(home: Home, processes: dict[str, ProcessInfo], failures: int) -> int:
    """Count how often the runtime ended so far; raise with its own words when it cannot come up."""
    process = processes.get(RUNTIME_NAME)
    if process is None or process.state not in (ProcessState.BACKOFF, ProcessState.FATAL, ProcessState.EXITED):
        return failures
    failures += 1
    if process.state is ProcessState.FATAL or failures >= _RUNTIME_TRIES:
        raise HiveotError("the hub runtime does not start", why=runtime_complaint(home), hint=_runtime_hint(home))
    return failures


def _check_agent(home: Home, processes: dict[str, ProcessInfo], seen: set[int]) -> None:
    """Raise with the agent's own words when supervisord has to start it again and again. `seen`: its PIDs so far."""
    agent = processes.get(AGENT)
    if agent is not None and agent.pid:
        seen.add(agent.pid)
    if len(seen) > _AGENT_TRIES:
        log = home.paths.logs / "launcher.log"
        lines = [printable(line) for line in last_lines(log, 30) if line.strip()]
        raise HiveotError("the agent does not stay up", why=(lines or ["it says nothing"])[-1], hint=f"its log: {log}")


def runtime_complaint(home: Home) -> str:
    """The last error line of the runtime's log, else its last line."""
    runtime = home.launcher.runtime
    lines = last_lines(runtime.log_file, 30) if runtime and runtime.log_file else []
    lines = [printable(line) for line in lines if line.strip()]
    errors = [line for line in lines if line.lower().startswith(("error", "fatal"))]
    return (errors or lines or ["it says nothing"])[-1]


def _runtime_hint(home: Home) -> str:
    runtime = home.launcher.runtime
    return f"its log: {runtime.log_file}" if runtime and runtime.log_file else ""


class _Foreground:
    """supervisord as our child: its events on stdout until it ends; Ctrl-C and SIGTERM stop everything in order."""

    def __init__(self, home: Home, args: Namespace) -> None:
        self.home = home
        self.args = args
        self.color = use_color(args.color, sys.stdout)
        self.process: subprocess.Popen[bytes] | None = None
        self.signals = 0
        self.complaint: HiveotError | None = None
        self._last = 0
        self._runtime_failures = 0
        self._agents: set[int] = set()
        self._agents_since = time.monotonic()
        self._runtime_was_up = False

    def run(self) -> int:
        self._last = self._newest()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._signalled)
        self.process = daemon.spawn(self.home, background=False)
        try:
            daemon.await_socket(self.home, self.process)
        except HiveotError:
            if not self.signals:
                raise
        if not self.args.quiet and not self.signals:
            say(f"{self.home.paths.home} is up; Ctrl-C stops everything, `hiveot-launcher list` shows it")
        watch_due = 0.0
        while self.process.poll() is None:
            self._print_events()
            if time.monotonic() >= watch_due and not self.signals:
                watch_due = time.monotonic() + 0.5
                self._watch_runtime()
            time.sleep(POLL)
        self._print_events()
        return self._verdict()

    def _verdict(self) -> int:
        assert self.process is not None
        if self.complaint is not None:
            raise self.complaint
        if self.signals:
            if not self.args.quiet:
                say("stopped")
            return ExitCode.OK
        if self.process.returncode:
            raise HiveotError(
                f"supervisord ended with {self.process.returncode}", hint=str(self.home.paths.supervisord_log)
            )
        return ExitCode.OK

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.signals += 1
        if self.process is None or self.process.poll() is not None:
            return
        if self.signals <= 1:
            say("\nstopping; once more to kill" if number == signal.SIGINT else "stopping")
            self.process.send_signal(signal.SIGTERM)
        elif self.signals == 2:
            self.process.kill()

    def _newest(self) -> int:
        from hiveot_supervisor.agent.state import Reader

        try:
            reader = Reader(self.home.paths.state_db)
        except HiveotError:
            return 0
        newest = reader.events(last=1)
        reader.close()
        return newest[-1].seq if newest else 0

    def _print_events(self) -> None:
        from hiveot_supervisor.agent.state import Reader

        try:
            reader = Reader(self.home.paths.state_db)
        except HiveotError:
            return
        batch = reader.events(after=self._last)
        reader.close()
        for line in eventlines.lines(batch, color=self.color, verbose=self.args.verbose):
            print(line, flush=True)
        self._last = batch[-1].seq if batch else self._last

    def _watch_runtime(self) -> None:
        """Say it at once when the hub does not come up; without it nothing of what was asked for works."""
        assert self.process is not None
        try:
            processes = {p.name: p for p in self.home.supervisord().snapshot()}
            _check_agent(self.home, processes, self._agents)
            if time.monotonic() - self._agents_since > _AGENT_WINDOW:
                self._agents_since = time.monotonic()
                self._agents.clear()
            if self._runtime_was_up:
                return
            self._runtime_failures = _check_runtime(self.home, processes, self._runtime_failures)
        except SupervisordUnreachable:
            return
        except HiveotError as error:
            self.complaint = error
            self.process.send_signal(signal.SIGTERM)
            return
        self._runtime_was_up = _hub_ready(self.home)
        if self._runtime_failures == 1:
            text = runtime_complaint(self.home)
            say(f"{paint('warning', 'yellow', use_color(self.args.color, sys.stderr))}: the hub runtime ended: {text}")
