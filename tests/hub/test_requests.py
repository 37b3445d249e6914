"""Which messages on a request topic an agent takes, and the memory of its answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiveot_supervisor.clock import iso8601
from hiveot_supervisor.hub import topics
from hiveot_supervisor.hub.client import Request, Right
from hiveot_supervisor.hub.requests import (
    CLOCK_SKEW,
    MAX_CORRELATION,
    MAX_REQUEST,
    Accept,
    Answers,
    Ignore,
    Reject,
    Repeat,
    Verdict,
    judge,
)

WALL = 1_800_000_000.0
TOPIC = topics.parse("hiveot/config/launcher/Admin/stopPlugin/admin")
INBOX = "hiveot/inbox/admin/i1/launcher"
GOOD: dict[str, Any] = {
    "messageType": "request",
    "operation": "invokeaction",
    "thingID": "Admin",
    "name": "stopPlugin",
    "input": "x",
    "correlationID": "c1",
    "replyTo": INBOX,
}


def verdict(payload: Any, *, answers: Answers | None = None, retained: bool = False, now: float = 0.0) -> Verdict:
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return judge(TOPIC, data, retained=retained, wall=WALL, now=now, answers=Answers() if answers is None else answers)


def test_a_good_request() -> None:
    taken = verdict(GOOD)
    assert taken == Accept(Request("Admin", "stopPlugin", "invokeaction", "x", "admin", "c1", Right.CONFIG, INBOX))


@pytest.mark.parametrize(
    "changes",
    [
        {"thingID": "dtw:launcher:Admin"},
        {"thingID": "", "name": ""},
        {"operation": "writeproperty"},
        {"expires": iso8601(WALL + 1)},
        {"expires": iso8601(WALL - CLOCK_SKEW + 1)},
        {"senderID": "somebody else"},
        {"unknown": [1]},
    ],
)
def test_also_good(changes: dict[str, Any]) -> None:
    taken = verdict(GOOD | changes)
    assert isinstance(taken, Accept)
    assert (taken.request.sender, taken.request.thing_id, taken.request.name) == ("admin", "Admin", "stopPlugin")


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"expires": iso8601(WALL - CLOCK_SKEW - 1)}, Ignore),
        ({"replyTo": "hiveot/inbox/viewer/i1/launcher"}, Ignore),
        ({"replyTo": "hiveot/inbox/admin/i1/other"}, Ignore),
        ({"replyTo": "hiveot/inbox/admin/+/launcher"}, Ignore),
        ({"replyTo": "hiveot/event/admin/i1/launcher"}, Ignore),
        ({"replyTo": "admin/i1"}, Ignore),
        ({"messageType": "response"}, Ignore),
        ({"messageType": "what"}, Reject),
        ({"operation": 5}, Reject),
        ({"operation": "frobnicate"}, Reject),
        ({"thingID": "Other"}, Reject),
        ({"thingID": "dtw:other:Admin"}, Reject),
        ({"name": "startPlugin"}, Reject),
        ({"expires": "tomorrow"}, Reject),
        ({"expires": "2026-11-23T07:09:08"}, Reject),
        ({"thingID": "Other", "replyTo": ""}, Ignore),
        ({"input": "x" * MAX_REQUEST}, Reject),
    ],
)
def test_not_taken(changes: dict[str, Any], outcome: type) -> None:
    answers = Answers()
    found = verdict(GOOD | changes, answers=answers)
    assert type(found) is outcome
    assert len(answers) == 0
    if isinstance(found, Reject):
        assert (found.request.reply_to, found.request.correlation_id, found.request.sender) == (INBOX, "c1", "admin")


def test_bare_payloads_expect_no_answer() -> None:
    for data, operation, value in (
        (b"true", "writeproperty", True),
        (b" false", "writeproperty", False),
        (b"{}", "invokeaction", None),
    ):
        taken = verdict(data)
        assert taken == Accept(Request("Admin", "stopPlugin", operation, value, "admin", "", Right.CONFIG))
    for data in (b"1", b"null", b'"on"', b"[]", b"", b"ON", b'{"a":1}'):
        assert verdict(data) == Ignore(verdict(data).why, suspect=True)


def test_retained_requests_are_ignored() -> None:
    assert isinstance(verdict(GOOD, retained=True), Ignore)
    assert isinstance(verdict(b"true", retained=True), Ignore)


def test_a_repeated_request_gets_the_same_answer() -> None:
    answers = Answers()
    assert isinstance(verdict(GOOD, answers=answers), Accept)
    assert verdict(GOOD, answers=answers) == Ignore("a repeated request")  # still being worked on
    answers.finish("admin", "c1", b"answer", 0.0)
    assert verdict(GOOD, answers=answers) == Repeat(INBOX, b"answer")
    other = "hiveot/inbox/admin/i2/launcher"
    assert verdict(GOOD | {"replyTo": other}, answers=answers) == Repeat(other, b"answer")
    assert verdict(GOOD | {"replyTo": ""}, answers=answers) == Ignore("a repeated request")


def test_correlation_ids_of_other_senders_do_not_collide() -> None:
    answers = Answers()
    answers.finish("viewer", "c1", b"answer", 0.0)
    assert isinstance(verdict(GOOD, answers=answers), Accept)


def test_requests_without_correlation_id_are_done_each_time_and_not_answered() -> None:
    answers = Answers()
    for _ in range(2):
        taken = verdict(GOOD | {"correlationID": ""}, answers=answers)
        assert isinstance(taken, Accept)
        assert taken.request.reply_to == ""
    assert len(answers) == 0


def test_answers_are_bounded() -> None:
    answers = Answers(limit=3, max_bytes=100, max_age=10)
    for n in range(5):
        answers.finish("a", str(n), b"x", 0.0)
    assert (len(answers), answers.begin("a", "4", 0.0)) == (3, b"x")
    answers.finish("a", "big", b"x" * 98, 1.0)
    assert len(answers) == 3  # 98 + 1 + 1 bytes fit
    answers.finish("a", "more", b"xxx", 1.0)
    assert answers.begin("a", "big", 1.0) is True  # forgotten: it was the oldest that had to go
    assert answers.begin("a", "more", 12.0) is True  # too old
    answers.finish("a", "same", b"1", 12.0)
    answers.finish("a", "same", b"22", 12.0)
    assert answers.begin("a", "same", 12.0) == b"22"


def test_a_correlation_id_is_remembered_and_therefore_bounded() -> None:
    answers = Answers()
    taken = verdict(GOOD | {"correlationID": "c" * MAX_CORRELATION}, answers=answers)
    assert isinstance(taken, Accept)
    refused = verdict(GOOD | {"correlationID": "c" * (MAX_CORRELATION + 1)}, answers=answers)
    assert isinstance(refused, Reject)
    assert "correlationID" in refused.why
    assert len(answers) == 1


def test_one_sender_cannot_push_out_the_answers_of_others() -> None:
    answers = Answers(limit=100, each=10)
    answers.finish("admin", "c1", b"answer", 0.0)
    for n in range(1000):
        assert answers.begin("flooder", str(n), 0.0) is True
    assert answers.begin("admin", "c1", 0.0) == b"answer"
    assert len(answers) == 11
    assert answers.begin("flooder", "999", 0.0) is None


def test_a_request_that_was_refused_for_now_may_come_again() -> None:
    answers = Answers()
    assert isinstance(verdict(GOOD, answers=answers), Accept)
    answers.forget("admin", "c1")
    answers.forget("admin", "never")
    assert isinstance(verdict(GOOD, answers=answers), Accept)


def test_numbers_that_nothing_can_be_done_with_are_no_json() -> None:
    assert isinstance(verdict(json.dumps(GOOD).replace('"x"', "1e999").encode()), Ignore)


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999-23:59"])
def test_times_at_the_ends_of_the_calendar(time: str) -> None:
    assert isinstance(verdict(GOOD | {"expires": time}), Accept | Ignore | Reject)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(0, 40), st.integers(0, 5))))
def test_answers_never_exceed_their_bounds(steps: list[tuple[str, bool, int, int]]) -> None:
    answers, now = Answers(limit=2, max_bytes=60, max_age=8), 0.0
    for key, finish, size, pause in steps:
        now += pause
        if finish:
            answers.finish("s", key, b"x" * size, now)
        else:
            answers.begin("s", key, now)
        assert len(answers) <= 3  # one may be added before the next trim
        assert answers._bytes == sum(len(p or b"") for _, p in answers._entries.values()) <= 60


@given(st.binary(max_size=100))
def test_any_payload_gets_a_verdict(data: bytes) -> None:
    assert isinstance(verdict(data), Accept | Reject | Ignore)
