"""Restart decisions: tables for what people expect, generated histories for what must always hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiveot_supervisor.agent.restart import Backoff, after_exit, series
from hiveot_supervisor.model import Policy, Restart

STEADY = Restart(jitter=0.0)


@pytest.mark.parametrize(
    ("policy", "failed", "delay"),
    [
        (Policy.NEVER, True, None),
        (Policy.NEVER, False, None),
        (Policy.ON_FAILURE, True, 1.0),
        (Policy.ON_FAILURE, False, None),
        (Policy.ALWAYS, True, 1.0),
        (Policy.ALWAYS, False, 1.0),
    ],
)
def test_policy_decides_who_is_started_again(policy: Policy, failed: bool, delay: float | None) -> None:
    settings = Restart(policy=policy, jitter=0.0)
    assert after_exit(settings, Backoff(), failed=failed, uptime=5, chance=0.5).delay == delay


def test_the_delay_doubles_up_to_one_hour() -> None:
    backoff, delays = Backoff(), []
    for _ in range(14):
        decision = after_exit(STEADY, backoff, failed=True, uptime=1, chance=0.5)
        backoff = decision.backoff
        delays.append(decision.delay)
    assert delays == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600, 3600]
    assert delays == series(STEADY, 14)


def test_a_long_run_forgets_earlier_failures() -> None:
    tired = Backoff(failures=8, delay=128)
    assert after_exit(STEADY, tired, failed=True, uptime=599, chance=0.5).delay == 256
    assert after_exit(STEADY, tired, failed=True, uptime=600, chance=0.5).delay == 1


def test_max_failures_gives_up_and_says_so() -> None:
    settings = Restart(max_failures=3, jitter=0.0)
    backoff = Backoff()
    for expected in (1, 2):
        decision = after_exit(settings, backoff, failed=True, uptime=0, chance=0)
        backoff = decision.backoff
        assert decision.delay == expected
    decision = after_exit(settings, backoff, failed=True, uptime=0, chance=0)
    assert decision.delay is None
    assert decision.reason == "gave up after 3 failures in a row"


@given(
    settings=st.builds(
        Restart,
        policy=st.just(Policy.ON_FAILURE),
        delay=st.floats(0.01, 100),
        factor=st.floats(1, 10),
        limit=st.floats(1, 3600),
        reset_after=st.floats(1, 600),
        jitter=st.floats(0, 0.5),
    ),
    runs=st.lists(st.tuples(st.floats(0, 1200), st.floats(0, 0.999)), max_size=80),
)
def test_delay_never_exceeds_the_limit_nor_shrinks_without_a_stable_run(
    settings: Restart, runs: list[tuple[float, float]]
) -> None:
    backoff, previous = Backoff(), 0.0
    for uptime, chance in runs:
        decision = after_exit(settings, backoff, failed=True, uptime=uptime, chance=chance)
        assert decision.delay is not None
        assert 0 < decision.delay <= settings.limit
        if uptime < settings.reset_after:
            assert decision.delay >= previous
        backoff, previous = decision.backoff, decision.delay
