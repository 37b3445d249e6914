"""`generate`: launcher.yaml -> supervisord.conf and generated/, and on request a systemd unit.

Only the command line's side: options, messages, exit codes. What is written is decided in `generate.plan`.
"""

from __future__ import annotations

import gc
import os
import pwd
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hiveot_supervisor.cli.output import paint, print_json, say, use_color
from hiveot_supervisor.errors import ExitCode, UsageError
from hiveot_supervisor.model import Launcher

if TYPE_CHECKING:
    from hiveot_supervisor.generate.write import Change

_EPILOG = """\
examples:
  hiveot-launcher generate && supervisord      in the home folder
  hiveot-launcher generate --check             in scripts: exit 1 when something is out of date
  hiveot-launcher generate --systemd           also writes hiveot.service beside supervisord.conf
"""


def configure(parser: ArgumentParser) -> None:
    parser.epilog = _EPILOG
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when something is out of date")
    parser.add_argument("--diff", action="store_true", help="write nothing; print a unified diff")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="where supervisord.conf (or the unit) goes; - for stdout"
    )
    parser.add_argument(
        "--systemd",
        nargs="?",
        const="system",
        choices=("system", "user"),
        metavar="user",
        help="also write hiveot.service, for the system or for `systemctl --user`",
    )
    parser.add_argument("--force", action="store_true", help="replace a supervisord.conf that somebody else wrote")


def run(args: Namespace) -> int:
    collecting = gc.isenabled()
    gc.disable()  # many objects that all stay: collecting would take a third of the time
    try:
        return _run(args)
    finally:
        if collecting:
            gc.enable()


def _run(args: Namespace) -> int:
    from hiveot_supervisor.cli.context import load_launcher

    launcher = _at_output(load_launcher(args), args)
    from hiveot_supervisor.generate import plan, write

    to_stdout = args.output == "-"
    if to_stdout and (args.check or args.diff):
        raise UsageError("-o - cannot be combined with --check or --diff")
    if to_stdout and args.systemd:
        print(_unit(launcher, args, Path("hiveot.service")), end="")
        return ExitCode.OK
    wanted = plan.make(launcher)
    if args.systemd:
        path = _unit_path(launcher, args)
        wanted = wanted.adding(path, _unit(launcher, args, path), mode=0o644)
    if to_stdout:
        print(wanted.text(launcher.paths.supervisord_conf), end="")
        return ExitCode.OK
    if args.check or args.diff:
        return _compare(args, write.compare(wanted))
    changes = write.write(wanted, force=args.force)
    _report(args, launcher, changes)
    return ExitCode.OK


def _at_output(launcher: Launcher, args: Namespace) -> Launcher:
    """The launcher whose supervisord.conf goes where -o says."""
    if args.output in (None, "-") or args.systemd:
        return launcher
    return replace(launcher, paths=replace(launcher.paths, supervisord_conf=Path(args.output).absolute()))


def _unit_path(launcher: Launcher, args: Namespace) -> Path:
    if args.output is not None:
        return Path(args.output).absolute()
    from hiveot_supervisor.generate.unit import UNIT_NAME

    return launcher.paths.supervisord_conf.with_name(UNIT_NAME)


def _unit(launcher: Launcher, args: Namespace, path: Path) -> str:
    from hiveot_supervisor.generate.surroundings import Surroundings
    from hiveot_supervisor.generate.unit import systemd_unit

    user_manager = args.systemd == "user"
    user = None if user_manager else _owner(launcher.paths.home)
    return systemd_unit(launcher, supervisord=Surroundings.look().own, path=path, user=user, user_manager=user_manager)


def _owner(home: Path) -> str | None:
    """Name of the home's owner; None for root, as whom system units run anyway."""
    uid = home.stat().st_uid if home.exists() else os.geteuid()
    try:
        return None if uid == 0 else pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _compare(args: Namespace, changes: Sequence[Change]) -> int:
    if args.diff:
        colored = use_color(args.color, sys.stdout)
        for change in changes:
            for line in change.diff():
                print(_colored(line, colored))
    elif args.json:
        print_json(_as_json(changes))
    else:
        for change in changes:
            say(f"out of date: {change.path} ({change.kind})")
    if not changes and not args.quiet:
        say("everything is up to date")
    return ExitCode.FAILED if args.check and changes else ExitCode.OK


def _colored(line: str, enabled: bool) -> str:
    colors = {"+": "green", "-": "red", "@": "cyan"}
    return paint(line, colors[line[0]], enabled) if line[:1] in colors else line


def _report(args: Namespace, launcher: Launcher, changes: Sequence[Change]) -> None:
    from hiveot_supervisor.generate.surroundings import Surroundings, next_command, warnings

    conf = launcher.paths.supervisord_conf
    around = Surroundings.look()
    notes = warnings(conf, around)
    command = next_command(conf, around)
    if args.json:
        print_json({**_as_json(changes), "conf": str(conf), "next": command, "warnings": notes})
    colored = use_color(args.color, sys.stderr)
    for note in notes:
        say(f"{paint('warning', 'yellow', colored)}: {note}")
    if args.quiet:
        return
    if args.verbose:
        for change in changes:
            say(f"{change.kind}: {change.path}")
    say(_summary(conf, len(launcher.plugins), changes))
    say(f"next: {command}")


def _summary(conf: Path, plugins: int, changes: Sequence[Change]) -> str:
    what = f"{conf} for {plugins} plugin{'s' * (plugins != 1)}"
    if not changes:
        return f"{what}: up to date"
    return f"{what}: {len(changes)} file{'s' * (len(changes) != 1)} written or removed"


def _as_json(changes: Sequence[Change]) -> dict[str, Any]:
    listed = [{"path": str(change.path), "change": change.kind.value} for change in changes]
    return {"format_version": 1, "changes": listed}
