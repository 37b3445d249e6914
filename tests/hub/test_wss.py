"""The websocket binding on the test hub: what the hub port promises, and what HiveOT's hub demands."""

from __future__ import annotations

import gc
import json
import resource
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.hiveot_hub import Hub
from fakes.hubs import Recorder
from fakes.wait import wait_until

from hiveot_supervisor.errors import HubError, HubRefused, HubUnavailable, RequestTimeout
from hiveot_supervisor.hub import wss_link, wss_session
from hiveot_supervisor.hub.client import Account, Notification, NotificationKind, Request, Right
from hiveot_supervisor.hub.wss import WssHubClient
from hiveot_supervisor.hub.wss_url import parse_url

EVENT, PROPERTY, TD = NotificationKind.EVENT, NotificationKind.PROPERTY, NotificationKind.TD
DOCUMENT = {
    "@context": ["https://www.w3.org/2022/wot/td/v1.1"],
    "id": "Admin",
    "title": "Größe",
    "properties": {"nrRunning": {"type": "integer", "readOnly": True}},
    "events": {"started": {"data": {"type": "string"}}},
    "actions": {"listPlugins": {"safe": True}, "startPlugin": {"input": {"type": "string"}}},
}

Connect = Callable[..., tuple[WssHubClient, Recorder]]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    made = Hub(tmp_path)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def connect() -> Iterator[Connect]:
    clients: list[WssHubClient] = []

    def make(hub: Hub, user: str, *, wait: bool = True, **options: Any) -> tuple[WssHubClient, Recorder]:
        client = WssHubClient(hub.url, hub.account(user), **options)
        clients.append(client)
        recorder = Recorder(client)
        client.start(recorder)
        if wait:
            client.wait_connected(10)
        return client, recorder

    yield make
    for client in clients:
        client.close()


def sent(hub: Hub, client: str) -> list[Any]:
    """The frames that a client sent, in the order of handling."""
    return [frame for who, way, frame in list(hub.frames) if who == client and way == "in"]


def observe(client: WssHubClient, *kinds: NotificationKind, agent_id: str = "") -> list[Notification]:
    got: list[Notification] = []
    client.subscribe(kinds, got.append, agent_id=agent_id).result(5)
    return got


# -- publishing


def test_td_is_json_in_json_and_comes_before_permissions_before_events(hub: Hub, connect: Connect) -> None:
    agent, _ = connect(hub, "launcher")
    futures = [
        agent.publish_td(DOCUMENT),
        agent.set_permissions("Admin", ["manager", "admin", "service"]),
        agent.publish_event("Admin", "started", "one", seq=1, epoch="e", created="2026-11-23T07:09:11.049Z"),
        agent.publish_property("Admin", "nrRunning", 3),
    ]
    for future in futures:
        assert future.result(5) is None
    frames = wait_until(lambda: len(all_ := sent(hub, "launcher")) == 4 and all_)  # read is not handled
    assert [f.get("name") for f in frames][:2] == ["updateThing", "setPermissions"]
    assert json.loads(frames[0]["input"]) == DOCUMENT
    assert frames[0]["actionID"] == frames[0]["correlationID"] != frames[1]["correlationID"]
    event = next(f for f in frames if f["messageType"] == "notification" and f["name"] == "started")
    assert len(event.pop("messageID")) == 32
    assert event == {
        "messageType": "notification",
        "operation": "subscribeevent",
        "thingID": "Admin",
        "name": "started",
        "value": "one",
        "timestamp": "2026-11-23T07:09:11.049Z",
        "senderID": "",
    }
    # read is not handled: that the hub tells nobody
    wait_until(lambda: hub.router.properties.get("dtw:launcher:Admin"))
    assert hub.router.properties["dtw:launcher:Admin"]["nrRunning"]["data"] == 3
    assert hub.router.permissions["dtw:launcher:Admin"]["allow"] == ["manager", "admin", "service"]
    assert hub.router.dropped == []


