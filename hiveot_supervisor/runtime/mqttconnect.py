"""The first packet of an MQTT connection, CONNECT of MQTT 3.1.1: read strictly, and written with another login.

Pure. Source: MQTT 3.1.1, section 3.1.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

MAX_CONNECT = 128 * 1024
"""Bytes; a last will has at most 64 KiB."""
LEVEL_311 = 4

_USER, _PASSWORD, _WILL, _RESERVED = 0x80, 0x40, 0x04, 0x01
_KEPT = 0x3E  # will retain, will QoS, will, clean session


class BadConnect(ValueError):
    """Not a CONNECT packet that can be read. The text says why."""


@dataclass(frozen=True, slots=True)
class Connect:
    """What of a CONNECT is kept: protocol level, flags and keep-alive as they came, client ID, and the will (topic and
    payload with their lengths). A level other than 3.1.1's is not read any further.
    """

    level: int
    flags: int = 0
    keep_alive: bytes = b""
    client_id: str = ""
    will: bytes = b""


def body_length(head: bytes) -> tuple[int, int] | None:
    """(length of the body, bytes of the header) as the begin of a packet says, None when more of it is needed.

    Raises BadConnect when this is no CONNECT, or too long.
    """
    if head and head[0] != 0x10:
        raise BadConnect("the first packet is not CONNECT")
    size = 0
    for at, byte in enumerate(head[1:5]):
        size |= (byte & 0x7F) << 7 * at
        if not byte & 0x80:
            if size > MAX_CONNECT:
                raise BadConnect(f"CONNECT of {size} bytes")
            return size, at + 2
    if len(head) >= 5:
        raise BadConnect("the length of CONNECT has no end")
    return None


def parse(body: bytes) -> Connect:
    """Read the body of a CONNECT packet. Raises BadConnect."""
    try:
        name, at = _field(body, 0)
        level, flags = body[at], body[at + 1]
        if name != b"MQTT" or level != LEVEL_311:
            return Connect(level if name == b"MQTT" else 0)
        if flags & _RESERVED or (flags & _PASSWORD and not flags & _USER):
            raise BadConnect("CONNECT has impossible flags")
        client_id, end = _field(body, at + 4)
        begin = end
        if flags & _WILL:
            _, end = _field(body, end)
            _, end = _field(body, end)
        return Connect(level, flags, body[at + 2 : at + 4], client_id.decode("utf-8"), body[begin:end])
    except (IndexError, UnicodeDecodeError) as err:
        raise BadConnect("CONNECT is damaged") from err


def render(connect: Connect, user: str, password: str) -> bytes:
    """The whole packet, with this login in place of the one that it came with."""
    flags = connect.flags & _KEPT | _USER | _PASSWORD
    body = _text("MQTT") + bytes([connect.level, flags]) + connect.keep_alive + _text(connect.client_id) + connect.will
    body += _text(user) + _text(password)
    size, length = len(body), bytearray()
    while True:
        size, digit = divmod(size, 128)
        length.append(digit | (0x80 if size else 0))
        if not size:
            return bytes([0x10]) + length + body


def refusal(level: int, *, unsupported: bool = False) -> bytes:
    """CONNACK that says no: this version of MQTT is not spoken, or the login is not authorised."""
    if level >= 5:
        return bytes([0x20, 3, 0, 0x84 if unsupported else 0x87, 0])
    return bytes([0x20, 2, 0, 1 if unsupported else 5])


def _field(body: bytes, at: int) -> tuple[bytes, int]:
    """A text or binary with its length before it, and where the next begins."""
    size = body[at] << 8 | body[at + 1]
    if at + 2 + size > len(body):
        raise BadConnect("CONNECT is cut off")
    return body[at + 2 : at + 2 + size], at + 2 + size


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">H", len(data)) + data
