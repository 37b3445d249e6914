"""`hiveot-launcher stop NAME…`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from hiveot_supervisor.cli.acting import act, add_arguments


def configure(parser: ArgumentParser) -> None:
    add_arguments(parser)


def run(args: Namespace) -> int:
    return act(args, "stop")
