"""When the credentials of an account are looked at, renewed and complained about while it is in use.

Pure: time, chance and what the files say come in. What is due is a matter of wall time; when to look next is monotonic,
so that a clock that is set delays nothing and floods nobody (`Renewals` looks at everything again after a jump).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hiveot_supervisor.agent.table import Now
from hiveot_supervisor.credentials.expiry import Period
from hiveot_supervisor.credentials.provision import CLOCK_SKEW, Status

FIRST_LOOK = 5.0
"""Seconds after a start, before which prestart has just looked."""

LOOK_EVERY = 3600.0
"""Seconds after which the files are read again, whatever they said: somebody may have changed them."""

RETRY_FIRST, RETRY_LIMIT = 60.0, 3600.0
"""Seconds between attempts that fail; doubles each time."""

GRACE = 300.0
"""Seconds for which a renewal may be overdue, say because the hub is just being started, before that is a problem."""

ENDANGERED = 0.1
"""Part of the lifetime that is left when a renewal that does not succeed is told."""

_SOONEST = 1.0


@dataclass(frozen=True, slots=True)
class Validity:
    """What the files of one account say (wall time): valid from `start`, to be renewed at `renew`, of no use at `end`.

    lifetime: seconds, of what ends first.
    """

    start: float
    renew: float
    end: float
    lifetime: float

    def due(self, wall: float) -> bool:
        """At 2/3 of the life, or made while a clock was wrong."""
        return wall >= self.renew or self.start > wall + CLOCK_SKEW

    def danger(self, wall: float) -> int:
        """0: enough time is left; 1: less than a tenth; 2: it has ended."""
        left = self.end - wall
        return 2 if left <= 0 else int(left < ENDANGERED * self.lifetime)


NOTHING_VALID = Validity(0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Watch:
    """One account in use.

    look_at: monotonic time of the next look; validity: None before the first; asked: a renewal is under way; failures
    in a row, and not before `retry_at` (monotonic) again; overdue_since: monotonic; told: the danger that was told.
    """

    look_at: float
    validity: Validity | None = None
    asked: bool = False
    failures: int = 0
    retry_at: float = 0.0
    overdue_since: float | None = None
    told: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """watch: as it is from now on; renew: ask the hub now; warn: tell that the end comes near."""

    watch: Watch
    renew: bool = False
    warn: bool = False


def validity(status: Status, *, certificate: bool) -> Validity:
    """What the credentials on the disk are good for. `certificate`: whether one is wanted."""
    wanted: list[Period | None] = [status.token, *([status.certificate] if certificate else [])]
    periods = [p for p in wanted if p is not None]
    if status.token is None or not periods:
        return NOTHING_VALID
    first = min(periods, key=lambda p: p.end)
    complete = status.has_key and len(periods) == len(wanted)
    return Validity(
        start=max(p.start for p in periods),
        renew=min(p.renewal() for p in periods) if complete else 0.0,
        end=first.end,
        lifetime=first.end - first.start,
    )


def decide(watch: Watch, found: Validity, now: Now, *, hub: bool, renewable: bool = True) -> Decision:
    """What follows from a look at the files. hub: its account service answers; renewable: renewing is up to us."""
    if not found.due(now.wall):
        fresh = Watch(_next_look(found, now, []), found)
        return Decision(replace(fresh, asked=watch.asked))
    since = now.mono if watch.overdue_since is None else watch.overdue_since
    renew = hub and renewable and not watch.asked and now.mono >= watch.retry_at
    danger = found.danger(now.wall)
    hopeless = watch.failures > 0 or now.mono - since >= GRACE
    warn = danger > watch.told and hopeless
    times = [since + GRACE, watch.retry_at] if hub else [since + GRACE]
    return Decision(
        replace(
            watch,
            look_at=_next_look(found, now, times),
            validity=found,
            asked=watch.asked or renew,
            overdue_since=since,
            told=danger if warn else watch.told,
        ),
        renew,
        warn,
    )


def failed(watch: Watch, now: Now, chance: float) -> Watch:
    """A renewal did not succeed. `chance`: random, 0 to 1; spreads the attempts of many accounts."""
    delay = min(RETRY_LIMIT, RETRY_FIRST * 2.0 ** min(watch.failures, 10)) * (0.9 + 0.2 * chance)
    # looked at again at once: it may have to be told now
    return replace(watch, asked=False, failures=watch.failures + 1, retry_at=now.mono + delay, look_at=now.mono)


def _next_look(found: Validity, now: Now, times: list[float]) -> float:
    """The first of the monotonic `times`, or of what wall time brings, that is still to come."""
    wall = [found.renew, found.end - ENDANGERED * found.lifetime, found.end]
    times = [*times, *(now.mono + w - now.wall for w in wall), now.mono + LOOK_EVERY]
    return max(now.mono + _SOONEST, min(t for t in times if t > now.mono))
