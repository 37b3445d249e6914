"""A conforming test hub: HiveOT's runtime as its clients see it, on one port, written from its specification.

HTTPS with /ping, /authn/*, /things/* and the websocket at /wot/wss; accounts, keys and tokens in the same files with
the same modes as the Go runtime's (docs/hiveot-hub-protocol.md §1.3, §8). Runs in a thread of a test, or as a program
(`python -m fakes.hiveot_hub --home DIR --port N`) in the place of `bin/runtime`. Frames that arrive together are
handled in a random order, because the real hub has a goroutine for each.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import secrets
import signal
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fakes.hiveot_router import Account, Connection, Router
from websockets.frames import Frame as WsFrame
from websockets.frames import Opcode
from websockets.server import ServerProtocol

from hiveot_supervisor.clock import iso8601
from hiveot_supervisor.credentials import certificates, keys, tokens
from hiveot_supervisor.credentials.expiry import read_claims
from hiveot_supervisor.errors import CredentialError
from hiveot_supervisor.hub.client import Account as Login

DAY = 86400.0


class Hub:
    """The hub's files and sockets. `router` is its state; `frames` what went over websockets: (client, dir, frame)."""

    def __init__(self, home: Path, port: int = 0, *, certs: Path | None = None) -> None:
        self.home = home
        self.port = port
        self.certs = certs or home / "certs"
        self.frames: list[tuple[str, str, Any]] = []
        self.logins: list[tuple[str, dict[str, str]]] = []
        self.router = Router(lambda: iso8601(time.time()), self._new_service)
        self.sessions: dict[str, str] = {}
        self.refuse = 0  # HTTP status with which websockets are refused, 0 = none
        self.silent = False  # read nothing and answer nothing
        self._random = random.Random(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    # -- files, as the runtime makes them

    def prepare(self) -> None:
        """Certificates, the signing key, the three accounts of every start with new tokens, what was stored."""
        self.certs.mkdir(parents=True, exist_ok=True)
        now = time.time()
        if not (self.certs / "caKey.pem").exists():
            ca_key, server_key = keys.generate(), certificates.new_server_key()
            ca = certificates.create_ca(ca_key, now=now)
            server = certificates.create_server(ca, ca_key, server_key, ["localhost", "127.0.0.1"], now=now)
            self._write("caCert.pem", ca, 0o444)
            self._write("caKey.pem", keys.private_pem(ca_key), 0o400)
            self._write("hubCert.pem", server, 0o444)
            self._write("hubKey.pem", keys.private_pem(server_key), 0o400)
        stored = self.home / "stores/authn/hub.passwd"
        if stored.exists():
            accounts = json.loads(stored.read_text())
            self.router.accounts = {name: Account(**each) for name, each in accounts.items()}
        things = self.home / "stores/digitwin/things.json"
        if things.exists():
            self.router.things = json.loads(things.read_text())
        self._key("authn")
        for name in ("authn", "launcher", "admin"):
            account = Account(name, "service", "service", name)
            self.router.accounts[name] = account
            self._new_service(account, "")

    def _write(self, name: str, data: bytes, mode: int) -> None:
        path = self.certs / name
        path.unlink(missing_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        os.write(fd, data)
        os.fchmod(fd, mode)
        os.close(fd)

    def _key(self, name: str) -> None:
        if not (self.certs / f"{name}.key").exists():
            key = keys.generate()
            self._write(f"{name}.key", keys.private_pem(key), 0o400)
            self._write(f"{name}.pub", keys.public_pem(key).encode(), 0o644)

    def _new_service(self, account: Account, pub_key: str) -> str:
        """addService: key and token files in the hub's own folder; a key only when none was passed."""
        if not pub_key:
            self._key(account.id)
            account.pub_key = (self.certs / f"{account.id}.pub").read_text()
        token = self.token(account.id)
        self._write(f"{account.id}.token", token.encode(), 0o400)
        self._save()
        return token

    def token(self, client: str, *, session: str = "", lifetime: float = 365 * DAY) -> str:
        signer = keys.parse_private((self.certs / "authn.key").read_bytes())
        return tokens.issue(signer, client, now=time.time(), lifetime=lifetime, session_id=session)

    def _save(self) -> None:
        folder = self.home / "stores/authn"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "hub.passwd").write_text(json.dumps({n: asdict(a) for n, a in self.router.accounts.items()}))

    def _save_things(self) -> None:
        """Only at a graceful stop, as the real one."""
        folder = self.home / "stores/digitwin"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "things.json").write_text(json.dumps(self.router.things))

    def account(self, client: str, role: str = "service") -> Login:
        """How `client` logs in; the account is made when it does not exist."""
        path = self.certs / f"{client}.token"
        if client in self.router.accounts:
            return Login(client, path, self.certs / "caCert.pem")
        self.router.accounts[client] = Account(client, "service" if role == "service" else "consumer", role)
        self._write(path.name, self.token(client).encode(), 0o400)
        return Login(client, path, self.certs / "caCert.pem")

    @property
    def url(self) -> str:
        return f"wss://localhost:{self.port}/wot/wss"

    # -- life

    def start(self) -> None:
        """Prepare the files and serve in a thread of its own."""
        self.prepare()
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True)
        self._thread.start()
        assert ready.wait(10)

    async def _serve(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certs / "hubCert.pem", self.certs / "hubKey.pem")
        self._server = await asyncio.start_server(self._client, "127.0.0.1", self.port, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]
        ready.set()
        await self._stopped.wait()
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def stop(self, *, graceful: bool = True) -> None:
        """End all connections by just closing TCP, as the real one; `graceful` keeps the directory."""
        if self._thread is None or self._loop is None:
            return
        if graceful:
            self._save_things()
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(10)
        self._thread = None

    def restart(self, *, graceful: bool = True) -> None:
        """As a new process: only what is in files is remembered."""
        self.stop(graceful=graceful)
        self.begin_again()
        self.start()

    def begin_again(self) -> None:
        dropped = self.router.dropped
        self.router = Router(lambda: iso8601(time.time()), self._new_service)
        self.router.dropped = dropped
        self.sessions.clear()

    def call(self, work: Any) -> Any:
        """Run `work()` in the hub's thread and return its result."""

        async def run() -> Any:
            return work()

        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    # -- HTTP

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            method, path, headers = _parse_head(head)
            if path.split("?")[0] == "/wot/wss" and headers.get("upgrade", "").lower() == "websocket":
                await self._websocket(head, path, headers, reader, writer)
            else:
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                writer.write(self._http(method, path, headers, body))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            transport = writer.transport
            transport.abort()

    def _http(self, method: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
        if path == "/ping":
            return _response(200, '"pong"')
        if path == "/authn/login":
            return self._login(json.loads(body))
        known = path.startswith(("/authn/", "/things/")) or path == "/wot/wss"
        if not known:
            return _response(404, "404 page not found\n")
        client, why = self._authenticate(headers)
        if not client:
            return _response(401, why, {"Www-Authenticate": "Bearer"})
        if path == "/wot/wss":
            return _response(400, "Bad Request\n", {"Sec-Websocket-Version": "13"})
        if path == "/authn/refresh":
            session = read_claims(json.loads(body)).session_id
            return _response(200, json.dumps(self.token(client, session=session)))
        if path == "/authn/logout":
            self.sessions = {s: c for s, c in self.sessions.items() if c != client}
            return _response(200, "")
        return self._things(client, path, body)

    def _login(self, given: dict[str, str]) -> bytes:
        account = self.router.accounts.get(given.get("login", ""))
        if account is None or not account.password or account.password != given.get("password"):
            return _response(401, f"invalid login as '{given.get('login')}'\n")
        session = secrets.token_hex(8)
        self.sessions[session] = account.id
        return _response(200, json.dumps(self.token(account.id, session=session, lifetime=30 * DAY)))

    def _things(self, client: str, path: str, body: bytes) -> bytes:
        """http-basic: 201 whatever happened, the result of an agent's action never comes back here."""
        _, _, operation, thing, *rest = path.split("/")
        answers: list[dict[str, Any]] = []
        connection = self.router.connect(client, answers.append)
        frame = {"messageType": "request", "operation": operation, "thingID": thing, "name": (rest or [""])[0]}
        frame |= {"input": json.loads(body)} if body else {}
        self.router.receive(connection, json.dumps(frame | {"correlationID": secrets.token_hex(8)}))
        self.router.disconnect(connection)
        answer = next((a for a in answers if a["messageType"] == "response"), None)
        if answer is not None and answer["error"]:
            return _response(400, answer["error"]["title"] + "\n")
        return _response(201, json.dumps(answer["value"]) if answer is not None else "")

    def _authenticate(self, headers: dict[str, str]) -> tuple[str, str]:
        """The client of the bearer token, or empty and why not."""
        given = headers.get("authorization", "")
        if not given:
            return "", "AddSessionFromToken: tlsserver: no Authorization header\n"
        scheme, _, token = given.partition(" ")
        if scheme.lower() != "bearer":
            return "", "AddSessionFromToken: tlsserver: not a bearer token\n"
        if token.count(".") < 2:
            return "", f"invalid number of message parts in token ({token.count('.') + 1})\n"
        try:
            public = keys.parse_public((self.certs / "authn.pub").read_text())
            claims = tokens.verify(token, public, now=time.time())
        except CredentialError as error:
            return "", "bad signature\n" if "issued" in error.what else f"{error.what}\n"
        if claims.session_id != claims.client_id and claims.session_id not in self.sessions:
            return "", "Session is no longer valid\n"
        return claims.client_id, ""

    # -- websocket

    async def _websocket(
        self,
        head: bytes,
        path: str,
        headers: dict[str, str],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        client, why = self._authenticate(headers)
        if not client or self.refuse:
            status = self.refuse or 401
            writer.write(_response(status, why or "not now\n", {"Www-Authenticate": "Bearer"} if status == 401 else {}))
            await writer.drain()
            return
        protocol = ServerProtocol(max_size=None)
        protocol.receive_data(head)
        request = protocol.events_received()[0]
        protocol.send_response(protocol.accept(request))  # type: ignore[arg-type]
        self.logins.append((client, headers))
        talk = _Talk(self, client, protocol, writer)
        try:
            await talk.run(reader)
        finally:
            self.router.disconnect(talk.connection)

    def shuffled(self, items: list[bytes]) -> Iterator[bytes]:
        """The order in which goroutines get to run."""
        self._random.shuffle(items)
        yield from items


class _Talk:
    """One websocket connection."""

    def __init__(self, hub: Hub, client: str, protocol: ServerProtocol, writer: asyncio.StreamWriter) -> None:
        self._hub = hub
        self._protocol = protocol
        self._writer = writer
        self._parts: list[bytes] = []
        self._arrived: list[bytes] = []
        self.connection: Connection = hub.router.connect(client, self.send)
        self.connection.send_raw = self.send_raw
        self._flush()

    def send(self, frame: dict[str, Any]) -> None:
        self._hub.frames.append((self.connection.client, "out", frame))
        self._protocol.send_text(json.dumps(frame, ensure_ascii=False).encode())
        self._flush()

    def send_raw(self, data: bytes) -> None:
        """Any text frame, for what no hub should send."""
        self._protocol.send_text(data)
        self._flush()

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._writer.write(data)

    async def run(self, reader: asyncio.StreamReader) -> None:
        while True:
            data = await reader.read(65536)
            while self._hub.silent:
                await asyncio.sleep(0.01)
            if not data:
                return
            self._protocol.receive_data(data)
            for event in self._protocol.events_received():
                if isinstance(event, WsFrame) and self._frame(event):
                    return
            self._flush()  # pongs
            if self._arrived:
                asyncio.get_running_loop().call_soon(self._handle)

    def _frame(self, frame: WsFrame) -> bool:
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            self._parts.append(bytes(frame.data))
            if frame.fin:
                self._arrived.append(b"".join(self._parts))
                self._parts.clear()
        return frame.opcode is Opcode.CLOSE

    def _handle(self) -> None:
        arrived, self._arrived = self._arrived, []
        for text in self._hub.shuffled(arrived):
            try:
                self._hub.frames.append((self.connection.client, "in", json.loads(text)))
            except ValueError:
                self._hub.frames.append((self.connection.client, "in", text))
            self._hub.router.receive(self.connection, text)


def _parse_head(head: bytes) -> tuple[str, str, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ", 2)
    fields = (line.partition(":") for line in lines if line)
    return method, path, {name.strip().lower(): value.strip() for name, _, value in fields}


_REASONS = {200: "OK", 201: "Created", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 503: "Unavailable"}


def _response(status: int, body: str, headers: dict[str, str] | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}", "Content-Type: text/plain; charset=utf-8"]
    lines += [f"{k}: {v}" for k, v in (headers or {}).items()] + [f"Content-Length: {len(body.encode())}", "", body]
    return "\r\n".join(lines).encode()


@contextlib.contextmanager
def running(home: Path) -> Iterator[Hub]:
    hub = Hub(home)
    hub.start()
    try:
        yield hub
    finally:
        hub.stop()


def main() -> None:
    """As HiveOT's `bin/runtime`: unknown flags are ignored here, SIGTERM ends it in order."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    args, _ = parser.parse_known_args()
    hub = Hub(args.home, args.port)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    hub.start()
    print(f"listening on {hub.port}", flush=True)
    stop.wait()
    (args.home / "hub-dropped.json").write_text(json.dumps(hub.router.dropped))
    hub.stop()


if __name__ == "__main__":
    main()
