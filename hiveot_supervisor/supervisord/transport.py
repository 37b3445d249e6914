"""HTTP requests to supervisord's unix socket, and the question whether anybody is behind that socket at all.

One kept-alive connection, replaced when supervisord has closed it. Knows nothing of XML-RPC. Every way in which there
may be no answer becomes a SupervisordUnreachable that names the reason. The few lines of HTTP/1.1 that supervisord
speaks are ours: http.client brings ssl and email with it, 20 ms of every command.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from io import BufferedRWPair
from pathlib import Path

from hiveot_supervisor.errors import SupervisordFault, SupervisordUnreachable
from hiveot_supervisor.supervisord.process import cmdline, is_alive, start_wall
from hiveot_supervisor.supervisord.states import Fault

MAX_LINE = 8192
MAX_HEADERS = 100
MAX_ANSWER = 64_000_000
_REQUEST = b"POST /RPC2 HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n%b"

START_HINT = "start it with: hiveot-launcher up"


class Transport:
    """The connection to one supervisord; may be shared between threads, requests take turns.

    timeout: seconds for each step (connect, send, answer). connections: how many were made so far.
    """

    def __init__(self, path: Path, timeout: float) -> None:
        self.path = path
        self.timeout = timeout
        self.connections = 0
        self._stream: BufferedRWPair | None = None
        self._lock = threading.Lock()

    def close(self) -> None:
        """Drop the connection; the next request makes a new one."""
        with self._lock:
            self._close()

    def post(self, body: bytes) -> bytes:
        """Send one request, return the body of the answer. Raises SupervisordUnreachable, and SupervisordFault for
        an answer that is not 200 OK."""
        with self._lock:
            try:
                return self._post(body)
            except OSError as error:
                self._close()
                raise unreachable(self.path, error, self.timeout) from error

    def _post(self, body: bytes) -> bytes:
        reused = self._stream is not None
        try:
            stream = self._stream or self._connect()
            stream.write(_REQUEST % (len(body), body))
            stream.flush()
            status, answer, stays = _read_response(stream)
        except ConnectionError:
            self._close()
            if reused:  # it was closed while nobody looked (a reload)
                return self._post(body)
            raise
        if status != "200":
            self._close()
            raise SupervisordFault("supervisord refuses the request", code=Fault.FAILED, why=f"HTTP {status}")
        if not stays:
            self._close()
        return answer

    def _connect(self) -> BufferedRWPair:
        with _dial(self.path, self.timeout) as connection:
            self._stream = stream = connection.makefile("rwb")
        self.connections += 1
        return stream

    def _close(self) -> None:
        if self._stream is not None:
            with contextlib.suppress(OSError):
                self._stream.close()
            self._stream = None


def _read_response(stream: BufferedRWPair) -> tuple[str, bytes, bool]:
    """Status, body, and whether the connection stays open. Raises OSError."""
    line = stream.readline(MAX_LINE)
    if not line:
        raise ConnectionResetError("it hung up")
    version, _, status = line.decode("latin-1").strip().partition(" ")
    if not version.startswith("HTTP/1."):
        raise OSError(f"it does not speak HTTP ({line[:40]!r})")
    headers: dict[str, str] = {}
    while text := stream.readline(MAX_LINE).decode("latin-1").strip():
        name, _, value = text.partition(":")
        headers[name.lower()] = value.strip()
        if len(headers) > MAX_HEADERS:
            raise OSError("it does not speak HTTP (too many headers)")
    stated = headers.get("content-length", "")[:10]
    length = int(stated) if stated.isdecimal() else 0
    if length > MAX_ANSWER:
        raise OSError(f"its answer is too long ({length} bytes)")
    body = stream.read(length)
    if len(body) < length:
        raise OSError(f"it does not speak HTTP (an answer of {length} bytes ended after {len(body)})")
    return status[:3] if status[:3] == "200" else status, body, headers.get("connection", "").lower() != "close"


def unreachable(path: Path, reason: OSError, timeout: float) -> SupervisordUnreachable:
    """The error for people: what is the matter with the socket, and what to do."""
    if isinstance(reason, FileNotFoundError):
        what, why, hint = "supervisord is not running", f"there is no socket {path}", START_HINT
    elif isinstance(reason, ConnectionRefusedError):
        what, why, hint = "supervisord is not running", f"its socket {path} was left behind", START_HINT
    elif isinstance(reason, PermissionError):
        what, why = "supervisord cannot be reached", f"no permission to use {path}"
        hint = "use the account that supervisord was started with"
    elif isinstance(reason, (TimeoutError, BlockingIOError)):
        what, why = "supervisord does not answer", f"nothing came from {path} within {timeout:g} s"
        hint = "look at its log; as a last resort kill it, its plugins end with it, then: hiveot-launcher up"
    elif isinstance(reason, ConnectionError):
        what, why, hint = "supervisord went away", f"it closed {path} without an answer", START_HINT
    else:
        what, why, hint = "supervisord cannot be reached", f"{path}: {reason}", START_HINT
    return SupervisordUnreachable(what, why=why, hint=hint)


class ForeignSocket(SupervisordUnreachable):
    """Somebody else listens where our supervisord should: nothing is sent there, and nothing believed."""


def check_peer(path: Path, uid: int) -> None:
    """Raises ForeignSocket unless `uid`, which listens on the socket `path`, is us or root.

    Root may also use the supervisord of whoever owns the socket's folder: it controls the homes of others.
    """
    trusted = {os.geteuid(), 0}
    if os.geteuid() == 0:
        trusted.add(path.parent.stat().st_uid)
    if uid not in trusted:
        raise ForeignSocket(
            f"{path} is not your supervisord's",
            why=f"the user {_user(uid)} listens there, you are {_user(os.geteuid())}",
            hint=f"use the account that the launcher runs as, or look who may write to {path.parent}",
        )


def _user(uid: int) -> str:
    import pwd

    try:
        return f"{pwd.getpwuid(uid).pw_name} ({uid})"
    except KeyError:
        return str(uid)


def _dial(path: Path, timeout: float) -> socket.socket:
    """A connection to whoever listens, if that may be believed: the kernel tells who called listen(2) (unix(7))."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.settimeout(timeout)
        sock.connect(os.fspath(path))
        _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
        check_peer(path, uid)
    except BaseException:
        sock.close()
        raise
    return sock


