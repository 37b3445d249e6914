"""When a plugin uses too much: pure functions of limits, usage and time.

A limit counts when it was exceeded for `for` seconds without a break; it is told once, and again only after the usage
has been clearly below (hysteresis), because a kill on a momentary peak is worse than the peak.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hiveot_supervisor.model import Limits

CALM = 0.9
"""Fraction of the limit that the usage must fall to before the limit can be told again."""


@dataclass(frozen=True, slots=True)
class Watch:
    """One resource of one plugin: since when (monotonic) it is above its limit, and whether that was told."""

    since: float | None = None
    told: bool = False


@dataclass(frozen=True, slots=True)
class Watches:
    """Both resources of one run of a plugin."""

    memory: Watch = field(default_factory=Watch)
    cpu: Watch = field(default_factory=Watch)


@dataclass(frozen=True, slots=True)
class Exceeded:
    """A limit that has been exceeded for long enough. `value`/`limit`: bytes for memory, percent of a core for cpu."""

    resource: str
    value: float
    limit: float


def judge(limits: Limits, watches: Watches, *, rss: int, cpu: float, now: float) -> tuple[Watches, list[Exceeded]]:
    """Take a sample into account. rss in bytes, cpu in percent, now monotonic seconds."""
    memory, memory_told = _watch(limits.memory, watches.memory, rss, limits.for_, now)
    load, cpu_told = _watch(limits.cpu, watches.cpu, cpu, limits.for_, now)
    exceeded = []
    if memory_told and limits.memory is not None:
        exceeded.append(Exceeded("memory", rss, limits.memory))
    if cpu_told and limits.cpu is not None:
        exceeded.append(Exceeded("cpu", cpu, limits.cpu))
    return Watches(memory, load), exceeded


def _watch(limit: float | None, watch: Watch, value: float, for_: float, now: float) -> tuple[Watch, bool]:
    if limit is None:
        return Watch(), False
    if value <= limit:
        if watch.told and value > limit * CALM:
            return Watch(None, True), False
        return Watch(), False
    since = now if watch.since is None else watch.since
    fires = not watch.told and now - since >= for_
    return Watch(since, watch.told or fires), fires
