"""`hiveot-launcher doctor`: looks at everything outside of launcher.yaml that could keep it from working."""

from __future__ import annotations

import importlib
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import cast

from hiveot_supervisor.cli.doctor.case import Case, Check, Finding, Level, as_json, error
from hiveot_supervisor.cli.output import paint, print_json, printable, table, use_color
from hiveot_supervisor.errors import ExitCode

CHECKS = ("program", "generated", "executables", "socket", "credentials", "broker", "hub", "clock", "disk", "copies")
"""The modules of `cli.doctor`, in the order in which they are shown."""

_COLORS = {Level.OK: "green", Level.WARNING: "yellow", Level.ERROR: "red"}


def configure(parser: ArgumentParser) -> None:
    parser.description = "look at everything outside of launcher.yaml; exit 1 when something is wrong"


def run(args: Namespace) -> int:
    """A table of what was found, worst first within a check; remedies below. --json: one document."""
    findings = list(examine(_case(args)))
    if args.json:
        print_json({"format_version": 1, "findings": [as_json(name, finding) for name, finding in findings]})
    else:
        _print(findings, args)
    failed = any(finding.level is Level.ERROR for _, finding in findings)
    return ExitCode.FAILED if failed else ExitCode.OK


def examine(case: Case) -> Iterator[tuple[str, Finding]]:
    """All findings, with the name of their check."""
    for module in CHECKS:
        check = cast(Check, importlib.import_module(f"hiveot_supervisor.cli.doctor.{module}"))
        order = [Level.ERROR, Level.WARNING, Level.OK]
        try:
            findings = sorted(check.look(case), key=lambda finding: order.index(finding.level))
        except Exception as problem:  # noqa: BLE001  (the others are wanted all the more)
            findings = [error(f"this check failed: {type(problem).__name__}: {problem}")]
        for finding in findings:
            yield check.NAME, finding


def _case(args: Namespace) -> Case:
    """The home that the command line means. Raises ConfigError when there is none."""
    from hiveot_supervisor.cli.context import find_home
    from hiveot_supervisor.config.load import inspect
    from hiveot_supervisor.config.paths import locate

    paths = find_home(args)
    found = inspect(locate(args.home, args.config))
    return Case(found.launcher.paths if found.launcher else paths, found.launcher)


def _print(findings: list[tuple[str, Finding]], args: Namespace) -> None:
    shown = [(n, f) for n, f in findings if not args.quiet or f.level is not Level.OK]
    rows = [[name, finding.level.value, printable(finding.text)] for name, finding in shown]
    color = use_color(args.color, sys.stdout)
    if not rows:
        return
    lines = table(["CHECK", "RESULT", "WHAT"], rows)
    at = lines[0].index("RESULT")
    print(paint(lines[0], "bold", color))
    for line, (_, finding) in zip(lines[1:], shown, strict=True):
        word = finding.level.value
        print(line[:at] + paint(word, _COLORS[finding.level], color) + line[at + len(word) :])
        if finding.remedy:
            print(" " * line.index(printable(finding.text)) + paint(f"→ {printable(finding.remedy)}", "dim", color))
