"""`hiveot-launcher apply`: bring what runs in line with launcher.yaml, touching only what changed.

One command in place of reread, update, restart and reload: it shows the plan, then carries it out.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from argparse import ArgumentParser, Namespace

from hiveot_supervisor.cli import daemon
from hiveot_supervisor.cli.acting import report
from hiveot_supervisor.cli.changes import Changes, compare
from hiveot_supervisor.cli.control import Control, Outcome
from hiveot_supervisor.cli.home import Home
from hiveot_supervisor.cli.output import paint, print_json, say, use_color
from hiveot_supervisor.errors import ExitCode, HiveotError, SupervisordFault
from hiveot_supervisor.model import Launcher
from hiveot_supervisor.supervisord.states import Fault

TIMEOUT = 60.0

FUNDAMENTAL = ("id", "paths", "key_file", "token_file", "hub", "runtime")
"""Changes of these would have plugins talk to a hub that is not there yet."""


def configure(parser: ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="only show the plan")
    parser.add_argument(
        "--new-plugins", action="store_true", help="only add new executables; nothing when launcher.yaml has changed"
    )


def run(args: Namespace) -> int:
    """Exit 0 when all was applied, 1 when a plugin did not come up again, 6 when launcher.yaml is invalid."""
    from hiveot_supervisor.cli.context import load_launcher
    from hiveot_supervisor.generate import plan, write

    new = load_launcher(args)
    home = Home(new.paths)
    if not daemon.is_running(home):
        write.write(plan.make(new))
        say("nothing runs; the configuration was generated. Start it with: hiveot-launcher up")
        return ExitCode.OK
    old = home.launcher
    changes = compare(old, new)
    if args.new_plugins:
        if old.source_hash != new.source_hash:
            say("launcher.yaml has changed since it was applied; hiveot-launcher apply takes it over")
            return ExitCode.OK
        changes = Changes(added=changes.added)
        kept = {p.id for p in new.plugins}
        lost = tuple(p for p in old.plugins if p.id not in kept)
        new = dataclasses.replace(new, plugins=(*new.plugins, *lost))
    _show(changes, args)
    if args.dry_run:
        return ExitCode.OK
    if fundamental := [name for name in changes.outside if name in FUNDAMENTAL]:
        raise HiveotError(
            f"nothing was applied: {', '.join(fundamental)} cannot change under running plugins",
            hint="hiveot-launcher down, then hiveot-launcher up",
        )
    control = Control(home)
    running = {name for name, p in control.processes.items() if p.pid}
    write.write(plan.make(new))
    outcomes = _carry_out(control, old, new, changes, running)
    if outcomes and not args.json:
        report(outcomes, args)
    return ExitCode.OK if all(o.ok for o in outcomes) else ExitCode.FAILED


def _carry_out(control: Control, old: Launcher, new: Launcher, changes: Changes, running: set[str]) -> list[Outcome]:
    rpc = control.rpc
    rpc.reload_config()
    gone = [p for p in old.plugins if p.id in (*changes.removed, *changes.restarted)]
    stop_timeout = max((p.stop.timeout for p in gone), default=0.0) + 5.0
    stuck = [o for o in control.stop(gone, timeout=stop_timeout, disable=False) if not o.ok]
    if stuck:
        return stuck
    for name in (*changes.removed, *changes.restarted):
        _tolerating(Fault.BAD_NAME, rpc.remove_group, name)
    for name in (*changes.restarted, *changes.added):
        _tolerating(Fault.ALREADY_ADDED, rpc.add_group, name)
    if control.agent:
        rpc.send_remote_event("hiveot", json.dumps({"op": "reload"}))
    # what is in the autostart list is started by the agent, in order; what the operator had started by hand, by us
    again = [p for p in new.plugins if p.id in changes.restarted and p.id in running]
    control.home = Home(new.paths)
    control.refresh()
    by_agent = [p for p in again if p.order is not None and control.agent]
    by_us = [p for p in again if p not in by_agent]
    return [*control.start(by_us, timeout=TIMEOUT), *control.await_started(by_agent, timeout=TIMEOUT)]


def _tolerating(code: Fault, request: object, name: str) -> None:
    try:
        request(name)  # type: ignore[operator]
    except SupervisordFault as fault:
        if fault.code != code:
            raise


def _show(changes: Changes, args: Namespace) -> None:
    if args.json:
        print_json({"format_version": 1, **dataclasses.asdict(changes)})
        return
    if args.quiet:
        return
    color = use_color(args.color, sys.stderr)
    if changes.nothing:
        say("nothing has changed")
    for sign, names, tint, text in (
        ("+", changes.added, "green", "new"),
        ("-", changes.removed, "red", "removed"),
        ("~", changes.restarted, "yellow", "changed and therefore restarted if it runs"),
        ("=", changes.adjusted, "cyan", "settings taken over without a restart"),
    ):
        for name in names:
            say(f"{paint(sign, tint, color)} {name:<20} {text}")
    if changes.outside:
        say(f"! {', '.join(changes.outside)}: taken over by the next `hiveot-launcher down` and `up`")
