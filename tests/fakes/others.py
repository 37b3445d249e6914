"""Doing something as another user of the machine, and finding out what that user can reach. Needs root.

In a forked child: the interpreter of these tests need not be executable for that user.
"""

from __future__ import annotations

import json
import os
import pwd
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def as_user(name: str, work: Callable[[], Any]) -> Any:
    """Run `work` as that user, with its groups and nothing else; its result must be JSON."""
    entry = pwd.getpwnam(name)
    groups = os.getgrouplist(name, entry.pw_gid)
    reading, writing = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups(groups)
            os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
            os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
            result = {"ok": work()}
        except BaseException as error:  # noqa: BLE001  (told to the parent)
            result = {"error": repr(error)}
        os.write(writing, json.dumps(result).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        result = json.load(file)
    os.waitpid(child, 0)
    assert "error" not in result, result
    return result["ok"]


def reachable(paths: list[str]) -> dict[str, list[str]]:
    """What this process can do with files, folders and sockets: read, list, write, make (a file in it), connect."""
    found: dict[str, list[str]] = {"read": [], "list": [], "write": [], "make": [], "connect": []}
    for path in paths:
        for what, attempt in ATTEMPTS.items():
            try:
                if attempt(path):
                    found[what].append(path)
            except OSError:
                continue
    return found


def everything_below(folder: Path) -> list[str]:
    """The folder and all that is in it, as root sees it."""
    return [str(folder), *sorted(str(p) for p in folder.rglob("*"))]


def _read(path: str) -> bool:
    if not Path(path).is_file():
        return False
    with open(path, "rb") as file:
        file.read(1)
    return True


def _list(path: str) -> bool:
    return list(Path(path).iterdir()) is not None


def _write(path: str) -> bool:
    if not Path(path).is_file():
        return False
    os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK))
    return True


def _make(path: str) -> bool:
    new = Path(path) / f"made-by-{os.getuid()}"
    os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    new.unlink()
    return True


def _connect(path: str) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_UNIX, kind) as client:
            try:
                client.connect(path)
            except OSError:
                continue
            return True
    return False


ATTEMPTS: dict[str, Callable[[str], bool]] = {
    "read": _read, "list": _list, "write": _write, "make": _make, "connect": _connect
}  # fmt: skip