def clear_stale(path: Path, pidfile: Path | None = None) -> bool:
    """Remove what a killed supervisord left behind, its socket and its pidfile, but only if nobody answers there.

    True when nothing stands in the way of a new supervisord any more. False when somebody listens on the socket (even
    if too busy to answer), or the supervisord that wrote the pidfile still lives; then nothing was touched.
    Raises SupervisordUnreachable when it cannot be told (no permission).
    """
    try:
        _dial(path, 1.0).close()
        return False
    except (FileNotFoundError, ConnectionRefusedError):
        pass
    except (TimeoutError, BlockingIOError):
        return False
    except OSError as error:
        raise unreachable(path, error, 1.0) from error
    if pidfile is not None and _writer_lives(pidfile):
        return False
    try:
        for leftover in (path, pidfile):
            if leftover is not None:
                leftover.unlink(missing_ok=True)
    except OSError as error:
        raise SupervisordUnreachable("cannot remove what supervisord left behind", why=str(error)) from error
    return True


def _writer_lives(pidfile: Path) -> bool:
    """The supervisord that wrote the pidfile still lives (it may have lost its socket file, but not its plugins).

    Another home's supervisord may have got that pid since: then it started after the file was written.
    """
    with contextlib.suppress(OSError, ValueError):
        pid = int(pidfile.read_text())
        started = start_wall(pid)
        if started is not None and started <= pidfile.stat().st_mtime + 1.0:
            return is_alive(pid) and any("supervisord" in word for word in cmdline(pid)[:3])
    return False
