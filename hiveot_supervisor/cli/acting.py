"""What start, stop and restart have in common: arguments, choice of plugins, report, exit code."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from hiveot_supervisor.cli.control import Control, Outcome
from hiveot_supervisor.cli.home import Home
from hiveot_supervisor.cli.output import paint, print_json, printable, say, use_color
from hiveot_supervisor.errors import ExitCode
from hiveot_supervisor.model import Plugin

START_TIMEOUT = 60.0


def add_arguments(parser: ArgumentParser) -> None:
    """NAME… and the waiting options."""
    parser.add_argument("names", nargs="+", metavar="NAME", help="plugin names, globs, or `all`")
    parser.add_argument("--no-wait", action="store_true", help="return as soon as supervisord has the request")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="how long to wait at most")


def act(args: Namespace, verb: str) -> int:
    """Do `verb` (start, stop, restart) to the named plugins; exit 0, 1 when one failed, 124 when one timed out."""
    home = Home.of(args)
    plugins = home.select(args.names)
    control = Control(home)
    outcomes = _do(control, plugins, verb, args)
    report(outcomes, args)
    if any(o.timed_out for o in outcomes):
        return ExitCode.TIMEOUT
    return ExitCode.OK if all(o.ok for o in outcomes) else ExitCode.FAILED


def _do(control: Control, plugins: Sequence[Plugin], verb: str, args: Namespace) -> list[Outcome]:
    stop_timeout = args.timeout or max((p.stop.timeout for p in plugins), default=0.0) + 5.0
    start_timeout = args.timeout or START_TIMEOUT
    if verb == "stop":
        return control.stop(plugins, timeout=stop_timeout, wait=not args.no_wait)
    if verb == "restart":
        stopped = control.stop(plugins, timeout=stop_timeout, disable=False)
        stuck = [o for o in stopped if not o.ok]
        if stuck:
            return stuck
    replace = getattr(args, "replace", False)
    return control.start(plugins, timeout=start_timeout, wait=not args.no_wait, replace=replace)


def report(outcomes: Sequence[Outcome], args: Namespace) -> None:
    """One line an outcome on stderr (failures with the plugin's last log lines), or JSON on stdout."""
    if args.json:
        print_json({"format_version": 1, "results": [o.as_json() for o in outcomes]})
        return
    color = use_color(args.color, sys.stderr)
    for outcome in outcomes:
        if outcome.ok and args.quiet:
            continue
        say(outcome.text if outcome.ok else f"{paint('error', 'red', color)}: {outcome.text}")
        for line in outcome.detail:
            say(paint(f"    {printable(line)}", "dim", color))
