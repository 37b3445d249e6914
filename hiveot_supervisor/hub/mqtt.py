"""`MqttHubClient`: the hub port over MQTT (docs/mqtt-hub.md).

Owns what topics and envelopes mean: publishing, presence, requests and their answers, our own requests, observers.
Nothing is kept for later: without a connection a publish fails at once, and when the connection breaks everything
unacknowledged fails; whoever needs more has an outbox. Connecting and threads are `mqtt_link`'s.
"""

from __future__ import annotations

import logging
import secrets
import socket
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from hiveot_supervisor.clock import Clock, SystemClock, iso8601
from hiveot_supervisor.errors import HubError
from hiveot_supervisor.hub import requests, topics
from hiveot_supervisor.hub.admission import Admission, Allowance
from hiveot_supervisor.hub.client import (
    Account,
    HubListener,
    NotificationKind,
    Observer,
    Request,
    Right,
)
from hiveot_supervisor.hub.limitlog import LimitedLog
from hiveot_supervisor.hub.messages import NotificationMessage, Operation, ResponseMessage, encode, new_id
from hiveot_supervisor.hub.mqtt_calls import Calls
from hiveot_supervisor.hub.mqtt_link import Link, parse_url
from hiveot_supervisor.hub.mqtt_observe import Observers
from hiveot_supervisor.hub.mqtt_session import Incoming
from hiveot_supervisor.hub.values import ErrorValue
from hiveot_supervisor.hub.wire import BadMessage, encode_json

log = logging.getLogger("hiveot.hub")


