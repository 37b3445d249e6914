"""Which supervisord would run, and which file it would pick: what can go wrong between `generate` and `supervisord`.

Looks, never changes anything. supervisord's search list: docs/supervisord-facts.md and Supervisor's options.py (the two
places beside its own folder come before the current one).
"""

from __future__ import annotations

import shlex
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Surroundings:
    """own: the supervisord installed with us; on_path: what the shell finds as `supervisord`; prefix: our environment;
    here: the current folder."""

    own: Path
    on_path: Path | None
    prefix: Path
    here: Path

    @classmethod
    def look(cls) -> Surroundings:
        """Of this process."""
        import shutil

        found = shutil.which("supervisord")
        beside = Path(sys.executable).with_name("supervisord")
        own = beside if beside.exists() else Path(sysconfig.get_path("scripts")) / "supervisord"
        return cls(own=own, on_path=Path(found) if found else None, prefix=Path(sys.prefix), here=Path.cwd())

    @property
    def same(self) -> bool:
        """The shell would run a supervisord that can load our extension."""
        return self.on_path is not None and (
            self.on_path.resolve() == self.own.resolve() or _belongs(self.on_path, self.prefix)
        )


def next_command(conf: Path, around: Surroundings) -> str:
    """The command line that starts supervisord with `conf`, as short as it can be here."""
    program = "supervisord" if around.same else shlex.quote(str(around.own))
    bare = around.here.resolve() == conf.parent.resolve() and conf.name == "supervisord.conf"
    return program if bare and not shadows(conf, around) else f"{program} -c {shlex.quote(str(conf))}"


def shadows(conf: Path, around: Surroundings) -> list[Path]:
    """Files that supervisord, called without -c in the folder of `conf`, would read instead."""
    program = around.on_path if around.same and around.on_path is not None else around.own
    places = [program.parent.parent / "etc" / "supervisord.conf", program.parent.parent / "supervisord.conf"]
    return [place for place in places if place.exists() and place.resolve() != conf.resolve()]


def warnings(conf: Path, around: Surroundings) -> list[str]:
    """What people should know before they type `supervisord`."""
    found = []
    if not around.own.exists():
        found.append(f"supervisord is not installed beside {sys.executable}; install hiveot-supervisor there again")
    elif around.on_path is not None and not around.same:
        found.append(
            f"`supervisord` in your PATH is {around.on_path}, which belongs to another Python than hiveot-launcher and "
            f"cannot load its extension; start {around.own} instead"
        )
    found += [
        f"`supervisord` without -c would read {place} before {conf}; use: supervisord -c {shlex.quote(str(conf))}"
        for place in shadows(conf, around)
    ]
    return found


def _belongs(program: Path, prefix: Path) -> bool:
    """The program is a script whose interpreter is of the environment `prefix`."""
    try:
        with program.open("rb") as file:
            line = file.readline(512)
    except OSError:
        return False
    if not line.startswith(b"#!"):
        return False
    interpreter = Path(line[2:].strip().split(b" ")[0].decode(errors="replace"))
    return interpreter.parent.parent == prefix
