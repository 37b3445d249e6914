"""The test hub against frames recorded from the real one: same frames in, same frames out.

Each recording is replayed: what its clients sent is sent, by all of them and in that order, and each frame that the
real hub sent must come from ours, on the same connection, but for times and IDs. So the test hub stands for the real
one in all other tests.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import hiveot_vectors as vectors
from fakes.hiveot_hub import Hub
from fakes.hiveot_router import Account, Router

from hiveot_supervisor.hub.messages import NotificationMessage, RequestMessage, ResponseMessage, from_json

pytestmark = pytest.mark.skipif(not vectors.FOLDER.is_dir(), reason=vectors.MISSING)

NAMES = vectors.names()
GO_TD = "launcher-startup"
FRESH = {GO_TD, "launcher-startup-autostart", "launcher-restart-autostart"}
LEFT_OVER = {"output", "error", "timeUpdated"}
"""Members of a pending notification that stem from calls before the recording began."""


@pytest.fixture
def router() -> Router:
    """The hub as it was when the recordings were made."""
    made = Router(lambda: "2026-11-23T07:09:08.77Z", lambda account, _: f"v4.public.{account.id}")
    for name in ("admin", "launcher", "sleeper"):
        made.accounts[name] = Account(name, "service", "service")
    return made


class Replay:
    """One recording: its connections, and what ours were sent and have not been compared yet."""

    def __init__(self, router: Router, name: str) -> None:
        self.router = router
        self.name = name
        self.entries = vectors.load(name)
        self.received: dict[str, list[dict[str, Any]]] = {}
        self.connections: dict[str, Any] = {}
        if name not in FRESH:
            self._introduce_launcher()
        for entry in self.entries:
            if entry["conn"] not in self.connections:
                self._connect(entry["conn"], entry["who"])

    def _connect(self, conn: str, who: str) -> None:
        client = conn.rsplit("-", 1)[0]
        if "role" in who:
            self.router.accounts[client] = Account(client, "consumer", who.split("role ")[1].rstrip(")"))
        self.received[conn] = []
        self.connections[conn] = self.router.connect(client, self.received[conn].append)

    def _introduce_launcher(self) -> None:
        self._connect("launcher-1", "launcher")
        for entry in vectors.load(GO_TD):
            if entry["dir"] == "client->hub":
                self.router.receive(self.connections["launcher-1"], json.dumps(entry["frame"]))
        self.received["launcher-1"].clear()

    def run(self) -> None:
        # what a client sends in answer to the hub comes after that; all else in the recorded order
        for entry in self.entries:
            if entry["dir"] == "client->hub":
                text = entry["raw"] if "raw" in entry else json.dumps(entry["frame"])
                self.router.receive(self.connections[entry["conn"]], text)
        for entry in self.entries:
            if entry["dir"] == "hub->client":
                self._expect(entry["conn"], self.comparable(entry["frame"]))

    def _expect(self, conn: str, wanted: Any) -> None:
        for frame in self.received[conn]:
            if self.comparable(frame) == wanted:
                self.received[conn].remove(frame)
                return
        found = [self.comparable(f) for f in self.received[conn]]
        near = [f for f in found if f.get("correlationID") == wanted.get("correlationID")]
        raise AssertionError(f"{conn} did not get\n{wanted}\nbut\n" + "\n".join(map(str, near or found)))

    def comparable(self, frame: dict[str, Any]) -> dict[str, Any]:
        frame = vectors.normal(frame)
        value = frame.get("value")
        if frame["messageType"] == "notification" and frame["operation"] == "invokeaction" and "state" in value:
            frame["value"] = {k: v for k, v in value.items() if k not in LEFT_OVER or value["state"] != "pending"}
        if frame["operation"] in ("queryaction", "queryallactions"):
            # the store remembers calls of before the recording
            return {k: v for k, v in frame.items() if k not in ("value", "status", "statuses")}
        if frame.get("name") == "retrieveAllThings" and "output" in frame:
            documents = [json.loads(td) if isinstance(td, str) else td for td in frame["output"]]
            frame["output"] = sorted(td["id"] for td in documents)
            frame["value"] = {k: v for k, v in value.items() if k != "output"}
        return frame


@pytest.mark.parametrize("name", NAMES)
def test_the_hub_answers_as_recorded(router: Router, name: str) -> None:
    replay = Replay(router, name)
    replay.run()
    left = {conn: frames for conn, frames in replay.received.items() if frames}
    assert not left, f"frames that the real hub did not send: {left}"
    dropped = [why for _, why in router.dropped]
    assert len(dropped) == {"malformed": 3}.get(name, 0), dropped


@pytest.mark.parametrize("name", NAMES)
def test_every_recorded_frame_is_understood(name: str) -> None:
    """Reading a frame and writing it again gives the same, as far as the members have a meaning to us."""
    for entry in vectors.load(name):
        frame = entry.get("frame")
        if frame is None or frame.get("messageType") not in ("request", "response", "notification"):
            continue
        message = from_json(frame)
        written = message.to_json()
        assert {k: v for k, v in written.items() if k in frame} == {k: v for k, v in frame.items() if k in written}
        missing = {k for k, v in frame.items() if k not in written and v not in ("", None)}
        assert not missing, f"{name}: {missing}"
        if isinstance(message, ResponseMessage) and message.error is None:
            output = message.result()
            assert output == frame.get("output", output)
        assert isinstance(message, (RequestMessage, ResponseMessage, NotificationMessage))


def test_stored_actions_can_be_queried(router: Router) -> None:
    """What the comparison above leaves out, because the recording's store remembers more."""
    replay = Replay(router, "action-sync-and-query")
    replay.run()
    name, value = "startPlugin", router.actions["dtw:launcher:Admin"]["startPlugin"]
    recorded = next(
        e["frame"]
        for e in replay.entries
        if e["dir"] == "hub->client" and e["frame"]["operation"] == "queryaction" and e["frame"]["name"] == name
    )
    assert set(value) | {"error"} == set(recorded["value"])
    assert value["output"] == recorded["value"]["output"]


