"""`hiveot-launcher disable NAME…`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from hiveot_supervisor.cli.enabling import add_arguments, set_enabled


def configure(parser: ArgumentParser) -> None:
    add_arguments(parser, "also stop it now")


def run(args: Namespace) -> int:
    return set_enabled(args, False)
