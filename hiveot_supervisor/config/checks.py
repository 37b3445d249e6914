"""What one key cannot know alone: dependencies, settings that contradict each other, files and users that are missing.

A missing runtime is an error; what concerns a single plugin's files is a warning, because the others can run.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shlex
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from hiveot_supervisor.config import schema
from hiveot_supervisor.config.diagnostics import Collector, Span
from hiveot_supervisor.config.forms import DependsOn
from hiveot_supervisor.config.inventory import FileState, Inventory, examine
from hiveot_supervisor.config.nodes import flow_list, show
from hiveot_supervisor.config.order import cycles
from hiveot_supervisor.config.roster import Draft
from hiveot_supervisor.config.shapes import Key, Settings
from hiveot_supervisor.config.suggest import nearest
from hiveot_supervisor.config.units import format_duration
from hiveot_supervisor.model import Paths, Restart

MAX_SOCKET_PATH = 100
"""Bytes; the kernel takes 107, and supervisord appends a dot and its process ID while it creates the socket."""


def check(top: Settings, drafts: Sequence[Draft], paths: Paths, inventory: Inventory, sink: Collector) -> None:
    """All checks that look at more than one key, or beyond the file."""
    check_id(top, sink)
    check_runtime(top, paths, sink)
    check_restart(top, drafts, sink)
    check_dependencies(drafts, sink)
    for draft in drafts:
        check_executable(draft, paths, inventory, sink)
        check_files(draft, paths, sink)
    check_home(paths, sink)


def check_home(paths: Paths, sink: Collector) -> None:
    """The home's path becomes part of a socket's path and of JSON files."""
    home = str(paths.home)
    if home != home.encode(errors="replace").decode():
        sink.error("L408", f"the path of the home is not UTF-8: {home}", help="rename the folder")
    length = len(os.fsencode(paths.socket))
    if length > MAX_SOCKET_PATH:
        text = f"the path of supervisord's socket is too long: {length} bytes, {MAX_SOCKET_PATH} are possible"
        help_ = f"supervisord would refuse to start; use a home with a shorter path than {home}"
        sink.warning("L408", text, help=help_)


def check_id(top: Settings, sink: Collector) -> None:
    """The launcher's ID is an account beside those of the hub."""
    given = top.given(schema.ID)
    reason = schema.RESERVED.get(given.value) if given is not None else None
    if given is not None and reason is not None and given.value != schema.ID.default:
        text = f"the launcher cannot have the ID `{given.value}`: {reason}"
        sink.error("L302", text, given.span, help="for a second launcher take e.g. `launcher-` and the machine's name")


def check_runtime(top: Settings, paths: Paths, sink: Collector) -> None:
    """The hub's executable must be there: nothing works without it."""
    given = top.given(schema.RUNTIME)
    if given is None or given.value is None:
        return
    path = paths.bin / given.value
    state = examine(path)
    if state is FileState.OK:
        return
    if state is not FileState.MISSING:
        sink.error("L403", f"the runtime {path} {state.value}", given.span, help=_make_executable(path, state))
        return
    near = nearest(Path(given.value).name, _names(paths.bin))
    help_ = "`hiveot-launcher init` makes one for the embedded hub; remove the line if the hub runs elsewhere"
    suggestion = f"did you mean `{near}`?" if near else ""
    text = f"the runtime {path} does not exist"
    sink.error("L401", text, given.span, suggestion=suggestion, replacement=near, help=help_)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return []


def check_restart(top: Settings, drafts: Sequence[Draft], sink: Collector) -> None:
    """`autorestart` against restart.policy, and a cap below the first delay."""
    base = top[schema.RESTART_KEY].over(Restart(), schema.RESTART.keys)
    _check_policy(top, sink)
    _check_delays(base, top[schema.RESTART_KEY], "", sink)
    for draft in drafts:
        own = draft.settings[schema.RESTART_KEY]
        _check_policy(draft.settings, sink)
        _check_delays(own.over(base, schema.RESTART.keys), own, f" of plugin `{draft.id}`", sink)


def _check_policy(settings: Settings, sink: Collector) -> None:
    word, section = settings.given(schema.AUTORESTART), settings[schema.RESTART_KEY]
    given = section.given(next(key for key in schema.RESTART.keys if key.field == "policy"))
    if word is not None and given is not None and word.value is not (given.value != "never"):
        text = f"`autorestart: {str(word.value).lower()}` has no effect: restart.policy says `{given.value}`"
        sink.warning("L110", text, word.key, related=(("given here", given.key),), help="remove one of them")


def _check_delays(restart: Restart, section: Settings, whose: str, sink: Collector) -> None:
    keys: dict[str, Key[Any]] = {key.field: key for key in schema.RESTART.keys}
    given = section.given(keys["limit"]) or section.given(keys["delay"])
    if given is not None and restart.limit < restart.delay:
        limit, delay = format_duration(restart.limit), format_duration(restart.delay)
        text = f"`restart.limit`{whose} is {limit}, shorter than the first delay of {delay}"
        sink.error("L205", text, given.span, help="`limit` is the longest delay, `delay` the first one")


