"""The first packet of a connection by certificate: what is read, what is put in its place, and that nothing harms."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiveot_supervisor.runtime import mqttconnect
from hiveot_supervisor.runtime.mqttconnect import MAX_CONNECT, BadConnect, Connect, body_length, parse, refusal, render


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack(">H", len(data)) + data


def body(client_id: str = "x", *, flags: int = 0x02, level: int = 4, will: bytes = b"", login: bytes = b"") -> bytes:
    return text("MQTT") + bytes([level, flags]) + b"\x00\x3c" + text(client_id) + will + login


def test_the_login_is_replaced_and_the_rest_kept() -> None:
    will = text("presence/x") + b"\x00\x03bye"
    came = parse(body(flags=0x02 | 0x2C | 0xC0, will=will, login=text("root") + text("guess")))
    assert came == Connect(4, 0xEE, b"\x00\x3c", "x", will)
    packet = render(came, "bob", "ticket")
    size, at = body_length(packet[:5]) or (0, 0)
    assert packet[at:] == body(flags=0xEE, will=will, login=text("bob") + text("ticket"))
    assert size == len(packet) - at


@given(st.text(max_size=40), st.binary(max_size=300), st.booleans())
def test_what_is_written_is_read_again(client_id: str, payload: bytes, clean: bool) -> None:
    will = text("t") + struct.pack(">H", len(payload)) + payload
    came = Connect(4, 0x04 | (2 if clean else 0), b"\x01\x02", client_id, will)
    packet = render(came, "user", "password")
    size, at = body_length(packet) or (0, 0)
    again = parse(packet[at : at + size])
    assert (again.client_id, again.will, again.keep_alive) == (client_id, will, b"\x01\x02")
    assert again.flags == came.flags | 0xC0


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (parse, body_length):
        with contextlib.suppress(BadConnect):
            read(data)


@pytest.mark.parametrize(
    "head", [b"\x30\x02", b"\x20", b"\x10\xff\xff\xff\xff", b"\x10\xff\xff\xff\x7f", b"\x16\x03\x01"]
)
def test_what_is_no_connect_is_seen_at_once(head: bytes) -> None:
    with pytest.raises(BadConnect):
        body_length(head)


def test_a_length_may_come_in_pieces() -> None:
    assert body_length(b"") is None
    assert body_length(b"\x10") is None
    assert body_length(b"\x10\x80") is None
    assert body_length(b"\x10\x80\x01") == (128, 3)
    with pytest.raises(BadConnect):
        body_length(b"\x10" + bytes([0x80 | (MAX_CONNECT + 1) & 0x7F, 0x80, 0x08]))


@pytest.mark.parametrize(
    "data",
    [
        body(flags=0x03),  # reserved
        body(flags=0x42),  # a password without user name
        body()[:-2],
        body(flags=0x06, will=b"\x00\x05ab"),
        text("MQTT") + b"\x04\x02\x00\x3c\x00\x01\xff",
        b"",
    ],
)
def test_damaged_packets(data: bytes) -> None:
    with pytest.raises(BadConnect):
        parse(data)


def test_other_versions_are_told_apart() -> None:
    assert parse(body(level=5)).level == 5
    assert parse(text("MQIsdp") + b"\x03\x02\x00\x3c").level == 0
    assert refusal(5, unsupported=True) == b"\x20\x03\x00\x84\x00"
    assert refusal(4) == b"\x20\x02\x00\x05"
    assert mqttconnect.refusal(0, unsupported=True) == b"\x20\x02\x00\x01"
