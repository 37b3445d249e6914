"""`WssHubClient`: the hub port over the websocket of HiveOT's own hub (docs/hiveot-hub-protocol.md).

Owns what envelopes mean there: Thing Descriptions as requests to the directory, permissions, notifications in the
agent's form, requests to us and their answers, our own requests, observers. Nothing is kept for later: without a
connection a publish fails at once, and when the connection breaks everything that the hub has not surely read fails.

What a publish's future means here: the hub has *read* the message (`wss_link`). It acknowledges no event, and drops
those of Things that it does not know without a word; `wss_order` sees to it that it knows them. It has no presence,
no last values for new observers (they can read them) and no consumers' acknowledgements.
"""

from __future__ import annotations

import dataclasses
import logging
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from functools import partial
from typing import Any

from hiveot_supervisor.clock import Clock, SystemClock, iso8601
from hiveot_supervisor.errors import HubError, RequestTimeout
from hiveot_supervisor.hub.admission import Admission, Allowance
from hiveot_supervisor.hub.client import Account, HubListener, NotificationKind, Observer, Request, Right
from hiveot_supervisor.hub.limitlog import LimitedLog
from hiveot_supervisor.hub.link import complete
from hiveot_supervisor.hub.messages import (
    NotificationMessage,
    Operation,
    RequestMessage,
    ResponseMessage,
    decode,
    encode,
    new_id,
)
from hiveot_supervisor.hub.values import ActionStatus, ErrorValue
from hiveot_supervisor.hub.wire import BadMessage, encode_json
from hiveot_supervisor.hub.wss_calls import MAX_SENT, Calls
from hiveot_supervisor.hub.wss_link import Link
from hiveot_supervisor.hub.wss_observe import Observers
from hiveot_supervisor.hub.wss_order import Order
from hiveot_supervisor.hub.wss_session import MAX_FRAME
from hiveot_supervisor.hub.wss_url import parse_url

log = logging.getLogger("hiveot.hub")

DIRECTORY = "dtw:digitwin:ThingDirectory"
AUTHORIZATION = "dtw:authz:User"
SET_UP_TIMEOUT = 15.0
"""Seconds for the hub to answer a Thing Description or permissions."""


_ID = re.compile(r"[^:\s\x00-\x1f\x7f]{1,128}")


def check_id(text: str) -> str:
    """`text` itself when it can be a client or Thing ID: part of a digital twin's. Raises HubError."""
    if _ID.fullmatch(text) is None:
        why = "it would become a part of the ID of a digital twin"
        hint = "use 1 to 128 characters without colon and blanks"
        raise HubError(f"{text[:140]!r} cannot be used as an ID", why=why, hint=hint)
    return text


def twin(agent_id: str, thing_id: str) -> str:
    """The ID by which consumers know an agent's Thing. Raises HubError for IDs that cannot be part of it."""
    return f"dtw:{check_id(agent_id)}:{check_id(thing_id)}"


