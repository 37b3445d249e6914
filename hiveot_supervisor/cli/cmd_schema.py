"""`hiveot-launcher schema`: the JSON Schema of launcher.yaml, for completion and checking in editors."""

from __future__ import annotations

import argparse

from hiveot_supervisor.cli.output import print_json
from hiveot_supervisor.config.jsonschema import document
from hiveot_supervisor.errors import ExitCode


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Save it and name it in the first line of launcher.yaml:\n"
        "  hiveot-launcher schema > launcher.schema.json\n"
        "  # yaml-language-server: $schema=launcher.schema.json"
    )


def run(args: argparse.Namespace) -> int:
    print_json(document())
    return ExitCode.OK
