"""Opens a folder for secrets from the root down, so that nobody else can have changed where its path leads.

Owns the rule whom a path may depend on: us, root, and the owner of the root folder (who is root, seen from inside a
user namespace). Knows nothing about what lies in the folder; writes nothing but missing folders.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from hiveot_supervisor.errors import CredentialError

FOLDER_MODE = 0o700

_LOOK = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_LINKS = 40  # as the kernel


def open_folder(path: Path, *, create: bool = False) -> int:
    """A descriptor of a folder that only we (or root) control; what follows works on it, whatever happens to the path.

    Every folder on the way must belong to us or root and be writable by nobody else, unless it is sticky like /tmp;
    links on the way must be ours or root's. create: make missing folders (0700). Raises CredentialError.
    """
    trusted = frozenset({os.geteuid(), 0, Path("/").stat().st_uid})
    fd = -1
    try:
        fd = _walk(path.absolute(), trusted, create)
        _check_folder(fd, path, trusted)
        # for fsync and locks: an O_PATH descriptor is good for looking only
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
    except OSError as err:
        hint = f"it must be a folder of {user_name(os.geteuid())} with mode 0700"
        doing = "create" if create and not os.path.lexists(path) else "use"
        raise CredentialError(
            f"cannot {doing} the folder {path}", why=(err.strerror or str(err)).lower(), hint=hint
        ) from err
    finally:
        if fd >= 0:
            os.close(fd)


def user_name(uid: int) -> str:
    """The name of a user, `uid 1234` without one."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _walk(path: Path, trusted: frozenset[int], create: bool) -> int:
    """An O_PATH descriptor of the folder; every step is relative to the one before, which has been looked at."""
    rest = list(reversed(path.parts[1:]))
    here = Path("/")
    links = 0
    with contextlib.ExitStack() as stack:
        fd = os.open("/", _LOOK)
        stack.callback(lambda: os.close(fd))
        while rest:
            _check_way(fd, here, trusted)
            name = rest.pop()
            try:
                found = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:
                if not create:
                    raise
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, FOLDER_MODE, dir_fd=fd)
                found = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISLNK(found.st_mode):
                links += 1
                target = _target(fd, here / name, found, trusted, links)
                rest += reversed(target.parts[1:] if target.is_absolute() else target.parts)
                fd, old = (os.open("/", _LOOK), fd) if target.is_absolute() else (fd, -1)
                here = Path("/") if target.is_absolute() else here
            else:
                fd, old = os.open(name, _LOOK, dir_fd=fd), fd
                here = here.parent if name == ".." else here / name
            if old >= 0:
                os.close(old)
        return os.dup(fd)


def _target(fd: int, path: Path, found: os.stat_result, trusted: frozenset[int], links: int) -> Path:
    """Where a link leads that may be followed."""
    if found.st_uid not in trusted:
        why = f"{path} on the way to it is a link that {user_name(found.st_uid)} can change"
        raise CredentialError("will not follow a link to a folder for credentials", why=why, hint=f"chown -h {path}")
    if links > _MAX_LINKS:
        raise CredentialError(f"cannot use the folder {path}", why="too many symbolic links")
    return Path(os.readlink(path.name, dir_fd=fd))


def _check_way(fd: int, path: Path, trusted: frozenset[int]) -> None:
    """Nobody else can put something in the place of what lies in this folder."""
    found = os.fstat(fd)
    mode = found.st_mode
    if found.st_uid not in trusted:
        raise _refused(path, f"it belongs to {user_name(found.st_uid)}, who can replace all that is in it", "chown")
    if mode & stat.S_ISVTX or not mode & 0o022:
        return
    if mode & 0o002 or not _of_one_user(found.st_gid, found.st_uid):
        raise _refused(path, f"others may write to it (mode {stat.S_IMODE(mode):04o})", "chmod go-w")


def _check_folder(fd: int, path: Path, trusted: frozenset[int]) -> None:
    """Nobody else can write to the folder itself."""
    found, us = os.fstat(fd), os.geteuid()
    if found.st_uid not in trusted:
        raise CredentialError(
            f"will not keep credentials in {path}",
            why=f"the folder belongs to {user_name(found.st_uid)}, not to {user_name(us)}",
            hint=f"run as {user_name(found.st_uid)}, or: chown {user_name(us)} {path}",
        )
    if found.st_mode & 0o022:
        raise CredentialError(
            f"will not keep credentials in {path}",
            why=f"others may write to it (mode {stat.S_IMODE(found.st_mode):04o})",
            hint=f"chmod 0700 {path}",
        )


def _refused(path: Path, why: str, remedy: str) -> CredentialError:
    owner = f" {user_name(os.geteuid())}" if remedy == "chown" else ""
    return CredentialError(f"will not keep credentials below {path}", why=why, hint=f"{remedy}{owner} {path}")


def _of_one_user(gid: int, uid: int) -> bool:
    """A group that only its namesake is in, as many systems make for each user (with umask 002)."""
    import grp
    import pwd

    try:
        members = {user for user in grp.getgrgid(gid).gr_mem if pwd.getpwnam(user).pw_uid != uid}
        others = any(entry.pw_gid == gid and entry.pw_uid != uid for entry in pwd.getpwall())
        return pwd.getpwuid(uid).pw_gid == gid and not members and not others
    except KeyError:
        return False