def check_dependencies(drafts: Sequence[Draft], sink: Collector) -> None:
    """Every dependency must be a known plugin, and no plugin may wait for itself."""
    known = {draft.id: draft for draft in drafts}
    needs: dict[str, list[str]] = {}
    for draft in drafts:
        needs[draft.id] = []
        for item in draft.settings[schema.DEPENDS_ON]:
            other = known.get(item.plugin)
            if other is None:
                _unknown(draft, item, known, sink)
                continue
            needs[draft.id].append(item.plugin)
            if draft.order is not None and other.order is None:
                _not_started(draft, item, other, sink)
    for circle in cycles(needs):
        first = known[circle[0]]
        spans = {item.plugin: item.span for item in first.settings[schema.DEPENDS_ON]}
        text = f"`{circle[0]}` depends on itself"
        if len(circle) > 1:
            shown = circle if len(circle) <= 8 else [*circle[:6], "…", circle[-1]]
            text = f"these plugins wait for each other: {' -> '.join([*shown, circle[0]])}"
        help_ = "none of them would ever start; remove one of the dependencies"
        sink.error("L305", text, spans[circle[1 % len(circle)]], related=_links(circle, known), help=help_)


def _links(circle: list[str], known: dict[str, Draft]) -> tuple[tuple[str, Span], ...]:
    """Where the other dependencies of a circle are written."""
    found = []
    steps = itertools.pairwise([*circle[1:], circle[0]])
    for name, need in itertools.islice(steps, 5):
        found += [
            (f"`{name}` needs `{need}`", i.span) for i in known[name].settings[schema.DEPENDS_ON] if i.plugin == need
        ]
    return tuple(found)


def _unknown(draft: Draft, item: DependsOn, known: dict[str, Draft], sink: Collector) -> None:
    if item.plugin == "runtime":
        help_ = "every plugin waits for the hub by itself; remove the dependency"
        sink.error("L304", f"plugin `{draft.id}` cannot depend on the runtime", item.span, help=help_)
        return
    near = None if sink.crowded else nearest(item.plugin, known)
    sink.error(
        "L304",
        f"plugin `{draft.id}` depends on `{item.plugin}`, which is not known",
        item.span,
        suggestion=f"did you mean `{near}`?" if near else "",
        replacement=near,
        help="a plugin is known when it is listed in autostart or under `plugins:`, or lies in the plugins folder",
    )


def _not_started(draft: Draft, item: DependsOn, other: Draft, sink: Collector) -> None:
    text = f"`{draft.id}` starts by itself, but `{other.id}`, which it depends on, does not"
    help_ = f"`{draft.id}` waits until somebody starts `{other.id}`; add `{other.id}` to autostart"
    sink.warning("L306", text, item.span, help=help_)


def check_executable(draft: Draft, paths: Paths, inventory: Inventory, sink: Collector) -> None:
    """A plugin that cannot be executed is shown as missing and starts when that changes."""
    if draft.state is FileState.OK:
        return
    name = draft.executable.name
    if draft.state is not FileState.MISSING:
        text = f"plugin `{draft.id}` cannot run: {draft.executable} {draft.state.value}"
        sink.warning("L403", text, draft.executable_span, help=_make_executable(draft.executable, draft.state))
        return
    if _is_command_line(draft, paths, sink):
        return
    near = None if sink.crowded else nearest(name, inventory.executables)
    sink.warning(
        "L402",
        f"plugin `{draft.id}` cannot run: {draft.executable} does not exist",
        draft.executable_span,
        suggestion=f"did you mean `{near}`?" if near else "",
        replacement=near,
        help="it is listed as missing and starts when the file appears",
    )


def _is_command_line(draft: Draft, paths: Paths, sink: Collector) -> bool:
    """Report `command: zwavejs --verbose`, when the first word alone can be executed."""
    command = draft.settings.given(schema.COMMAND)
    if command is None or command.value is None or not any(c.isspace() for c in command.value):
        return False
    try:
        first, *rest = shlex.split(command.value)
    except ValueError:
        return False
    if not rest or examine(paths.plugins / first) is not FileState.OK:
        return False
    text = f"`command` of plugin `{draft.id}` contains arguments: {show(' '.join(rest))}"
    meant = f"command: {first}, args: {flow_list(rest)}"
    sink.error(
        "L213", text, command.span, suggestion=f"write {show(meant, 100)}", help="`command` is the executable alone"
    )
    return True


def _make_executable(path: Path, state: FileState) -> str:
    return f"chmod +x {shlex.quote(str(path))}" if state is FileState.NO_BIT else "an executable file is needed there"


def check_files(draft: Draft, paths: Paths, sink: Collector) -> None:
    """The environment file and the user of a plugin."""
    file = draft.settings.given(schema.ENVIRONMENT_FILE)
    if file is not None and file.value is not None and not (paths.home / file.value).is_file():
        text = f"the environment file {paths.home / file.value} of plugin `{draft.id}` does not exist"
        sink.warning("L406", text, file.span, help="the plugin cannot start without it")
    user = draft.settings.given(schema.USER)
    if user is not None and user.value is not None and not _user_exists(user.value):
        text = f"the user `{user.value}` of plugin `{draft.id}` does not exist on this machine"
        sink.warning("L407", text, user.span, help="the plugin cannot start without that user")


@cache
def _user_exists(user: str) -> bool:
    try:
        pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except (KeyError, OverflowError):
        return False
    return True
