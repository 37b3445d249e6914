"""`hiveot-launcher status NAME`: one plugin on one screen; without a name, the table."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hiveot_supervisor.cli import cmd_list
from hiveot_supervisor.cli.home import Home, View
from hiveot_supervisor.cli.output import human_size, human_time, paint, print_json, printable, table, use_color
from hiveot_supervisor.clock import iso8601
from hiveot_supervisor.errors import ExitCode, SupervisordUnreachable
from hiveot_supervisor.model import Plugin, PluginState
from hiveot_supervisor.supervisord.rpc import ForeignSocket

if TYPE_CHECKING:
    from hiveot_supervisor.agent.samples import Minute


def configure(parser: ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("-n", "--lines", type=int, default=10, help="log lines to show (default 10)")
    parser.add_argument("--history", action="store_true", help="its use of CPU and memory, a line a minute, of a day")
    parser.set_defaults(running=False)


def run(args: Namespace) -> int:
    """Exit 0 when all asked for run, 3 when one does not, 4 when there is no such plugin."""
    if not args.names:
        return cmd_list.run(args)
    home = Home.of(args)
    try:
        processes = {p.name: p for p in home.supervisord().snapshot()}
    except ForeignSocket:
        raise
    except SupervisordUnreachable:
        processes = None
    chosen = home.select(args.names)
    views = {v.name: v for v in home.views(processes)}
    if args.json:
        print_json({"format_version": 1, "plugins": [_document(home, p, views[p.id], args) for p in chosen]})
    else:
        blocks = ["\n".join(_screen(home, p, views[p.id], args)) for p in chosen]
        print("\n\n".join(blocks))
    down = any(views[p.id].state is not PluginState.RUNNING for p in chosen)
    return ExitCode.NOT_RUNNING if down else ExitCode.OK


def _document(home: Home, plugin: Plugin, view: View, args: Namespace) -> dict[str, object]:
    minutes = home.history(plugin.id)
    document: dict[str, object] = {
        **view.as_json(),
        "executable": str(plugin.executable),
        "args": list(plugin.args),
        "log": str(plugin.log_file) if plugin.log_file else None,
        "peak_rss_bytes": max((m.rss for m in minutes), default=None),
        "mean_cpu_percent": round(sum(m.cpu for m in minutes) / len(minutes), 1) if minutes else None,
    }
    if args.history:
        document["history"] = [
            {
                "time": iso8601(m.time),
                "cpu_percent": m.cpu,
                "rss_bytes": m.rss,
                "processes": m.processes,
                "threads": m.threads,
                "open_files": m.files,
            }
            for m in minutes
        ]
    return document


def _screen(home: Home, plugin: Plugin, view: View, args: Namespace) -> list[str]:
    color = use_color(args.color, sys.stdout)
    now = time.time()
    since = f" since {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(view.since))}" if view.since else ""
    ago = f" ({human_time(now - view.since)} ago)" if view.since else ""
    lines = [f"{paint('●', cmd_list.COLORS[view.state], color)} {plugin.id}"]
    facts = [("state", f"{paint(view.state.value, cmd_list.COLORS[view.state], color)}{since}{ago}")]
    if reason := cmd_list.note(view, now):
        facts.append(("because", reason))
    if view.state is PluginState.RUNNING:
        cpu = f", {view.cpu:.0f}% CPU" if view.cpu is not None else ""
        counts = [f"{view.threads} threads" if view.threads else "", f"{view.files} open files" if view.files else ""]
        more = "".join(f", {count}" for count in counts if count)
        facts.append(("process", f"{view.pid}, {human_size(view.rss)}{cpu}{more}"))
    if used := _used(home.history(plugin.id)):
        facts.append(("used", used))
    facts.append(("starts", f"{view.restarts} restarts; {'enabled' if view.enabled else 'disabled'}{_listed(plugin)}"))
    facts.append(("runs", printable(" ".join([str(plugin.executable), *plugin.args]))))
    facts += _credentials(home, plugin, now)
    if plugin.depends_on:
        facts.append(("needs", ", ".join(f"{d.plugin} ({d.condition})" for d in plugin.depends_on)))
    needed = [p.id for p in home.launcher.plugins if any(d.plugin == plugin.id for d in p.depends_on)]
    if needed:
        facts.append(("needed by", ", ".join(needed)))
    if plugin.log_file:
        facts.append(("log", str(plugin.log_file)))
    lines += [f"  {label + ':':<11}{text}" for label, text in facts]
    if args.history:
        lines += ["", *[f"  {line}" for line in _history(home.history(plugin.id))]]
    return lines + _log_tail(plugin, args.lines)


def _used(minutes: Sequence[Minute]) -> str:
    """What the resource history comes to, in words."""
    if not minutes:
        return ""
    mean = sum(m.cpu for m in minutes) / len(minutes)
    peak, memory = max(m.cpu for m in minutes), human_size(max(m.rss for m in minutes))
    return f"in {human_time(60 * len(minutes))}: {mean:.0f}% CPU (busiest minute {peak:.0f}%), at most {memory}"


def _history(minutes: Sequence[Minute]) -> list[str]:
    """A line a minute."""
    rows = [
        [
            time.strftime("%Y-%m-%d %H:%M", time.localtime(m.time)),
            f"{m.cpu:.0f}%",
            human_size(m.rss),
            str(m.processes),
            str(m.threads),
            "-" if m.files is None else str(m.files),
        ]
        for m in minutes
    ]
    return table(["UNTIL", "CPU", "MEM", "PROCESSES", "THREADS", "FILES"], rows, right={1, 2, 3, 4, 5})


def _listed(plugin: Plugin) -> str:
    return f", number {plugin.order + 1} of the autostart list" if plugin.order is not None else ", not in autostart"


def _credentials(home: Home, plugin: Plugin, now: float) -> list[tuple[str, str]]:
    if not plugin.create_cred or plugin is home.launcher.runtime:
        return []
    from hiveot_supervisor.credentials.expiry import read_claims
    from hiveot_supervisor.credentials.store import read_text
    from hiveot_supervisor.errors import CredentialError

    path = home.paths.token(plugin.id)
    try:
        expires = read_claims(read_text(path)).expires
    except FileNotFoundError:
        return [("token", "none yet; it is made before the first start")]
    except (OSError, CredentialError) as error:
        return [("token", f"unusable: {error}")]
    left = f"for {human_time(expires - now)}" if expires > now else "EXPIRED"
    return [("token", f"valid until {time.strftime('%Y-%m-%d', time.localtime(expires))} ({left})")]


def _log_tail(plugin: Plugin, count: int) -> list[str]:
    from hiveot_supervisor.supervisord.logfiles import last_lines

    if plugin.log_file is None or count <= 0:
        return []
    lines = last_lines(plugin.log_file, count)
    return ["", *[f"  {printable(line)}" for line in lines]] if lines else []
