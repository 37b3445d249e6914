"""Whose turn it is to be started: a pure function of what everybody is doing.

Without `dependsOn` a plugin of the autostart list waits until its predecessor in the list has settled (runs for
`startWait`, or will not run now); with `dependsOn` it waits for those plugins only, so that branches start in parallel.
Where there is nothing to wait for (`startWait` 0, no readiness check) a plugin may follow as soon as its predecessor
was asked for, so that a long list starts as fast as the machine forks; only so many are on their way at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hiveot_supervisor.model import Condition, Dependency, PluginState

_SETTLED = frozenset(
    {
        PluginState.STOPPED,
        PluginState.WAITING,
        PluginState.BACKOFF,
        PluginState.EXITED,
        PluginState.FAILED,
        PluginState.MISSING,
    }
)


WINDOW = 8
"""Plugins that are asked for but not executed yet, at most, where nothing waits; each may be a Python interpreter."""


@dataclass(frozen=True, slots=True)
class Step:
    """One plugin as the order sees it.

    ready: it runs and has passed its readiness check (or `startWait`); late: it did not pass in time.
    asked: supervisord has been asked to start it; at_once: its successor need not wait for more than that.
    """

    id: str
    state: PluginState
    wanted: bool = False
    chained: bool = False
    executed: bool = False
    ready: bool = False
    late: bool = False
    asked: bool = False
    at_once: bool = False
    note: str = ""
    depends_on: tuple[Dependency, ...] = ()


@dataclass(frozen=True, slots=True)
class Turn:
    """Who may be started now, in order, and why the others of the wanted ones may not yet."""

    start: list[str] = field(default_factory=list)
    waiting: dict[str, str] = field(default_factory=dict)


def turn(steps: Sequence[Step]) -> Turn:
    """Decide over all plugins, given in start order; of a chain as many as may be on their way together."""
    result = Turn()
    by_id = {s.id: s for s in steps}
    previous: Step | None = None
    begun = False
    room = WINDOW - sum(s.asked and s.at_once and s.state is PluginState.STARTING for s in steps)
    for step in steps:
        if step.wanted:
            reason = _blocked(step, by_id)
            if reason:
                result.waiting[step.id] = reason
            elif step.depends_on or not step.chained or _settled(previous, begun, room):
                result.start.append(step.id)
                room -= step.at_once
        if step.chained or step.wanted:
            previous = step
            begun = step.at_once and step.id in result.start[-1:]
    return result


def blocked(step: Step, steps: Sequence[Step]) -> str:
    """Why a plugin may not start now because of its dependencies; empty when it may."""
    return _blocked(step, {s.id: s for s in steps})


def _settled(previous: Step | None, begun: bool, room: int) -> bool:
    """The successor may start. begun: the predecessor is started in this very turn, and need not be waited for."""
    if previous is None:
        return True
    if begun or (previous.asked and previous.at_once and previous.state is PluginState.STARTING):
        return room > 0
    if previous.wanted:
        return False
    if previous.state is PluginState.RUNNING:
        return previous.ready or previous.late
    return previous.state in _SETTLED


def _blocked(step: Step, by_id: dict[str, Step]) -> str:
    for dependency in step.depends_on:
        other = by_id.get(dependency.plugin)
        if other is None:
            return f"needs {dependency.plugin}, which is not configured"
        fulfilled = other.ready if dependency.condition is Condition.READY else other.executed
        if not fulfilled:
            detail = f": {other.note}" if other.note else ""
            return f"waits for {dependency.plugin} ({other.state.value}{detail})"
    return ""
