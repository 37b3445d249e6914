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
from dataclasses import dataclass
from typing import Any

from hiveot_supervisor.clock import Clock, SystemClock, iso8601
from hiveot_supervisor.errors import HubError, HubUnavailable, RequestTimeout
from hiveot_supervisor.hub import requests, topics
from hiveot_supervisor.hub.client import (
    Account,
    HubListener,
    Notification,
    NotificationKind,
    Observer,
    Request,
    Right,
)
from hiveot_supervisor.hub.limitlog import LimitedLog
from hiveot_supervisor.hub.messages import (
    BadMessage,
    ErrorValue,
    NotificationMessage,
    Operation,
    RequestMessage,
    ResponseMessage,
    decode,
    decode_json,
    encode,
    encode_json,
    new_id,
)
from hiveot_supervisor.hub.mqtt_link import Link, complete, parse_url
from hiveot_supervisor.hub.mqtt_session import Incoming

log = logging.getLogger("hiveot.hub")

_OBSERVED = {
    NotificationKind.EVENT: topics.Kind.EVENT,
    NotificationKind.PROPERTY: topics.Kind.PROPERTY,
    NotificationKind.TD: topics.Kind.TD,
    NotificationKind.PRESENCE: topics.Kind.PRESENCE,
}
_KIND_OF = {kind: notification for notification, kind in _OBSERVED.items()}


@dataclass(frozen=True, slots=True)
class _Observation:
    """A subscription of an observer, renewed at each connection. `future` tells the first outcome."""

    kinds: frozenset[topics.Kind]
    agent_id: str
    observer: Observer
    future: Future[None]

    @property
    def filters(self) -> list[str]:
        return [topics.observe_filter(kind, self.agent_id) for kind in sorted(self.kinds)]


@dataclass(frozen=True, slots=True)
class _Call:
    """A request of ours that awaits its answer from `agent_id`."""

    agent_id: str
    future: Future[Any]


