"""What checks get and give: the home they look at, and their findings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from hiveot_supervisor.model import Launcher, Paths, Plugin


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found. text: the fact, in one line; remedy: what to do, empty when nothing is to be done."""

    level: Level
    text: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """The home. launcher: its resolved launcher.yaml, None when that is missing or has errors."""

    paths: Paths
    launcher: Launcher | None

    @property
    def programs(self) -> list[Plugin]:
        """The runtime, if there is one, then the plugins in start order."""
        if self.launcher is None:
            return []
        return [*([self.launcher.runtime] if self.launcher.runtime else []), *self.launcher.plugins]

    @property
    def hub_is_ours(self) -> bool:
        """The embedded hub runs in this home."""
        return self.launcher is not None and self.launcher.runtime is not None and self.launcher.hub.embedded


class Check(Protocol):
    """A module of this package."""

    NAME: str

    def look(self, case: Case) -> Iterator[Finding]:
        """What is wrong; nothing or only OK findings when all is well."""
        ...


def good(text: str) -> Finding:
    return Finding(Level.OK, text)


def warning(text: str, remedy: str = "") -> Finding:
    return Finding(Level.WARNING, text, remedy)


def error(text: str, remedy: str = "") -> Finding:
    return Finding(Level.ERROR, text, remedy)


def as_json(name: str, finding: Finding) -> dict[str, Any]:
    """The stable machine-readable form."""
    return {"check": name, "level": finding.level.value, "text": finding.text, "remedy": finding.remedy or None}
