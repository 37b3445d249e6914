"""How much a consumer may ask: tables in virtual time, and what holds whatever is asked when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiveot_supervisor.hub.admission import IDLE, PATIENCE, Admission, Allowance

SMALL = Allowance(rate=2.0, burst=3, unanswered=2, total=4, senders=3)


def ask(admission: Admission, sender: str, now: float, *, answer: bool = True) -> bool:
    refused = admission.admit(sender, now)
    if not refused and answer:
        admission.answered(sender)
    return not refused


@pytest.mark.parametrize(
    ("times", "taken"),
    [
        ([0, 0, 0, 0], [True, True, True, False]),  # the burst
        ([0, 0, 0, 0.4, 0.5, 0.6], [True, True, True, False, True, False]),  # then one each half second
        ([0, 0, 0, 100, 100, 100, 100], [True, True, True, True, True, True, False]),  # a rest fills the burst only
        ([10, 10, 10, 5, 5], [True, True, True, False, False]),  # a clock that goes back gives nothing
    ],
)
def test_rate_and_burst(times: list[float], taken: list[bool]) -> None:
    admission = Admission(SMALL)
    assert [ask(admission, "a", now) for now in times] == taken


def test_unanswered_requests_are_bounded_for_each_and_for_all() -> None:
    admission = Admission(SMALL)
    assert [ask(admission, "a", 0, answer=False) for _ in range(3)] == [True, True, False]
    assert "not answered yet" in admission.admit("a", 10.0)
    assert [ask(admission, "b", 10, answer=False) for _ in range(2)] == [True, True]
    assert "of others" in admission.admit("c", 10.0)
    admission.answered("b")
    assert admission.admit("c", 11.0) == ""
    admission.answered("a")
    assert admission.admit("a", 20.0) == ""


def test_a_request_that_is_never_answered_does_not_count_for_ever() -> None:
    admission = Admission(SMALL)
    assert [ask(admission, "a", 0, answer=False) for _ in range(3)] == [True, True, False]
    assert ask(admission, "a", PATIENCE + 1)


def test_answers_without_a_request_give_nothing() -> None:
    admission = Admission(SMALL)
    for _ in range(5):
        admission.answered("a")
        admission.answered("stranger")
    assert [ask(admission, "a", 0, answer=False) for _ in range(3)] == [True, True, False]


def test_senders_are_forgotten_when_they_are_quiet_and_never_to_get_more() -> None:
    admission = Admission(SMALL)
    assert [ask(admission, name, 0) for name in "abcd"] == [True, True, True, False]
    assert len(admission) == 3
    assert ask(admission, "d", IDLE + 1)
    assert len(admission) == 3
    waiting = Admission(SMALL)
    assert all(ask(waiting, name, 0, answer=False) for name in "abc")
    assert not ask(waiting, "d", IDLE + 1)  # their requests still count
    assert ask(waiting, "d", PATIENCE + 1)


def test_who_floods_is_refused_and_nobody_else() -> None:
    admission = Admission(Allowance(rate=50.0, burst=100, unanswered=10))
    flooder, other = 0, 0
    for turn in range(10_000):  # 1,000 requests a second for ten seconds, against one a second
        flooder += ask(admission, "flooder", turn / 1000)
        if turn % 1000 == 0:
            other += ask(admission, "other", turn / 1000)
    assert other == 10
    assert 100 <= flooder <= 100 + 50 * 10 + 1


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.floats(0, 2), st.booleans()), max_size=200))
def test_bounds_hold_whatever_is_asked(steps: list[tuple[str, float, bool]]) -> None:
    admission, now = Admission(SMALL), 0.0
    waiting = dict.fromkeys("abcde", 0)
    taken: list[tuple[str, float]] = []
    for sender, pause, answer in steps:
        now += pause
        if answer:
            admission.answered(sender)
            waiting[sender] = max(0, waiting[sender] - 1)
        elif admission.admit(sender, now) == "":
            waiting[sender] += 1
            taken.append((sender, now))
        assert max(waiting.values()) <= SMALL.unanswered
        assert sum(waiting.values()) <= SMALL.total
        assert len(admission) <= SMALL.senders
    for sender in "abcde":
        times = [at for name, at in taken if name == sender]
        for first, begin in enumerate(times):
            for last, end in enumerate(times[first:], 1):
                assert last <= SMALL.burst + SMALL.rate * (end - begin) + 1e-6, (first, last)
