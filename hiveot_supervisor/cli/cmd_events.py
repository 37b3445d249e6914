"""`hiveot-launcher events`: the agent's journal; the same events go to the hub."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, Namespace

from hiveot_supervisor.cli import eventlines
from hiveot_supervisor.cli.home import Home
from hiveot_supervisor.cli.output import json_text, pause, use_color
from hiveot_supervisor.errors import ExitCode, HiveotError

POLL = 0.1
"""Seconds between two looks at the journal while following."""


def configure(parser: ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="only of these plugins (globs work)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what happens from now")
    parser.add_argument("-n", "--last", type=int, default=50, metavar="N", help="how many to show (default 50)")
    parser.add_argument("--type", action="append", metavar="EVENT", help="only events of this name; may be repeated")


def run(args: Namespace) -> int:
    """With --json one object a line."""
    from hiveot_supervisor.agent.state import Reader

    home = Home.of(args)
    chosen = {p.id for p in home.select(args.names)} if args.names else None
    color = use_color(args.color, sys.stdout)
    reader = _open(home, Reader, wait=args.follow)
    last, batch, first = 0, reader.events(), True
    while True:
        wanted = [e for e in batch if (chosen is None or e.plugin in chosen) and (not args.type or e.name in args.type)]
        if args.json:
            lines = [json_text(eventlines.as_json(event)) for event in wanted]
        else:
            lines = list(eventlines.lines(wanted, color=color, verbose=args.verbose))
        for line in lines[max(0, len(lines) - max(0, args.last)) :] if first else lines:
            print(line, flush=True)
        last, first = batch[-1].seq if batch else last, False
        if not args.follow:
            return ExitCode.OK
        if not pause(POLL):
            return ExitCode.OK
        batch = reader.events(after=last)


def _open(home: Home, reader: type, *, wait: bool):  # type: ignore[no-untyped-def]
    while True:
        try:
            return reader(home.paths.state_db)
        except HiveotError:
            if not wait:
                raise
            time.sleep(POLL)
