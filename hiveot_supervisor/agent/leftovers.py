"""Ends what ended plugins have left behind: children in their process group, and daemons that left it."""

from __future__ import annotations

import logging
import signal

from hiveot_supervisor.agent.ports import Processes
from hiveot_supervisor.agent.strays import Foreign
from hiveot_supervisor.agent.table import Entry

log = logging.getLogger(__name__)

LOOK = 0.5
"""Seconds between two looks whether a group is gone."""


class Leftovers:
    """TERM at once, KILL to what does not obey. Used by the main loop only."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._groups: dict[int, float] = {}
        self._escaped: set[int] = set()

    def end_group_of(self, entry: Entry, mono: float) -> None:
        """The plugin's process is gone: end what is left of its group, within its `stop.timeout`."""
        if entry.managed and entry.pid and self._processes.signal_group(entry.pid, signal.SIGTERM):
            log.warning("%s left children behind; they are ended", entry.plugin.id)
            self._groups[entry.pid] = mono + entry.plugin.stop.timeout

    def tick(self, mono: float) -> float | None:
        """KILL the groups that did not go on TERM; returns when it wants to be called again.

        A group's ID is not used again while it has members.
        """
        for leader, deadline in list(self._groups.items()):
            if mono >= deadline:
                self._processes.signal_group(leader, signal.SIGKILL)
                del self._groups[leader]
            elif not self._processes.signal_group(leader, 0):
                del self._groups[leader]
        return min((min(mono + LOOK, deadline) for deadline in self._groups.values()), default=None)

    def end_escaped(self, processes: list[Foreign]) -> None:
        """End daemons that ended plugins left behind: TERM when they are first seen, KILL when they are seen again."""
        seen = {p.pid for p in processes}
        for foreign in processes:
            number = signal.SIGKILL if foreign.pid in self._escaped else signal.SIGTERM
            log.warning("%s left process %d behind; it gets SIG%s", foreign.program, foreign.pid, number.name[3:])
            self._processes.signal(foreign.pid, number)
        self._escaped = seen
