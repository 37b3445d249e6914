"""When credentials in use are looked at and renewed: decided from what the files say and both clocks alone."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiveot_supervisor.agent import renewal
from hiveot_supervisor.agent.renewal import GRACE, LOOK_EVERY, NOTHING_VALID, Validity, Watch, decide, failed, validity
from hiveot_supervisor.agent.table import Now
from hiveot_supervisor.credentials.expiry import Period
from hiveot_supervisor.credentials.provision import Status

DAY = 86400.0
START = 1_800_000_000.0
MONTH = Validity(START, START + 20 * DAY, START + 30 * DAY, 30 * DAY)


def at(days: float, mono: float = 0.0) -> Now:
    return Now(mono, START + days * DAY)


@pytest.mark.parametrize(
    ("days", "hub", "renew", "next_look"),
    [
        (0, True, False, LOOK_EVERY),
        (19.99, True, False, 0.01 * DAY),  # 864 s
        (20, True, True, GRACE),
        (20, False, False, GRACE),  # when the hub comes, everything is looked at again
        (26.998, False, False, 172.8),  # a tenth is left
        (29.999, False, False, 86.4),
        (31, True, True, GRACE),
        (-1, True, True, GRACE),  # made while the clock was ahead
    ],
)
def test_what_a_look_brings(days: float, hub: bool, renew: bool, next_look: float) -> None:
    decision = decide(Watch(0.0), MONTH, at(days), hub=hub)
    assert (decision.renew, decision.warn) == (renew, False)
    assert decision.watch.look_at == pytest.approx(next_look, abs=0.1)
    assert decision.watch.asked is renew


@pytest.mark.parametrize(
    ("days", "overdue", "failures", "told", "warn"),
    [
        (25, DAY, 3, 0, False),  # much is left
        (28, 0, 0, 0, False),  # just seen
        (28, GRACE, 0, 0, True),  # could not even be tried
        (28, 0, 1, 0, True),
        (28, DAY, 9, 1, False),  # once is enough,
        (31, DAY, 9, 1, True),  # until they have ended
        (31, DAY, 9, 2, False),
    ],
)
def test_when_it_is_told(days: float, overdue: float, failures: int, told: int, warn: bool) -> None:
    watch = Watch(0.0, MONTH, failures=failures, retry_at=1e9, overdue_since=-overdue, told=told)
    decision = decide(watch, MONTH, at(days), hub=True)
    assert (decision.renew, decision.warn) == (False, warn)


def test_a_renewal_under_way_is_not_begun_again() -> None:
    asked = decide(Watch(0.0), MONTH, at(21), hub=True).watch
    assert not decide(asked, MONTH, at(21, mono=GRACE), hub=True).renew
    assert decide(failed(asked, at(21), 0.5), MONTH, at(21, mono=61), hub=True).renew


def test_what_is_not_ours_to_renew_is_only_told() -> None:
    late = decide(Watch(0.0), MONTH, at(28), hub=True, renewable=False)
    assert (late.renew, late.warn) == (False, False)
    assert decide(late.watch, MONTH, at(28, mono=GRACE), hub=True, renewable=False).warn


def test_attempts_that_fail_come_less_and_less_often() -> None:
    watch, delays = Watch(0.0, MONTH), []
    for _ in range(9):
        watch = failed(watch, at(21), 0.5)
        delays.append(watch.retry_at)
    assert delays == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    assert failed(Watch(0.0), at(21), 0.0).retry_at == pytest.approx(54)
    assert failed(Watch(0.0), at(21), 1.0).retry_at == pytest.approx(66)


def test_after_a_renewal_everything_is_forgotten() -> None:
    watch = Watch(0.0, MONTH, failures=3, retry_at=1e9, overdue_since=0.0, told=1)
    assert decide(watch, MONTH, at(1), hub=True).watch == Watch(LOOK_EVERY, MONTH)


TOKEN, SHORT = Period(START, START + 300 * DAY), Period(START, START + 30 * DAY)


@pytest.mark.parametrize(
    ("status", "certificate", "expected"),
    [
        (Status(True, TOKEN, SHORT), True, MONTH),
        (Status(True, TOKEN, SHORT), False, Validity(START, START + 200 * DAY, START + 300 * DAY, 300 * DAY)),
        (Status(True, TOKEN, None), True, Validity(START, 0.0, START + 300 * DAY, 300 * DAY)),
        (Status(False, TOKEN, SHORT), True, Validity(START, 0.0, START + 30 * DAY, 30 * DAY)),
        (Status(True, None, SHORT), True, NOTHING_VALID),
        (Status(True, None, None), False, NOTHING_VALID),
    ],
)
def test_what_the_files_are_good_for(status: Status, certificate: bool, expected: Validity) -> None:
    found = validity(status, certificate=certificate)
    assert found == expected
    assert found.due(START + DAY) is (found.renew == 0.0)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["pass", "pass", "pass", "jump", "hub"]),
        st.floats(-60 * DAY, 60 * DAY),
        st.booleans(),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_a_clock_that_is_set_floods_nobody_and_stalls_nothing(steps: list[tuple[str, float, bool]]) -> None:
    """Whatever happens to wall clock and hub: never two attempts within a minute, and in the end all is renewed."""
    mono, offset, hub, succeeds = 0.0, START, True, True
    watch, found = Watch(0.0), MONTH
    attempts: list[float] = []
    looks = 0

    def look() -> None:
        nonlocal watch, found, looks
        looks += 1
        now = Now(mono, mono + offset)
        decision = decide(watch, found, now, hub=hub)
        watch = decision.watch
        assert watch.look_at >= mono + 1.0
        if not decision.renew:
            return
        attempts.append(mono)
        if succeeds:
            made = now.wall
            found = replace(MONTH, start=made, renew=made + 20 * DAY, end=made + 30 * DAY)
            watch = Watch(mono)
        else:
            watch = failed(watch, now, 0.5)

    for kind, amount, flag in steps:
        if kind == "jump":
            offset += amount
            watch = replace(watch, look_at=mono)  # as `Renewals` does
        elif kind == "hub":
            hub = flag
            watch = replace(watch, look_at=mono)
        succeeds = flag
        end = mono + abs(amount) / 1000
        while watch.look_at <= end:
            mono = max(mono, watch.look_at)
            look()
        mono = end
    failures = [b - a for a, b in itertools.pairwise(attempts)]
    jumps = sum(kind == "jump" for kind, _, _ in steps)
    assert sum(gap < renewal.RETRY_FIRST * 0.9 for gap in failures) <= jumps
    assert looks <= 10 * len(steps) + 10 + mono / 100
    hub = succeeds = True
    watch = replace(watch, look_at=mono)
    end = mono + LOOK_EVERY + renewal.RETRY_LIMIT * 1.2
    while watch.look_at <= end:
        mono = max(mono, watch.look_at)
        look()
    assert not found.due(mono + offset)
