"""`hiveot-launcher logs`: the plugins' log files, several at once, by lines."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from hiveot_supervisor.cli.home import AGENT, Home
from hiveot_supervisor.cli.output import harmless, json_text, paint, pause, say, use_color
from hiveot_supervisor.errors import ExitCode, UnknownPlugin
from hiveot_supervisor.supervisord.logfiles import Follower, last_lines

POLL = 0.1
_PREFIX_COLORS = ["cyan", "green", "yellow", "blue", "bold"]
_OWN = (AGENT, "supervisord")


def configure(parser: ArgumentParser) -> None:
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="plugins, runtime, launcher, supervisord (default: all)"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what is appended")
    parser.add_argument("-n", "--lines", type=int, default=20, metavar="N", help="last lines of each (default 20)")
    parser.add_argument("--no-prefix", action="store_true", help="without the plugin's name before each line")
    parser.add_argument("--raw", action="store_true", help="lines as they were written, control characters too")


def run(args: Namespace) -> int:
    """Lines on stdout, each with its plugin's name unless there is only one; --json: one object a line."""
    home = Home.of(args)
    files = _files(home, args.names)
    color = use_color(args.color, sys.stdout)
    width = max((len(n) for n in files), default=0)
    prefixed = not args.no_prefix and len(files) > 1

    def show(index: int, name: str, line: str) -> None:
        if args.json:
            print(json_text({"plugin": name, "line": line}))
            return
        text = line if args.raw else harmless(line, color=color)
        prefix = paint(f"{name:<{width}} | ", _PREFIX_COLORS[index % len(_PREFIX_COLORS)], color) if prefixed else ""
        print(prefix + text)

    followers = {name: Follower(path) for name, path in files.items()}
    for index, (name, path) in enumerate(files.items()):
        for line in last_lines(path, args.lines):
            show(index, name, line)
    if not args.follow:
        if not any(path.exists() for path in files.values()):
            say("no log has been written yet")
        return ExitCode.OK
    while True:
        for index, (name, follower) in enumerate(followers.items()):
            for line in follower.lines():
                show(index, name, line)
        sys.stdout.flush()
        if not pause(POLL):
            return ExitCode.OK


def _files(home: Home, names: list[str]) -> dict[str, Path]:
    own = {AGENT: home.paths.logs / "launcher.log", "supervisord": home.paths.supervisord_log}
    known = {p.id: p.log_file for p in home.programs()}
    if not names:
        return {n: path for n, path in known.items() if path is not None}
    result: dict[str, Path] = {}
    for name in names:
        if name in _OWN:
            result[name] = own[name]
            continue
        for plugin in home.select([name]):
            path = known[plugin.id]
            if path is None:
                raise UnknownPlugin(f"{plugin.id} has no log file", why="logPlugins is false in launcher.yaml")
            result[plugin.id] = path
    return result