# -- HTTP


@pytest.fixture(scope="module")
def http_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    hub = Hub(tmp_path_factory.mktemp("http"))
    hub.start()
    hub.router.accounts["vera"] = Account("vera", "consumer", "viewer", password="<PASSWORD>")
    answers: list[Any] = []
    launcher = hub.router.connect("launcher", answers.append)
    for entry in vectors.load(GO_TD):
        if entry["dir"] == "client->hub":
            hub.router.receive(launcher, json.dumps(entry["frame"]))
    yield hub
    hub.stop()


def test_http_exchanges_are_as_recorded(http_hub: Hub) -> None:
    """In the recorded order: a login's token is used by what follows, and is worth nothing after the logout."""
    vera = ""
    for exchange in vectors.load(vectors.HTTP):
        request, response = exchange["request"], exchange["response"]
        given = _filled(http_hub, request, vera, broken="broken" in exchange["note"])
        status, headers, body = _exchange(http_hub, *given)
        wanted = {k.lower(): v for k, v in response["headers"]}
        assert f"{status} " in response["status"], (exchange["note"], status, body)
        assert headers.get("www-authenticate") == wanted.get("www-authenticate"), exchange["note"]
        if request["path"] in ("/authn/login", "/authn/refresh") and status == 200:
            vera = json.loads(body)
            assert vera.startswith("v4.public.")
        elif "queryaction" not in request["path"] and status != 101:
            assert body == response["body"], exchange["note"]


def _filled(hub: Hub, request: dict[str, Any], vera: str, *, broken: bool) -> tuple[str, str, dict[str, str], bytes]:
    """The request with real tokens in the place of the placeholders."""
    admin = (hub.certs / "admin.token").read_text()
    tokens = {"<PASETO-TOKEN:admin>": admin[:-9] + "AAAAAAAAA" if broken else admin, "<PASETO-TOKEN:vera>": vera}
    tokens["<random>"] = "dGhlIHNhbXBsZSBub25jZQ=="

    def fill(text: str) -> str:
        for placeholder, token in tokens.items():
            text = text.replace(placeholder, token)
        return text

    headers = {k: fill(v) for k, v in request["headers"]}
    return request["method"], request["path"], headers, fill(request.get("body") or "").encode()


def _exchange(
    hub: Hub, method: str, path: str, headers: dict[str, str], body: bytes
) -> tuple[int, dict[str, str], str]:
    """Send a request as it is; status, headers (names in lower case) and body of the answer."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *(f"{k}: {v}" for k, v in headers.items())]
    lines += [f"Content-Length: {len(body)}"] if body else []
    context = ssl.create_default_context(cafile=hub.certs / "caCert.pem")
    with (
        socket.create_connection(("localhost", hub.port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as sock,
    ):
        sock.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        data = b""
        while b"\r\n\r\n" not in data:
            data += sock.recv(65536)
        head, _, rest = data.partition(b"\r\n\r\n")
        first, *fields = head.decode().split("\r\n")
        found = {k.lower(): v.strip() for k, _, v in (f.partition(":") for f in fields)}
        while len(rest) < int(found.get("content-length", 0)):
            rest += sock.recv(65536)
    return int(first.split()[1]), found, rest.decode()


def test_the_first_start_makes_the_recorded_files(tmp_path: Path) -> None:
    """README of the recordings: files in certs/ after the first start, with their modes."""
    Hub(tmp_path).prepare()
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "certs").iterdir()}
    accounts = {f"{a}{s}": m for a in ("authn", "admin", "launcher") for s, m in ((".key", 0o400), (".pub", 0o644))}
    accounts |= {f"{a}.token": 0o400 for a in ("authn", "admin", "launcher")}
    files = {"caCert.pem": 0o444, "caKey.pem": 0o400, "hubCert.pem": 0o444, "hubKey.pem": 0o400}
    assert modes == accounts | files
