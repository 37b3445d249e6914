"""`hiveot-launcher creds`: keys, tokens and certificates: until when they are good, renew them, take them away."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, Namespace

from hiveot_supervisor.cli import credfiles
from hiveot_supervisor.cli.acting import report
from hiveot_supervisor.cli.credfiles import Item
from hiveot_supervisor.cli.home import Home
from hiveot_supervisor.cli.output import paint, print_json, printable, say, table, use_color
from hiveot_supervisor.errors import ExitCode, UnknownPlugin, UsageError

HEADER = ["ID", "KIND", "EXPIRES", "MODE", "OWNER", "PROBLEM"]
TIMEOUT = 60.0


def configure(parser: ArgumentParser) -> None:
    parser.description = (
        "list: what there is, until when, and what is wrong with it (never a secret)\n"
        "renew NAME…|all: a new token and certificate now; the old token is refused from then on\n"
        "revoke NAME…|all: stop and disable the plugin, remove its account and files; `start` makes new ones"
    )
    parser.add_argument("action", nargs="?", default="list", choices=("list", "renew", "revoke"))
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="plugin names, globs, or `all`; renew and list: the launcher's ID too"
    )
    parser.add_argument("--keys", action="store_true", help="renew: a new key, too")
    parser.add_argument("--timeout", type=float, default=TIMEOUT, metavar="SECONDS", help="how long to wait at most")


def run(args: Namespace) -> int:
    """Exit 0, 1 when something failed, 4 for an unknown name, 124 when it took too long."""
    if args.action == "list":
        return _list(args)
    if not args.names:
        raise UsageError(f"creds {args.action} needs names", hint=f"hiveot-launcher creds {args.action} NAME, or: all")
    if args.keys and args.action != "renew":
        raise UsageError("--keys goes with renew")
    from hiveot_supervisor.cli import renewing

    home = Home.of(args)
    if args.action == "renew":
        outcomes = renewing.renew(home, _accounts(home, args.names), keys=args.keys, timeout=args.timeout)
    else:
        plugins = home.select(args.names, runtime=False)
        outcomes = renewing.revoke(home, [p for p in plugins if p.create_cred], timeout=args.timeout)
    report(outcomes, args)
    if any(o.timed_out for o in outcomes):
        return ExitCode.TIMEOUT
    return ExitCode.OK if all(o.ok for o in outcomes) else ExitCode.FAILED


def _accounts(home: Home, names: list[str]) -> list[str]:
    """The accounts that names mean; `all` and globs only those that have a token: nothing that was revoked comes back.

    Raises UnknownPlugin, also for a plugin that gets no credentials from us.
    """
    own = home.launcher.id
    chosen = home.select([n for n in names if n != own], runtime=False) if set(names) != {own} else []
    for plugin in chosen:
        if not plugin.create_cred and plugin.id in names:
            raise UnknownPlugin(f"the launcher makes no credentials for {plugin.id}", why="createPluginCred is false")
    meant = [p.id for p in chosen if p.create_cred and (p.id in names or home.paths.token(p.id).exists())]
    return meant + ([own] if own in names else [])


def _list(args: Namespace) -> int:
    home = Home.of(args)
    own = home.launcher.id
    names = [n for n in args.names if n != own]
    plugins = home.select(names, runtime=False) if names or not args.names else []
    if not args.names:
        plugins = list(home.launcher.plugins)
    items = credfiles.items(home, plugins, own=not args.names or own in args.names)
    if own in args.names:
        items = [i for i in items if i.id == own or i.id in {p.id for p in plugins}]
    problem = credfiles.folder_problem(home)
    if args.json:
        document = {"format_version": 1, "folder": str(home.paths.certs), "folder_problem": None}
        document["folder_problem"] = None if problem is None else " ".join(str(problem).split())
        print_json({**document, "credentials": [i.as_json() for i in items]})
        return ExitCode.OK
    _print(items, args.color)
    if problem is not None:
        say(f"{paint('error', 'red', use_color(args.color, sys.stderr))}: {problem}")
    return ExitCode.OK


def _print(items: list[Item], color: str) -> None:
    enabled = use_color(color, sys.stdout)
    lines = table(HEADER, [_row(i) for i in items])
    print(paint(lines[0], "bold", enabled))
    for item, line in zip(items, lines[1:], strict=True):
        print(paint(line, "red", enabled) if item.problem else line)


def _row(item: Item) -> list[str]:
    expires = "-" if item.expires is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(item.expires))
    mode = "-" if item.mode is None else f"{item.mode:04o}"
    note = item.problem or ("none yet" if item.mode is None else "")
    return [item.id, item.kind, expires, mode, item.owner or "-", printable(note)]
