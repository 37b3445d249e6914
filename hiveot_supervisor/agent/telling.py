"""Tells others what happens: the stored record, the journal, the hub's events and properties.

Every transition is stored together with its events in one transaction. Nothing is decided here.
"""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Callable
from typing import Any

from hiveot_supervisor.agent import things
from hiveot_supervisor.agent.loglines import tail
from hiveot_supervisor.agent.plugin_things import Board
from hiveot_supervisor.agent.publisher import Publisher
from hiveot_supervisor.agent.samples import Usage
from hiveot_supervisor.agent.state import Event, State
from hiveot_supervisor.agent.table import Entry, Exit, Now, Table, Transition, to_record
from hiveot_supervisor.clock import Clock, iso8601
from hiveot_supervisor.hub.client import HubClient
from hiveot_supervisor.hub.thing import Thing

log = logging.getLogger(__name__)

LAST_LOG_LINES = 20
LAST_LOG_SIZE = 4000
"""Lines and characters of a plugin's log that go into the event of its end."""

HELD_BACK = 0.5
"""Seconds for which values wait at most while many events are on their way."""

_SIGNALS = {s.value: s.name for s in signal.Signals}


class Teller:
    """Used by the main loop only. `usage`: the last resource sample by plugin ID."""

    def __init__(
        self,
        table: Table,
        state: State,
        hub: HubClient,
        publisher: Publisher,
        clock: Clock,
        token_expires: Callable[[str], float | None],
        describe: Callable[[Thing], dict[str, Any]],
    ) -> None:
        self.describe = describe
        self.device = socket.gethostname()
        self.usage: dict[str, Usage] = {}
        self._table = table
        self._state = state
        self._hub = hub
        self._publisher = publisher
        self._clock = clock
        self._board = Board(hub, publisher, self.device, token_expires, describe, self._number)
        self._last = state.last_seqs()
        self._dirty: set[str] = set()
        self._running: set[str] = set()
        self._told_at = 0.0
        self._counts: tuple[int, int] | None = None

    def _now(self) -> Now:
        return Now(self._clock.monotonic(), self._clock.wall())

    def tell(self, transition: Transition | None, *, inferred: bool = False) -> None:
        """Store a transition and queue its events. inferred: nobody saw it happen."""
        if transition is None:
            return
        entry = self._table.entries[transition.plugin]
        now = self._now()
        before, after = transition.previous.value, transition.state.value
        log.info("%s: %s -> %s (%s) %s", transition.plugin, before, after, transition.cause.value, entry.note)
        with self._state.transaction():
            self.save(entry)
            if not entry.managed:
                return
            if transition.event:
                self._append(Event(now.wall, transition.event, transition.plugin, transition.plugin))
            change = self._change(transition, entry, now)
            if inferred:
                change["inferred"] = True
            self._append(Event(now.wall, things.STATE_CHANGED, transition.plugin, change))

    def _append(self, event: Event) -> None:
        self._last[event.plugin] = self._state.append(event).seq
        self._publisher.added()

    def _number(self, plugin_id: str) -> tuple[int, str]:
        """seq of the last event about a plugin, and the epoch of that numbering."""
        return self._last.get(plugin_id, 0), self._state.epoch

    def event(self, name: str, plugin_id: str, **members: Any) -> None:
        """Queue an event about a plugin; ID, device and time are added."""
        now = self._clock.wall()
        value = {"pluginID": plugin_id, **members, "device": self.device, "time": iso8601(now)}
        self._append(Event(now, name, plugin_id, value))

    def save(self, entry: Entry) -> None:
        """Store an entry that changed without a transition."""
        self._dirty.add(entry.plugin.id)
        (self._running.add if entry.running and entry.managed else self._running.discard)(entry.plugin.id)
        self._state.save(to_record(entry, self._now()))

    def _change(self, transition: Transition, entry: Entry, now: Now) -> dict[str, Any]:
        exit_ = transition.exit or Exit()
        stopped = transition.event == things.STOPPED
        change = {
            "pluginID": transition.plugin,
            "state": transition.state.value,
            "previous": transition.previous.value,
            "cause": transition.cause.value,
            "exitCode": None if exit_.signal else exit_.code,
            "signal": _SIGNALS.get(exit_.signal, str(exit_.signal)) if exit_.signal else None,
            "maxRss": exit_.max_rss,
            "uptime": None if transition.uptime is None else round(transition.uptime, 3),
            "startCount": entry.start_count,
            "attempt": entry.backoff.failures or None,
            "nextTry": None if entry.next_try is None else iso8601(now.wall + entry.next_try - now.mono),
            "note": entry.note or None,
            "ready": True if entry.ready else None,
            "lastLog": tail(entry.plugin, LAST_LOG_LINES, LAST_LOG_SIZE) if stopped else None,
            "device": self.device,
            "time": iso8601(now.wall),
        }
        return {k: v for k, v in change.items() if v is not None}

    # -- properties

    def forget_told(self) -> None:
        """The hub may have forgotten everything: tell it again."""
        self._counts = None
        self._board.forget()
        self._dirty.update(e.plugin.id for e in self._table.plugins)

    def credentials_changed(self, plugin_id: str) -> None:
        """Its token expires at another time now."""
        self._board.tell_again(plugin_id)
        self._dirty.add(plugin_id)

    def sampled(self, usage: dict[str, Usage]) -> None:
        """There are new resource figures."""
        self.usage = usage
        self._dirty.update(usage)

    def publish_properties(self) -> None:
        """Tell the hub what changed since the last call; not before the new connection was told what the Things are.

        While many events are on their way (all start, all stop) values wait, at most for HELD_BACK, and only the newest
        of each is told: the delivery of those events brings another call.
        """
        if not self._hub.connected or not self._publisher.open or not self._dirty:
            return
        now = self._now()
        if self._publisher.busy and now.mono - self._told_at < HELD_BACK:
            return
        self._told_at = now.mono
        entries = self._table.entries
        changed = [entries[name] for name in sorted(self._dirty) if name in entries and entries[name].managed]
        gone = {name for name in self._dirty if name not in entries}
        self._dirty.clear()
        self._board.publish(changed, gone, self.usage.get, now.wall, now.mono)
        for name in gone:
            self._state.forget(name)
            self._running.discard(name)
        self._publish_counts()

    def _publish_counts(self) -> None:
        counts = (len(self._table.plugins), len(self._running))
        if counts != self._counts:
            self._counts = counts
            self._publisher.put_property(things.THING_ID, "nrPlugins", counts[0])
            self._publisher.put_property(things.THING_ID, "nrRunning", counts[1])

    def removed(self, plugin_id: str) -> None:
        """A plugin is no longer configured: its Thing and what is remembered of it go, when the hub can be told."""
        self._dirty.add(plugin_id)
