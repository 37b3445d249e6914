"""Property values on their way to the hub: the newest of each, in the state file's database until acknowledged.

The other half of the outbox. Events are numbered without a gap, because every one of them counts; of a property only
the newest value does, so a newer one takes the place of one that waits. `after` ties the two together: a value is sent
once the event with that `seq` has been. Resource figures are kept in memory only: they are out of date after seconds,
and not worth wearing out an SD card for. Used by one thread, inside the transactions of `State`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

SCHEMA = """
CREATE TABLE IF NOT EXISTS property (
    id INTEGER PRIMARY KEY, thing TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, after INTEGER NOT NULL,
    UNIQUE (thing, name)
) STRICT;
"""
_FIGURES = SCHEMA.replace("TABLE IF NOT EXISTS property", "TEMP TABLE figure")
_TABLES = ("property", "figure")


@dataclass(frozen=True, slots=True)
class Waiting:
    """A property value that the hub has not acknowledged. `id` grows with each value that is put in."""

    id: int
    thing: str
    name: str
    value: Any
    after: int


class Properties:
    """The waiting values; at most one for each property."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        db.execute("PRAGMA temp_store=MEMORY")
        db.execute(_FIGURES)
        self._next = 1 + int(db.execute("SELECT COALESCE(MAX(id), 0) FROM property").fetchone()[0])

    def put(self, thing: str, name: str, value: Any, *, after: int, lasting: bool = True) -> None:
        """Have a value sent after the event numbered `after`. lasting: keep it if the process ends before that."""
        row = (self._next, thing, name, json.dumps(value, ensure_ascii=False), after)
        self._next += 1
        table = "property" if lasting else "figure"
        self._db.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?, ?, ?)", row)

    def waiting(self, beyond: int, up_to: int, limit: int) -> list[Waiting]:
        """Values with id > `beyond` that may be sent when all events with seq <= `up_to` have been, oldest first."""
        rows = self._db.execute(
            "SELECT * FROM (SELECT * FROM property UNION ALL SELECT * FROM figure)"
            " WHERE id > ? AND after <= ? ORDER BY id LIMIT ?",
            (beyond, up_to, limit),
        )
        return [Waiting(id_, thing, name, json.loads(value), after) for id_, thing, name, value, after in rows]

    def acknowledged(self, ids: Iterable[int]) -> None:
        """Forget values that the hub has taken; newer ones of the same properties stay."""
        for table in _TABLES:
            self._db.executemany(f"DELETE FROM {table} WHERE id = ?", [(i,) for i in ids])

    def forget(self, thing: str) -> None:
        """Nothing more is to be told about a Thing."""
        for table in _TABLES:
            self._db.execute(f"DELETE FROM {table} WHERE thing = ?", (thing,))

    def count(self) -> int:
        """How many values wait."""
        return sum(int(self._db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]) for table in _TABLES)
