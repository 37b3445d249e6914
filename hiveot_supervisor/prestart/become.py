"""The last steps: become another user if asked, undo what supervisord and Python changed, and execute the program.

Nothing here returns when it succeeds, and nothing here decides whether the plugin may start. After the change of user
nothing may be imported any more: the plugin's user need not be able to read our files.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from hiveot_supervisor.errors import NeverWorks, TryLater
from hiveot_supervisor.prestart import gates
from hiveot_supervisor.prestart.spec import Spec

_PR_SET_PDEATHSIG = 1
_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)
"""Signals that Python ignores, in supervisord and here; exec would hand that on."""


@dataclass(frozen=True, slots=True)
class User:
    """Who the plugin shall run as."""

    name: str
    uid: int
    gid: int
    home: str

    @property
    def environment(self) -> list[tuple[str, str]]:
        return [("HOME", self.home), ("USER", self.name), ("LOGNAME", self.name)]


def find_user(name: str | None) -> User | None:
    """The user to change to; None when there is nothing to change. Raises NeverWorks: unknown, or we may not."""
    if name is None:
        return None
    import pwd

    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise NeverWorks(f"there is no user {name}", hint="create it, or correct `user` in launcher.yaml") from None
    if entry.pw_uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        raise NeverWorks(
            f"cannot become the user {name}",
            why="the launcher does not run as root",
            hint="run it as root, or take `user` out of launcher.yaml",
        )
    return User(name, entry.pw_uid, entry.pw_gid, entry.pw_dir)


def become(spec: Spec, environment: Mapping[str, str], user: User | None, parent: int) -> NoReturn:
    """Turn this process into the program. `parent`: PID of supervisord, as seen when this process began.

    Raises NeverWorks when it cannot be executed, TryLater when supervisord has died meanwhile.
    """
    # a change of user clears what the extension has set; to be loaded while we can still read our own files
    set_death_signal = _death_signal_setter() if user is not None or not spec.extension else None
    if user is not None:
        _drop_privileges(user)
        gates.check_rights(spec, f"the user {user.name}")
    try:
        os.chdir(spec.directory)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise NeverWorks(f"cannot enter the working folder {spec.directory}", why=reason) from error
    if set_death_signal is not None:
        set_death_signal()
        if os.getppid() != parent:
            raise TryLater("supervisord is gone")
    for number in _IGNORED:
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execve(
            spec.argv[0].encode(),
            [word.encode() for word in spec.argv],
            {_encoded(name): _encoded(value) for name, value in environment.items()},
        )
    except OSError as error:
        raise gates.explain(error, spec.argv[0]) from error


def _encoded(text: str) -> bytes:
    """Inherited variables may hold bytes that are not UTF-8."""
    return text.encode("utf-8", "surrogateescape")


def _drop_privileges(user: User) -> None:
    try:
        os.initgroups(user.name, user.gid)
        os.setgid(user.gid)
        os.setuid(user.uid)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise NeverWorks(f"cannot become the user {user.name}", why=reason) from error


def _death_signal_setter() -> Callable[[], object]:
    """Asks the kernel to send SIGTERM when supervisord dies (prctl(2), Linux only)."""
    import ctypes

    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    number = ctypes.c_ulong(signal.SIGTERM)
    return lambda: None if prctl is None else prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