class WssHubClient:
    """One account's connection to a HiveOT hub; see `hub.client.HubClient` for the methods.

    url: `wss://host[:8444][/wot/wss]`. agent: requests are passed to the listener; otherwise they are refused (the hub
    sends an account's requests to whichever of its connections is oldest). allowance: how much one sender may ask.
    """

    def __init__(
        self,
        url: str,
        account: Account,
        *,
        agent: bool = True,
        clock: Clock | None = None,
        allowance: Allowance | None = None,
    ) -> None:
        self._id = check_id(account.client_id)
        self._agent = agent
        self._clock: Clock = clock or SystemClock()
        self._limited = LimitedLog(log, self._clock.monotonic)
        self._admission = Admission(allowance)
        self._listener: HubListener | None = None
        self._lock = threading.Lock()  # guards what follows
        self._started = False
        self._closed = False
        self._link = Link(parse_url(url), account, self, clock=self._clock)
        self._calls = Calls(partial(self._link.send, prove=False), self._clock)
        self._order = Order(self._send_on, self._clock.monotonic)
        self._observers = Observers(self._calls, self._limited)

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
        """The hub knows no presence: `reason` is told to nobody."""
        self._not_in_dispatch("close")
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._link.close(timeout)
        self._calls.fail_all("the connection was closed")
        self._observers.close()

    # the port: publishing

    def publish_td(self, td: Mapping[str, Any]) -> Future[None]:
        """The document goes as JSON inside JSON; the future completes with the directory's answer."""
        try:
            thing_id = check_id(str(td.get("id", "")))
            text = encode_json(td, limit=MAX_SENT).decode()
        except HubError as exc:
            return _failed(exc)
        return self._order.describe(thing_id, lambda: self._request(DIRECTORY, "updateThing", text))

    def remove_td(self, thing_id: str, properties: Sequence[str] = ()) -> Future[None]:
        """The hub drops the properties together with the Thing."""
        try:
            full = twin(self._id, thing_id)
        except HubError as exc:
            return _failed(exc)
        done = self._order.set_up(thing_id, lambda: self._request(DIRECTORY, "deleteThing", full))
        done.add_done_callback(lambda _: self._order.forget(thing_id))
        return done

    def set_permissions(self, thing_id: str, allow: Sequence[str]) -> Future[None]:
        """The hub keeps them in memory only: to be set again at each connection."""
        document = {"agentID": self._id, "thingID": thing_id, "allow": list(allow)}
        return self._order.set_up(thing_id, lambda: self._request(AUTHORIZATION, "setPermissions", document))

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
        """The hub's messages have no place for `seq` and `epoch`."""
        return self._notify(Operation.SUBSCRIBE_EVENT, thing_id, name, value, ("event", thing_id), created)

    def publish_property(self, thing_id: str, name: str, value: Any) -> Future[None]:
        return self._notify(Operation.OBSERVE_PROPERTY, thing_id, name, value, ("property", thing_id, name), "")

    def _notify(
        self, operation: Operation, thing_id: str, name: str, value: Any, lane: tuple[str, ...], created: str
    ) -> Future[None]:
        message = NotificationMessage(
            operation=operation,
            thing_id=thing_id,
            name=name,
            value=value,
            message_id=new_id(),
            timestamp=created or self._now(),
        )
        try:
            check_id(thing_id)
            return self._order.publish(thing_id, lane, encode(message, limit=MAX_SENT))
        except HubError as exc:
            return _failed(exc)

    def _request(self, thing_id: str, name: str, input: Any) -> Future[Any]:
        return self._calls.ask(Operation.INVOKE_ACTION, thing_id, name, input, timeout=SET_UP_TIMEOUT)

    # the port: answering requests

    def respond(self, request: Request, output: Any = None) -> Future[None]:
        try:
            sent = self._answer(request, output, None)
        except BadMessage as exc:
            self.respond_error(dataclasses.replace(request, input=None), "the answer cannot be sent", detail=exc.why)
            return _failed(exc)
        self._admission.answered(request.sender)
        return sent

    def respond_error(self, request: Request, title: str, *, detail: str = "", status: int = 400) -> Future[None]:
        """Always with status 400, the only one that the hub and its clients know; `detail` goes into the title too,
        because HiveOT's command line shows nothing else."""
        del status
        self._admission.answered(request.sender)
        return self._refuse(request, title, detail)

    def _refuse(self, request: Request, title: str, detail: str = "") -> Future[None]:
        shown = f"{title}: {detail}" if detail else title
        error = ErrorValue(shown, detail=detail)
        try:
            return self._answer(request, None, error)
        except BadMessage:  # the answer repeats the input, which may be as large as the hub lets through
            return self._answer(dataclasses.replace(request, input=None), None, error)

    def _answer(self, request: Request, output: Any, error: ErrorValue | None) -> Future[None]:
        """As Go agents do: the result in `output`, and in `value` an ActionStatus, whose state says `completed` also
        after errors. Raises BadMessage."""
        now = self._now()
        is_action = request.operation != Operation.WRITE_PROPERTY
        status = ActionStatus(
            state="completed",
            output=output,
            error=error,
            thing_id=request.thing_id,
            name=request.name,
            input=request.input,
            sender_id=request.sender,
            time_requested=now,
            time_updated=now,
        )
        response = ResponseMessage(
            operation=request.operation,
            thing_id=request.thing_id,
            name=request.name,
            correlation_id=request.correlation_id,
            output=output if is_action else None,
            value=status.to_json() if is_action else output,
            error=error,
            message_id=new_id(),
            timestamp=now,
        )
        return self._link.send(encode(response, limit=MAX_SENT))

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
        """`right` is not sent: the hub looks at the account's role and the Thing's permissions."""
        del right
        self._not_in_dispatch("invoke_action")
        answer = self._calls.ask(Operation.INVOKE_ACTION, twin(agent_id, thing_id), name, input)
        try:
            return answer.result(timeout)
        except FutureTimeout:
            answer.cancel()
            raise RequestTimeout(
                f"{agent_id} did not answer {name} within {timeout:g} s",
                hint=f"is the agent {agent_id} running and connected to the hub?",
            ) from None

    def subscribe(self, kinds: Iterable[NotificationKind], observer: Observer, *, agent_id: str = "") -> Future[None]:
        """Presence and acknowledgements do not exist on this hub: subscribing them succeeds, nothing ever comes."""
        return self._observers.add(kinds, observer, agent_id)

    # the link's handler, in the dispatch thread but for the first

    def link_opening(self, connection: int) -> None:
        self._order.connected(connection)

    def link_up(self) -> None:
        log.info("connected to the hub as %s", self._id)
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

    def link_tick(self) -> None:
        self._calls.expire()

    def link_frame(self, data: bytes) -> None:
        try:
            message = decode(data, limit=MAX_FRAME)
            match message:
                case RequestMessage():
                    self._pass_on(self._request_of(message))
                case ResponseMessage():
                    self._calls.handle(message)
                case NotificationMessage():
                    self._observers.notify(message)
        except HubError as exc:
            self._limited.warning("bad", "a message of the hub is ignored: %s", exc)

    def _request_of(self, message: RequestMessage) -> Request:
        """The hub has checked the sender's role, so it comes with every right."""
        return Request(
            thing_id=message.thing_id,
            name=message.name,
            operation=message.operation,
            input=message.input,
            sender=message.sender_id,
            correlation_id=message.correlation_id,
            right=Right.ADMIN,
        )

    def _pass_on(self, request: Request) -> None:
        if self._listener is None or not self._agent:
            self._refuse(request, f"this connection of {self._id} takes no requests; try again")
            return
        if why := self._admission.admit(request.sender, self._clock.monotonic()):
            self._limited.warning("flood", "requests of %s are refused: %s", request.sender[:64], why)
            self._refuse(request, "too many requests; try again later", why)
            return
        try:
            self._listener.on_request(request)
        except Exception:
            log.exception("the handler of %s failed", request.name)
            self.respond_error(request, "internal error")

    # small parts

    def _send_on(self, frame: bytes, connection: int) -> Future[None]:
        return self._link.send(frame, connection=connection)

    def _not_in_dispatch(self, what: str) -> None:
        if self._link.dispatching:
            raise RuntimeError(f"{what} must not be called from a listener or an observer")

    def _now(self) -> str:
        return iso8601(self._clock.wall())


def _failed(error: Exception) -> Future[None]:
    future: Future[None] = Future()
    complete(future, None, error)
    return future
