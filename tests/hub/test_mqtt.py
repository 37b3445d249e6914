"""The MQTT binding on real brokers: what the hub port promises."""

from __future__ import annotations

import json
import statistics
import threading
import time
from concurrent.futures import Future
from typing import Any

import pytest
from fakes.brokers import Broker
from fakes.hubs import RawClient
from fakes.wait import wait_until

from hiveot_supervisor.clock import iso8601, parse_iso8601
from hiveot_supervisor.errors import HubError, HubRefused, HubUnavailable, RequestTimeout
from hiveot_supervisor.hub.admission import Allowance
from hiveot_supervisor.hub.client import Notification, NotificationKind, Request, Right
from hiveot_supervisor.hub.mqtt import MqttHubClient
from hiveot_supervisor.hub.wire import MAX_SENT

TD, PROPERTY, EVENT, PRESENCE = (
    NotificationKind.TD,
    NotificationKind.PROPERTY,
    NotificationKind.EVENT,
    NotificationKind.PRESENCE,
)


def observe(client: MqttHubClient, *kinds: NotificationKind, agent_id: str = "") -> list[Notification]:
    got: list[Notification] = []
    client.subscribe(kinds, got.append, agent_id=agent_id).result(5)
    return got


def request_message(**changes: Any) -> dict[str, Any]:
    message = {
        "messageType": "request",
        "operation": "invokeaction",
        "thingID": "Admin",
        "name": "list",
        "correlationID": "c1",
        "messageID": "m1",
        "replyTo": "hiveot/inbox/admin/raw/launcher",
    }
    return message | changes


def test_td_and_property_are_kept_for_late_subscribers_and_events_come_once(broker: Broker, connect: Any) -> None:
    agent, _ = connect(broker, "launcher")
    early = observe(connect(broker, "admin", agent=False)[0], EVENT, agent_id="launcher")
    created = "2026-11-23T07:09:08.769Z"
    assert agent.publish_td({"id": "kept", "title": "Größe"}).result(5) is None
    agent.publish_property("kept", "count", 3).result(5)
    agent.publish_event("kept", "started", {"a": [1]}, seq=7, epoch="e1", created=created).result(5)
    agent.publish_event("kept", "last", None).result(5)

    wait_until(lambda: [n for n in early if n.name == "last"])
    late = observe(connect(broker, "viewer", agent=False)[0], TD, PROPERTY, EVENT)
    wait_until(lambda: len([n for n in late if n.thing_id == "kept"]) == 2)
    started = [n for n in early if n.name == "started"]
    assert started == [Notification(EVENT, "launcher", "kept", "started", {"a": [1]}, created, 7, "e1")]
    kept = {n.kind: n for n in late if n.thing_id == "kept"}
    assert kept[TD] == Notification(TD, "launcher", "kept", "", {"id": "kept", "title": "Größe"})
    assert kept[PROPERTY] == Notification(PROPERTY, "launcher", "kept", "count", 3)

    agent.remove_td("kept").result(5)
    wait_until(lambda: [n for n in late if n.kind is TD and n.value is None])
    later = observe(connect(broker, "viewer", agent=False)[0], TD, PROPERTY)
    wait_until(lambda: [n for n in later if n.thing_id == "kept"])
    assert [n.kind for n in later if n.thing_id == "kept"] == [PROPERTY]


def test_the_wire_is_what_the_design_says(broker: Broker, connect: Any) -> None:
    with RawClient(broker, "admin", filters=["hiveot/event/#", "hiveot/prop/#", "hiveot/td/#"]) as raw:
        agent, _ = connect(broker, "sleeper")
        agent.publish_td({"id": "wire"})
        agent.publish_property("wire", "on", False)
        agent.publish_event("wire", "ping", 1, seq=2, epoch="e").result(5)
        message = wait_until(lambda: raw.on("hiveot/event/sleeper/wire/ping"))[0]
        # NATS keeps the order within a subscription only
        assert wait_until(lambda: raw.on("hiveot/td/sleeper/wire")) == [{"id": "wire"}]
        assert wait_until(lambda: raw.on("hiveot/prop/sleeper/wire/on")) == [False]
    assert abs(parse_iso8601(message.pop("timestamp")) - time.time()) < 5
    assert len(message.pop("messageID")) == 32
    assert message == {
        "messageType": "notification",
        "operation": "subscribeevent",
        "thingID": "wire",
        "name": "ping",
        "value": 1,
        "senderID": "sleeper",
        "seq": 2,
        "epoch": "e",
    }


