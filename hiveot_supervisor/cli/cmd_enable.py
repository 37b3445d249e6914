"""`hiveot-launcher enable NAME…`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from hiveot_supervisor.cli.enabling import add_arguments, set_enabled


def configure(parser: ArgumentParser) -> None:
    add_arguments(parser, "also start it now")


def run(args: Namespace) -> int:
    return set_enabled(args, True)
