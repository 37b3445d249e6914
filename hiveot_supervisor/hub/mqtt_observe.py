"""Observers of a hub: who wants to see what, the subscriptions for it, and what a message looks like to them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass

from hiveot_supervisor.errors import HubError, HubUnavailable
from hiveot_supervisor.hub import topics
from hiveot_supervisor.hub.client import Notification, NotificationKind, Observer
from hiveot_supervisor.hub.limitlog import LimitedLog
from hiveot_supervisor.hub.link import complete
from hiveot_supervisor.hub.messages import NotificationMessage, decode
from hiveot_supervisor.hub.mqtt_link import Link
from hiveot_supervisor.hub.wire import BadMessage, decode_json

log = logging.getLogger("hiveot.hub")

_TOPICS = {
    NotificationKind.EVENT: topics.Kind.EVENT,
    NotificationKind.PROPERTY: topics.Kind.PROPERTY,
    NotificationKind.TD: topics.Kind.TD,
    NotificationKind.PRESENCE: topics.Kind.PRESENCE,
    NotificationKind.ACK: topics.Kind.ACK,
}
_KINDS = {topic: kind for kind, topic in _TOPICS.items()}


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


class Observers:
    """All observers of one client. `add` from any thread, the rest from the dispatch thread."""

    def __init__(self, link: Link, limited: LimitedLog) -> None:
        self._link = link
        self._limited = limited
        self._lock = threading.Lock()
        self._observations: list[_Observation] = []
        self._up = False  # the present connection has the subscriptions

    def add(self, kinds: Iterable[NotificationKind], observer: Observer, agent_id: str) -> Future[None]:
        """See HubClient.subscribe. Raises InvalidTopic for an impossible agent ID."""
        wanted = frozenset(_TOPICS[NotificationKind(kind)] for kind in kinds)
        observation = _Observation(wanted, agent_id, observer, Future())
        filters = observation.filters  # refuse what cannot be subscribed before it is remembered
        with self._lock:
            self._observations.append(observation)
            up = self._up
        if filters and up:
            self._subscribe(observation)
        return observation.future

    def link_up(self) -> None:
        """Subscribe on a new connection."""
        with self._lock:
            observations = list(self._observations)
            self._up = True
        for observation in observations:
            self._subscribe(observation)

    def link_down(self) -> None:
        with self._lock:
            self._up = False

    def close(self) -> None:
        """Fail the subscriptions that no hub ever accepted."""
        for observation in self._observations:
            complete(observation.future, None, HubUnavailable("the connection was closed"))

    def notify(self, topic: topics.Topic, payload: bytes) -> None:
        """Pass a message to those who want it. Raises BadMessage when it is none."""
        with self._lock:
            observers = [
                each.observer
                for each in self._observations
                if topic.kind in each.kinds and each.agent_id in ("", topic.agent)
            ]
        if not observers:
            return
        notification = read_notification(topic, payload)
        for observer in observers:
            try:
                observer(notification)
            except Exception:
                log.exception("an observer of hub messages failed")

    def _subscribe(self, observation: _Observation) -> None:
        def done(subscribed: Future[None]) -> None:
            error = subscribed.exception()
            if isinstance(error, HubUnavailable):
                return  # tried again at the next connection
            if error is not None:
                self._limited.warning("observe", "%s", error)
            complete(observation.future, None, error if isinstance(error, HubError) else None)

        self._link.subscribe(observation.filters).add_done_callback(done)


def read_notification(topic: topics.Topic, payload: bytes) -> Notification:
    """What an observer gets for a message on a topic of an observable kind. Raises BadMessage."""
    kind = _KINDS[topic.kind]
    if kind is not NotificationKind.EVENT:
        value = decode_json(payload) if payload else None
        name = topic.sender if kind is NotificationKind.ACK else topic.name
        return Notification(kind, topic.agent, topic.thing, name, value)
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