def test_request_and_response(broker: Broker, connect: Any) -> None:
    agent, recorder = connect(broker, "launcher")
    consumer, _ = connect(broker, "admin", agent=False)
    assert consumer.invoke_action("launcher", "Admin", "listPlugins", [1], right=Right.READ) == {
        "name": "listPlugins",
        "input": [1],
    }
    request = recorder.requests[0]
    assert (request.thing_id, request.operation, request.sender) == ("Admin", "invokeaction", "admin")
    assert request.right is Right.READ
    recorder.answer = lambda request: None
    assert consumer.invoke_action("launcher", "Admin", "nothing") is None
    assert recorder.requests[1].right is Right.ACTION
    assert agent.connected


def test_error_answers_become_errors(broker: Broker, connect: Any) -> None:
    agent, recorder = connect(broker, "launcher")
    consumer, _ = connect(broker, "admin", agent=False)

    def refuse(request: Request) -> None:
        status = 403 if request.name == "secret" else 404
        agent.respond_error(request, "no such plugin", detail="it is gone", status=status)

    recorder.on_request = refuse
    with pytest.raises(HubError, match="no such plugin") as failed:
        consumer.invoke_action("launcher", "Admin", "startPlugin")
    assert (failed.value.why, type(failed.value)) == ("it is gone", HubError)
    with pytest.raises(HubRefused):
        consumer.invoke_action("launcher", "Admin", "secret")

    recorder.on_request = lambda request: 1 / 0
    with pytest.raises(HubError, match="internal error"):
        consumer.invoke_action("launcher", "Admin", "broken")
    recorder.on_request = lambda request: agent.respond(request, {"not": object()})
    with pytest.raises(HubError, match="cannot be sent"):
        consumer.invoke_action("launcher", "Admin", "object")
    recorder.on_request = lambda request: agent.respond(request, "x" * 2_000_000)
    with pytest.raises(HubError, match="cannot be sent"):
        consumer.invoke_action("launcher", "Admin", "huge")


def test_no_answer_is_a_timeout_and_nobody_there_is_told(broker: Broker, connect: Any) -> None:
    _, recorder = connect(broker, "launcher")
    consumer, _ = connect(broker, "admin", agent=False)
    recorder.on_request = lambda request: None
    with pytest.raises(RequestTimeout, match="launcher did not answer list"):
        consumer.invoke_action("launcher", "Admin", "list", timeout=0.1)
    with pytest.raises((HubUnavailable, RequestTimeout)):
        consumer.invoke_action("missing", "Admin", "list", timeout=0.2)


