"""Whose turn it is to be started: a pure function of what everybody is doing.

Without `dependsOn` a plugin of the autostart list waits until its predecessor in the list has settled (runs for
`startWait`, or will not run now); with `dependsOn` it waits for those plugins only, so that branches start in parallel.
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


@dataclass(frozen=True, slots=True)
class Step:
    """One plugin as the order sees it.

    ready: it runs and has passed its readiness check (or `startWait`); late: it did not pass in time.
    """

    id: str
    state: PluginState
    wanted: bool = False
    chained: bool = False
    executed: bool = False
    ready: bool = False
    late: bool = False
    note: str = ""
    depends_on: tuple[Dependency, ...] = ()


@dataclass(frozen=True, slots=True)
class Turn:
    """Who may be started now, in order, and why the others of the wanted ones may not yet."""

    start: list[str] = field(default_factory=list)
    waiting: dict[str, str] = field(default_factory=dict)


def turn(steps: Sequence[Step]) -> Turn:
    """Decide over all plugins, given in start order."""
    result = Turn()
    by_id = {s.id: s for s in steps}
    previous: Step | None = None
    for step in steps:
        if step.wanted:
            reason = _blocked(step, by_id)
            if reason:
                result.waiting[step.id] = reason
            elif step.depends_on or not step.chained or previous is None or _settled(previous):
                result.start.append(step.id)
        if step.chained or step.wanted:
            previous = step
    return result


def blocked(step: Step, steps: Sequence[Step]) -> str:
    """Why a plugin may not start now because of its dependencies; empty when it may."""
    return _blocked(step, {s.id: s for s in steps})


def _settled(step: Step) -> bool:
    if step.wanted:
        return False
    if step.state is PluginState.RUNNING:
        return step.ready or step.late
    return step.state in _SETTLED


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
