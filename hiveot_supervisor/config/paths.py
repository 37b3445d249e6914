"""Where launcher.yaml is and which folders belong to it: the user layout and the system layout of HiveOT.

Facts: docs/hiveot-hub-protocol.md §1.1. Looks at the file system to search, creates nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from hiveot_supervisor.model import Paths

FILE_NAME = "launcher.yaml"
_SYSTEM_CONFIG = Path("etc/hiveot/conf.d")


@dataclass(frozen=True, slots=True)
class Location:
    """A home and its configuration file; `found` is False when the search ended without a file."""

    file: Path
    paths: Paths
    found: bool
    searched: tuple[Path, ...] = ()


def locate(home: Path | None = None, config: Path | None = None, cwd: Path | None = None) -> Location:
    """Find launcher.yaml and its folders.

    config: the file, no search; home: the home folder, where launcher.yaml or config/launcher.yaml is looked for;
    without both it is looked for in `cwd` (default: the current folder) and its config folder. Relative paths refer
    to `cwd`.
    """
    here = _absolute(cwd or Path.cwd(), Path.cwd())
    root = None if home is None else _absolute(home, here)
    if config is not None:
        file = _absolute(config, here)
        return Location(file, paths_of(root or home_of(file), file.parent), file.is_file(), (file,))
    folders = [root, root / "config"] if root is not None else [here, here / "config"]
    if root is not None and is_system(root):
        folders.append(Path("/") / _SYSTEM_CONFIG)
    candidates = tuple(folder / FILE_NAME for folder in folders)
    file = next((candidate for candidate in candidates if candidate.is_file()), candidates[0])
    return Location(file, paths_of(root or home_of(file), file.parent), file.is_file(), candidates)


def home_of(file: Path) -> Path:
    """The home folder to which a launcher.yaml belongs: its folder, or the parent of a folder `config`."""
    folder = file.parent
    if folder.name == "config":
        return folder.parent
    if folder.name == "conf.d":
        return _system_root(folder) / "opt/hiveot"
    return folder


def is_system(home: Path) -> bool:
    """True when a home means the system layout: it lies in /usr or /opt."""
    return home.parts[1:2] in (("usr",), ("opt",))


def paths_of(home: Path, config: Path) -> Paths:
    """The folders of `home`, whose launcher.yaml lies in the folder `config`."""
    if is_system(home) or config.name == "conf.d":
        return _system(_system_root(config), config)
    return Paths(
        home=home,
        bin=home / "bin",
        plugins=home / "plugins",
        config=home / "config",
        certs=home / "certs",
        logs=home / "logs",
        stores=home / "stores",
        run=home / "run",
        generated=home / "generated",
        supervisord_conf=home / "supervisord.conf",
    )


def _system(root: Path, config: Path) -> Paths:
    programs = root / "opt/hiveot"
    return Paths(
        home=root / "var/lib/hiveot",
        # HiveOT's code says /opt/hiveot, its comment /opt/hiveot/bin: both are in use.
        bin=programs / "bin" if (programs / "bin").is_dir() else programs,
        plugins=programs / "plugins",
        config=root / _SYSTEM_CONFIG,
        certs=root / "etc/hiveot/certs",
        logs=root / "var/log/hiveot",
        stores=root / "var/lib/hiveot",
        run=root / "run/hiveot",
        generated=config / "generated",
        supervisord_conf=config / "supervisord.conf",
    )


def _system_root(config: Path) -> Path:
    """`/`, or the folder under which a staged system tree lies (`DIR/etc/hiveot/conf.d`)."""
    parts = _SYSTEM_CONFIG.parts
    return Path(*config.parts[: -len(parts)]) if config.parts[-len(parts) :] == parts else Path("/")


def _absolute(path: Path, cwd: Path) -> Path:
    """Absolute and without `..`; symbolic links stay as they are, as in HiveOT."""
    return Path(os.path.normpath(cwd / path.expanduser()))


def display(path: Path, cwd: Path | None = None) -> str:
    """`path` as people want to see it: relative when it lies below the current folder."""
    base = _absolute(cwd or Path.cwd(), Path.cwd())
    return str(path.relative_to(base)) if path.is_relative_to(base) else str(path)
