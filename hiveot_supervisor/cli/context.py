"""What the commands share about a home: the checked configuration, or only its folders when that is broken.

`load_launcher` is for commands that act on launcher.yaml; `find_home` for those that look at what runs and must
work while the file is being edited.
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from hiveot_supervisor.cli.output import paint, say, use_color
from hiveot_supervisor.config.paths import locate
from hiveot_supervisor.errors import ConfigError
from hiveot_supervisor.model import Launcher, Paths, from_json

if TYPE_CHECKING:  # 60 ms of import that looking commands do not need
    from hiveot_supervisor.config.diagnostics import Diagnostic
    from hiveot_supervisor.config.load import Inspection
    from hiveot_supervisor.config.render import Paint


def load_launcher(args: Namespace) -> Launcher:
    """The resolved launcher.yaml that the command line means (`--home`, `-c`, the current folder).

    Warnings go to stderr unless `--quiet`. Raises ConfigError (exit code 6) after printing every problem of the file.
    """
    from hiveot_supervisor.config.diagnostics import Severity
    from hiveot_supervisor.config.load import inspect

    found = inspect(locate(args.home, args.config))
    shown = [d for d in found.diagnostics if d.severity is Severity.ERROR or not args.quiet]
    print_diagnostics(shown, args.color)
    if found.launcher is None:
        raise invalid(found)
    return found.launcher


def invalid(found: Inspection) -> ConfigError:
    """The error that sums up a file whose problems have been printed."""
    from hiveot_supervisor.config.diagnostics import Severity
    from hiveot_supervisor.config.render import summary

    first = next(d for d in found.diagnostics if d.severity is Severity.ERROR)
    if first.code == "L001":
        return ConfigError("there is no configuration", hint="hiveot-launcher init writes one")
    hint = f"hiveot-launcher check --explain {first.code} tells more about the first one"
    return ConfigError(f"{found.name} is invalid", why=summary(found.diagnostics), hint=hint)


def print_diagnostics(diagnostics: list[Diagnostic], color: str, form: str | None = None) -> None:
    """Print to stderr: `full` (default on a terminal) or `concise`."""
    from hiveot_supervisor.config.render import concise, full

    painter = _painter(use_color(color, sys.stderr))
    for diagnostic in diagnostics:
        if (form or default_form()) == "full":
            say(full(diagnostic, painter) + "\n")
        else:
            say(concise(diagnostic))


def default_form() -> str:
    """Full for people, one line each for programs."""
    return "full" if sys.stderr.isatty() else "concise"


def _painter(enabled: bool) -> Paint:
    return lambda text, color: paint(text, color, enabled)


def find_home(args: Namespace) -> Paths:
    """The folders of the home that the command line means, without reading launcher.yaml.

    What `generate` last resolved counts when it is there (launcher.yaml may move the logs folder, or be broken now).
    Raises ConfigError when there is neither a launcher.yaml nor anything generated.
    """
    location = locate(args.home, args.config)
    generated = _generated(location.paths.agent_json)
    if generated is not None and generated.home == location.paths.home:
        return generated
    if location.found:
        return location.paths
    places = " nor ".join(str(path) for path in location.searched)
    raise ConfigError(
        "this is not the home of a launcher",
        why=f"there is neither {places}",
        hint="go to the home folder, or name it: hiveot-launcher --home DIR ...; hiveot-launcher init makes one",
    )


def _generated(file: Path) -> Paths | None:
    """The folders in generated/launcher.json; None when it is not there or no use."""
    try:
        return from_json(Paths, json.loads(file.read_text(encoding="utf-8"))["paths"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
