"""`hiveot-launcher list`: the table of all plugins."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, Namespace

from hiveot_supervisor.cli.home import AGENT, Home, View
from hiveot_supervisor.cli.output import human_size, human_time, paint, print_json, printable, say, table, use_color
from hiveot_supervisor.errors import ExitCode, SupervisordUnreachable
from hiveot_supervisor.model import PluginState

COLORS = {
    PluginState.RUNNING: "green",
    PluginState.STARTING: "yellow",
    PluginState.STOPPING: "yellow",
    PluginState.WAITING: "yellow",
    PluginState.BACKOFF: "yellow",
    PluginState.FAILED: "red",
    PluginState.MISSING: "red",
    PluginState.STOPPED: "dim",
    PluginState.EXITED: "dim",
}
HEADER = ["NAME", "STATE", "READY", "SINCE", "RESTARTS", "CPU", "MEM", "NOTE"]


def configure(parser: ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these (globs work)")
    parser.add_argument("-r", "--running", action="store_true", help="only what runs")


def run(args: Namespace) -> int:
    """Print the table; exit 7 when supervisord is not running, 3 when a plugin asked for by name does not run."""
    home = Home.of(args)
    processes, problem = None, None
    try:
        processes = {p.name: p for p in home.supervisord().snapshot()}
    except SupervisordUnreachable as error:
        problem = error
    views = home.views(processes)
    if args.names:
        chosen = {p.id for p in home.select(args.names)}
        views = [v for v in views if v.name in chosen]
    if args.running:
        views = [v for v in views if v.state is PluginState.RUNNING]
    if args.json:
        print_json({"format_version": 1, "running": processes is not None, "plugins": [v.as_json() for v in views]})
    else:
        print_table(views, args.color)
    agent = (processes or {}).get(AGENT)
    if agent is not None and not args.quiet:
        if agent.pid == 0:
            say("note: the agent is stopped: no restarts, no events; start it with: supervisorctl start launcher")
        elif alarm := home.alarm():
            say(f"note: {printable(alarm)}")
    if problem is not None:
        say(f"note: {problem}" if not args.quiet else "")
        return ExitCode.UNREACHABLE
    asked_and_down = args.names and any(v.state is not PluginState.RUNNING for v in views)
    return ExitCode.NOT_RUNNING if asked_and_down else ExitCode.OK


def print_table(views: list[View], color: str) -> None:
    """The views as an aligned table on stdout."""
    if not views:
        say("no plugins: put executables into the plugins folder and list them under `autostart` in launcher.yaml")
        return
    rows = [row(v) for v in views]
    lines = table(HEADER, rows, right={4, 5, 6})
    enabled = use_color(color, sys.stdout)
    print(paint(lines[0], "bold", enabled))
    for view, line in zip(views, lines[1:], strict=True):
        word = view.state.value
        at = line.index(word, len(view.name))
        print(line[:at] + paint(word, COLORS[view.state], enabled) + line[at + len(word) :])


def row(view: View) -> list[str]:
    """The cells of one line."""
    now = time.time()
    running = view.state is PluginState.RUNNING
    return [
        view.name,
        view.state.value,
        "yes" if view.ready else ("no" if running else "-"),
        human_time(now - view.since) if view.since else "-",
        str(view.restarts),
        f"{view.cpu:.0f}%" if view.cpu is not None and running else "-",
        human_size(view.rss) if running else "-",
        note(view, now),
    ]


def note(view: View, now: float) -> str:
    """Why it is in its state, and what comes next."""
    parts = [printable(view.note)] if view.note else []
    if view.next_try:
        parts.append(f"next try in {human_time(max(0.0, view.next_try - now))}")
    if not view.enabled and not (view.note and view.state is PluginState.STOPPED):
        parts.append("disabled")
    elif view.autostart is False and view.state is PluginState.STOPPED and not view.note and view.name != "runtime":
        parts.append("not in autostart")
    return "; ".join(parts)
