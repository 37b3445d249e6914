"""Brings the agent's table in line with reality: at its start, after lost reports, and when the configuration changed.

What happened while nobody looked is told as `inferred`. Works on an `Agent`; decides by the table's own rules.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from hiveot_supervisor.agent.core import Agent, want_at_boot
from hiveot_supervisor.agent.table import UP, Entry, Exit, Transition, restore
from hiveot_supervisor.model import Cause, Launcher, PluginState
from hiveot_supervisor.supervisord.rpc import ProcessInfo
from hiveot_supervisor.supervisord.states import ProcessState

_chance = random.Random()


def begin(agent: Agent, snapshot: Iterable[ProcessInfo], *, same_boot: bool) -> None:
    """Merge what was stored, what supervisord says now, and what launcher.yaml wants.

    same_boot: this supervisord is the one that the stored records are about. Otherwise what ran then is lost.
    """
    now = agent.now()
    agent.resume(released_before=same_boot)
    records = agent.state.records()
    processes = {p.name: p for p in snapshot}
    with agent.state.transaction():
        for plugin_id, entry in agent.table.entries.items():
            record = records.get(plugin_id)
            if record is not None:
                restore(entry, record, now, same_boot=same_boot)
            _merge(agent, entry, processes.get(plugin_id), same_boot=same_boot)
            attempted = same_boot and record is not None and record.attempted
            want_at_boot(entry, attempted=attempted)
            if same_boot and entry.cause is Cause.CREDENTIALS and entry.state is PluginState.STOPPED and entry.enabled:
                entry.wanted = Cause.CREDENTIALS  # we were killed between the stop and the start
            agent.teller.save(entry)
    for gone in records.keys() - agent.table.entries.keys():
        agent.teller.removed(gone)  # taken out of launcher.yaml while we were away


def resync(agent: Agent, snapshot: Iterable[ProcessInfo]) -> None:
    """Reports were lost: compare with what supervisord has now."""
    processes = {p.name: p for p in snapshot}
    for name, entry in agent.table.entries.items():
        _merge(agent, entry, processes.get(name), same_boot=True)
        agent.teller.save(entry)


def reconfigure(agent: Agent, launcher: Launcher) -> None:
    """Take a new generated/launcher.json over."""
    known = set(agent.table.entries)
    agent.launcher = launcher
    for gone in agent.table.replace_plugins(launcher.plugins, launcher.runtime):
        agent.teller.removed(gone)
    agent.folder_changed()
    for name, entry in agent.table.entries.items():
        if name not in known:
            want_at_boot(entry, attempted=False)
            agent.teller.save(entry)


def _merge(agent: Agent, entry: Entry, process: ProcessInfo | None, *, same_boot: bool) -> None:
    """Bring an entry in line with the process that supervisord really has; report what was missed."""
    alive = process is not None and process.pid > 0
    unseen = entry.asked is not None and not alive
    if unseen or (entry.state in UP and not (process and alive and process.pid == entry.pid)):
        agent.forget_process(entry.plugin.id)
        for transition in _missed(agent, entry, process if same_boot else None):
            agent.teller.tell(transition, inferred=True)
    if process is None or not alive:
        return
    if entry.state in UP:
        agent.watch(entry)
        return
    entry.note = ""
    entry.next_try = None
    entry.cause = entry.asked or (Cause.OPERATOR if entry.managed else Cause.AUTOSTART)
    entry.enabled = entry.enabled or entry.asked is None  # whoever has started it wants it
    agent.table.forked(entry, process.pid)
    agent.watch(entry)


def _missed(agent: Agent, entry: Entry, process: ProcessInfo | None) -> list[Transition | None]:
    """How a run ended that nobody told us about, as far as supervisord still knows."""
    now = agent.now()
    if process is None:
        return [agent.table.lost(entry, Cause.LAUNCHER_LOST, now)]
    if process.pid:
        # it runs again: somebody restarted it while nobody looked, and how the earlier run ended is not known any more
        return [agent.table.lost(entry, Cause.RESTART, now)]
    exit_ = Exit(process.exitcode, process.signal)
    if process.state is ProcessState.STOPPED:
        return [agent.table.stopped(entry, exit_, now, shutdown=False)]
    return list(agent.table.exited(entry, exit_, None, now, _chance.random()))
