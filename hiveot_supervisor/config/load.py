"""launcher.yaml -> model in one call, with everything there is to say about the file.

`inspect` never raises for what is in the file; `load` raises `InvalidConfig` when it has errors.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

from hiveot_supervisor.config import checks, schema
from hiveot_supervisor.config.diagnostics import Collector, Diagnostic, Severity, Source
from hiveot_supervisor.config.flags import Flags
from hiveot_supervisor.config.hubs import resolve_hub
from hiveot_supervisor.config.inventory import scan
from hiveot_supervisor.config.nodes import Mapping, Scalar, instead
from hiveot_supervisor.config.paths import Location, display, locate
from hiveot_supervisor.config.reader import Unreadable, decode, parse, read_bytes
from hiveot_supervisor.config.render import concise, summary
from hiveot_supervisor.config.resolve import resolve
from hiveot_supervisor.config.roster import assemble
from hiveot_supervisor.config.shapes import Settings
from hiveot_supervisor.errors import ConfigError
from hiveot_supervisor.model import Launcher


class InvalidConfig(ConfigError):
    """launcher.yaml has errors; `diagnostics` are all of them, with the warnings, in the order of the file."""

    def __init__(self, name: str, diagnostics: tuple[Diagnostic, ...]) -> None:
        listed = "\n".join(f"  {concise(d)}" for d in diagnostics[:20])
        super().__init__(
            f"{name} is invalid", why=f"{summary(diagnostics)}\n{listed}", hint="hiveot-launcher check shows more"
        )
        self.diagnostics = diagnostics


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found in a file: all diagnostics, and the model when there is no error among them."""

    location: Location
    name: str
    diagnostics: tuple[Diagnostic, ...]
    launcher: Launcher | None

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        return tuple(d for d in self.diagnostics if d.severity is Severity.WARNING)


def load(home: Path | None = None, config: Path | None = None, cwd: Path | None = None) -> Inspection:
    """Find (see `paths.locate`), read, check and resolve launcher.yaml; the result's `launcher` is set.

    Raises InvalidConfig, which carries all diagnostics, when there is no file or it has errors.
    """
    found = inspect(locate(home, config, cwd), cwd)
    if found.launcher is None:
        raise InvalidConfig(found.name, found.diagnostics)
    return found


def inspect(location: Location, cwd: Path | None = None, flags: Flags | None = None) -> Inspection:
    """Everything about the file at `location`. Names in diagnostics are relative to `cwd` where that is shorter.

    flags: a command line of HiveOT's launcher, which wins over the file, and for which the file may be missing.
    """
    name = display(location.file, cwd)
    try:
        data = b"" if flags is not None and not location.file.exists() else read_bytes(location.file)
    except Unreadable as problem:
        sink = Collector(Source(location.file, "", name))
        sink.error(problem.code, _not_found(location, problem, cwd), help=problem.help)
        return Inspection(location, name, sink.diagnostics(), None)
    source, sink = decode(data, location.file, name)
    launcher = _interpret(source, sink, location, hashlib.sha256(data).hexdigest(), flags)
    return Inspection(location, name, sink.diagnostics(), None if sink.failed else launcher)


def _not_found(location: Location, problem: Unreadable, cwd: Path | None) -> str:
    if problem.code != "L001" or len(location.searched) < 2:
        return problem.message
    places = [display(path, cwd) for path in location.searched]
    return f"there is no launcher.yaml: neither {' nor '.join(places)} exists"


def _interpret(
    source: Source, sink: Collector, location: Location, digest: str, flags: Flags | None
) -> Launcher | None:
    """From text to model; None when the file is no configuration at all."""
    root = parse(source, sink)
    if sink.failed and root is None:
        return None
    if root is not None and not isinstance(root, Mapping) and not (isinstance(root, Scalar) and root.is_null):
        text = f"launcher.yaml must be a mapping at the top{instead(root)}"
        sink.error("L101", text, root.span, help="write `key: value` lines; `hiveot-launcher init` writes a sample")
        return None
    top = schema.TOP.decode(root, (), sink) if root is not None else Settings({})
    top = flags.over(top) if flags is not None else top
    logs = top[schema.LOGS_DIR]
    paths = location.paths
    if logs is not None:
        paths = dataclasses.replace(paths, logs=paths.home / logs)
    inventory = scan(paths.plugins)
    drafts = assemble(top, paths, inventory, sink)
    checks.check(top, drafts, paths, inventory, sink)
    hub = resolve_hub(top, paths, sink)
    return None if sink.failed else resolve(top, drafts, paths, hub, source.path, digest)
