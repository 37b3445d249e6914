"""Credential files: written atomically and owner-only from birth, read with a bound.

Owns the rules for secrets on disk (0600 files in 0700 folders that nobody else may write). Knows nothing
about what the files contain, and never removes a file before its replacement is complete.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from hiveot_supervisor.credentials.folders import FOLDER_MODE, open_folder, user_name
from hiveot_supervisor.errors import CredentialError, TimedOut

PRIVATE_MODE = 0o600
MAX_SIZE = 64 * 1024
"""Bytes; no key, token or certificate is larger."""

_LEFTOVER_AGE = 3600.0


def ensure_folder(path: Path) -> None:
    """Create the folder (0700, parents too) if missing, and check that only we can change what lies in it, and where
    its path leads.

    Raises CredentialError when it cannot be made, or when it or a folder above it belongs to another user or is
    writable by group or others.
    """
    os.close(open_folder(path, create=True))


def write_file(path: Path, data: bytes, *, mode: int = PRIVATE_MODE, owner: tuple[int, int] | None = None) -> None:
    """Put `data` at `path`, all or nothing: the old file stays until the new one is on the disk.

    owner: (uid, gid) that the file shall belong to; only root can give files away. A symbolic link at `path`
    is replaced, never followed. Raises CredentialError (folder not ours, disk full, …); then nothing has
    changed.
    """
    folder = open_folder(path.parent)
    try:
        temporary = f".{path.name}.{secrets.token_hex(6)}.tmp"
        try:
            _write_new(folder, temporary, data, mode, owner)
            os.replace(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=folder)
            raise
        os.fsync(folder)
    except OSError as err:
        raise CredentialError(f"cannot write {path}", why=_reason(err), hint=_hint(err)) from err
    finally:
        os.close(folder)


def read_file(path: Path, *, limit: int = MAX_SIZE) -> bytes:
    """The content of a credential file.

    Raises FileNotFoundError when there is none, CredentialError when it cannot be read, is no regular file,
    or is larger than `limit` bytes.
    """
    try:
        # O_NONBLOCK: a FIFO put in our way must not hang us.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as err:
        hint = f"it must be readable by {user_name(os.geteuid())}"
        raise CredentialError(f"cannot read {path}", why=_reason(err), hint=hint) from err
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise CredentialError(f"{path} is not a regular file")
        data = file.read(limit + 1)
    if len(data) > limit:
        raise CredentialError(f"{path} is too large", why=f"more than {limit} bytes")
    return data


def read_text(path: Path) -> str:
    """Like `read_file`, as text without surrounding white space. Raises CredentialError when it is not
    ASCII.
    """
    try:
        return read_file(path).decode("ascii").strip()
    except UnicodeDecodeError as err:
        raise CredentialError(f"{path} is not text") from err


def tighten(path: Path) -> bool:
    """Take away what group and others may do with a file of ours. True when something had to change.

    Files of other users and symbolic links are left alone. Raises FileNotFoundError, CredentialError.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as err:
        if err.errno == errno.ELOOP:
            return False
        if isinstance(err, FileNotFoundError):
            raise
        raise CredentialError(f"cannot open {path}", why=_reason(err)) from err
    try:
        found = os.fstat(fd)
        if found.st_uid != os.geteuid() or not found.st_mode & 0o077:
            return False
        os.fchmod(fd, stat.S_IMODE(found.st_mode) & 0o700)
        return True
    finally:
        os.close(fd)


def remove_file(path: Path) -> None:
    """Remove a file or link of the folder, if it is there, and be sure of it. Raises CredentialError."""
    folder = open_folder(path.parent)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path.name, dir_fd=folder)
        os.fsync(folder)
    except OSError as err:
        raise CredentialError(f"cannot remove {path}", why=_reason(err), hint=_hint(err)) from err
    finally:
        os.close(folder)


