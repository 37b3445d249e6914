"""Our own requests to other agents: send one, wait for its answer, fail when the connection goes."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import Any

from hiveot_supervisor.clock import Clock, iso8601
from hiveot_supervisor.errors import HubError, HubUnavailable, RequestTimeout
from hiveot_supervisor.hub import topics
from hiveot_supervisor.hub.client import Right
from hiveot_supervisor.hub.link import complete
from hiveot_supervisor.hub.messages import Operation, RequestMessage, ResponseMessage, decode, encode, new_id
from hiveot_supervisor.hub.mqtt_link import Link


@dataclass(frozen=True, slots=True)
class _Call:
    """A request that awaits its answer from `agent_id`."""

    agent_id: str
    future: Future[Any]


class Calls:
    """The requests of one process `instance` of `client_id` that await their answer. Thread-safe."""

    def __init__(self, link: Link, client_id: str, instance: str, clock: Clock) -> None:
        self._link = link
        self._id = client_id
        self._instance = instance
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[str, _Call] = {}

    def invoke(self, agent_id: str, thing_id: str, name: str, input: Any, right: Right, timeout: float) -> Any:
        """See HubClient.invoke_action."""
        topic = topics.request(right, agent_id, thing_id, name, self._id)
        message = RequestMessage(
            operation=Operation.INVOKE_ACTION,
            thing_id=thing_id,
            name=name,
            input=input,
            correlation_id=new_id(),
            message_id=new_id(),
            created=iso8601(self._clock.wall()),
            reply_to=topics.inbox(self._id, self._instance, agent_id),
            expires=iso8601(self._clock.wall() + timeout),
        )
        payload = encode(message)
        call = _Call(agent_id, Future())
        with self._lock:
            self._open[message.correlation_id] = call
        try:
            sent = self._link.publish(topic, payload, must_be_heard=True)
            sent.add_done_callback(lambda done: _fail(call, done.exception()))
            return call.future.result(timeout)
        except FutureTimeout:
            raise RequestTimeout(
                f"{agent_id} did not answer {name} within {timeout:g} s",
                hint=f"is the agent {agent_id} running and connected to the hub?",
            ) from None
        finally:
            with self._lock:
                del self._open[message.correlation_id]

    def handle(self, topic: topics.Topic, payload: bytes) -> None:
        """A message in our inbox: complete the call it answers, if it comes from who was asked. Raises BadMessage."""
        if topic.instance != self._instance:
            return
        message = decode(payload)
        if not isinstance(message, ResponseMessage):
            return  # progress of an action: nobody waits for it
        with self._lock:
            call = self._open.get(message.correlation_id)
        if call is None or call.agent_id != topic.agent:
            return
        try:
            complete(call.future, message.result())
        except HubError as exc:
            complete(call.future, None, exc)

    def fail_all(self, reason: str) -> None:
        """The connection is gone, and with it any answer that was on its way."""
        with self._lock:
            calls = list(self._open.values())
        for call in calls:
            _fail(call, HubUnavailable(f"the connection was lost while {call.agent_id} was asked", why=reason))


def _fail(call: _Call, error: BaseException | None) -> None:
    if isinstance(error, Exception):
        complete(call.future, None, error)
