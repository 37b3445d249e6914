"""One websocket connection from TCP to loss: the only place that touches the library `websockets`.

`run` does everything in the calling (network) thread: TCP, TLS, the HTTP upgrade with the bearer token, then the loop
over a non-blocking socket; the library's protocol object only turns frames into bytes and back (its own threads and
event loops would add memory, and their senders can block). A session is used once.

Numbers and proofs: each frame handed over gets a number; after a frame that wants proof a ping with the highest number
written is sent, and its pong proves that the hub has read everything up to that number. One ping is under way at most.
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import ssl
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import parse_uri

from hiveot_supervisor import __version__
from hiveot_supervisor.errors import HubUnavailable
from hiveot_supervisor.hub.client import Account
from hiveot_supervisor.hub.login import client_tls, describe, read_token
from hiveot_supervisor.hub.reconnect import Ending

log = logging.getLogger("hiveot.hub")
_library = logging.getLogger("hiveot.hub.websockets")
_library.setLevel(logging.WARNING)  # at debug level the library would log the token

CONNECT_TIMEOUT = 5.0  # of TCP and of TLS, seconds
LOGIN_TIMEOUT = 10.0  # from TLS to the answer of the upgrade, seconds
KEEP_ALIVE = 20.0  # seconds without a word from the hub after which it is pinged; the hub itself never pings
PONG_TIMEOUT = 10.0  # seconds without a word after a ping: the connection is dead
CLOSE_TIMEOUT = 1.0  # seconds for the hub to answer our close frame
TICK = 5.0  # longest sleep in the loop, seconds
MAX_FRAME = 64 * 2**20  # larger incoming messages end the connection; the hub itself has no limit
_CHUNK = 65536
_WRITE_AHEAD = 2**20  # bytes that are encoded ahead of the socket


@dataclass(frozen=True, slots=True)
class Login:
    """Where and who. `connection_id` is sent as `cid` as Go clients do; the hub makes its own."""

    url: str
    host: str
    port: int
    account: Account
    connection_id: str


class Sink(Protocol):
    """Receives what happens, in the network thread: enqueue, never block."""

    def ready(self, session: Session) -> None: ...

    def frame(self, data: bytes) -> None: ...

    def proven(self, session: Session, number: int) -> None: ...

    def tick(self) -> None: ...


class Session:
    """One connection. `send` and `close` may be called from any thread."""

    def __init__(self, login: Login, sink: Sink) -> None:
        self._login = login
        self._sink = sink
        self._lock = threading.Lock()  # guards what follows
        self._outgoing: deque[tuple[int, bytes, bool]] = deque()
        self._number = 0
        self._closing = False
        self._ended = False
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)

    def run(self) -> tuple[Ending, str]:
        """Connect, serve until the connection ends, return how it ended and why, for people."""
        try:
            sock = self._open()
        except (OSError, ValueError) as exc:  # includes ssl.SSLError and UnicodeDecodeError
            self._end()
            return Ending.UNREACHABLE, describe(exc, self._login.host, self._login.port, self._login.account)
        loop = _Loop(self, sock, self._login, self._sink, self._wake_out)
        try:
            return loop.run()
        except Exception as exc:  # a fault in here must not end the thread that reconnects
            log.exception("the connection to the hub is dropped after an internal error")
            return (Ending.LOST if loop.ready else Ending.NOT_READY), f"internal error: {exc}"
        finally:
            self._end()
            with contextlib.suppress(OSError):
                sock.close()

    def send(self, data: bytes, *, prove: bool) -> int:
        """Hand over a text frame; returns its number. prove: let `Sink.proven` tell when the hub has read it.

        Raises HubUnavailable.
        """
        with self._lock:
            if self._ended or self._closing:
                raise HubUnavailable("not connected to the hub")
            self._number += 1
            self._outgoing.append((self._number, data, prove))
            self._wake()
            return self._number

    def close(self) -> None:
        with self._lock:
            self._closing = True
            if not self._ended:
                self._wake()

    @property
    def closing(self) -> bool:
        return self._closing

    def take(self) -> tuple[int, bytes, bool] | None:
        """The next frame to write: number, text, whether proof is wanted. For the loop only."""
        with self._lock:
            return self._outgoing.popleft() if self._outgoing else None

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full: it is awake anyway
            self._wake_in.send(b"x")

    def _end(self) -> None:
        with self._lock:
            self._ended = True
            self._outgoing.clear()
            self._wake_in.close()
            self._wake_out.close()

    def _open(self) -> ssl.SSLSocket:
        """TCP and TLS. Raises OSError."""
        context = client_tls(self._login.account)
        plain = socket.create_connection((self._login.host, self._login.port), timeout=CONNECT_TIMEOUT)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return context.wrap_socket(plain, server_hostname=self._login.host)
        except BaseException:
            plain.close()
            raise


class _Loop:
    """The network thread's part of a session: everything here is used by that thread alone."""

    def __init__(self, session: Session, sock: ssl.SSLSocket, login: Login, sink: Sink, wake: socket.socket) -> None:
        self.ready = False
        self._session = session
        self._sock = sock
        self._login = login
        self._sink = sink
        self._wake = wake
        self._protocol = ClientProtocol(parse_uri(login.url), max_size=MAX_FRAME, logger=_library)
        self._out = bytearray()
        self._parts = bytearray()  # of a fragmented message
        self._written = 0  # highest number given to the protocol
        self._wanted = 0  # highest of those that want proof
        self._ping_at: float | None = None  # when the ping under way was sent
        self._heard = time.monotonic()
        self._close_at: float | None = None
        self._ending: tuple[Ending, str] | None = None

    def run(self) -> tuple[Ending, str]:
        """Upgrade, then serve. The token is read now, with the hub listening: it renews its files before it does."""
        try:
            token = read_token(self._login.account)
        except OSError as exc:
            return Ending.UNREACHABLE, str(exc)
        self._sock.setblocking(False)
        self._request(token)
        deadline = time.monotonic() + LOGIN_TIMEOUT
        ticked = time.monotonic()
        while self._ending is None:
            self._step()
            now = time.monotonic()
            if not self.ready and self._ending is None and now > deadline:
                return Ending.NOT_READY, f"no answer to the login within {LOGIN_TIMEOUT:.0f} s"
            if now - ticked >= TICK:
                ticked = now
                self._sink.tick()
        return self._ending

    def _request(self, token: str) -> None:
        request = self._protocol.connect()
        request.headers["Authorization"] = f"bearer {token}"
        request.headers["cid"] = self._login.connection_id
        request.headers["clientID"] = self._login.account.client_id  # hivekit wants it, the hub ignores it
        request.headers["User-Agent"] = f"hiveot-supervisor/{__version__}"
        self._protocol.send_request(request)

    def _step(self) -> None:
        """Write what can be written, wait, read what is there."""
        self._encode()
        self._write()
        if self._ending is not None:
            return
        writable = [self._sock] if self._out else []
        readable, _, _ = select.select([self._sock, self._wake], writable, [], self._patience())
        if self._wake in readable:
            with contextlib.suppress(BlockingIOError):
                self._wake.recv(4096)
        self._read()
        self._check(time.monotonic())

    def _patience(self) -> float:
        if self._close_at is not None or not self.ready:
            return 0.2
        left = (self._heard + KEEP_ALIVE if self._ping_at is None else self._ping_at + PONG_TIMEOUT) - time.monotonic()
        return max(0.01, min(TICK, left))

    def _encode(self) -> None:
        protocol = self._protocol
        if self.ready and protocol.state is State.OPEN:
            while len(self._out) < _WRITE_AHEAD and (item := self._session.take()) is not None:
                number, data, prove = item
                protocol.send_text(data)
                self._written = number
                self._wanted = number if prove else self._wanted
                self._collect()
            if self._wanted and self._ping_at is None:
                self._ping()
            if self._session.closing:
                protocol.send_close(1000)
                self._close_at = time.monotonic()
        elif self._session.closing and not self.ready:
            self._finish(Ending.CLOSED, "")
        self._collect()

    def _ping(self) -> None:
        self._wanted = 0
        self._ping_at = time.monotonic()
        self._protocol.send_ping(str(self._written).encode())

    def _collect(self) -> None:
        for chunk in self._protocol.data_to_send():
            self._out += chunk

    def _write(self) -> None:
        while self._out:
            try:
                sent = self._sock.send(memoryview(self._out)[:_CHUNK])
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return
            except OSError as exc:
                self._lost(str(exc.strerror or exc))
                return
            del self._out[:sent]

    def _read(self) -> None:
        while self._ending is None:
            try:
                data = self._sock.recv(_CHUNK)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except OSError as exc:  # the hub ends connections by just closing TCP
                self._lost("" if isinstance(exc, (ssl.SSLEOFError, ConnectionResetError)) else str(exc))
                return
            if data:
                self._heard = time.monotonic()
                self._protocol.receive_data(data)
            else:
                self._protocol.receive_eof()
            self._events()
            if not data:
                self._lost("")

    def _events(self) -> None:
        for event in self._protocol.events_received():
            if isinstance(event, Response):
                self._answered(event)
            elif isinstance(event, Frame):
                self._frame(event)
        if self._ending is None and not self.ready and self._protocol.handshake_exc is not None:
            self._finish(Ending.NOT_READY, f"what listens there is no HiveOT hub: {self._protocol.handshake_exc}")
        if self._ending is None and self._protocol.parser_exc is not None:
            failure = self._protocol.parser_exc
            self._lost("" if isinstance(failure, EOFError) else str(failure))

    def _answered(self, response: Response) -> None:
        """The answer to the upgrade."""
        failure = self._protocol.handshake_exc
        if failure is None:
            self.ready = True
            self._sink.ready(self._session)
            return
        account = self._login.account
        status = response.status_code
        text = (response.body or b"").decode("utf-8", "replace").strip()[:200] or response.reason_phrase
        if not isinstance(failure, InvalidStatus):
            self._finish(Ending.NOT_READY, f"what listens there is no HiveOT hub: {failure}")
        elif status in (401, 403):
            self._finish(
                Ending.REFUSED,
                f"the hub refuses the login of {account.client_id!r} with the token of {account.token_file} ({text})",
            )
        elif status == 404:
            self._finish(Ending.REFUSED, f"the server has no websocket at {self._login.url} ({text})")
        else:
            self._finish(Ending.UNREACHABLE, f"the hub takes no connections now: {status} {text}")

    def _frame(self, frame: Frame) -> None:
        match frame.opcode:
            case Opcode.TEXT | Opcode.BINARY | Opcode.CONT:
                self._parts += frame.data
                if frame.fin:
                    data, self._parts = bytes(self._parts), bytearray()
                    self._sink.frame(data)
            case Opcode.PONG:
                self._ping_at = None
                with contextlib.suppress(ValueError):
                    self._sink.proven(self._session, int(bytes(frame.data)))
            case Opcode.CLOSE:
                self._encode()
                self._write()  # answer it
                self._lost(self._protocol.close_reason or "")

    def _check(self, now: float) -> None:
        """Is the hub still there?"""
        if self._ending is not None or not self.ready:
            return
        if self._close_at is not None:
            if now - self._close_at > CLOSE_TIMEOUT:
                self._finish(Ending.CLOSED, "")
        elif self._ping_at is None:
            if now - self._heard >= KEEP_ALIVE:
                self._ping()
        elif now - max(self._ping_at, self._heard) >= PONG_TIMEOUT:
            self._lost("it does not answer any more")

    def _lost(self, why: str) -> None:
        if self._session.closing:
            self._finish(Ending.CLOSED, "")
        elif self.ready:
            self._finish(Ending.LOST, f"the connection ended: {why}" if why else "the hub or the network went away")
        else:
            self._finish(Ending.NOT_READY, "the hub closed the connection without answering the login")

    def _finish(self, ending: Ending, why: str) -> None:
        if self._ending is None:
            self._ending = (ending, why)
