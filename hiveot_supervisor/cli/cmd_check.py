"""`hiveot-launcher check`: everything that can be said about launcher.yaml, and, with -v, what it will do."""

from __future__ import annotations

import argparse
import difflib
from pathlib import Path
from typing import Any

from hiveot_supervisor.agent.restart import series as restart_series
from hiveot_supervisor.cli.context import default_form, print_diagnostics
from hiveot_supervisor.cli.output import print_json, say, table
from hiveot_supervisor.config.codes import CODES, explain
from hiveot_supervisor.config.load import Inspection, inspect
from hiveot_supervisor.config.paths import locate
from hiveot_supervisor.config.render import as_json, github, summary
from hiveot_supervisor.config.units import format_duration
from hiveot_supervisor.errors import ExitCode, UsageError
from hiveot_supervisor.model import Launcher, Plugin, Restart, to_json

FORMAT_VERSION = 1
MAX_DELAYS = 20
"""So many waits between restarts are shown."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", nargs="?", type=Path, metavar="FILE", help="the file to check (default: as other commands)"
    )
    parser.add_argument("--strict", action="store_true", help="warnings count as errors")
    parser.add_argument(
        "--output-format",
        choices=("full", "concise", "json", "github"),
        help="default: full on a terminal, concise otherwise",
    )
    parser.add_argument("--explain", metavar="CODE", help="explain a code such as L104 and end")
    parser.epilog = "Exit code 0: valid; 6: not valid. With -v also the start order and the waits between restarts."


def run(args: argparse.Namespace) -> int:
    if args.explain is not None:
        return _explain(args.explain)
    found = inspect(locate(args.home, args.file or args.config))
    form = args.output_format or ("json" if args.json else default_form())
    shown = [d for d in found.diagnostics if d.severity == "error" or args.strict or not args.quiet]
    valid = found.launcher is not None and not (args.strict and found.diagnostics)
    if form == "json":
        print_json(_document(found, valid))
    elif form == "github":
        for diagnostic in shown:
            print(github(diagnostic))
    else:
        print_diagnostics(shown, args.color, form)
    if form not in ("json", "github"):
        _conclude(found, valid, args)
    return ExitCode.OK if valid else ExitCode.CONFIG


def _explain(code: str) -> int:
    text = explain(code)
    if text is None:
        near = difflib.get_close_matches(code.upper(), CODES, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"the codes are {', '.join(CODES)}"
        raise UsageError(f"there is no code `{code}`", hint=hint)
    print(text)
    return ExitCode.OK


def _conclude(found: Inspection, valid: bool, args: argparse.Namespace) -> None:
    """One line that sums up, and with -v what will happen."""
    if not valid:
        say(f"{found.name} is not valid: {summary(found.diagnostics)}")
    elif found.launcher is not None:
        if args.verbose:
            print("\n".join(_describe(found.launcher)))
        if not args.quiet:
            print(_verdict(found, found.launcher))


def _verdict(found: Inspection, launcher: Launcher) -> str:
    listed = sum(plugin.order is not None for plugin in launcher.plugins)
    count = len(launcher.plugins)
    words = f"{count} plugin{'' if count == 1 else 's'}, {listed} of them in autostart"
    extra = f"; {summary(found.diagnostics)}" if found.diagnostics else ""
    return f"{found.name} is valid: {words}{extra}"


def _describe(launcher: Launcher) -> list[str]:
    """The start order with what each plugin waits for, and the restart delays."""
    lines = [f"hub: {launcher.hub.url}" + (f" (runtime {launcher.runtime.executable})" if launcher.runtime else "")]
    rows = [_row(number, plugin) for number, plugin in enumerate(p for p in launcher.plugins if p.order is not None)]
    if rows:
        lines += [
            "",
            "start order:",
            *(f"  {line}" for line in table(["#", "NAME", "AFTER", "READY WHEN", "RUNS"], rows)),
        ]
    others = [plugin.id for plugin in launcher.plugins if plugin.order is None]
    if others:
        lines += ["", f"known, not started by themselves: {', '.join(others)}"]
    lines += ["", "waits between restarts:", *_restarts(launcher), ""]
    return lines


def _row(number: int, plugin: Plugin) -> list[str]:
    after = ", ".join(f"{d.plugin} ({d.condition.value})" for d in plugin.depends_on) or "-"
    ready = f"{plugin.ready.kind.value} {plugin.ready.target}".rstrip() if plugin.ready else "startWait"
    runs = str(plugin.executable) + ("" if plugin.exists else " (missing)")
    return [str(number + 1), plugin.id, after, ready, runs]


def _restarts(launcher: Launcher) -> list[str]:
    """Each series of delays once, with the plugins that have it."""
    groups: dict[Restart, list[str]] = {}
    for plugin in launcher.plugins:
        groups.setdefault(plugin.restart, []).append(plugin.id)
    default = launcher.defaults.restart if launcher.defaults else Restart()
    groups.setdefault(default, [])
    lines = [f"  {series(default)}"]
    lines += [f"  {', '.join(names)}: {series(restart)}" for restart, names in groups.items() if restart != default]
    return lines


def series(restart: Restart) -> str:
    """The delays before the first restarts in words: `on-failure: 1s 2s 4s … 1h, ±10%; forgotten after 10m`."""
    if restart.policy == "never":
        return "never restarted"
    delays = delay_series(restart)
    text = " ".join(format_duration(delay) for delay in delays)
    if restart.max_failures and len(delays) == restart.max_failures - 1:
        text = f"{text}, then no more".removeprefix(", ")
    elif delays[-1] >= restart.limit:
        text += ", and so on"
    else:
        text += " …"
    jitter = f"; each ±{restart.jitter * 100:g}%" if restart.jitter else ""
    forgotten = format_duration(restart.reset_after)
    return f"{restart.policy.value}: {text}{jitter}; forgotten after {forgotten} of running"


def delay_series(restart: Restart) -> list[float]:
    """The delays up to the first that reaches the limit, without jitter; not more than are used."""
    count = restart.max_failures - 1 if 0 < restart.max_failures <= MAX_DELAYS else MAX_DELAYS
    delays = restart_series(restart, count)
    at_limit = next((number for number, delay in enumerate(delays) if delay >= restart.limit), len(delays))
    return delays[: at_limit + 1]


def _document(found: Inspection, valid: bool) -> dict[str, Any]:
    launcher = found.launcher
    return {
        "format_version": FORMAT_VERSION,
        "file": str(found.location.file),
        "valid": valid,
        "errors": sum(d.severity == "error" for d in found.diagnostics),
        "warnings": len(found.warnings),
        "diagnostics": [as_json(diagnostic) for diagnostic in found.diagnostics],
        "home": str(found.location.paths.home),
        "hub": launcher.hub.url if launcher else None,
        "plugins": [_plugin_json(plugin) for plugin in launcher.plugins] if launcher else [],
    }


def _plugin_json(plugin: Plugin) -> dict[str, Any]:
    return {
        "name": plugin.id,
        "autostart": plugin.order is not None,
        "executable": str(plugin.executable),
        "exists": plugin.exists,
        "depends_on": [to_json(dependency) for dependency in plugin.depends_on],
        "restart_delays": delay_series(plugin.restart) if plugin.restart.policy != "never" else [],
    }
