"""The agent's memory: one SQLite file that survives crashes (WAL, synchronous=FULL).

Plugin rows (enabled, counters, last exit), the journal of the last events, and the outbox of what the hub has not yet
acknowledged (events here, property values in `properties`), and the resource history (`samples`); a state change and
what is told of it are one transaction. Only the agent writes. `Reader` opens it for the command line, also while the
agent runs or is down. It decides nothing.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from hiveot_supervisor.agent import properties, samples
from hiveot_supervisor.errors import HiveotError

SCHEMA_VERSION = 1
JOURNAL_ROWS = 10_000
OUTBOX_ROWS = 100_000
OUTBOX_BYTES = 64_000_000

GAP = "gap"
"""Name of the event that stands for events which had to be dropped; its value is {"first": seq, "last": seq}."""

_ALARM = "alarm"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS plugin (id TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS journal (
    seq INTEGER PRIMARY KEY, time REAL NOT NULL, name TEXT NOT NULL, plugin TEXT NOT NULL, value TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, thing TEXT NOT NULL, name TEXT NOT NULL,
    value TEXT NOT NULL
) STRICT;
"""
_ALL = _SCHEMA + properties.SCHEMA + samples.SCHEMA


@dataclass(frozen=True, slots=True)
class Record:
    """What is remembered of a plugin. Times are wall seconds, 0 = never; exit_code and signal None = unknown.

    started_mono, next_mono: monotonic seconds (of the system, so that they hold for a later process of the same boot).
    """

    id: str
    enabled: bool = True
    state: str = "stopped"
    note: str = ""
    cause: str = ""
    pid: int = 0
    since: float = 0.0
    started: float = 0.0
    stopped: float = 0.0
    start_count: int = 0
    exit_code: int | None = None
    signal: int | None = None
    failures: int = 0
    delay: float = 0.0
    next_try: float = 0.0
    attempted: bool = False
    ready: bool = False
    executed: bool = False
    stray: int = 0
    stray_started: float = 0.0
    started_mono: float = 0.0
    next_mono: float = 0.0


_MEMBERS = tuple(field.name for field in fields(Record))


@dataclass(frozen=True, slots=True)
class Event:
    """An event of the launcher's Thing, numbered when stored; `value` is any JSON value, `plugin` whom it is about."""

    time: float
    name: str
    plugin: str
    value: Any
    seq: int = 0
    thing: str = "Admin"


class StateError(HiveotError):
    """The state file does not take what was to be stored (disk full, read-only); what runs goes on running."""


