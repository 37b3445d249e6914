"""The envelopes: exactly what the Go programs send, and tolerant of what hivekit sends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiveot_supervisor.errors import HubError, HubRefused
from hiveot_supervisor.hub import messages, wire
from hiveot_supervisor.hub.messages import NotificationMessage, RequestMessage, ResponseMessage, decode, encode
from hiveot_supervisor.hub.values import ActionStatus, ErrorValue, ThingValue
from hiveot_supervisor.hub.wire import BadMessage, encode_json

VECTORS = Path(__file__).parents[2].parent / "shared" / "vectors" / "hiveot-wss"
EXAMPLES: list[dict[str, Any]] = [  # hiveot-hub-protocol.md §3.6
    {
        "messageType": "request",
        "operation": "invokeaction",
        "thingID": "dtw:launcher:Admin",
        "name": "startPlugin",
        "input": "history",
        "correlationID": "c0ffee01",
        "messageID": "m-1",
        "created": "2026-04-15T17:15:30.123Z",
    },
    {
        "messageType": "response",
        "operation": "invokeaction",
        "thingID": "dtw:launcher:Admin",
        "name": "startPlugin",
        "correlationID": "c0ffee01",
        "messageID": "m-3",
        "timestamp": "2026-04-15T17:15:30.3Z",
        "senderID": "launcher",
        "error": None,
        "output": {"pluginID": "history", "running": True},
        "value": {"name": "startPlugin", "output": {"pluginID": "history"}, "state": "completed", "thingID": "Admin"},
    },
    {
        "messageType": "response",
        "operation": "ping",
        "name": "",
        "correlationID": "c0ffee05",
        "messageID": "m-13",
        "senderID": "",
        "timestamp": "2026-04-15T17:16:03.001Z",
        "error": {"status": 400, "type": "Bad request", "title": "no", "detail": "more"},
        "value": None,
    },
    {
        "messageType": "notification",
        "operation": "subscribeevent",
        "thingID": "Admin",
        "name": "started",
        "value": "history",
        "messageID": "m-4",
        "timestamp": "2026-04-15T17:15:30.4Z",
        "senderID": "",
    },
]


def frames() -> Iterator[tuple[str, dict[str, Any]]]:
    """(whose program made it, frame) of all recorded messages."""
    if not VECTORS.is_dir():
        pytest.skip(f"the recorded frames are not there: {VECTORS}")
    for path in sorted(VECTORS.glob("*.json")):
        for entry in json.loads(path.read_text()):
            frame = entry.get("frame")
            if isinstance(frame, dict) and frame.get("messageType") in ("request", "response", "notification"):
                go = entry["dir"] == "hub->client" or entry["who"] in ("launcher", "hubcli")
                yield ("go" if go else "test client"), frame


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: f"{e['messageType']} {e['operation']}")
def test_examples_come_back_unchanged(example: dict[str, Any]) -> None:
    assert json.loads(encode(decode(json.dumps(example)))) == example


def test_recorded_frames_come_back_unchanged() -> None:
    count = 0
    for maker, frame in frames():
        message = decode(json.dumps(frame))
        assert decode(encode(message)) == message
        if maker == "go":
            # a null input is the same as none (hubcli pub)
            assert message.to_json() == {k: v for k, v in frame.items() if (k, v) != ("input", None)}
            count += 1
    assert count > 300


def test_recorded_responses_have_the_result_that_the_readme_tells() -> None:
    results: list[Any] = []
    errors: list[str] = []
    refused = 0
    for _, frame in frames():
        message = messages.from_json(frame)
        if isinstance(message, ResponseMessage):
            try:
                results.append((message.operation, message.name, message.result()))
            except HubError as exc:
                errors.append(exc.what)
                refused += isinstance(exc, HubRefused)
    assert ("ping", "", "pong") in results
    assert ("readproperty", "count", 6) in results  # a ThingValue
    assert ("invokeaction", "stopAllPlugins", None) in results
    assert "plugin ID 'nope' not found" in errors
    assert refused == len([text for text in errors if text.startswith("unauthorized")]) > 0
    listed = [result for _, name, result in results if name == "listPlugins"]
    assert listed
    assert all("pluginID" in plugin for plugins in listed for plugin in plugins)


def test_recorded_action_statuses_and_errors_come_back_unchanged() -> None:
    seen = 0
    for _, frame in frames():
        value = frame.get("value")
        if isinstance(value, dict) and "state" in value:
            assert ActionStatus.from_json(value).to_json() == value
            seen += 1
    assert seen > 100


OK, BAD = ErrorValue("").to_json() | {"status": 0}, {"status": 403, "type": "Forbidden", "title": "no"}


@pytest.mark.parametrize(
    ("members", "result"),
    [
        ({"output": 1, "value": 2}, 1),
        ({"output": False}, False),
        ({"value": {"state": "completed", "output": [1]}}, [1]),
        ({"value": {"state": "completed"}}, None),
        ({"status": {"state": "running", "output": 3}, "value": None}, 3),
        ({"status": "completed", "output": {"a": 1}}, {"a": 1}),  # hivekit
        ({"value": {"affordanceType": "property", "data": 5}}, 5),
        ({"value": 7}, 7),  # hivekit's bare property
        ({"value": {"other": 1}}, {"other": 1}),
        ({"error": OK, "output": 1}, 1),
        ({}, None),
        ({"error": BAD}, HubRefused),
        ({"error": {"status": 400, "title": "unauthorized. client 'vera'"}}, HubRefused),
        ({"error": {"title": "plugin not found"}}, HubError),
        ({"status": "failed"}, HubError),
        ({"value": {"state": "failed", "error": {"title": "x"}}}, HubError),
    ],
)
def test_reading_rules(members: dict[str, Any], result: Any) -> None:
    message = messages.from_json({"messageType": "response", "operation": "invokeaction", **members})
    assert isinstance(message, ResponseMessage)
    if isinstance(result, type):
        with pytest.raises(HubError) as caught:
            message.result()
        assert type(caught.value) is result
    else:
        assert message.result() == result


def test_notifications_of_both_kinds() -> None:
    hub = messages.from_json({"messageType": "notification", "operation": "observeproperty", "value": None, "data": 1})
    kit = messages.from_json({"messageType": "notification", "affordanceType": "event", "data": 3})
    assert isinstance(hub, NotificationMessage)
    assert isinstance(kit, NotificationMessage)
    assert (hub.kind, hub.value, kit.kind, kit.value) == ("property", None, "event", 3)
    numbered = NotificationMessage("subscribeevent", "Admin", "started", "x", seq=0, epoch="e")
    assert decode(encode(numbered)) == numbered
    assert messages.from_json({"messageType": "notification", "operation": "other"}).kind == ""


def test_requests_of_hivekit_have_a_timestamp() -> None:
    message = messages.from_json({"messageType": "request", "operation": "ping", "timestamp": "2026-04-15T17:16:03Z"})
    assert isinstance(message, RequestMessage)
    assert message.created == "2026-04-15T17:16:03Z"


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"rubbish",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"3",
        b"{}",
        b'{"messageType":"query"}',
        b'{"messageType":["request"]}',
        b'{"messageType":"request","operation":1}',
        b'{"messageType":"request","operation":"x","thingID":{}}',
        b'{"messageType":"request","operation":"x","correlationID":3}',
        b'{"messageType":"response","operation":"x","error":"text"}',
        b'{"messageType":"response","operation":"x","error":{"status":"400"}}',
        b'{"messageType":"notification","operation":"x","seq":"1"}',
        b'{"messageType":"notification","operation":"x","seq":true}',
        b'{"messageType":"notification","operation":"x","value":NaN}',
        b"[" * 100_000,
        b'{"messageType":"notification","value":1' + b"0" * 5000 + b"}",
        b'"' + b"x" * wire.MAX_MESSAGE + b'"',
    ],
    ids=lambda data: data[:60].decode(errors="replace"),
)
def test_garbage_is_a_bad_message(garbage: bytes) -> None:
    with pytest.raises(BadMessage):
        decode(garbage)


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_bad(data: bytes) -> None:
    try:
        decode(data)
    except BadMessage:
        pass


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, st.text(), st.text(), st.none() | st.integers(0), st.none() | st.text(min_size=1))
def test_whatever_is_encoded_is_decoded(value: Any, name: str, sender: str, seq: int | None, epoch: str | None) -> None:
    for message in (
        RequestMessage("invokeaction", "Admin", name, value, "c", "m", sender_id=sender, reply_to=sender, expires=name),
        ResponseMessage("invokeaction", sender, name, "c", ErrorValue.make(name, detail=sender), value, value),
        NotificationMessage("subscribeevent", "Admin", name, value, sender_id=sender, seq=seq, epoch=epoch),
    ):
        assert decode(encode(message)) == message


def test_values_without_json_form_are_refused() -> None:
    for value in (float("inf"), object(), {1: object()}, b"bytes"):
        with pytest.raises(BadMessage):
            encode(NotificationMessage("subscribeevent", "Admin", "x", value))
    with pytest.raises(BadMessage, match="too large"):
        encode_json("x" * wire.MAX_MESSAGE)
    nested: list[Any] = []
    nested.append(nested)
    with pytest.raises(BadMessage):
        encode_json(nested)
    assert json.loads(encode_json("caf\udce9")) == "caf\udce9"  # an undecodable file name
    assert encode_json("é") == '"é"'.encode()


def test_errors_carry_the_hubs_words() -> None:
    assert ErrorValue.make("x").to_json() == {"status": 400, "type": "Bad request", "title": "x"}
    assert ErrorValue.make("x", status=404).type == "Not found"
    assert ErrorValue.make("x", status=999).type == "Error"


def test_thing_value() -> None:
    data = {"affordanceType": "property", "data": 3, "name": "n", "thingID": "t", "timestamp": "2026-04-15T17:16:03Z"}
    assert ThingValue.from_json(data).to_json() == data
    assert ThingValue.from_json({}) == ThingValue()
    with pytest.raises(BadMessage):
        ThingValue.from_json(3)
