"""When and how to connect again: pure decisions, time and chance come in as arguments.

A hub that was never reached, or that runs on this machine, is tried every few milliseconds for a minute (it is
probably just starting); any other in 1 to 30 s with jitter; one that refuses us slowly. Never sleeps, never connects.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto

FAST_PERIOD = 60.0  # seconds of outage during which a starting or local hub is tried quickly
FAST_FIRST = 0.02
FAST_LIMIT = 0.25
SLOW_FIRST = 1.0
SLOW_LIMIT = 30.0
JITTER = 0.25
REFUSED = (1.0, 2.0, 5.0, 10.0, 30.0)
CONTESTED_DELAY = 60.0
TAKE_OVER_PERIOD = 60.0
TAKE_OVERS = 3  # more than this many a minute: two programs use one ID

MQTT5 = 5
MQTT311 = 4


class Ending(Enum):
    """How an attempt to connect, or a connection, ended."""

    CLOSED = auto()  # we closed it
    UNREACHABLE = auto()  # no TCP or TLS, or missing files
    NOT_READY = auto()  # a server is there, but did not get to the end of the login
    UNSUPPORTED = auto()  # the server refused our protocol version
    CLOSED_EARLY = auto()  # closed after our login, without an answer
    REFUSED = auto()  # our credentials or rights are refused
    LOST = auto()  # was connected; the connection broke or the server closed it
    TAKEN_OVER = auto()  # was connected; the server says another client uses our ID


@dataclass(frozen=True, slots=True)
class RetryState:
    """What is remembered between attempts. Times are monotonic seconds.

    version: MQTT protocol level to try next; sticky: the server refused version 5; attempts/slow: tries in this
    outage, and those of them after the fast ones; gone: the hub was unreachable in this outage; relogin: the current
    login followed a loss during which it never was; contested: taken over too often and not yet quiet for a minute.
    """

    version: int = MQTT5
    sticky: bool = False
    reached: bool = False
    attempts: int = 0
    slow: int = 0
    refusals: int = 0
    outage_since: float | None = None
    login_at: float = 0.0
    gone: bool = False
    relogin: bool = False
    take_overs: tuple[float, ...] = ()
    contested: bool = False


@dataclass(frozen=True, slots=True)
class Retry:
    """The decision: try again after `delay` seconds. `contested`: our ID is used by somebody else too."""

    state: RetryState
    delay: float
    contested: bool = False


def succeeded(state: RetryState, now: float) -> RetryState:
    """The state after a login."""
    version = state.version if state.sticky else MQTT5
    relogin = state.reached and not state.gone
    return replace(
        state,
        reached=True,
        version=version,
        attempts=0,
        slow=0,
        refusals=0,
        outage_since=None,
        login_at=now,
        gone=False,
        relogin=relogin,
    )


def next_try(
    state: RetryState,
    ending: Ending,
    now: float,
    *,
    loopback: bool,
    jitter: float,
    slow_limit: float = SLOW_LIMIT,
    exclusive: bool = True,
) -> Retry:
    """What to do after `ending`.

    jitter: a random number from -1 to 1; slow_limit: longest delay while the hub is away, seconds; exclusive: the hub
    closes the older connection of an ID when it is used again, so that losses in a row mean a second user.
    """
    if state.outage_since is None:
        state = replace(state, outage_since=now)
    match ending:
        case Ending.REFUSED:
            delay = REFUSED[min(state.refusals, len(REFUSED) - 1)]
            state = replace(state, refusals=state.refusals + 1, attempts=state.attempts + 1)
            return Retry(state, _spread(delay, jitter))
        case Ending.UNSUPPORTED if state.version == MQTT5:
            return Retry(replace(state, version=MQTT311, sticky=True), 0.0)
        case Ending.CLOSED_EARLY if not state.sticky:
            if state.version == MQTT5:
                return Retry(replace(state, version=MQTT311), 0.0)
            state = replace(state, version=MQTT5)
        case Ending.LOST | Ending.TAKEN_OVER if exclusive:
            return _after_loss(state, ending, now, loopback=loopback, jitter=jitter, slow_limit=slow_limit)
    gone = state.gone or ending is Ending.UNREACHABLE
    state = replace(state, attempts=state.attempts + 1, gone=gone)
    return _backoff(state, now, loopback=loopback, jitter=jitter, slow_limit=slow_limit)


def _after_loss(
    state: RetryState, ending: Ending, now: float, *, loopback: bool, jitter: float, slow_limit: float
) -> Retry:
    """Count take-overs. MQTT 3.1.1 does not tell them: there, losing a connection that had been lost before, while the
    hub itself never went, is one."""
    short = now - state.login_at < TAKE_OVER_PERIOD
    recent = tuple(stamp for stamp in state.take_overs if now - stamp < TAKE_OVER_PERIOD)
    if ending is Ending.TAKEN_OVER or (state.relogin and short):
        recent = (*recent, now)
    contested = len(recent) > TAKE_OVERS or (state.contested and short)
    state = replace(state, take_overs=recent, contested=contested)
    if contested:
        return Retry(state, _spread(CONTESTED_DELAY, jitter), contested=True)
    return _backoff(state, now, loopback=loopback, jitter=jitter, slow_limit=slow_limit)


def _backoff(state: RetryState, now: float, *, loopback: bool, jitter: float, slow_limit: float) -> Retry:
    outage = now - (state.outage_since if state.outage_since is not None else now)
    if (loopback or not state.reached) and outage < FAST_PERIOD:
        exponent = min(state.attempts, 20)
        return Retry(state, min(FAST_LIMIT, FAST_FIRST * 1.5**exponent))
    delay = min(slow_limit, SLOW_FIRST * 2 ** min(state.slow, 10))
    return Retry(replace(state, slow=state.slow + 1), _spread(delay, jitter))


def _spread(delay: float, jitter: float) -> float:
    return delay * (1 + JITTER * jitter)
