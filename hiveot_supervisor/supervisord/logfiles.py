"""Reading log files by lines: the last ones, and what is appended, across rotation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

MAX_TAIL = 4_000_000
"""Bytes read at most to find the last lines of a file."""

MAX_LINE = 64_000
"""A line that grows longer than this is shown in pieces."""


def last_lines(path: Path, count: int) -> list[str]:
    """The last `count` lines, going on into `path.1` when too short; invalid UTF-8 is replaced."""
    lines = _tail(path, count)
    if len(lines) < count:
        older = path.with_name(path.name + ".1")
        if older.exists():
            lines = _tail(older, count - len(lines)) + lines
    return lines


def _tail(path: Path, count: int) -> list[str]:
    if count <= 0:
        return []
    try:
        with path.open("rb") as file:
            end = file.seek(0, 2)
            size = min(end, 16_384)
            while True:
                file.seek(end - size)
                data = file.read(size)
                if data.count(b"\n") > count or size == end or size >= MAX_TAIL:
                    break
                size = min(end, size * 4, MAX_TAIL)
    except FileNotFoundError:
        return []
    return [line.decode("utf-8", "replace") for line in data.splitlines()[-count:]]


class Follower:
    """Yields the lines appended to a file since it was opened (or since its beginning), following rotation."""

    def __init__(self, path: Path, *, from_start: bool = False) -> None:
        self.path = path
        self._inode: int | None = None
        self._offset = 0
        self._rest = b""
        try:
            stat = path.stat()
            self._inode, self._offset = stat.st_ino, 0 if from_start else stat.st_size
        except FileNotFoundError:
            pass

    def lines(self) -> Iterator[str]:
        """What is new now; incomplete last lines are kept back."""
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            return
        if self._inode is not None and stat.st_ino != self._inode:
            yield from self._read(self.path.with_name(self.path.name + ".1"), check=self._inode)
            self._offset = 0
        elif stat.st_size < self._offset:
            self._offset = 0
        self._inode = stat.st_ino
        yield from self._read(self.path)

    def _read(self, path: Path, check: int | None = None) -> Iterator[str]:
        try:
            with path.open("rb") as file:
                import os

                if check is not None and os.fstat(file.fileno()).st_ino != check:
                    return
                file.seek(self._offset)
                while chunk := file.read(1 << 16):
                    self._offset += len(chunk)
                    *complete, self._rest = (self._rest + chunk).split(b"\n")
                    yield from (line.decode("utf-8", "replace") for line in complete)
                    if len(self._rest) > MAX_LINE:
                        yield self._rest.decode("utf-8", "replace")
                        self._rest = b""
        except FileNotFoundError:
            return
