"""Process managers that the comparison runs on the same work: one module each, all with the methods of `Peer`.

The work is always N times `/bin/sleep`, under the names w0000, w0001, …, each a link of its own, so that its process is
found by its command line whoever started it. Settings are each manager's own defaults unless its module says why not.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

SLEEP = shutil.which("sleep") or "/bin/sleep"
FOREVER = "1000000"


class Missing(Exception):
    """A manager that is not here, and why."""


class Stamps:
    """When (monotonic) another process was told that a worker has ended."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[tuple[str, float]] = queue.SimpleQueue()

    def put(self, name: str, stamp: float) -> None:
        self._queue.put((name, stamp))

    def read(self, fd: int) -> None:
        """Take lines `NAME` (the stamp is now) or `NAME STAMP` from a pipe until it ends, in a thread."""
        threading.Thread(target=self._read, args=(fd,), daemon=True).start()

    def _read(self, fd: int) -> None:
        rest = b""
        while chunk := os.read(fd, 65536):
            now = time.monotonic()
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                name, _, stamp = line.decode().partition(" ")
                self.put(name, float(stamp) if stamp else now)

    def wait(self, name: str, since: float, timeout: float = 15.0) -> float:
        """The stamp of the end of `name` after `since`."""
        deadline = time.monotonic() + timeout
        while True:
            told, stamp = self._queue.get(timeout=max(0.001, deadline - time.monotonic()))
            if told == name and stamp >= since:
                return stamp


class Peer(Protocol):
    """One manager in one folder at a time."""

    name: str
    how_told: str
    """How another process hears of an exit."""

    def install(self, cache: Path) -> str:
        """Make it available, below `cache` where it must be fetched; returns its version. Raises Missing."""
        ...

    def configure(self, folder: Path, count: int, *, notify: bool) -> None:
        """Write its configuration. notify: with whatever `listen` needs."""
        ...

    def start(self) -> None:
        """Give the command that starts everything; the clock runs from here to the last worker."""
        ...

    def workers(self) -> dict[str, int]:
        """Workers that have been executed: PID by name."""
        ...

    def roots(self) -> list[int]:
        """PIDs of the manager's own processes; their descendants that are no workers count as well."""
        ...

    def status(self) -> list[str]:
        """The command that shows all workers."""
        ...

    def listen(self, stamps: Stamps) -> contextlib.AbstractContextManager[None]:
        """While it is open, ends of workers arrive in `stamps`."""
        ...

    def stop(self) -> None:
        """Give the command that stops everything."""
        ...

    def clean_up(self) -> None:
        """Kill what is left and remove it."""
        ...


class Workers:
    """Finds workers in /proc by the folder of their links; knows those that it has seen."""

    def __init__(self, links: Path) -> None:
        self._prefix = f"{links}/".encode()
        self._known: dict[int, str] = {}

    def find(self) -> dict[str, int]:
        pids = {int(name) for name in os.listdir("/proc") if name.isdigit()}  # noqa: PTH208 (asked every millisecond)
        self._known = {pid: name for pid, name in self._known.items() if pid in pids}
        for pid in pids - self._known.keys():
            with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
                program = file.read(4096).split(b"\0")[0]
                if program.startswith(self._prefix):
                    self._known[pid] = program[len(self._prefix) :].decode()
        return {name: pid for pid, name in self._known.items()}


def make_links(folder: Path, count: int) -> list[Path]:
    """N links to sleep."""
    folder.mkdir(parents=True, exist_ok=True)
    links = [folder / f"w{number:04}" for number in range(count)]
    for link in links:
        link.symlink_to(SLEEP)
    return links


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def need(*programs: str) -> None:
    """Raises Missing unless all are on the PATH."""
    absent = [p for p in programs if shutil.which(p) is None]
    if absent:
        raise Missing(f"not installed: {', '.join(absent)}")


def output(*command: str, **options: object) -> str:
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, **options)  # type: ignore[call-overload]
    if result.returncode:
        raise Missing(f"{command[0]}: {(result.stderr or result.stdout).strip()[-200:]}")
    return str(result.stdout)


def descendants(roots: list[int]) -> set[int]:
    """The processes themselves and all below them."""
    found, todo = set(), list(roots)
    while todo:
        pid = todo.pop()
        if pid in found:
            continue
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
                todo += [int(p) for p in Path(f"/proc/{pid}/task/{task}/children").read_text().split()]
            found.add(pid)
    return found


@contextlib.contextmanager
def fifo(path: Path, stamps: Stamps) -> Iterator[None]:
    """A named pipe into which scripts write the names of what has ended.

    Stays open to the end of the benchmark: a script that finds nobody at the other end would wait, and its manager too.
    """
    stamps.read(os.open(path, os.O_RDWR))
    yield


@contextlib.contextmanager
def listener(command: list[str], stamps: Stamps, ready: str = "ready", **options: object) -> Iterator[None]:
    """A program that prints `ready`, then `NAME STAMP` lines."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, **options)  # type: ignore[call-overload]
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.decode().strip() == ready, f"{command[0]} said {line!r}"
        stamps.read(process.stdout.fileno())
        yield
    finally:
        process.kill()
        process.wait()


class Daemon:
    """What the managers that run as our child share."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None
    _workers: Workers

    def spawn(self, command: list[str], **options: object) -> None:
        with open(self.folder / "output", "ab") as log:
            self.process = subprocess.Popen(  # type: ignore[call-overload]
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, **options
            )

    def workers(self) -> dict[str, int]:
        return self._workers.find()

    def roots(self) -> list[int]:
        return [self.process.pid] if self.process is not None else []

    def clean_up(self) -> None:
        for pid in {*descendants(self.roots()), *self.workers().values()}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        if self.process is not None:
            self.process.wait()
            self.process = None
        shutil.rmtree(self.folder, ignore_errors=True)
