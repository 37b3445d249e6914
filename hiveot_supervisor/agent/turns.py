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
    """Used by the agent only.

    in_order: plugins of the list that are on their way, and are told in the list's order. A turn is taken many times
    while many plugins are started, so it looks only at those that decide about it.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._asking: list[Entry] | None = None
        self.in_order: set[str] = set()
        self._on_their_way: set[str] = set()

    def take(self) -> None:
        """Start all whose turn it is now."""
        while (wanted := self._wanted()) and self._turn_possible(wanted) and self._take_turn():
            pass

    def _wanted(self) -> list[Entry]:
        return [e for e in self._agent.table.plugins if e.wanted]

    def _turn_possible(self, wanted: list[Entry]) -> bool:
        """Not only successors of those that are on their way already are wanted."""
        self._on_their_way = {n for n in self._on_their_way if self._on_its_way(n)}
        self.in_order &= self._on_their_way
        return len(self.in_order) < order.WINDOW or any(_free(e) for e in wanted)

    def _on_its_way(self, plugin_id: str) -> bool:
        entry = self._agent.table.get(plugin_id)
        return entry is not None and not entry.executed and (entry.up or self._under_way(entry))

    def _take_turn(self) -> bool:
        """Start those whose turn it is. True when one of them could not be started: that may be another one's turn."""
        self._asking = []
        try:
            while (turn := order.turn(self.steps())).start:
                self._start_in_order(turn.start)
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
            self._on_their_way.add(plugin_id)
            if entry.chained and not entry.plugin.depends_on:
                self.in_order.add(plugin_id)
                if plugin_id in self._agent.preparing:
                    return

    def blocked(self, entry: Entry) -> str:
        others = [self._agent.table.get(d.plugin) for d in entry.plugin.depends_on]
        return order.blocked(self._step(entry), [self._step(e) for e in others if e is not None and e.managed])

    def steps(self) -> list[order.Step]:
        """Those that decide whose turn it is, in the order of the list: who is on the way, the wanted ones that follow
        nobody, with what they depend on, and the first of those that do."""
        plugins, position = self._agent.table.plugins, self._agent.table.position
        wanted = self._wanted()
        free = [e for e in wanted if _free(e)]
        chosen = {e.plugin.id for e in free} | {d.plugin for e in free for d in e.plugin.depends_on}
        numbers = {position[name] for name in chosen | self._on_their_way if name in position}
        numbers |= self._first_of_rows([position[e.plugin.id] for e in wanted if not _free(e)])
        return [self._step(plugins[number]) for number in sorted(numbers)]

    def _first_of_rows(self, wanted: list[int]) -> set[int]:
        """Of each unbroken row as many as may be started together, and the one that the first of them follows."""
        plugins = self._agent.table.plugins
        found: set[int] = set()
        previous = last = -2
        for number in wanted:
            if number != previous + 1:
                before = (n for n in range(number - 1, -1, -1) if plugins[n].chained or plugins[n].wanted)
                found.update(range(next(before, number), number))
                last = number + order.WINDOW
            if number <= last:
                found.add(number)
            previous = number
        return found

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
        """Have a plugin started, together with others whose turn it is."""
        entry.next_try = None
        self._on_their_way.add(entry.plugin.id)
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


def _free(entry: Entry) -> bool:
    """Not the one before it in the list decides when it is started."""
    return bool(entry.plugin.depends_on) or not entry.chained
