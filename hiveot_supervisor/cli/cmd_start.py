"""`hiveot-launcher start NAME…`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from hiveot_supervisor.cli.acting import act, add_arguments


def configure(parser: ArgumentParser) -> None:
    add_arguments(parser)
    parser.add_argument("--replace", action="store_true", help="stop a copy that was started by hand first")


def run(args: Namespace) -> int:
    return act(args, "start")
