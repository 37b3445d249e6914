"""The resource history of plugins: one row a plugin and minute in the state file's database, a bounded ring.

A minute's row sums up its samples (mean CPU, peaks of the rest), so that the disk is written once a minute and not at
every sample. Read by the command line; nothing is decided on it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field

INTERVAL = 60.0
"""Seconds (monotonic) that one row stands for."""

KEEP = 24 * 60
"""Rows a plugin that are kept: a day."""

MAX_ROWS = 200_000
"""Rows of all plugins together (about 10 MB); with more than 138 plugins the day becomes shorter."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS sample (
    id INTEGER PRIMARY KEY, time REAL NOT NULL, plugin TEXT NOT NULL, cpu REAL NOT NULL, rss INTEGER NOT NULL,
    processes INTEGER NOT NULL, threads INTEGER NOT NULL, files INTEGER
) STRICT;
CREATE INDEX IF NOT EXISTS sample_of_plugin ON sample (plugin, id);
"""


@dataclass(frozen=True, slots=True)
class Usage:
    """One sample of a process and all its descendants.

    CPU in percent of one core, resident memory in bytes; numbers of processes, threads and open files (file
    descriptors; None = they belong to another user and cannot be seen).
    """

    cpu: float
    rss: int
    processes: int
    threads: int = 0
    files: int | None = None


@dataclass(frozen=True, slots=True)
class Minute:
    """One row: wall time of its end, mean CPU, and the peaks of the other figures of `Usage`."""

    time: float
    cpu: float
    rss: int
    processes: int
    threads: int
    files: int | None


@dataclass(slots=True)
class _Sum:
    """What the minute under way has seen of one plugin."""

    count: int = 0
    cpu: float = 0.0
    rss: int = 0
    processes: int = 0
    threads: int = 0
    files: int | None = None

    def add(self, usage: Usage) -> None:
        self.count += 1
        self.cpu += usage.cpu
        self.rss = max(self.rss, usage.rss)
        self.processes = max(self.processes, usage.processes)
        self.threads = max(self.threads, usage.threads)
        if usage.files is not None:
            self.files = max(self.files or 0, usage.files)


@dataclass(slots=True)
class SampleRing:
    """Takes samples and stores each minute's rows; used by one thread. keep, max_rows: its bounds."""

    db: sqlite3.Connection
    keep: int = KEEP
    max_rows: int = MAX_ROWS
    _sums: dict[str, _Sum] = field(default_factory=dict)
    _due: float | None = None

    def add(self, usage: Mapping[str, Usage], *, mono: float, wall: float) -> None:
        """Take one sample of each plugin in; once a minute (monotonic) store what the minute has brought."""
        if self._due is None:
            self._due = mono + INTERVAL
        for name, used in usage.items():
            self._sums.setdefault(name, _Sum()).add(used)
        if mono >= self._due:
            self._due = mono + INTERVAL
            self._store(wall)

    def _store(self, wall: float) -> None:
        rows = [
            (wall, name, round(s.cpu / s.count, 1), s.rss, s.processes, s.threads, s.files)
            for name, s in self._sums.items()
        ]
        self._sums.clear()
        self.db.executemany(
            "INSERT INTO sample (time, plugin, cpu, rss, processes, threads, files) VALUES (?, ?, ?, ?, ?, ?, ?)", rows
        )
        for row in rows:
            self.db.execute(
                "DELETE FROM sample WHERE plugin = ?1 AND id <="
                " (SELECT id FROM sample WHERE plugin = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
                (row[1], self.keep),
            )
        newest = int(self.db.execute("SELECT COALESCE(MAX(id), 0) FROM sample").fetchone()[0])
        self.db.execute("DELETE FROM sample WHERE id <= ?", (newest - self.max_rows,))


def history(db: sqlite3.Connection, plugin: str) -> list[Minute]:
    """The stored minutes of a plugin, oldest first."""
    rows = db.execute(
        "SELECT time, cpu, rss, processes, threads, files FROM sample WHERE plugin = ? ORDER BY id", (plugin,)
    )
    return [Minute(*row) for row in rows]
