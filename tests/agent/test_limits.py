"""Limits must hold for their time before they act, and are told once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hiveot_supervisor.agent.limits import CALM, Exceeded, Watches, judge
from hiveot_supervisor.model import Limits

LIMITS = Limits(memory=100, cpu=80.0, for_=30)


def tell(samples: list[tuple[float, int, float]], limits: Limits = LIMITS) -> list[tuple[float, str]]:
    watches, told = Watches(), []
    for now, rss, cpu in samples:
        watches, exceeded = judge(limits, watches, rss=rss, cpu=cpu, now=now)
        told += [(now, e.resource) for e in exceeded]
    return told


def test_a_momentary_peak_is_not_told() -> None:
    assert tell([(0, 200, 0), (5, 200, 0), (10, 50, 0), (15, 200, 0), (40, 200, 0)]) == []


def test_a_lasting_excess_is_told_once() -> None:
    assert tell([(t, 200, 10) for t in range(0, 300, 5)]) == [(30, "memory")]


def test_it_is_told_again_only_after_calm() -> None:
    high = [(t, 200, 0) for t in range(0, 60, 5)]
    near = [(t, 95, 0) for t in range(60, 120, 5)]
    again = [(t, 200, 0) for t in range(120, 180, 5)]
    calm = [(180, 50, 0)]
    third = [(t, 200, 0) for t in range(185, 240, 5)]
    assert tell(high + near + again) == [(30, "memory")]
    assert tell(high + near + again + calm + third) == [(30, "memory"), (215, "memory")]


def test_cpu_and_memory_are_told_apart_with_their_figures() -> None:
    watches, _ = judge(LIMITS, Watches(), rss=101, cpu=81, now=0)
    _, exceeded = judge(LIMITS, watches, rss=105, cpu=99, now=30)
    assert exceeded == [Exceeded("memory", 105, 100), Exceeded("cpu", 99, 80.0)]


def test_no_limit_no_event() -> None:
    assert tell([(t, 10**12, 10**6) for t in range(0, 300, 5)], Limits()) == []


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(0, 300)), max_size=200))
def test_between_two_tellings_there_was_calm_and_before_each_a_lasting_excess(steps: list[tuple[float, int]]) -> None:
    watches, now = Watches(), 0.0
    history: list[tuple[float, int]] = []
    calm = True
    for pause, rss in steps:
        now += pause
        watches, exceeded = judge(LIMITS, watches, rss=rss, cpu=0, now=now)
        history.append((now, rss))
        calm = calm or rss <= 100 * CALM
        if exceeded:
            assert calm
            assert all(r > 100 for t, r in history if t >= now - LIMITS.for_)
            calm = False