def test_answers_may_come_later_and_from_another_thread(broker: Broker, connect: Any) -> None:
    agent, recorder = connect(broker, "launcher")
    consumer, _ = connect(broker, "admin", agent=False)

    def later(request: Request) -> None:
        threading.Thread(target=lambda: agent.respond(request, request.input)).start()

    recorder.on_request = later
    results: dict[int, Any] = {}
    threads = [
        threading.Thread(target=lambda n=n: results.update({n: consumer.invoke_action("launcher", "Admin", "echo", n)}))
        for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert results == {n: n for n in range(20)}


def test_which_requests_are_taken(broker: Broker, connect: Any) -> None:
    """Expired, retained, foreign and repeated requests, and rubbish, sent by a stranger's client."""
    _, recorder = connect(broker, "launcher")
    topic = "hiveot/config/launcher/Admin/list/admin"
    inbox = "hiveot/inbox/admin/raw/launcher"
    with RawClient(broker, "admin", filters=["hiveot/inbox/admin/#", "hiveot/inbox/viewer/#"]) as raw:
        raw.publish(topic, request_message(correlationID="old", expires=iso8601(time.time() - 60)))
        raw.publish(topic, request_message(correlationID="foreign", replyTo="hiveot/inbox/viewer/raw/launcher"))
        raw.publish(topic, b"\xff\x00 rubbish")
        raw.publish(topic, request_message(correlationID="wrong", name=7))
        raw.publish(topic, request_message(correlationID="other", thingID="Other"))
        raw.publish(topic, request_message(correlationID="fine", expires=iso8601(time.time() + 60)))
        wait_until(lambda: len(raw.on(inbox)) == 3)
        answers = {each["correlationID"]: each for each in raw.on(inbox)}
        assert set(answers) == {"wrong", "other", "fine"}
        assert answers["wrong"]["error"]["status"] == 400
        assert "thingID" in answers["other"]["error"]["detail"]
        assert answers["fine"]["output"] == {"name": "list", "input": None}
        assert (answers["fine"]["error"], answers["fine"]["senderID"]) == (None, "launcher")
        assert [(r.correlation_id, r.right) for r in recorder.requests] == [("fine", Right.CONFIG)]

        raw.publish(topic, request_message(correlationID="fine", input="again"))
        repeated = wait_until(lambda: raw.on(inbox)[3:])
        assert repeated == [answers["fine"]]
        assert len(recorder.requests) == 1

        for payload in (True, False, {}):
            raw.publish(topic, payload)
        raw.publish(topic, 3)
        wait_until(lambda: len(recorder.requests) == 4)
        bare = [(r.operation, r.input, r.reply_to) for r in recorder.requests[1:]]
        assert bare == [("writeproperty", True, ""), ("writeproperty", False, ""), ("invokeaction", None, "")]
        assert not [name for name, _, _ in raw.messages if name != inbox]


def test_retained_requests_are_ignored(own_broker: Broker, connect: Any) -> None:
    topic = "hiveot/action/launcher/Admin/list/admin"
    with RawClient(own_broker, "admin") as raw:
        raw.publish(topic, request_message(), retain=True)
    _, recorder = connect(own_broker, "launcher")
    consumer, _ = connect(own_broker, "admin", agent=False)
    assert consumer.invoke_action("launcher", "Admin", "marker")["name"] == "marker"
    assert [r.name for r in recorder.requests] == ["marker"]


def test_listener_and_observers_are_called_from_one_thread_and_may_fail(broker: Broker, connect: Any) -> None:
    agent, recorder = connect(broker, "launcher")
    threads: set[str] = set()

    def observer(notification: Notification) -> None:
        threads.add(threading.current_thread().name)
        raise ValueError("a broken observer")

    agent.subscribe([EVENT], observer).result(5)
    good = observe(agent, EVENT)
    agent.publish_event("Admin", "one", 1).add_done_callback(lambda _: threads.add(threading.current_thread().name))
    agent.publish_event("Admin", "two", 1).result(5)
    wait_until(lambda: [n for n in good if n.name == "two"])
    assert threads == {"hub-launcher-dispatch"} == recorder.threads


def test_waiting_calls_are_refused_in_the_dispatch_thread(broker: Broker, connect: Any) -> None:
    agent, _ = connect(broker, "launcher")
    done: Future[None] = agent.publish_event("Admin", "one", 1)
    caught: list[str] = []

    def callback(_: Future[None]) -> None:
        try:
            agent.invoke_action("authn", "Admin", "x")
        except RuntimeError as exc:
            caught.append(str(exc))

    observed: Future[None] = agent.subscribe([EVENT], lambda n: callback(done))
    observed.result(5)
    agent.publish_event("Admin", "two", 1)
    assert wait_until(lambda: caught)[0].startswith("invoke_action must not be called")


def test_request_and_response_are_fast(broker: Broker, connect: Any) -> None:
    """With Nagle's algorithm on either side this takes 44 ms and more."""
    connect(broker, "launcher")
    consumer, _ = connect(broker, "admin", agent=False)
    times = []
    for _ in range(40):
        begin = time.perf_counter()
        consumer.invoke_action("launcher", "Admin", "list")
        times.append(time.perf_counter() - begin)
    assert statistics.median(times) < 0.030


def test_too_large_or_impossible_messages_fail_and_the_connection_stays(broker: Broker, connect: Any) -> None:
    agent, recorder = connect(broker, "launcher")
    for publish in (
        lambda: agent.publish_event("Admin", "big", "x" * 1_100_000),
        lambda: agent.publish_property("Admin", "nan", float("nan")),
        lambda: agent.publish_property("Admin", "a/b", 1),
        lambda: agent.publish_property("Ad min", "a", 1),
        lambda: agent.publish_td({"id": "#"}),
        lambda: agent.remove_td("+"),
        lambda: agent.subscribe([EVENT], print, agent_id="#"),
    ):
        with pytest.raises(HubError):
            publish().result(5)
    agent.publish_property("Admin", "large", "x" * (MAX_SENT - 2)).result(10)
    agent.publish_property("Admin", "large", "").result(10)
    assert recorder.disconnected == []


def test_rights_are_told(broker: Broker, connect: Any) -> None:
    """A viewer may watch but receives no requests; whoever may nothing cannot observe."""
    _, recorder = connect(broker, "viewer", wait=False)
    wait_until(lambda: recorder.refused)
    assert "does not let 'viewer' receive" in recorder.refused[0]
    nobody, _ = connect(broker, "nobody", agent=False)
    with pytest.raises(HubRefused):
        nobody.subscribe([EVENT], print).result(5)
    if broker.kind == "mosquitto":  # MQTT 3.1.1 acknowledges what it drops
        with pytest.raises(HubRefused, match="does not allow nobody"):
            nobody.publish_event("Admin", "x", 1).result(5)


def test_presence(broker: Broker, connect: Any) -> None:
    watcher = observe(connect(broker, "viewer", agent=False)[0], PRESENCE)
    agent, _ = connect(broker, "sleeper", version="1.2.3")
    online = wait_until(lambda: [n for n in watcher if n.agent_id == "sleeper" and n.value["version"] == "1.2.3"])[-1]
    assert set(online.value) == {"state", "reason", "since", "host", "version"}
    assert online.value["state"] == "online"
    agent.close(reason="maintenance")
    offline = wait_until(lambda: [n for n in watcher if n.value["reason"] == "maintenance"])[-1]
    assert (offline.agent_id, offline.value["state"]) == ("sleeper", "offline")
    assert parse_iso8601(offline.value["since"]) > time.time() - 10
    agent.close()  # again: nothing happens
    with pytest.raises(HubUnavailable):
        agent.publish_event("Admin", "x", 1).result(0)


def test_people_publish_no_presence_and_do_not_disturb_the_agent(broker: Broker, connect: Any) -> None:
    watcher = observe(connect(broker, "viewer", agent=False)[0], PRESENCE)
    agent, recorder = connect(broker, "launcher")
    beside = [connect(broker, "launcher", agent=False)[0] for _ in range(3)]
    for each in beside:
        assert each.invoke_action("launcher", "Admin", "list")["name"] == "list"
        each.close()
    agent.publish_event("Admin", "x", 1).result(5)
    assert recorder.disconnected == []
    wait_until(lambda: [n.value["state"] for n in watcher if n.agent_id == "launcher"][-1:] == ["online"])


def test_close_leaves_no_thread(broker: Broker, connect: Any) -> None:
    before = set(threading.enumerate())
    client, _ = connect(broker, "launcher")
    assert len(set(threading.enumerate()) - before) == 2
    client.close()
    assert set(threading.enumerate()) - before == set()


def test_subscribing_before_start(broker: Broker, connect: Any) -> None:
    client = MqttHubClient(broker.url, broker.account("viewer"), agent=False)
    got: list[Notification] = []
    subscribed = client.subscribe([PRESENCE], got.append)
    client.start()
    try:
        subscribed.result(5)
        connect(broker, "sleeper")
        wait_until(lambda: [n for n in got if n.agent_id == "sleeper" and n.value["state"] == "online"])
    finally:
        client.close()


def test_a_publish_is_not_repeated_to_the_sender(broker: Broker, connect: Any) -> None:
    """Many events at once: each arrives once, in order."""
    agent, _ = connect(broker, "launcher")
    got = observe(connect(broker, "admin", agent=False)[0], EVENT, agent_id="launcher")
    futures = [agent.publish_event("burst", "tick", n, seq=n) for n in range(300)]
    for future in futures:
        future.result(10)
    wait_until(lambda: len([n for n in got if n.thing_id == "burst"]) >= 300)
    assert [n.seq for n in got if n.thing_id == "burst"] == list(range(300))
    assert json.dumps([n.value for n in got if n.thing_id == "burst"]) == json.dumps(list(range(300)))


def test_one_sender_can_only_have_so_many_requests_unanswered(broker: Broker, connect: Any) -> None:
    agent, recorder = connect(broker, "launcher", allowance=Allowance(unanswered=5))
    held: list[Request] = []

    def hold_admins(request: Request) -> None:
        if request.sender == "admin":
            held.append(request)
        else:
            agent.respond(request, "served")

    recorder.on_request = hold_admins
    viewer, _ = connect(broker, "viewer", agent=False)
    inbox = "hiveot/inbox/admin/raw/launcher"
    with RawClient(broker, "admin", filters=[inbox]) as raw:
        for number in range(8):
            message = request_message(correlationID=f"c{number}")
            raw.publish("hiveot/config/launcher/Admin/list/admin", message)
        wait_until(lambda: len(held) + len(raw.on(inbox)) == 8)
        assert [request.correlation_id for request in held] == [f"c{n}" for n in range(5)]
        assert {(a["correlationID"], a["error"]["status"]) for a in raw.on(inbox)} == {
            (f"c{n}", 429) for n in (5, 6, 7)
        }
        assert viewer.invoke_action("launcher", "Admin", "list", right=Right.READ) == "served"
        for request in held:
            agent.respond(request, "late").result(5)
        wait_until(lambda: len(raw.on(inbox)) == 8)
        raw.publish("hiveot/config/launcher/Admin/list/admin", request_message(correlationID="c5"))
        wait_until(lambda: len(held) == 6, what="a refused request that is sent again")
