"""What follows from probes, resource samples and strays: restarts for liveness and limits, readiness, warnings.

Works on the agent's table and through its `start` and `stop`; the measuring is done elsewhere.
"""

from __future__ import annotations

import logging

from hiveot_supervisor.agent import things
from hiveot_supervisor.agent.core import Agent, stray_text
from hiveot_supervisor.agent.inbox import Probed
from hiveot_supervisor.agent.limits import Exceeded, judge
from hiveot_supervisor.agent.samples import Usage
from hiveot_supervisor.agent.strays import Stray
from hiveot_supervisor.agent.table import Entry
from hiveot_supervisor.clock import iso8601
from hiveot_supervisor.model import Cause, LimitAction, PluginState

log = logging.getLogger(__name__)


class Health:
    """Used by the main loop only."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._teller = agent.teller

    def probed(self, item: Probed) -> None:
        """A readiness or liveness check was answered."""
        self._agent.probes.answered(item)
        entry = self._agent.table.get(item.plugin)
        if entry is None or entry.pid != item.pid or entry.state is not PluginState.RUNNING:
            return
        if item.purpose == "ready":
            self._readiness(entry, item)
        else:
            self._liveness(entry, item)
        self._teller.save(entry)

    def _readiness(self, entry: Entry, item: Probed) -> None:
        if item.ok and not entry.ready:
            entry.ready, entry.late, entry.note = True, False, ""
            log.info("%s is ready", item.plugin)
            self._teller.tell(self._agent.table.same(entry))
            self._agent.probes.begin_alive(entry.plugin, entry.pid, self._agent.clock.monotonic())
        elif not item.ok and item.detail != entry.note:
            entry.late = entry.late or item.detail.startswith("not ready")
            entry.note = item.detail

    def _liveness(self, entry: Entry, item: Probed) -> None:
        entry.alive_failures = 0 if item.ok else entry.alive_failures + 1
        allowed = entry.plugin.alive.failures if entry.plugin.alive else 0
        if not item.ok:
            log.warning(
                "%s: liveness check failed (%d of %d): %s", item.plugin, entry.alive_failures, allowed, item.detail
            )
        if entry.alive_failures >= allowed > 0:
            entry.note = item.detail
            self._agent.stop(entry, Cause.PROBE)

    def sampled(self, usage: dict[str, Usage], strays: dict[str, Stray]) -> None:
        """A look at all processes: take note of strays, judge the limits."""
        self._note_strays(strays)
        self._teller.sampled(usage)
        now = self._agent.now()
        for name, used in usage.items():
            entry = self._agent.table.get(name)
            if entry is None or not entry.managed or entry.state is not PluginState.RUNNING:
                continue
            limits = entry.plugin.limits
            entry.watches, exceeded = judge(limits, entry.watches, rss=used.rss, cpu=used.cpu, now=now.mono)
            for excess in exceeded:
                self._limit_exceeded(entry, excess)

    def _note_strays(self, strays: dict[str, Stray]) -> None:
        now = self._agent.now()
        for entry in self._agent.table.plugins:
            stray = strays.get(entry.plugin.id)
            if stray == entry.stray:
                continue
            entry.stray = stray
            if stray is not None:
                log.warning("%s", stray_text(stray))
                self._teller.event(
                    things.STRAY, stray.plugin, pid=stray.pid, since=iso8601(stray.started), detected="manual"
                )
            elif entry.state is PluginState.WAITING and entry.enabled:
                entry.next_try = now.mono  # it waited for the stray to go
            self._teller.save(entry)

    def _limit_exceeded(self, entry: Entry, excess: Exceeded) -> None:
        """Event first, then the action."""
        limits = entry.plugin.limits
        unit = "bytes" if excess.resource == "memory" else "%"
        note = f"{excess.resource} {excess.value:.0f} {unit}, limit {excess.limit:.0f} for {limits.for_:g} s"
        log.warning("%s: %s", entry.plugin.id, note)
        self._teller.event(
            things.LIMIT_EXCEEDED,
            entry.plugin.id,
            resource=excess.resource,
            value=excess.value,
            limit=excess.limit,
            **{"for": limits.for_},
            action=limits.action.value,
        )
        if limits.action is LimitAction.RESTART:
            entry.note = note
            self._agent.stop(entry, Cause.LIMIT)
