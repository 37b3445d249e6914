"""Whose turn it is to be started, and asking supervisord for it: the agent's table against the rules of `order`.

Plugins whose turn it is are asked for in one request, in the order of the list.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from hiveot_supervisor.agent import order
from hiveot_supervisor.agent.table import Entry, Now
from hiveot_supervisor.errors import SupervisordUnreachable
from hiveot_supervisor.model import Cause, PluginState
from hiveot_supervisor.supervisord.states import Fault

if TYPE_CHECKING:
    from hiveot_supervisor.agent.core import Agent

log = logging.getLogger(__name__)


class Turns:
    """Used by the agent only. in_order: plugins of the list that are on their way, and are told in the list's order."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._asking: list[Entry] | None = None
        self.in_order: set[str] = set()

    def take(self) -> None:
        """Start all whose turn it is now."""
        while self._turn_possible() and self._take_turn():
            pass

    def _turn_possible(self) -> bool:
        """Somebody is wanted, and not only successors of those that are on their way already (all have to be looked at,
        1 % of a second for 1,000 plugins)."""
        entries = self._agent.table.entries
        self.in_order = {n for n in self.in_order if n in entries and self._on_its_way(entries[n])}
        wanted = [e for e in self._agent.table.plugins if e.wanted]
        if len(self.in_order) < order.WINDOW:
            return bool(wanted)
        return any(e.plugin.depends_on or not e.chained for e in wanted)

    def _on_its_way(self, entry: Entry) -> bool:
        return not entry.executed and (entry.up or self._under_way(entry))

    def _take_turn(self) -> bool:
        """Start those whose turn it is. True when one of them could not be started: that may be another one's turn."""
        steps = self._steps()
        self._asking = []
        try:
            while (turn := order.turn(steps)).start:
                self._start_in_order(turn.start)
                begun = set(turn.start)
                steps = [self._step(self._agent.table.entries[s.id]) if s.id in begun else s for s in steps]
        finally:
            asked, self._asking = self._asking, None
            self._ask(asked, self._agent.now())
        for plugin_id, reason in turn.waiting.items():
            entry = self._agent.table.entries[plugin_id]
            if entry.note != reason:
                self._agent.teller.tell(self._agent.table.waiting(entry, reason, self._agent.now()))
                self._agent.teller.save(entry)
        return any(not self._under_way(e) for e in asked)

    def _start_in_order(self, plugin_ids: list[str]) -> None:
        """Start plugins until one has to wait for its credentials: its successors come after it."""
        for plugin_id in plugin_ids:
            entry = self._agent.table.entries[plugin_id]
            self._agent.start(entry, entry.wanted or Cause.AUTOSTART)
            if entry.chained and not entry.plugin.depends_on:
                self.in_order.add(plugin_id)
                if plugin_id in self._agent.preparing:
                    return

    def blocked(self, entry: Entry) -> str:
        return order.blocked(self._step(entry), self._steps()) if entry.plugin.depends_on else ""

    def _steps(self) -> list[order.Step]:
        return [self._step(e) for e in self._agent.table.plugins]

    def _step(self, entry: Entry) -> order.Step:
        return order.Step(
            id=entry.plugin.id,
            state=PluginState.STARTING if self._under_way(entry) else entry.state,
            wanted=entry.wanted is not None and not entry.up,
            chained=entry.chained,
            executed=entry.running,
            ready=self._agent.ready(entry),
            late=entry.late,
            asked=entry.up or (self._under_way(entry) and entry.plugin.id not in self._agent.preparing),
            at_once=entry.plugin.ready is None and self._agent.launcher.start_wait == 0,
            note=entry.note,
            depends_on=entry.plugin.depends_on,
        )

    def _under_way(self, entry: Entry) -> bool:
        """A start was asked for and its first report, or its credentials, are still to come."""
        return entry.coming or (entry.intent is not None and not entry.up and entry.state is not PluginState.WAITING)

    def request(self, entry: Entry, now: Now) -> None:
        entry.next_try = None
        self._agent.probes.prepare(entry.plugin)
        if self._asking is None:
            self._ask([entry], now)
        else:
            self._asking.append(entry)

    def _ask(self, entries: list[Entry], now: Now) -> None:
        """Ask supervisord to start plugins, in this order."""
        try:
            faults = self._agent.rpc.start_all([e.plugin.id for e in entries]) if entries else {}
        except SupervisordUnreachable as error:
            log.warning("start of %s: %s", ", ".join(e.plugin.id for e in entries), error)
            for entry in entries:
                entry.next_try = now.mono + 1.0
            return
        for entry in entries:
            fault = faults.get(entry.plugin.id)
            if fault is None or fault.code == Fault.ALREADY_STARTED:
                entry.asked = entry.intent
            elif not self._agent.shutting_down:
                self._agent.teller.tell(self._agent.table.unable(entry, PluginState.FAILED, str(fault.what), now))