def test_events_stay_in_order_though_the_hub_handles_frames_in_any(hub: Hub, connect: Connect) -> None:
    agent, _ = connect(hub, "launcher")
    events = observe(connect(hub, "admin", agent=False)[0], EVENT, PROPERTY, agent_id="launcher")
    agent.publish_td(DOCUMENT)
    futures = [agent.publish_event("Admin", "started", n) for n in range(300)]
    futures += [agent.publish_property("Admin", "nrRunning", n) for n in range(100)]
    for future in futures:
        future.result(10)
    wait_until(lambda: len(events) >= 400)
    assert [n.value for n in events if n.kind is EVENT] == list(range(300))
    assert [n.value for n in events if n.kind is PROPERTY] == list(range(100))
    assert hub.router.dropped == []


def test_many_things_at_once(hub: Hub, connect: Connect) -> None:
    """As after a reconnect with 50 plugins: nothing of a Thing comes before its description."""
    agent, _ = connect(hub, "launcher")
    futures = []
    for n in range(50):
        futures.append(agent.publish_td(DOCUMENT | {"id": f"plugin-{n}"}))
        futures += [agent.publish_property(f"plugin-{n}", name, n) for name in ("state", "status", "cpu", "rss")]
    for future in futures:
        future.result(10)
    wait_until(lambda: sum(len(v) for v in hub.router.properties.values()) == 200)
    assert hub.router.dropped == []


