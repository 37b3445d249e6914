"""Puts a plan on the disk: only what changed, all or nothing a file, and nothing at all when there is no room.

Every new file is first complete beside its place (temporary name, 0600, flushed); only then are they moved into place,
supervisord.conf last, and stale files removed. Never touches a supervisord.conf or unit that somebody else wrote.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from hiveot_supervisor.errors import ConfigError, HiveotError
from hiveot_supervisor.generate.plan import FILE_MODE, FOLDER_MODE, File, Plan
from hiveot_supervisor.generate.render import MARK

_MANY = 32
"""From this number of files on, one sync of everything is quicker than one fsync for each."""


class Kind(StrEnum):
    """What happens to a file."""

    NEW = "new"
    CHANGED = "changed"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Change:
    """A file that differs from the plan: `old` on the disk, `new` in the plan, None where there is none."""

    path: Path
    old: bytes | None
    new: bytes | None

    @property
    def kind(self) -> Kind:
        if self.new is None:
            return Kind.REMOVED
        return Kind.NEW if self.old is None else Kind.CHANGED

    def diff(self) -> Iterator[str]:
        """Lines of a unified diff, without line ends."""
        old, new = (text.decode("utf-8", "replace").splitlines() if text else [] for text in (self.old, self.new))
        before = "/dev/null" if self.old is None else str(self.path)
        after = "/dev/null" if self.new is None else str(self.path)
        return difflib.unified_diff(old, new, before, after, lineterm="")


def compare(plan: Plan) -> list[Change]:
    """How the disk differs from the plan. Raises HiveotError when a file cannot be read."""
    found = ((file, _read(file.path)) for file in plan.files)
    changes = [Change(file.path, old, file.content) for file, old in found if old != file.content]
    return changes + [Change(path, _read(path), None) for path in _stale(plan)]


def write(plan: Plan, *, force: bool = False) -> list[Change]:
    """Bring the disk in line with the plan; returns what was changed.

    force: replace a supervisord.conf that is not ours. Raises ConfigError for such a file, HiveotError when something
    cannot be written; then no generated file has changed.
    """
    with _errors("prepare the folders"):
        _make_folders(plan)
    with _errors("write the generated files"), _locked(plan.swept):
        for leftover in plan.swept.glob(".*.tmp"):  # of a `generate` that was killed; we hold the lock
            leftover.unlink(missing_ok=True)
        changes = compare(plan)
        foreign = next((c for c in changes if c.kind is Kind.CHANGED and not _ours(c, plan)), None)
        if foreign is not None and not force:
            raise ConfigError(
                f"{foreign.path} was not made by hiveot-launcher",
                why=f"its first line does not say `{MARK}`",
                hint="move it away, or replace it with: hiveot-launcher generate --force",
            )
        modes = {file.path: file.mode for file in plan.files}
        replace([File(c.path, c.new, modes[c.path]) for c in changes if c.new is not None])
        for change in changes:
            if change.kind is Kind.REMOVED:
                change.path.unlink(missing_ok=True)
    return changes


def replace(files: Iterable[File]) -> None:
    """Write files: all are complete on the disk before the first takes its place. Raises OSError."""
    wanted = list(files)
    together = len(wanted) > _MANY
    staged: list[tuple[Path, Path]] = []
    try:
        for file in wanted:
            temporary = file.path.with_name(f".{file.path.name}.{secrets.token_hex(6)}.tmp")
            staged.append((temporary, file.path))
            _stage(temporary, file, flush=not together)
        if together:
            os.sync()
        while staged:
            temporary, path = staged[0]
            temporary.replace(path)
            staged.pop(0)
    finally:
        for temporary, _ in staged:
            temporary.unlink(missing_ok=True)
    for folder in dict.fromkeys(file.path.parent for file in wanted):
        _flush_folder(folder)


def _stage(path: Path, file: File, *, flush: bool) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
    try:
        if file.mode != FILE_MODE:
            os.fchmod(fd, file.mode)
        rest = memoryview(file.content)
        while rest:
            rest = rest[os.write(fd, rest) :]
        if flush:
            os.fsync(fd)
    finally:
        os.close(fd)


def _flush_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _make_folders(plan: Plan) -> None:
    for folder in (*plan.folders, *plan.private):
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    for folder in plan.private:
        mode = stat.S_IMODE(folder.stat().st_mode)
        if mode & 0o077:
            folder.chmod(mode & FOLDER_MODE)
    for folder in plan.guarded:
        status = folder.stat()
        if status.st_mode & 0o022 and status.st_uid == os.geteuid():
            folder.chmod(stat.S_IMODE(status.st_mode) & ~0o022)


def _stale(plan: Plan) -> list[Path]:
    wanted = {file.path for file in plan.files}
    present = [*plan.swept.glob("*.json"), *plan.swept.glob("*.sh")]
    return sorted(path for path in present if path not in wanted)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise HiveotError(f"cannot read {path}", why=_reason(error)) from error


def _ours(change: Change, plan: Plan) -> bool:
    """Made by us: it lies in our own folder, or says so in its first line (supervisord.conf, the unit)."""
    own_folder = any(change.path.is_relative_to(folder) for folder in plan.private)
    return own_folder or MARK.encode() in (change.old or b"").split(b"\n", 1)[0]


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep a second `generate` of the same home waiting."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def _errors(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename or "the home folder"
        hint = (
            "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "check owner and mode of the folder"
        )
        raise HiveotError(
            f"cannot {doing}", why=f"{_reason(error)}: {where}", hint=f"nothing was changed; {hint}"
        ) from error


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