def give(path: Path, owner: tuple[int, int]) -> bool:
    """Let the file at `path`, one of ours, belong to `owner` (uid, gid) alone. True when something had to change.

    Works on the open file, so that nothing can be put in its place meanwhile. Raises FileNotFoundError, and
    CredentialError for a link, a file with a second name somewhere else, or one of a third user.
    """
    folder = open_folder(path.parent)
    try:
        fd = os.open(path.name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        raise
    except OSError as err:
        raise CredentialError(f"cannot hand over {path}", why=_reason(err), hint="remove it") from err
    finally:
        os.close(folder)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            why = "it is not a regular file with one name"
            raise CredentialError(f"will not hand over {path}", why=why, hint="remove it")
        if found.st_uid not in (os.geteuid(), 0, owner[0]):
            why = f"it belongs to {user_name(found.st_uid)}"
            raise CredentialError(f"will not hand over {path}", why=why, hint="remove it")
        if found.st_uid == owner[0] and not found.st_mode & 0o077:
            return False
        os.fchmod(fd, stat.S_IMODE(found.st_mode) & 0o700)
        os.fchown(fd, *owner)
        return True
    except OSError as err:
        raise CredentialError(f"cannot hand over {path}", why=_reason(err)) from err
    finally:
        os.close(fd)


def open_up(path: Path, bits: int) -> None:
    """Allow more of a file or folder of ours, as public as what is in it. Links and what is not ours stay as they are.

    Raises CredentialError.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    except OSError as err:
        if err.errno == errno.ELOOP:
            return
        raise CredentialError(f"cannot open {path}", why=_reason(err)) from err
    try:
        found = os.fstat(fd)
        if found.st_uid == os.geteuid() and found.st_mode & bits != bits:
            os.fchmod(fd, stat.S_IMODE(found.st_mode) | bits)
    finally:
        os.close(fd)


def make_folder_for(path: Path, owner: tuple[int, int]) -> None:
    """Make a folder (0700) that belongs to `owner`, in one of ours, through which everybody may then pass.

    What is there already stays as it is. Raises CredentialError.
    """
    parent = open_folder(path.parent, create=True)
    try:
        found = os.fstat(parent)
        if found.st_uid == os.geteuid() and found.st_mode & 0o011 != 0o011:
            os.fchmod(parent, stat.S_IMODE(found.st_mode) | 0o011)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path.name, FOLDER_MODE, dir_fd=parent)
            os.chown(path.name, *owner, dir_fd=parent, follow_symlinks=False)
    except OSError as err:
        raise CredentialError(f"cannot make the folder {path}", why=_reason(err), hint=_hint(err)) from err
    finally:
        os.close(parent)


def owner_of(path: Path) -> int | None:
    """Who owns a file (of a link: the link), None when there is none."""
    try:
        return path.lstat().st_uid
    except OSError:
        return None


def sweep(folder: Path, *, now: float) -> list[Path]:
    """Remove what a killed writer left behind: temporary files older than an hour. Returns what was
    removed.
    """
    removed = []
    for path in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            if now - path.lstat().st_mtime > _LEFTOVER_AGE:
                path.unlink()
                removed.append(path)
    return removed


@contextlib.contextmanager
def locked(path: Path, *, timeout: float) -> Iterator[None]:
    """Hold an exclusive lock on the file `path` (created if missing, never removed) while the block runs.

    Works between processes and is released when the holder dies. Raises TimedOut after `timeout` seconds.
    """
    ensure_folder(path.parent)
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_MODE)
    except OSError as err:
        raise CredentialError(f"cannot open the lock {path}", why=_reason(err), hint=_hint(err)) from err
    try:
        deadline = time.monotonic() + timeout
        while not try_lock(fd):
            if time.monotonic() >= deadline:
                raise TimedOut(f"another process holds {path}", why=f"waited {timeout:g} s")
            time.sleep(0.02)
        yield
    finally:
        os.close(fd)


def try_lock(fd: int) -> bool:
    """Take the exclusive lock on an open file; False when somebody else has it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_new(folder: int, name: str, data: bytes, mode: int, owner: tuple[int, int] | None) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, PRIVATE_MODE, dir_fd=folder)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        os.fchmod(fd, mode)
        if owner is not None and owner != (os.geteuid(), os.getegid()):
            os.fchown(fd, *owner)
        os.fsync(fd)
    finally:
        os.close(fd)


def _reason(err: OSError) -> str:
    return (err.strerror or str(err)).lower()


def _hint(err: OSError) -> str:
    if err.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free some space; the old file, if any, is unchanged"
    if err.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"the folder must be writable by {user_name(os.geteuid())}"
    return ""