class MqttHubClient:
    """One account's connection to an MQTT hub; see `hub.client.HubClient` for the methods.

    url: `mqtts://host:port`. agent: publish presence, receive requests, and use the account ID as MQTT client ID;
    otherwise the client ID is `{account}-{instance}`, so that any number of them can be connected beside the agent.
    instance: names this process in its inbox, random by default. version: shown in presence. allowance: how much one
    sender may ask; more is answered with an error.
    """

    def __init__(
        self,
        url: str,
        account: Account,
        *,
        agent: bool = True,
        instance: str | None = None,
        version: str = "",
        clock: Clock | None = None,
        allowance: Allowance | None = None,
    ) -> None:
        self._id = account.client_id
        self._agent = agent
        self._version = version
        self._clock: Clock = clock or SystemClock()
        self._instance = instance or secrets.token_hex(4)
        self._limited = LimitedLog(log, self._clock.monotonic)
        self._answers = requests.Answers()
        self._admission = Admission(allowance)
        self._listener: HubListener | None = None
        self._lock = threading.Lock()  # guards what follows
        self._started = False
        self._closed = False
        subscriptions = [topics.inbox_filter(self._id, self._instance)]
        if agent:
            subscriptions += topics.request_filters(self._id)
        self._link = Link(
            parse_url(url),
            account,
            self,
            client_id=self._id if agent else f"{self._id}-{self._instance}",
            subscriptions=subscriptions,
            will=self._will() if agent else None,
            clock=self._clock,
        )
        self._calls = Calls(self._link, self._id, self._instance, self._clock)
        self._observers = Observers(self._link, self._limited)

    # the port: connection

    @property
    def connected(self) -> bool:
        return self._link.connected

    def start(self, listener: HubListener | None = None) -> None:
        with self._lock:
            if self._started or self._closed:
                raise RuntimeError("a hub client is started once")
            self._started = True
        self._listener = listener
        self._link.start()

    def wait_connected(self, timeout: float) -> None:
        self._not_in_dispatch("wait_connected")
        self._link.wait(timeout)

    def close(self, *, reason: str = "stopped", timeout: float = 2.0) -> None:
        self._not_in_dispatch("close")
        with self._lock:
            if self._closed:
                return
            self._closed = True
        if self._agent and self._link.connected:
            offline = self._publish_presence("offline", reason)
            try:
                offline.result(timeout)
            except (HubError, FutureTimeout) as exc:
                log.debug("presence 'offline' was not acknowledged: %s", exc)
        self._link.close(timeout)
        self._calls.fail_all("the connection was closed")
        self._observers.close()

    # the port: publishing

    def publish_td(self, td: Mapping[str, Any]) -> Future[None]:
        return self._publish_json(lambda: topics.td(self._id, str(td.get("id", ""))), td, retain=True)

    def remove_td(self, thing_id: str, properties: Sequence[str] = ()) -> Future[None]:
        try:
            stored = [topics.prop(self._id, thing_id, name) for name in properties]
            topic = topics.td(self._id, thing_id)
        except HubError as exc:
            return _failed(exc)
        for each in stored:
            self._link.publish(each, b"", retain=True)
        return self._link.publish(topic, b"", retain=True)

    def set_permissions(self, thing_id: str, allow: Sequence[str]) -> Future[None]:
        return _done()

    def publish_event(
        self,
        thing_id: str,
        name: str,
        value: Any,
        *,
        seq: int | None = None,
        epoch: str | None = None,
        created: str = "",
    ) -> Future[None]:
        message = NotificationMessage(
            operation=Operation.SUBSCRIBE_EVENT,
            thing_id=thing_id,
            name=name,
            value=value,
            message_id=new_id(),
            timestamp=created or self._now(),
            sender_id=self._id,
            seq=seq,
            epoch=epoch,
        )
        return self._publish_json(lambda: topics.event(self._id, thing_id, name), message.to_json())

    def publish_property(self, thing_id: str, name: str, value: Any) -> Future[None]:
        return self._publish_json(lambda: topics.prop(self._id, thing_id, name), value, retain=True)

    # the port: answering requests

    def respond(self, request: Request, output: Any = None) -> Future[None]:
        try:
            return self._answer(request, self._response(request, output=output))
        except BadMessage as exc:
            self.respond_error(request, "the answer cannot be sent", detail=exc.why, status=500)
            return _failed(exc)

    def respond_error(self, request: Request, title: str, *, detail: str = "", status: int = 400) -> Future[None]:
        error = ErrorValue.make(title, detail=detail, status=status)
        return self._answer(request, self._response(request, error=error))

    def _response(self, request: Request, *, output: Any = None, error: ErrorValue | None = None) -> ResponseMessage:
        return ResponseMessage(
            operation=request.operation,
            thing_id=request.thing_id,
            name=request.name,
            correlation_id=request.correlation_id,
            output=output,
            error=error,
            message_id=new_id(),
            timestamp=self._now(),
            sender_id=self._id,
        )

    def _answer(self, request: Request, response: ResponseMessage) -> Future[None]:
        """Remember the answer, then send it; the sender may have asked not to get one. Raises BadMessage."""
        payload = encode(response)
        self._admission.answered(request.sender)
        if request.correlation_id:
            self._answers.finish(request.sender, request.correlation_id, payload, self._clock.monotonic())
        if not request.reply_to:
            return _done()
        return self._link.publish(request.reply_to, payload)

    # the port: asking

    def invoke_action(
        self,
        agent_id: str,
        thing_id: str,
        name: str,
        input: Any = None,
        *,
        right: Right = Right.ACTION,
        timeout: float = 10.0,
    ) -> Any:
        self._not_in_dispatch("invoke_action")
        return self._calls.invoke(agent_id, thing_id, name, input, right, timeout)

    def subscribe(self, kinds: Iterable[NotificationKind], observer: Observer, *, agent_id: str = "") -> Future[None]:
        try:
            return self._observers.add(kinds, observer, agent_id)
        except HubError as exc:
            return _failed(exc)

    # the link's handler, in the dispatch thread

    def link_up(self) -> None:
        log.info("connected to the hub as %s", self._id)
        if self._agent:
            self._publish_presence("online", "").add_done_callback(self._presence_done)
        self._observers.link_up()
        if self._listener is not None:
            self._listener.on_connected()

    def link_down(self, reason: str) -> None:
        log.info("the connection to the hub is lost: %s", reason)
        self._observers.link_down()
        self._calls.fail_all(reason)
        if self._listener is not None:
            self._listener.on_disconnected(reason)

    def link_refused(self, reason: str) -> None:
        log.info("%s", reason)
        if self._listener is not None:
            self._listener.on_refused(reason)

    def link_message(self, incoming: Incoming) -> None:
        try:
            topic = topics.parse(incoming.topic)
            match topic.kind:
                case topics.Kind.REQUEST:
                    self._handle_request(topic, incoming)
                case topics.Kind.INBOX:
                    self._calls.handle(topic, incoming.payload)
                case topics.Kind.EVENT | topics.Kind.PROPERTY | topics.Kind.TD | topics.Kind.PRESENCE | topics.Kind.ACK:
                    self._observers.notify(topic, incoming.payload)
        except HubError as exc:
            self._limited.warning("bad", "a message on %s is ignored: %s", incoming.topic[:300], exc)

    def _refuse(self, request: Request, title: str, detail: str, status: int) -> None:
        """Answer a request that was not passed on. Nothing of it is remembered: it may come again."""
        self._answers.forget(request.sender, request.correlation_id)
        if request.reply_to:
            error = ErrorValue.make(title, detail=detail, status=status)
            self._link.publish(request.reply_to, encode(self._response(request, error=error)))

    def _handle_request(self, topic: topics.Topic, incoming: Incoming) -> None:
        if not self._agent or topic.agent != self._id:
            return
        verdict = requests.judge(
            topic,
            incoming.payload,
            retained=incoming.retained,
            wall=self._clock.wall(),
            now=self._clock.monotonic(),
            answers=self._answers,
        )
        match verdict:
            case requests.Accept(request):
                self._pass_on(request)
            case requests.Repeat(reply_to, payload):
                if self._admission.admit(topic.sender, self._clock.monotonic()) == "":
                    self._admission.answered(topic.sender)
                    self._link.publish(reply_to, payload)
            case requests.Reject(request, why):
                self._refuse(request, "the request is not valid", why, 400)
            case requests.Ignore(why, suspect=True):
                self._limited.warning("request", "a request of %s is ignored: %s", topic.sender, why)

    def _pass_on(self, request: Request) -> None:
        if self._listener is None:
            self._refuse(request, f"{self._id} takes no requests", "", 501)
            return
        if why := self._admission.admit(request.sender, self._clock.monotonic()):
            self._limited.warning("flood", "requests of %s are refused: %s", request.sender, why)
            self._refuse(request, "too many requests; try again later", why, 429)
            return
        try:
            self._listener.on_request(request)
        except Exception:
            log.exception("the handler of %s failed", request.name)
            self.respond_error(request, "internal error", status=500)

    # small parts

    def _publish_json(self, topic: Any, value: Any, *, retain: bool = False) -> Future[None]:
        try:
            return self._link.publish(topic(), encode_json(value), retain=retain)
        except HubError as exc:
            return _failed(exc)

    def _publish_presence(self, state: str, reason: str) -> Future[None]:
        document = self._presence(state, reason, self._now())
        return self._link.publish(topics.presence(self._id), encode_json(document), retain=True)

    def _presence_done(self, published: Future[None]) -> None:
        if (error := published.exception()) is not None:
            log.warning("presence could not be published: %s", error)

    def _will(self) -> tuple[str, bytes]:
        """What the broker publishes when we vanish. Nobody knows then since when, so that is left empty."""
        return topics.presence(self._id), encode_json(self._presence("offline", "connection lost", None))

    def _presence(self, state: str, reason: str, since: str | None) -> dict[str, Any]:
        host = socket.gethostname()
        return {"state": state, "reason": reason, "since": since, "host": host, "version": self._version}

    def _not_in_dispatch(self, what: str) -> None:
        if self._link.dispatching:
            raise RuntimeError(f"{what} must not be called from a listener or an observer")

    def _now(self) -> str:
        return iso8601(self._clock.wall())


def _done() -> Future[None]:
    future: Future[None] = Future()
    future.set_result(None)
    return future


def _failed(error: Exception) -> Future[None]:
    future: Future[None] = Future()
    future.set_exception(error)
    return future