def test_a_description_that_is_refused_holds_back_its_thing_only(
    hub: Hub, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, _ = connect(hub, "launcher")
    bad = agent.publish_td(DOCUMENT | {"@context": "not an array"})
    held = agent.publish_event("Admin", "started", 1)
    with pytest.raises(HubError, match="@context is not an array"):
        bad.result(5)
    with pytest.raises(HubUnavailable, match="has not taken the description of Admin"):
        held.result(5)
    with pytest.raises(HubUnavailable, match="has not taken"):
        agent.publish_event("Admin", "started", 1).result(5)
    other = agent.publish_td(DOCUMENT | {"id": "other"})
    assert agent.publish_event("other", "x", 1).result(5) is None
    assert other.result(5) is None
    # it is tried again with the next news after some seconds, and a good one helps at once
    monkeypatch.setattr("hiveot_supervisor.hub.wss_order.AGAIN", 0.0)
    with pytest.raises(HubUnavailable):
        agent.publish_event("Admin", "started", 1).result(5)
    assert len([f for f in sent(hub, "launcher") if f.get("name") == "updateThing"]) == 3
    agent.publish_td(DOCUMENT)
    assert agent.publish_event("Admin", "started", 2).result(5) is None
    assert hub.router.dropped == []


def test_what_cannot_be_sent_fails(hub: Hub, connect: Connect) -> None:
    agent, _ = connect(hub, "launcher")
    with pytest.raises(HubError, match="cannot be sent"):
        agent.publish_event("Admin", "x", object()).result(1)
    with pytest.raises(HubError, match="cannot be used as an ID"):
        agent.publish_event("a:b", "x", 1).result(1)
    with pytest.raises(HubError, match="cannot be used as an ID"):
        agent.publish_td({"id": ""}).result(1)
    assert agent.connected


def test_removed_thing(hub: Hub, connect: Connect) -> None:
    agent, _ = connect(hub, "launcher")
    seen = observe(connect(hub, "admin", agent=False)[0], TD, agent_id="launcher")
    agent.publish_td(DOCUMENT).result(5)
    agent.remove_td("Admin").result(5)
    wait_until(lambda: len(seen) == 2)
    assert [(n.kind, n.agent_id, n.thing_id, n.value is None) for n in seen] == [
        (TD, "launcher", "Admin", False),
        (TD, "launcher", "Admin", True),
    ]
    assert "dtw:launcher:Admin" not in hub.router.things


def failure_of(client: WssHubClient) -> HubError:
    with pytest.raises(HubError) as failed:
        client.invoke_action("a", "b", "c")
    return failed.value


# -- requests


def test_request_and_answer_are_those_of_a_go_agent(hub: Hub, connect: Connect) -> None:
    agent, recorder = connect(hub, "launcher")
    agent.publish_td(DOCUMENT).result(5)
    consumer, _ = connect(hub, "admin", agent=False)
    assert consumer.invoke_action("launcher", "Admin", "startPlugin", "one") == {"name": "startPlugin", "input": "one"}
    request = recorder.requests[0]
    assert (request.thing_id, request.operation, request.sender) == ("Admin", "invokeaction", "admin")
    assert request.right is Right.ADMIN
    answer = next(f for f in sent(hub, "launcher") if f["messageType"] == "response")
    assert answer["output"] == {"name": "startPlugin", "input": "one"}
    assert {k: answer["value"][k] for k in ("input", "name", "output", "senderID", "state", "thingID")} == {
        "input": "one",
        "name": "startPlugin",
        "output": answer["output"],
        "senderID": "admin",
        "state": "completed",
        "thingID": "Admin",
    }
    assert (answer["error"], answer["thingID"], answer["senderID"]) == (None, "Admin", "")
    assert set(answer) == {
        "messageType", "operation", "thingID", "name", "correlationID", "messageID", "timestamp", "senderID", "error",
        "output", "value",
    }  # fmt: skip
    recorder.answer = lambda request: None
    assert consumer.invoke_action("launcher", "Admin", "nothing") is None
    assert hub.router.dropped == []


def test_errors_have_status_400_and_tell_all_in_the_title(hub: Hub, connect: Connect) -> None:
    agent, recorder = connect(hub, "launcher")
    consumer, _ = connect(hub, "admin", agent=False)

    def refuse(request: Request) -> None:
        agent.respond_error(request, "no such plugin", detail="it is gone", status=404)

    recorder.on_request = refuse
    with pytest.raises(HubError, match="no such plugin: it is gone"):
        consumer.invoke_action("launcher", "Admin", "startPlugin", "x")
    answer = next(f for f in sent(hub, "launcher") if f["messageType"] == "response")
    assert (answer["error"]["status"], answer["error"]["type"]) == (400, "Bad request")
    assert "output" not in answer
    assert answer["value"]["error"] == answer["error"]

    recorder.on_request = lambda request: 1 / 0
    with pytest.raises(HubError, match="internal error"):
        consumer.invoke_action("launcher", "Admin", "broken")
    recorder.on_request = lambda request: agent.respond(request, {"not": object()})
    with pytest.raises(HubError, match="cannot be sent"):
        consumer.invoke_action("launcher", "Admin", "object")


def test_writeproperty_is_answered(hub: Hub, connect: Connect) -> None:
    _, recorder = connect(hub, "launcher")
    recorder.answer = lambda request: None
    answers: list[dict[str, Any]] = []
    hub.call(lambda: hub.router.receive(hub.router.connect("admin", answers.append), json.dumps({
        "messageType": "request", "operation": "writeproperty", "thingID": "dtw:launcher:plugin-x", "name": "running",
        "input": True, "correlationID": "w1",
    })))  # fmt: skip
    wait_until(lambda: answers)
    assert (recorder.requests[0].operation, recorder.requests[0].input) == ("writeproperty", True)
    assert (answers[0]["messageType"], answers[0]["error"], answers[0]["value"]) == ("response", None, None)


def test_answers_out_of_order_and_from_other_threads(hub: Hub, connect: Connect) -> None:
    agent, recorder = connect(hub, "launcher")
    consumer, _ = connect(hub, "admin", agent=False)
    waiting: list[Request] = []
    recorder.on_request = waiting.append
    results: dict[int, Any] = {}
    threads = [
        threading.Thread(target=lambda n=n: results.update({n: consumer.invoke_action("launcher", "Admin", "echo", n)}))
        for n in range(20)
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(waiting) == 20)
    for request in reversed(waiting):
        agent.respond(request, request.input * 10)
    for thread in threads:
        thread.join(5)
    assert results == {n: n * 10 for n in range(20)}


def test_a_request_without_answer_times_out_and_the_late_answer_is_ignored(hub: Hub, connect: Connect) -> None:
    agent, recorder = connect(hub, "launcher")
    consumer, _ = connect(hub, "admin", agent=False)
    waiting: list[Request] = []
    recorder.on_request = waiting.append
    with pytest.raises(RequestTimeout, match="did not answer slow"):
        consumer.invoke_action("launcher", "Admin", "slow", timeout=0.1)
    agent.respond(waiting[0], 1).result(5)
    with pytest.raises(HubError, match="Agent 'nobody' not reachable"):
        consumer.invoke_action("nobody", "Admin", "x")


def test_a_connection_that_is_no_agent_refuses_requests(hub: Hub, connect: Connect) -> None:
    connect(hub, "launcher", agent=False)
    consumer, _ = connect(hub, "admin", agent=False)
    with pytest.raises(HubError, match="takes no requests"):
        consumer.invoke_action("launcher", "Admin", "listPlugins")


def test_account_service(hub: Hub, connect: Connect) -> None:
    client, _ = connect(hub, "launcher")
    token = client.invoke_action("authn", "Admin", "addService", {"clientID": "p", "pubKey": "PEM"}, right=Right.ADMIN)
    assert token == (hub.certs / "p.token").read_text()
    assert not (hub.certs / "p.key").exists()
    assert client.invoke_action("authn", "Admin", "getClientProfile", "p")["pubKey"] == "PEM"


def test_listener_and_observer_cannot_block_themselves(hub: Hub, connect: Connect) -> None:
    agent, recorder = connect(hub, "launcher")
    consumer, _ = connect(hub, "admin", agent=False)
    failures: list[Exception] = []

    def ask(request: Request) -> None:
        try:
            agent.invoke_action("authn", "Admin", "getProfiles")
        except RuntimeError as error:
            failures.append(error)
        agent.respond(request)

    recorder.on_request = ask
    consumer.invoke_action("launcher", "Admin", "x")
    assert "must not be called" in str(failures[0])


# -- frames that are large, broken or strange


def test_large_frames(hub: Hub, connect: Connect) -> None:
    _, recorder = connect(hub, "launcher")
    consumer, _ = connect(hub, "admin", agent=False)
    recorder.answer = lambda request: request.input * 3
    text = "ä" * 1_000_000
    assert consumer.invoke_action("launcher", "Admin", "echo", text) == text * 3
    assert consumer.invoke_action("launcher", "Admin", "echo", "x") == "xxx"


@pytest.mark.parametrize(
    "frame",
    [
        "this is no json",
        "[1, 2]",
        '{"messageType": "query"}',
        '{"operation": "ping"}',
        '{"messageType": "request", "operation": 5, "correlationID": "x"}',
        '{"messageType": "response", "correlationID": "unknown"}',
        '{"messageType": "response", "correlationID": 7}',
        '{"messageType": "notification", "operation": "subscribeevent", "thingID": "no twin", "name": "x"}',
        '{"messageType": "notification", "operation": "invokeaction", "thingID": "dtw:a:b", "value": {}}',
        "\ud800".encode("utf-8", "surrogatepass"),
        "[" * 100_000,
    ],
    ids=lambda frame: str(frame[:40]),
)
def test_strange_frames_of_the_hub_are_ignored(hub: Hub, connect: Connect, frame: str | bytes) -> None:
    agent, recorder = connect(hub, "launcher")
    observe(agent, EVENT)
    data = frame if isinstance(frame, bytes) else frame.encode()
    hub.call(lambda: hub.router.connections[0].send_raw(data))
    assert agent.invoke_action("authn", "Admin", "getClientProfile", "launcher")["clientID"] == "launcher"
    assert recorder.disconnected == []


HIVEKIT = {
    "messageType": "response", "operation": "invokeaction", "senderID": "authn", "thingID": "authn:admin",
    "timestamp": "2026-08-21T00:00:00Z",
}  # fmt: skip


@pytest.mark.parametrize(
    "answer",
    [
        {"output": 5, "status": "completed"},
        {"output": 5, "status": {"state": "completed", "output": 5}, "error": None},
        {"value": {"state": "completed", "output": 5}},
        {"value": 5},
    ],
)
def test_answers_of_hub_and_hivekit_are_understood(hub: Hub, connect: Connect, answer: dict[str, Any]) -> None:
    client, _ = connect(hub, "launcher")
    hub.call(lambda: setattr(hub.router, "receive", lambda connection, text: connection.send(
        HIVEKIT | answer | {"correlationID": json.loads(text)["correlationID"]}
    )))  # fmt: skip
    assert client.invoke_action("authn", "Admin", "x") == 5


def test_notifications_of_hivekit_are_understood(hub: Hub, connect: Connect) -> None:
    client, _ = connect(hub, "admin", agent=False)
    seen = observe(client, EVENT, PROPERTY)
    note = {"messageType": "notification", "thingID": "dtw:a:b", "name": "n", "timestamp": "t"}
    hub.call(lambda: hub.router.connections[0].send(note | {"affordanceType": "event", "value": 1}))
    hub.call(lambda: hub.router.connections[0].send(note | {"operation": "observeproperty", "data": 2}))
    many = {"messageType": "notification", "operation": "observeallproperties", "thingID": "dtw:a:b"}
    hub.call(lambda: hub.router.connections[0].send(many | {"value": {"x": 3}}))
    wait_until(lambda: len(seen) == 3)
    assert [(n.kind, n.agent_id, n.thing_id, n.name, n.value) for n in seen] == [
        (EVENT, "a", "b", "n", 1),
        (PROPERTY, "a", "b", "n", 2),
        (PROPERTY, "a", "b", "x", 3),
    ]


# -- logging in, losing and finding the hub


def test_headers(hub: Hub, connect: Connect) -> None:
    connect(hub, "launcher")
    _, headers = hub.logins[0]
    assert headers["authorization"] == f"bearer {(hub.certs / 'launcher.token').read_text()}"
    assert headers["cid"].startswith("wss-")
    assert headers["clientid"] == "launcher"
    assert not {"origin", "sec-websocket-protocol", "sec-websocket-extensions"} & set(headers)


def test_a_wrong_token_is_refused_slowly_and_a_new_one_is_read(hub: Hub, connect: Connect) -> None:
    account = hub.account("launcher")
    good = account.token_file.read_text()
    account.token_file.unlink()
    account.token_file.write_text(good[:-3] + "AAA\n")
    client, recorder = connect(hub, "launcher", wait=False)
    with pytest.raises(HubRefused, match=r"refuses the login of 'launcher' .*launcher\.token \(bad signature\)"):
        client.wait_connected(5)
    wait_until(lambda: recorder.refused)
    account.token_file.write_text(good + "\n")
    begin = time.monotonic()
    wait_until(lambda: recorder.connected, what="login with the new token")
    assert time.monotonic() - begin < 1.5
    assert client.connected


def test_wrong_paths_servers_and_names_are_told(hub: Hub, tmp_path: Path) -> None:
    good = hub.account("launcher")
    (tmp_path / "other").mkdir()
    other = Hub(tmp_path / "other")
    other.prepare()

    def reason(url: str, account: Account = good) -> str:
        client = WssHubClient(url, account)
        client.start()
        try:
            with pytest.raises(HubError) as failed:
                client.wait_connected(0.4)
            return str(failed.value)
        finally:
            client.close()

    assert "has no websocket at wss://localhost" in reason(f"wss://localhost:{hub.port}/nosuchpath")
    assert "host name nowhere.invalid is not known" in reason("wss://nowhere.invalid")
    stranger = Account("launcher", good.token_file, other.certs / "caCert.pem")
    assert "is not trusted by" in reason(hub.url, stranger)
    hub.refuse = 503
    assert "takes no connections now: 503" in reason(hub.url)
    hub.stop()
    assert f"nothing listens on localhost:{hub.port}" in reason(hub.url)


@pytest.mark.parametrize(
    ("url", "full"),
    [
        ("wss://localhost", "wss://localhost:8444/wot/wss"),
        ("wss://hub.lan/", "wss://hub.lan:8444/wot/wss"),
        ("wss://[::1]:5/hiveot/wss", "wss://[::1]:5/hiveot/wss"),
        ("wss://localhost/wot/wss", "wss://localhost:8444/wot/wss"),
    ],
)
def test_good_urls(url: str, full: str) -> None:
    assert parse_url(url).text == full


@pytest.mark.parametrize("url", ["ws://localhost", "wss://", "wss://x:y", "wss://user@host", "wss://["])
def test_bad_urls(url: str, hub: Hub) -> None:
    with pytest.raises(HubError):
        WssHubClient(url, hub.account("launcher"))


def test_files_that_come_late_are_waited_for(hub: Hub, connect: Connect, tmp_path: Path) -> None:
    (hub.certs / "launcher.token").rename(tmp_path / "token")
    client, recorder = connect(hub, "launcher", wait=False)
    with pytest.raises(HubUnavailable, match=r"launcher\.token does not exist yet"):
        client.wait_connected(0.2)
    (tmp_path / "token").rename(hub.certs / "launcher.token")
    client.wait_connected(5)
    assert recorder.refused == []


def test_the_token_is_read_after_the_hub_listens(hub: Hub, connect: Connect) -> None:
    """The runtime writes new tokens at each start, before it listens: an old one must never be sent."""
    hub.stop()
    (hub.certs / "authn.key").unlink()  # tokens of before are worth nothing
    (hub.certs / "launcher.token").unlink()
    (hub.certs / "launcher.token").write_text("v4.public.old")
    _, recorder = connect(hub, "launcher", wait=False)
    time.sleep(0.1)  # some attempts
    hub.begin_again()
    hub.start()
    wait_until(lambda: recorder.connected)
    assert recorder.refused == []


def test_hub_restart_everything_in_flight_fails_and_the_connection_comes_back(hub: Hub, connect: Connect) -> None:
    agent, recorder = connect(hub, "launcher")
    agent.publish_td(DOCUMENT).result(5)
    consumer, _ = connect(hub, "admin", agent=False)
    events = observe(consumer, EVENT, agent_id="launcher")
    hub.silent = True
    time.sleep(0.05)
    in_flight = [agent.publish_event("Admin", "lost", n) for n in range(50)]
    failures: list[HubError] = []
    asking = threading.Thread(target=lambda: failures.append(failure_of(consumer)))
    asking.start()
    hub.stop()
    for future in in_flight:
        assert isinstance(future.exception(5), HubUnavailable)
    asking.join(5)
    assert isinstance(failures[0], HubUnavailable)
    wait_until(lambda: recorder.disconnected)
    with pytest.raises(HubUnavailable, match="not connected"):
        agent.publish_event("Admin", "x", 1).result(0)

    hub.silent = False
    hub.begin_again()
    hub.start()
    begin = time.monotonic()
    wait_until(lambda: recorder.connected == 2 and consumer.connected)
    assert time.monotonic() - begin < 1.0
    agent.publish_td(DOCUMENT)

    def heard() -> bool:  # the consumer's subscription comes a moment after its connection
        agent.publish_event("Admin", "after", 1).result(5)
        return any(n.name == "after" for n in events)

    wait_until(heard)
    assert not [n for n in events if n.name == "lost"]


def test_a_hub_that_says_nothing_any_more_is_given_up(
    hub: Hub, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wss_session, "KEEP_ALIVE", 0.2)
    monkeypatch.setattr(wss_session, "PONG_TIMEOUT", 0.3)
    _, recorder = connect(hub, "launcher")
    time.sleep(0.8)  # several keep-alives
    assert recorder.disconnected == []
    hub.silent = True
    wait_until(lambda: recorder.disconnected)
    assert "does not answer any more" in recorder.disconnected[0]


def test_what_the_hub_has_not_read_is_bounded(hub: Hub, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wss_link, "MAX_PENDING", 10)
    agent, _ = connect(hub, "launcher")
    hub.silent = True
    time.sleep(0.05)
    futures = [agent.publish_property("Admin", f"p{n}", n) for n in range(30)]
    assert sum(isinstance(f.exception(0), HubUnavailable) for f in futures if f.done()) == 20
    hub.silent = False
    for future in futures[:10]:
        assert future.result(5) is None


def test_a_slow_hub_does_not_block_publishers(hub: Hub, connect: Connect) -> None:
    agent, _ = connect(hub, "launcher")
    hub.silent = True
    time.sleep(0.05)
    begin = time.monotonic()
    futures = [agent.publish_property("Admin", f"p{n}", "x" * 200_000) for n in range(60)]
    assert time.monotonic() - begin < 2.0
    hub.silent = False
    for future in futures:
        assert future.result(20) is None


def test_setup_requests_that_are_not_answered_fail_in_time(
    hub: Hub, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hiveot_supervisor.hub.wss.SET_UP_TIMEOUT", 0.1)
    monkeypatch.setattr(wss_session, "TICK", 0.1)
    agent, _ = connect(hub, "launcher")
    hub.call(lambda: setattr(hub.router, "receive", lambda connection, text: None))
    with pytest.raises(HubUnavailable, match="did not answer in time: updateThing"):
        agent.publish_td(DOCUMENT).result(5)


def test_close_is_clean_and_final(hub: Hub, connect: Connect) -> None:
    before = threading.active_count()
    client, recorder = connect(hub, "launcher")
    assert threading.active_count() == before + 2
    client.close()
    client.close()
    wait_until(lambda: not hub.router.connections)
    assert threading.active_count() == before
    assert recorder.disconnected in ([], ["the connection was closed"])
    with pytest.raises(HubUnavailable):
        client.publish_event("Admin", "x", 1).result(0)
    with pytest.raises(RuntimeError):
        client.start()
    never = WssHubClient(hub.url, hub.account("launcher"))
    never.close()


def test_the_token_never_gets_into_the_log(hub: Hub, connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    _, recorder = connect(hub, "launcher")
    wait_until(lambda: recorder.connected)
    token = (hub.certs / "launcher.token").read_text()
    assert [r for r in caplog.records if r.name.startswith("hiveot")]
    assert not [r for r in caplog.records if token in r.getMessage() and not r.name.startswith("websockets.server")]


def test_three_thousand_lists_on_one_connection(hub: Hub, connect: Connect) -> None:
    _, recorder = connect(hub, "launcher")
    consumer, _ = connect(hub, "admin", agent=False)
    infos = [
        {"pluginID": f"plugin{n:02d}", "execPath": f"/h/plugins/plugin{n:02d}", "running": True} for n in range(50)
    ]
    recorder.answer = lambda request: infos
    hub.frames = _Nowhere()
    times = []
    for n in range(3000):
        begin = time.perf_counter()
        assert len(consumer.invoke_action("launcher", "Admin", "listPlugins", False)) == 50
        times.append(time.perf_counter() - begin)
        recorder.requests.clear()
        if n == 500:
            gc.collect()
            resident = _resident()
    gc.collect()
    assert statistics.median(times) < 0.030
    assert _resident() - resident < 8_000_000
    assert hub.router.dropped == []


class _Nowhere(list[Any]):
    def append(self, item: Any) -> None:
        pass


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_nothing_is_left_open(hub: Hub, connect: Connect) -> None:
    connect(hub, "launcher")[0].close()
    gc.collect()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        connect(hub, "launcher")[0].close()
    wait_until(lambda: not hub.router.connections)
    gc.collect()
    wait_until(lambda: len(list(Path("/proc/self/fd").iterdir())) <= before)


def test_a_new_connection_is_described_to_before_anything_else(hub: Hub, connect: Connect) -> None:
    """Also when the owner is late with its description: the hub would drop the rest without a word."""
    agent, recorder = connect(hub, "launcher")
    agent.publish_td(DOCUMENT).result(5)
    hub.restart(graceful=False)
    wait_until(lambda: recorder.connected == 2)
    assert agent.publish_property("Admin", "nrRunning", 1).result(5) is None
    assert agent.publish_event("Admin", "started", 1).result(5) is None
    names = [f["name"] for f in sent(hub, "launcher")]
    assert names.count("updateThing") == 2
    assert hub.router.dropped == []


def test_what_counts_as_delivered_was_delivered_though_the_hub_is_killed_again_and_again(
    hub: Hub, connect: Connect
) -> None:
    agent, recorder = connect(hub, "launcher")
    recorder.on_connected = lambda: agent.publish_td(DOCUMENT)
    agent.publish_td(DOCUMENT).result(5)
    ended = threading.Event()

    def kill() -> None:
        while not ended.wait(0.15):
            hub.restart(graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    delivered, failures = [], 0
    deadline = time.monotonic() + 30
    while len(delivered) < 1000 and time.monotonic() < deadline:
        try:
            agent.publish_event("Admin", "started", len(delivered)).result(5)
            delivered.append(len(delivered))
        except HubUnavailable:
            failures += 1
            time.sleep(0.005)
    ended.set()
    killer.join()
    assert delivered == list(range(1000))

    def told() -> list[int]:
        return list(dict.fromkeys(f["value"] for f in sent(hub, "launcher") if f.get("name") == "started"))

    wait_until(lambda: len(told()) >= 1000)  # the last one was read, not yet handled
    assert told() == delivered
    assert failures > 0
    assert recorder.refused == []  # nobody else uses the ID, and nothing says so
    assert hub.router.dropped == []
