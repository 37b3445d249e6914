"""enable and disable: whether a plugin is started by itself. The agent remembers it; while nothing runs we write it."""

from __future__ import annotations

import dataclasses
import json
from argparse import ArgumentParser, Namespace

from hiveot_supervisor.cli.acting import act
from hiveot_supervisor.cli.control import Control
from hiveot_supervisor.cli.home import Home
from hiveot_supervisor.cli.output import say
from hiveot_supervisor.errors import ExitCode, SupervisordUnreachable


def add_arguments(parser: ArgumentParser, now_help: str) -> None:
    parser.add_argument("names", nargs="+", metavar="NAME", help="plugin names, globs, or `all`")
    parser.add_argument("--now", action="store_true", help=now_help)
    parser.set_defaults(no_wait=False, timeout=None)


def set_enabled(args: Namespace, enabled: bool) -> int:
    """Remember it for each named plugin; with --now also start or stop it."""
    home = Home.of(args)
    names = [p.id for p in home.select(args.names, runtime=False)]
    try:
        control = Control(home)
    except SupervisordUnreachable:
        write_enabled(home, names, enabled=enabled)
    else:
        for name in names:
            message = {"op": "enable" if enabled else "disable", "plugin": name}
            control.rpc.send_remote_event("hiveot", json.dumps(message))
    if not args.quiet:
        say(f"{'enabled' if enabled else 'disabled'} {', '.join(names)}")
    return act(args, "start" if enabled else "stop") if args.now else ExitCode.OK


def write_enabled(home: Home, names: list[str], *, enabled: bool) -> None:
    """Store it ourselves; only while the agent, the one other writer, does not run."""
    from hiveot_supervisor.agent.state import Record, State

    state = State(home.paths.state_db)
    records = state.records()
    with state.transaction():
        for name in names:
            state.save(dataclasses.replace(records.get(name, Record(name)), enabled=enabled))
    state.close()