class MqttHubClient:
    """One account's connection to an MQTT hub; see `hub.client.HubClient` for the methods.

    url: `mqtts://host:port`. agent: publish presence, receive requests, and use the account ID as MQTT client ID;
    otherwise the client ID is `{account}-{instance}`, so that any number of them can be connected beside the agent.
    instance: names this process in its inbox, random by default. version: shown in presence.
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
    ) -> None:
        self._id = account.client_id
        self._agent = agent
        self._version = version
        self._clock: Clock = clock or SystemClock()
        self._instance = instance or secrets.token_hex(4)
        self._limited = LimitedLog(log, self._clock.monotonic)
        self._answers = requests.Answers()
        self._listener: HubListener | None = None
        self._lock = threading.Lock()  # guards what follows
        self._calls: dict[str, _Call] = {}
        self._observations: list[_Observation] = []
        self._observing = False  # the present connection has the subscriptions
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
        self._fail_calls("the connection was closed")

    # the port: publishing

    def publish_td(self, td: Mapping[str, Any]) -> Future[None]:
        return self._publish_json(lambda: topics.td(self._id, str(td.get("id", ""))), td, retain=True)

    def remove_td(self, thing_id: str) -> Future[None]:
        try:
            topic = topics.td(self._id, thing_id)
        except HubError as exc:
            return _failed(exc)
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
        topic = topics.request(right, agent_id, thing_id, name, self._id)
        message = RequestMessage(
            operation=Operation.INVOKE_ACTION,
            thing_id=thing_id,
            name=name,
            input=input,
            correlation_id=new_id(),
            message_id=new_id(),
            created=self._now(),
            reply_to=topics.inbox(self._id, self._instance, agent_id),
            expires=iso8601(self._clock.wall() + timeout),
        )
        payload = encode(message)
        call = _Call(agent_id, Future())
        with self._lock:
            self._calls[message.correlation_id] = call
        try:
            sent = self._link.publish(topic, payload, must_be_heard=True)
            sent.add_done_callback(lambda done: self._not_sent(call, done.exception()))
            return call.future.result(timeout)
        except FutureTimeout:
            raise RequestTimeout(
                f"{agent_id} did not answer {name} within {timeout:g} s",
                hint=f"is the agent {agent_id} running and connected to the hub?",
            ) from None
        finally:
            with self._lock:
                self._calls.pop(message.correlation_id, None)

    def subscribe(self, kinds: Iterable[NotificationKind], observer: Observer, *, agent_id: str = "") -> Future[None]:
        wanted = frozenset(_OBSERVED[NotificationKind(kind)] for kind in kinds)
        observation = _Observation(wanted, agent_id, observer, Future())
        try:
            filters = observation.filters
        except HubError as exc:
            return _failed(exc)
        with self._lock:
            self._observations.append(observation)
            observing = self._observing
        if filters and observing:
            self._observe(observation)
        return observation.future

    # the link's handler, in the dispatch thread

    def link_up(self) -> None:
        log.info("connected to the hub as %s", self._id)
        if self._agent:
            self._publish_presence("online", "").add_done_callback(self._presence_done)
        with self._lock:
            observations = list(self._observations)
            self._observing = True
        for observation in observations:
            self._observe(observation)
        if self._listener is not None:
            self._listener.on_connected()

    def link_down(self, reason: str) -> None:
        log.warning("the connection to the hub is lost: %s", reason)
        with self._lock:
            self._observing = False
        self._fail_calls(reason)
        if self._listener is not None:
            self._listener.on_disconnected(reason)

    def link_refused(self, reason: str) -> None:
        log.error("%s", reason)
        if self._listener is not None:
            self._listener.on_refused(reason)

    def link_message(self, incoming: Incoming) -> None:
        try:
            topic = topics.parse(incoming.topic)
            match topic.kind:
                case topics.Kind.REQUEST:
                    self._handle_request(topic, incoming)
                case topics.Kind.INBOX:
                    self._handle_response(topic, incoming)
                case topics.Kind.EVENT | topics.Kind.PROPERTY | topics.Kind.TD | topics.Kind.PRESENCE:
                    self._notify(topic, incoming)
        except HubError as exc:
            self._limited.warning("bad", "a message on %s is ignored: %s", incoming.topic[:300], exc)

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
                self._link.publish(reply_to, payload)
            case requests.Reject(request, why):
                self.respond_error(request, "the request is not valid", detail=why)
            case requests.Ignore(why, suspect=True):
                self._limited.warning("request", "a request of %s is ignored: %s", topic.sender, why)

    def _pass_on(self, request: Request) -> None:
        if self._listener is None:
            self.respond_error(request, f"{self._id} takes no requests", status=501)
            return
        try:
            self._listener.on_request(request)
        except Exception:
            log.exception("the handler of %s failed", request.name)
            self.respond_error(request, "internal error", status=500)

    def _handle_response(self, topic: topics.Topic, incoming: Incoming) -> None:
        if incoming.retained or topic.instance != self._instance:
            return
        message = decode(incoming.payload)
        if not isinstance(message, ResponseMessage):
            return  # progress of an action: nobody waits for it
        with self._lock:
            call = self._calls.get(message.correlation_id)
        if call is None or call.agent_id != topic.agent:
            return
        try:
            complete(call.future, message.result())
        except HubError as exc:
            complete(call.future, None, exc)

    def _notify(self, topic: topics.Topic, incoming: Incoming) -> None:
        notification = _notification(topic, incoming.payload)
        with self._lock:
            observers = [
                each.observer
                for each in self._observations
                if topic.kind in each.kinds and each.agent_id in ("", topic.agent)
            ]
        for observer in observers:
            try:
                observer(notification)
            except Exception:
                log.exception("an observer of hub messages failed")

    # small parts

    def _observe(self, observation: _Observation) -> None:
        def done(subscribed: Future[None]) -> None:
            error = subscribed.exception()
            if isinstance(error, HubUnavailable):
                return  # tried again at the next connection
            if error is not None:
                self._limited.warning("observe", "%s", error)
            complete(observation.future, None, error if isinstance(error, HubError) else None)

        self._link.subscribe(observation.filters).add_done_callback(done)

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

    def _not_sent(self, call: _Call, error: BaseException | None) -> None:
        if isinstance(error, Exception):
            complete(call.future, None, error)

    def _fail_calls(self, reason: str) -> None:
        with self._lock:
            calls = list(self._calls.values())
        for call in calls:
            error = HubUnavailable(f"the connection was lost while {call.agent_id} was asked", why=reason)
            complete(call.future, None, error)

    def _not_in_dispatch(self, what: str) -> None:
        if self._link.dispatching:
            raise RuntimeError(f"{what} must not be called from a listener or an observer")

    def _now(self) -> str:
        return iso8601(self._clock.wall())


def _notification(topic: topics.Topic, payload: bytes) -> Notification:
    """What an observer gets for a message. Raises BadMessage."""
    kind = _KIND_OF[topic.kind]
    if kind is not NotificationKind.EVENT:
        value = decode_json(payload) if payload else None
        return Notification(kind, topic.agent, topic.thing, topic.name, value)
    message = decode(payload)
    if not isinstance(message, NotificationMessage):
        raise BadMessage("an event topic carries something else than a notification")
    return Notification(
        kind,
        topic.agent,
        topic.thing,
        topic.name,
        message.value,
        timestamp=message.timestamp,
        seq=message.seq,
        epoch=message.epoch,
    )


def _done() -> Future[None]:
    future: Future[None] = Future()
    future.set_result(None)
    return future


def _failed(error: Exception) -> Future[None]:
    future: Future[None] = Future()
    future.set_exception(error)
    return future
