"""Who the plugins are: autostart, `plugins:` and the executables in the plugins folder, brought together by name.

Reports names that are taken or given twice and executables that contradict each other; what the plugins ask for is
judged in `checks`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hiveot_supervisor.config import schema
from hiveot_supervisor.config.diagnostics import Collector, Span
from hiveot_supervisor.config.forms import AutostartItem
from hiveot_supervisor.config.inventory import FileState, Inventory, examine
from hiveot_supervisor.config.nodes import show
from hiveot_supervisor.config.shapes import Named, Settings
from hiveot_supervisor.model import Paths, prestart_account


@dataclass(frozen=True, slots=True)
class Draft:
    """A plugin on its way to the model. `span`: where it is named; `order`: its place in autostart."""

    id: str
    order: int | None
    span: Span | None
    settings: Settings
    executable: Path
    executable_span: Span | None
    state: FileState


def assemble(top: Settings, paths: Paths, inventory: Inventory, sink: Collector) -> list[Draft]:
    """All plugins: the autostart list in order, then the others by name."""
    reserved = _reserved(top)
    listed = _unique(top[schema.AUTOSTART], reserved, sink)
    own = {named.name: named for named in top[schema.PLUGINS] if not _taken(named.name, named.span, reserved, sink)}
    others = sorted((own.keys() | inventory.executables.keys()) - listed.keys() - reserved.keys())
    drafts = []
    for order, name in enumerate([*listed, *others]):
        item, settings = listed.get(name), own.get(name)
        if item is not None and settings is not None:
            _agree(item, settings, sink)
        drafts.append(_draft(name, order if item else None, item, settings, paths, inventory))
    _report_folder(paths.plugins, inventory, reserved, drafts, sink)
    return drafts


def _reserved(top: Settings) -> dict[str, str]:
    """Names that no plugin may have, with the reason."""
    launcher = top[schema.ID]
    own = {launcher: "it is the launcher's own ID", prestart_account(launcher): "it is an account of the launcher"}
    return {**own, **schema.RESERVED}


def _taken(name: str, span: Span, reserved: dict[str, str], sink: Collector) -> bool:
    if name not in reserved:
        return False
    sink.error("L302", f"a plugin cannot be called `{name}`: {reserved[name]}", span, help=_RENAME.format(name=name))
    return True


_RENAME = "give it another name; the executable may keep its own: `- NAME: {name}` under autostart"


def _unique(items: tuple[AutostartItem, ...], reserved: dict[str, str], sink: Collector) -> dict[str, AutostartItem]:
    found: dict[str, AutostartItem] = {}
    for item in items:
        if _taken(item.name, item.span, reserved, sink):
            continue
        first = found.setdefault(item.name, item)
        if first is not item:
            text = f"`{item.name}` is listed twice in autostart"
            second = f"- {item.name}-2: {item.executable or item.name}"
            help_ = f"to run it a second time, give that one a name of its own: `{second}`"
            sink.error("L303", text, item.span, related=(("first listed here", first.span),), help=help_)
    return found


def _agree(item: AutostartItem, settings: Named[Settings], sink: Collector) -> None:
    """An executable in autostart and another one as `command` cannot both be meant."""
    command = settings.value.given(schema.COMMAND)
    if item.executable is None or command is None or command.value == item.executable:
        return
    sink.error(
        "L307",
        f"two executables are given for plugin `{item.name}`",
        command.span,
        related=(("another one is given here", item.executable_span or item.span),),
        help="remove one of them",
    )


def _draft(
    name: str,
    order: int | None,
    item: AutostartItem | None,
    own: Named[Settings] | None,
    paths: Paths,
    inventory: Inventory,
) -> Draft:
    settings = own.value if own is not None else Settings({})
    command = settings.given(schema.COMMAND)
    span = item.span if item is not None else own.span if own is not None else None
    text, at = name, span
    if command is not None and command.value is not None:
        text, at = command.value, command.span
    elif item is not None and item.executable is not None:
        text, at = item.executable, item.executable_span
    executable = paths.plugins / text
    known = executable.parent == paths.plugins and executable.name in inventory.executables
    return Draft(name, order, span, settings, executable, at, FileState.OK if known else examine(executable))


def _report_folder(
    folder: Path, inventory: Inventory, reserved: dict[str, str], drafts: list[Draft], sink: Collector
) -> None:
    """Say what of the plugins folder is not used, unless a plugin with another name runs it."""
    used = {draft.executable for draft in drafts}
    if not inventory.found and any(draft.executable.is_relative_to(folder) for draft in drafts):
        sink.warning(
            "L404",
            f"the plugins folder {folder} does not exist",
            help="hiveot-launcher init makes the folders of a home",
        )
    for name in inventory.unnamed:
        if folder / name not in used:
            text = f"the executable {show(name)} in the plugins folder is ignored: its name cannot be a plugin's"
            sink.warning("L405", text, help=f"rename it, or list it under a name: `- NAME: {show(name)[1:-1]}`")
    for name in inventory.executables.keys() & reserved.keys():
        if folder / name not in used:
            text = f"the executable `{name}` in the plugins folder is ignored: {reserved[name]}"
            sink.warning("L405", text, help=_RENAME.format(name=name))