class State:
    """The open state file; used by one thread."""

    def __init__(self, path: Path, *, max_rows: int = OUTBOX_ROWS, max_bytes: int = OUTBOX_BYTES) -> None:
        """Open or create the file (0600 in a 0700 folder). Raises HiveotError when it cannot be used.

        A damaged file is set aside (`.damaged`) and a new one begun: a plugin manager must come up.
        """
        self.path = path
        self.max_rows, self.max_bytes = max_rows, max_bytes
        self.recovered = ""
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._db = self._open()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise _unusable(path, error) from error
            self.recovered = f"{path} was damaged ({error}); it was set aside as {path.name}.damaged"
            path.replace(path.with_name(path.name + ".damaged"))
            for suffix in ("-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            self._db = self._open()
        except OSError as error:
            raise _unusable(path, error) from error
        self.epoch = self._epoch()
        self.properties = properties.Properties(self._db)
        self.samples = samples.SampleRing(self._db)
        self._count()

    def _open(self) -> sqlite3.Connection:
        self.path.touch(mode=0o600)
        db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        # one transaction: a reader that finds the first table must find all
        db.executescript(f"BEGIN IMMEDIATE;{_ALL}COMMIT;")
        db.execute("SELECT COUNT(*) FROM plugin").fetchone()
        return db

    def _epoch(self) -> str:
        """Identifies the numbering: made once with the file, so that consumers notice a restart of `seq`."""
        epoch = self.meta("epoch")
        if epoch is None:
            epoch = os.urandom(8).hex()
            self.set_meta("epoch", epoch)
            self.set_meta("schema", str(SCHEMA_VERSION))
        return epoch

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; nested uses join the outer one. Raises StateError when the disk does not take it."""
        if self._db.in_transaction:
            yield
            return
        try:
            self._db.execute("BEGIN")
            yield
            self._db.execute("COMMIT")
        except BaseException as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            self._count()
            if isinstance(error, sqlite3.Error):
                raise StateError("the agent's state cannot be stored", why=f"{self.path}: {error}") from error
            raise

    def _count(self) -> None:
        totals = "SELECT COUNT(*), COALESCE(SUM(LENGTH(value)), 0) FROM outbox"
        self._rows, self._bytes = self._db.execute(totals).fetchone()
        given = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'").fetchone()
        self.last_seq = int(given[0]) if given else 0

    def meta(self, key: str) -> str | None:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, key: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def set_alarm(self, text: str) -> None:
        """What is wrong with the agent's connection, for people who look at the list; empty when nothing is."""
        if self.meta(_ALARM) != text:
            self.set_meta(_ALARM, text)

    def records(self) -> dict[str, Record]:
        """All plugin records by ID."""
        return _records(self._db)

    def save(self, record: Record) -> None:
        row = (record.id, json.dumps({name: getattr(record, name) for name in _MEMBERS}))
        self._db.execute("INSERT OR REPLACE INTO plugin VALUES (?, ?)", row)

    def forget(self, plugin_id: str) -> None:
        """Drop a plugin's row and resource history; the journal keeps what happened."""
        self._db.execute("DELETE FROM plugin WHERE id = ?", (plugin_id,))
        self._db.execute("DELETE FROM sample WHERE plugin = ?", (plugin_id,))

    def append(self, event: Event) -> Event:
        """Number an event and put it into journal and outbox."""
        value = json.dumps(event.value, ensure_ascii=False)
        with self.transaction():
            cursor = self._db.execute(
                "INSERT INTO outbox (time, thing, name, value) VALUES (?, ?, ?, ?)",
                (event.time, event.thing, event.name, value),
            )
            seq = int(cursor.lastrowid or 0)
            self._db.execute(
                "INSERT INTO journal VALUES (?, ?, ?, ?, ?)", (seq, event.time, event.name, event.plugin, value)
            )
            self._db.execute("DELETE FROM journal WHERE seq <= ?", (seq - JOURNAL_ROWS,))
            self.last_seq = seq
            self._rows += 1
            self._bytes += len(value)
            if self._rows > self.max_rows or self._bytes > self.max_bytes:
                self._shorten()
        return Event(event.time, event.name, event.plugin, event.value, seq, event.thing)

    def _shorten(self) -> None:
        """The outbox is full: its oldest tenth becomes one `gap` event that names what is missing."""
        count = max(1, self._rows // 10)
        rows = self._db.execute("SELECT seq, name, value FROM outbox ORDER BY seq LIMIT ?", (count + 1,)).fetchall()
        first, name, value = rows[0]
        if name == GAP:
            first = json.loads(value)["first"]
        last = rows[-1][0]
        gap = json.dumps({"first": first, "last": last})
        self._db.execute("DELETE FROM outbox WHERE seq < ?", (last,))
        self._db.execute("UPDATE outbox SET name = ?, value = ? WHERE seq = ?", (GAP, gap, last))
        self._rows -= len(rows) - 1
        self._bytes += len(gap) - sum(len(value) for _, _, value in rows)

    def put_property(self, thing: str, name: str, value: Any, *, lasting: bool = True) -> None:
        """Have a property value sent after the events so far; `lasting`: also if this process ends before that."""
        self.properties.put(thing, name, value, after=self.last_seq, lasting=lasting)

    def last_seqs(self) -> dict[str, int]:
        """seq of the last event about each plugin, as far as the journal goes back."""
        return dict(self._db.execute("SELECT plugin, MAX(seq) FROM journal GROUP BY plugin"))

    def unsent(self, after: int, limit: int) -> list[Event]:
        """Outbox rows with seq > after, in order."""
        rows = self._db.execute(
            "SELECT seq, time, thing, name, value FROM outbox WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit)
        )
        return [Event(t, name, "", json.loads(value), seq, thing) for seq, t, thing, name, value in rows]

    def acknowledged(self, seqs: Iterable[int]) -> None:
        """Forget outbox rows that the hub has taken."""
        with self.transaction():
            for seq in seqs:
                row = self._db.execute("DELETE FROM outbox WHERE seq = ? RETURNING LENGTH(value)", (seq,)).fetchone()
                if row is not None:
                    self._rows -= 1
                    self._bytes -= row[0]

    def acknowledged_up_to(self, seq: int) -> None:
        """Forget all outbox rows up to and including `seq`."""
        rows = self._db.execute("DELETE FROM outbox WHERE seq <= ? RETURNING LENGTH(value)", (seq,)).fetchall()
        self._rows -= len(rows)
        self._bytes -= sum(r[0] for r in rows)

    def oldest(self) -> int | None:
        """seq of the first outbox row."""
        row = self._db.execute("SELECT MIN(seq) FROM outbox").fetchone()
        return None if row[0] is None else int(row[0])

    def newest(self) -> int:
        """seq of the last event that was ever stored; 0 when there was none."""
        row = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'").fetchone()
        return 0 if row is None else int(row[0])

    def backlog(self) -> int:
        """Number of outbox rows not yet acknowledged."""
        return int(self._rows)


class Reader:
    """Read-only view of the state file for the command line; every call sees the newest commit."""

    def __init__(self, path: Path) -> None:
        """Raises HiveotError when the file is missing or unreadable."""
        if not path.exists():
            raise HiveotError(f"no state file {path}", why="the agent has not run yet", hint="hiveot-launcher up")
        try:
            self._db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2.0)
            self._db.execute("SELECT 1 FROM meta LIMIT 1").fetchone()
        except sqlite3.Error as error:
            raise _unusable(path, error) from error

    def records(self) -> dict[str, Record]:
        return _records(self._db)

    def alarm(self) -> str:
        """What is wrong with the agent's connection to the hub; empty when nothing is."""
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (_ALARM,)).fetchone()
        return str(row[0]) if row else ""

    def events(self, *, after: int = 0, last: int | None = None) -> list[Event]:
        """Journal rows with seq > after, oldest first; only the newest `last` of them when given."""
        rows = self._db.execute(
            "SELECT seq, time, name, plugin, value FROM journal WHERE seq > ? ORDER BY seq DESC LIMIT ?",
            (after, -1 if last is None else last),
        ).fetchall()
        return [Event(t, name, plugin, json.loads(v), seq) for seq, t, name, plugin, v in reversed(rows)]

    def history(self, plugin_id: str) -> list[samples.Minute]:
        """The resource history of a plugin, oldest first."""
        return samples.history(self._db, plugin_id)

    def close(self) -> None:
        self._db.close()


def _records(db: sqlite3.Connection) -> dict[str, Record]:
    names = {f.name for f in fields(Record)}
    result = {}
    for plugin_id, text in db.execute("SELECT id, record FROM plugin"):
        data = json.loads(text)
        result[plugin_id] = Record(**{k: v for k, v in data.items() if k in names})
    return result


def _unusable(path: Path, error: Exception) -> HiveotError:
    return HiveotError(
        f"cannot use the state file {path}", why=str(error), hint="check the folder's owner, mode and free disk space"
    )
