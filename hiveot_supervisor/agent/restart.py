"""When an ended plugin is started again: pure functions of settings, history and time.

Nothing here knows processes, clocks or supervisord. The vocabulary is Pebble's: delay, factor, limit.
"""

from __future__ import annotations

from dataclasses import dataclass

from hiveot_supervisor.model import Policy, Restart


@dataclass(frozen=True, slots=True)
class Backoff:
    """What is remembered of a plugin's failures.

    failures: failed runs in a row (a run of `reset_after` seconds forgets them); delay: the last delay used, seconds.
    """

    failures: int = 0
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do about an ended run: start again after `delay` seconds, or (None) leave it; and what to remember."""

    delay: float | None
    backoff: Backoff
    reason: str = ""


def after_exit(settings: Restart, backoff: Backoff, *, failed: bool, uptime: float, chance: float) -> Decision:
    """Decide after a run that nobody asked to end.

    failed: the run ended with a non-zero code, a signal, or because of a limit or probe. uptime: seconds it lasted.
    chance: a random number in [0, 1) for the jitter. With policy `always`, a success restarts after the base delay.
    """
    if uptime >= settings.reset_after:
        backoff = Backoff()
    if settings.policy is Policy.NEVER or (not failed and settings.policy is Policy.ON_FAILURE):
        return Decision(None, Backoff(backoff.failures + failed, backoff.delay))
    failures = backoff.failures + failed
    if failed and settings.max_failures and failures >= settings.max_failures:
        return Decision(None, Backoff(failures, backoff.delay), f"gave up after {failures} failures in a row")
    if not failed:
        return Decision(min(settings.delay, settings.limit), Backoff(failures, backoff.delay))
    delay = next_delay(settings, failures, backoff.delay, chance)
    return Decision(delay, Backoff(failures, delay))


def next_delay(settings: Restart, failures: int, previous: float, chance: float) -> float:
    """Seconds to wait after the n-th failure in a row: grows by `factor`, never exceeds `limit`, never shrinks."""
    exponent = max(0, failures - 1)
    try:
        plain = settings.delay * settings.factor**exponent
    except OverflowError:
        plain = settings.limit
    jittered = min(plain, settings.limit) * (1 + settings.jitter * (2 * chance - 1))
    return min(settings.limit, max(jittered, min(previous, settings.limit)))


def series(settings: Restart, count: int) -> list[float]:
    """The first `count` delays without jitter, as `check -v` shows them."""
    return [min(settings.limit, settings.delay * settings.factor**n) for n in range(count)]
