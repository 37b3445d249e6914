"""A minimal MQTT 3.1.1 client on a blocking TLS socket: what the runtime itself asks of its broker.

For the negative probe and for dropping the stored sessions of removed accounts. It sees what a library hides:
the return codes, and that nothing was delivered. Not for plugins or services; those use `hub.mqtt`.
"""

from __future__ import annotations

import os
import socket
import ssl
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from hiveot_supervisor.errors import HubError, HubRefused, HubUnavailable

_CONNECT, _CONNACK, _PUBLISH, _PUBACK, _SUBSCRIBE, _SUBACK, _PINGREQ, _PINGRESP, _DISCONNECT = (
    1,
    2,
    3,
    4,
    8,
    9,
    12,
    13,
    14,
)
_MAX_PACKET = 2 * 1024 * 1024
REFUSED = 0x80
"""SUBACK return code of a subscription that was not granted."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that the broker sent to us."""

    topic: str
    payload: bytes
    retained: bool


class RawMqtt:
    """One connection; a context manager. All calls block, at most `timeout` seconds.

    host: a name, an address, or the path of a unix socket (whose folder may be as deep as it likes); context: None
    for no TLS.

    Raises HubUnavailable when the broker cannot be reached or hangs up, HubRefused when it refuses the login.
    """

    def __init__(
        self,
        host: str | Path,
        port: int = 0,
        context: ssl.SSLContext | None = None,
        *,
        timeout: float = 5.0,
        server_name: str = "localhost",
    ) -> None:
        self._deliveries: list[Delivery] = []
        self._packet_id = 0
        self._timeout = timeout
        try:
            if isinstance(host, Path):
                self._socket = _connect_unix(host, timeout)
                return
            plain = socket.create_connection((host, port), timeout)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket = plain if context is None else context.wrap_socket(plain, server_hostname=server_name)
        except OSError as err:
            where = host if isinstance(host, Path) else f"{host}:{port}"
            raise HubUnavailable(f"cannot connect to the broker at {where}", why=str(err)) from err

    def __enter__(self) -> RawMqtt:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def login(
        self,
        client_id: str,
        user: str,
        password: str,
        *,
        clean: bool = True,
        keep_alive: int = 60,
        will: tuple[str, bytes] | None = None,
    ) -> None:
        """CONNECT; with `clean` the broker also forgets the stored session of that client ID.

        keep_alive: seconds, 0 = none; will: topic and payload of the last will (QoS 1). Raises HubRefused.
        """
        flags = 0xC0 | (0x02 if clean else 0) | (0x0C if will else 0)
        head = _text("MQTT") + bytes([4, flags]) + struct.pack(">H", keep_alive)
        last = _text(will[0]) + struct.pack(">H", len(will[1])) + will[1] if will else b""
        self._send(_CONNECT << 4, head + _text(client_id) + last + _text(user) + _text(password))
        code = self._expect(_CONNACK)[1]
        if code != 0:
            raise HubRefused(f"the broker refused the login of {user}", why=f"return code {code}")

    def subscribe(self, topic_filter: str) -> int:
        """SUBSCRIBE with QoS 1; the return code (0-2 granted, `REFUSED`)."""
        self._send(_SUBSCRIBE << 4 | 2, self._next_id() + _text(topic_filter) + b"\x01")
        return self._expect(_SUBACK)[2]

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """PUBLISH with QoS 1 and wait for PUBACK, which in MQTT 3.1.1 also a denied message gets."""
        self._send(_PUBLISH << 4 | 2 | retain, _text(topic) + self._next_id() + payload)
        self._expect(_PUBACK)

    def receive(self, timeout: float) -> Delivery | None:
        """The next message delivered to us, or None when none comes within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not self._deliveries:
            rest = deadline - time.monotonic()
            if rest <= 0 or not self._read_packet(rest):
                return None
        return self._deliveries.pop(0)

    def settle(self) -> list[Delivery]:
        """Everything the broker has sent until it answers a ping: what it does in order is then complete."""
        self._send(_PINGREQ << 4, b"")
        self._expect(_PINGRESP)
        found, self._deliveries = self._deliveries, []
        return found

    def close(self) -> None:
        """DISCONNECT, as far as that is still possible. Idempotent."""
        try:
            self._socket.sendall(bytes([_DISCONNECT << 4, 0]))
        except OSError:
            pass
        self._socket.close()

    def _next_id(self) -> bytes:
        self._packet_id = self._packet_id % 65535 + 1
        return struct.pack(">H", self._packet_id)

    def _send(self, head: int, body: bytes) -> None:
        size, length = len(body), bytearray()
        while True:
            size, digit = divmod(size, 128)
            length.append(digit | (0x80 if size else 0))
            if not size:
                break
        try:
            self._socket.settimeout(self._timeout)
            self._socket.sendall(bytes([head]) + length + body)
        except OSError as err:
            raise HubUnavailable("the broker closed the connection", why=str(err)) from err

    def _expect(self, kind: int) -> bytes:
        deadline = time.monotonic() + self._timeout
        while True:
            rest = deadline - time.monotonic()
            packet = self._read_packet(rest) if rest > 0 else None
            if packet is None:
                raise HubUnavailable("the broker does not answer", why=f"waited {self._timeout:g} s")
            if packet[0] == kind:
                return packet[1].ljust(3, b"\x80")  # a body that is too short refuses

    def _read_packet(self, timeout: float) -> tuple[int, bytes] | None:
        """One packet (kind, body), or None when none begins within `timeout` seconds. Publications are kept
        aside.
        """
        try:
            self._socket.settimeout(timeout)
            head = self._socket.recv(1)
            self._socket.settimeout(self._timeout)
            body = self._read(self._read_length()) if head else b""
        except TimeoutError:
            return None
        except OSError as err:
            raise HubUnavailable("the broker closed the connection", why=str(err)) from err
        if not head:
            raise HubUnavailable("the broker closed the connection")
        kind = head[0] >> 4
        if kind == _PUBLISH:
            self._keep(head[0], body)
        return kind, body

    def _keep(self, head: int, body: bytes) -> None:
        size = int.from_bytes(body[:2])
        topic, rest = body[2 : 2 + size].decode("utf-8", "replace"), body[2 + size :]
        if head >> 1 & 3:
            self._send(_PUBACK << 4, rest[:2])
            rest = rest[2:]
        self._deliveries.append(Delivery(topic, rest, bool(head & 1)))

    def _read_length(self) -> int:
        size = shift = 0
        while True:
            digit = self._read(1)[0]
            size |= (digit & 0x7F) << shift
            shift += 7
            if not digit & 0x80 or shift > 21:  # four bytes at most
                break
        if size > _MAX_PACKET or digit & 0x80:
            raise HubError("the broker sent a packet that is too large", why=f"{size} bytes")
        return size

    def _read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            piece = self._socket.recv(size - len(data))
            if not piece:
                raise ConnectionResetError("end of stream")
            data += piece
        return bytes(data)


def _connect_unix(path: Path, timeout: float) -> socket.socket:
    """Through a descriptor of the folder: the path of a unix socket itself must be shorter than 108 bytes."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            plain.settimeout(timeout)
            plain.connect(f"/proc/self/fd/{folder}/{path.name}")
        except OSError:
            plain.close()
            raise
        return plain
    finally:
        os.close(folder)


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">H", len(data)) + data
