"""When the next attempt to connect is made."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiveot_supervisor.hub import reconnect
from hiveot_supervisor.hub.reconnect import Ending, Retry, RetryState, next_try, succeeded


def run(state: RetryState, ending: Ending, now: float, *, loopback: bool = False, jitter: float = 0.0) -> Retry:
    return next_try(state, ending, now, loopback=loopback, jitter=jitter)


def delays(state: RetryState, ending: Ending, *, loopback: bool, seconds: float) -> list[float]:
    """The delays chosen when every attempt fails at once."""
    found, now = [], 0.0
    while now < seconds:
        retry = run(state, ending, now, loopback=loopback)
        state, now = retry.state, now + max(retry.delay, 0.001)
        found.append(retry.delay)
    return found


@pytest.mark.parametrize(("reached", "loopback"), [(False, False), (False, True), (True, True)])
def test_a_starting_or_local_hub_is_tried_quickly_for_a_minute(reached: bool, loopback: bool) -> None:
    found = delays(RetryState(reached=reached), Ending.UNREACHABLE, loopback=loopback, seconds=300)
    fast = [delay for delay in found if delay <= 0.25]
    assert 0.02 <= fast[0] <= 0.03
    assert fast == sorted(fast)
    assert fast[-1] == 0.25
    assert 230 < len(fast) < 260
    assert found[len(fast) :][:7] == [1, 2, 4, 8, 16, 30, 30]


def test_a_distant_hub_that_was_there_is_tried_slowly() -> None:
    found = delays(RetryState(reached=True), Ending.UNREACHABLE, loopback=False, seconds=100)
    assert found[:6] == [1, 2, 4, 8, 16, 30]
    assert run(RetryState(reached=True), Ending.UNREACHABLE, 0, jitter=1).delay == 1.25
    assert run(RetryState(reached=True), Ending.UNREACHABLE, 0, jitter=-1).delay == 0.75


def test_refusals_are_retried_slowly() -> None:
    assert delays(RetryState(), Ending.REFUSED, loopback=True, seconds=60)[:6] == [1, 2, 5, 10, 30, 30]


def test_version_fallback() -> None:
    retry = run(RetryState(), Ending.UNSUPPORTED, 0.0)
    assert (retry.delay, retry.state.version) == (0.0, reconnect.MQTT311)
    later = succeeded(retry.state, 1.0)
    assert later.version == reconnect.MQTT311  # the server said so: no need to ask again
    assert run(later, Ending.UNSUPPORTED, 2.0).delay > 0  # it refuses both: no endless loop

    closed = run(RetryState(), Ending.CLOSED_EARLY, 0.0)
    assert (closed.delay, closed.state.version) == (0.0, reconnect.MQTT311)
    again = run(closed.state, Ending.CLOSED_EARLY, 0.0)
    assert (again.state.version, again.delay > 0) == (reconnect.MQTT5, True)
    assert succeeded(closed.state, 0.0).version == reconnect.MQTT5


def test_take_overs_are_counted() -> None:
    state, now = succeeded(RetryState(), 0.0), 0.0
    for count in range(1, 5):
        now += 5
        retry = run(state, Ending.TAKEN_OVER, now)
        assert retry.contested == (count == 4)
        state = succeeded(retry.state, now)
    assert retry.delay == reconnect.CONTESTED_DELAY
    once_more = run(state, Ending.TAKEN_OVER, now + 50)
    assert once_more.contested  # still fought over, a minute later
    quiet = run(succeeded(once_more.state, now + 110), Ending.LOST, now + 200)
    assert not quiet.contested


def test_losses_that_only_a_take_over_explains() -> None:
    """MQTT 3.1.1: the hub was never gone, but the connection is lost again and again."""
    state, now, seen = succeeded(RetryState(), 0.0), 0.0, []
    for _ in range(6):
        now += 2
        retry = run(state, Ending.LOST, now)
        seen.append(retry.contested)
        held_up = run(retry.state, Ending.CLOSED_EARLY, now)  # NATS does that to flapping clients
        state = succeeded(held_up.state, now)
    assert seen == [False, False, False, False, True, True]


def test_a_hub_that_restarts_often_is_no_take_over() -> None:
    state, now = succeeded(RetryState(), 0.0), 0.0
    for _ in range(20):
        now += 2
        lost = run(state, Ending.LOST, now, loopback=True)
        assert not lost.contested
        assert lost.delay == reconnect.FAST_FIRST
        gone = run(lost.state, Ending.UNREACHABLE, now + 0.02, loopback=True)
        state = succeeded(gone.state, now + 0.1)


@given(st.lists(st.tuples(st.sampled_from(Ending), st.floats(0, 100), st.floats(-1, 1), st.booleans(), st.booleans())))
def test_any_history_gives_a_sane_delay(history: list[tuple[Ending, float, float, bool, bool]]) -> None:
    state, now, immediate = RetryState(), 0.0, 0
    for ending, pause, jitter, loopback, login in history:
        now += pause
        if login:
            state, immediate = succeeded(state, now), 0
        retry = next_try(state, ending, now, loopback=loopback, jitter=jitter)
        state = retry.state
        assert 0 <= retry.delay <= 75
        immediate = immediate + 1 if retry.delay == 0 else 0
        assert immediate <= 2


def test_losses_mean_nothing_where_an_id_may_be_used_twice() -> None:
    """HiveOT's hub closes no older connection: losing it in a row only says that the hub is in trouble."""
    state, now = RetryState(), 0.0
    for _ in range(20):
        state = succeeded(state, now)
        retry = next_try(state, Ending.LOST, now + 1, loopback=True, jitter=0.0, exclusive=False)
        assert (retry.contested, retry.delay) == (False, reconnect.FAST_FIRST * 1.5)
        state, now = retry.state, now + 2


def test_the_longest_delay_can_be_shortened() -> None:
    state = succeeded(RetryState(), 0.0)
    for n in range(20):
        retry = next_try(state, Ending.UNREACHABLE, 100.0 * n, loopback=False, jitter=1.0, slow_limit=3.0)
        assert retry.delay <= 3.0 * 1.25
        state = retry.state
