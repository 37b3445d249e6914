"""`hiveot-launcher down`: stop all plugins in reverse order, then supervisord itself."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from hiveot_supervisor.cli.daemon import shut_down
from hiveot_supervisor.cli.home import Home
from hiveot_supervisor.cli.output import say
from hiveot_supervisor.errors import ExitCode


def configure(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--timeout", type=float, default=120.0, metavar="SECONDS", help="how long to wait (default 120)"
    )


def run(args: Namespace) -> int:
    """Exit 0 when nothing runs any more (also when nothing ran), 124 when it takes too long."""
    home = Home.of(args)
    was_running = shut_down(home, timeout=args.timeout)
    if not args.quiet:
        say("stopped" if was_running else "nothing runs in this home")
    return ExitCode.OK
