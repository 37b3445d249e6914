"""Looks at the files of a home: which executables are in the plugins folder, and whether a given one can be run.

The rule is the Go launcher's: a regular file (links are followed), owner-execute bit, size above zero; its name is the
plugin's name. Only reads; what is wrong is returned, not reported.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from hiveot_supervisor.model import valid_name

EMBEDDED_MARK = b"hiveot_supervisor.runtime"
EMBEDDED_NAME = "hiveot-runtime"


class FileState(Enum):
    """What keeps a file from being executed, if anything."""

    OK = "can be executed"
    MISSING = "does not exist"
    NO_FILE = "is not a regular file"
    NO_BIT = "is not executable"
    EMPTY = "is empty"
    UNREADABLE = "cannot be looked at"


@dataclass(frozen=True, slots=True)
class Inventory:
    """Executables of the plugins folder by name; `unnamed` are those whose name cannot be a plugin's."""

    found: bool
    executables: dict[str, Path]
    unnamed: tuple[str, ...] = ()


def examine(path: Path) -> FileState:
    """Whether `path` can be executed by its owner."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return FileState.MISSING
    except OSError:
        return FileState.UNREADABLE
    if not stat.S_ISREG(status.st_mode):
        return FileState.NO_FILE
    if not status.st_mode & stat.S_IXUSR:
        return FileState.NO_BIT
    return FileState.OK if status.st_size > 0 else FileState.EMPTY


def scan(folder: Path) -> Inventory:
    """The executables in the plugins folder, by name; dotfiles are not looked at."""
    executables: dict[str, Path] = {}
    unnamed: list[str] = []
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if not entry.name.startswith("."))
    except OSError:
        return Inventory(False, {})
    for name in names:
        if examine(folder / name) is not FileState.OK:
            continue
        if valid_name(name):
            executables[name] = folder / name
        else:
            unnamed.append(name)
    return Inventory(True, executables, tuple(unnamed))


def is_embedded(runtime: Path) -> bool:
    """True when the runtime's file is our embedded hub and not HiveOT's Go program."""
    if Path(os.path.realpath(runtime)).name == EMBEDDED_NAME:
        return True
    try:
        with open(runtime, "rb") as file:
            return EMBEDDED_MARK in file.read(2048)
    except OSError:
        return False
