"""Observers of a HiveOT hub: who wants to see what, the subscriptions for it, and what a notification means to them.

The hub's subscriptions belong to a connection, so they are renewed at each; all events, and all properties, of all
Things are subscribed once, whatever the number of observers.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

from hiveot_supervisor.errors import HubError, HubUnavailable
from hiveot_supervisor.hub.client import Notification, NotificationKind, Observer
from hiveot_supervisor.hub.limitlog import LimitedLog
from hiveot_supervisor.hub.link import complete
from hiveot_supervisor.hub.messages import NotificationMessage, Operation
from hiveot_supervisor.hub.wire import BadMessage
from hiveot_supervisor.hub.wss_calls import Calls

log = logging.getLogger("hiveot.hub")

_OPERATIONS = {
    NotificationKind.EVENT: Operation.SUBSCRIBE_ALL_EVENTS,
    NotificationKind.TD: Operation.SUBSCRIBE_ALL_EVENTS,  # the directory tells changes by events
    NotificationKind.PROPERTY: Operation.OBSERVE_ALL_PROPERTIES,
}
_DIRECTORY = ("digitwin", "ThingDirectory")
_TIMEOUT = 15.0  # seconds for the hub to accept a subscription


@dataclass(frozen=True, slots=True)
class _Observation:
    """A subscription of an observer. `future` tells the first outcome."""

    kinds: frozenset[NotificationKind]
    agent_id: str
    observer: Observer
    future: Future[None]

    @property
    def operations(self) -> set[Operation]:
        return {_OPERATIONS[kind] for kind in self.kinds if kind in _OPERATIONS}


class Observers:
    """All observers of one client. `add` from any thread, the rest from the dispatch thread."""

    def __init__(self, calls: Calls, limited: LimitedLog) -> None:
        self._calls = calls
        self._limited = limited
        self._lock = threading.Lock()
        self._observations: list[_Observation] = []
        self._up = False

    def add(self, kinds: Iterable[NotificationKind], observer: Observer, agent_id: str) -> Future[None]:
        """See HubClient.subscribe."""
        observation = _Observation(frozenset(NotificationKind(k) for k in kinds), agent_id, observer, Future())
        if not observation.operations:
            complete(observation.future, None)
            return observation.future
        with self._lock:
            self._observations.append(observation)
            up = self._up
        if up:
            self._subscribe(observation.operations)
        return observation.future

    def link_up(self) -> None:
        """Subscribe on a new connection."""
        with self._lock:
            self._up = True
            operations = {operation for each in self._observations for operation in each.operations}
        self._subscribe(operations)

    def link_down(self) -> None:
        with self._lock:
            self._up = False

    def close(self) -> None:
        """Fail the subscriptions that no hub ever accepted."""
        for observation in self._observations:
            complete(observation.future, None, HubUnavailable("the connection was closed"))

    def _subscribe(self, operations: set[Operation]) -> None:
        for operation in operations:
            asked = self._calls.ask(operation, "", timeout=_TIMEOUT)
            asked.add_done_callback(partial(self._subscribed, operation))

    def _subscribed(self, operation: Operation, done: Future[Any]) -> None:
        error = done.exception()
        if isinstance(error, HubUnavailable):
            return  # tried again at the next connection
        if error is not None:
            self._limited.warning("observe", "%s", error)
        with self._lock:
            concerned = [each for each in self._observations if operation in each.operations]
        for each in concerned:
            complete(each.future, None, error if isinstance(error, HubError) else None)

    def notify(self, message: NotificationMessage) -> None:
        """Pass a notification to those who want it; progress of actions is nobody's. Raises BadMessage."""
        with self._lock:
            observations = list(self._observations)
        if not observations or message.kind not in ("event", "property"):
            return
        for notification in read_notification(message):
            for each in observations:
                if notification.kind in each.kinds and each.agent_id in ("", notification.agent_id):
                    try:
                        each.observer(notification)
                    except Exception:
                        log.exception("an observer of hub messages failed")


def read_notification(message: NotificationMessage) -> list[Notification]:
    """What observers get for an event or property; a change of the directory is a Thing Description too.

    Raises BadMessage when the Thing's ID is none of the digital twin's, or the description is no JSON.
    """
    agent_id, thing_id = _split(message.thing_id)
    kind = NotificationKind(message.kind)
    if kind is NotificationKind.PROPERTY and not message.name and isinstance(message.value, dict):
        return [
            Notification(kind, agent_id, thing_id, name, value, timestamp=message.timestamp)
            for name, value in message.value.items()
        ]
    result = [Notification(kind, agent_id, thing_id, message.name, message.value, timestamp=message.timestamp)]
    if kind is NotificationKind.EVENT and (agent_id, thing_id) == _DIRECTORY:
        result += _directory_change(message)
    return result


def _directory_change(message: NotificationMessage) -> list[Notification]:
    if message.name == "thingDeleted":
        document, full = None, message.value
    elif message.name == "thingUpdated":
        try:
            document = json.loads(message.value)
            full = document["id"]
        except (TypeError, ValueError, KeyError, RecursionError) as exc:
            raise BadMessage("a Thing Description of the directory is not readable", why=str(exc)) from exc
    else:
        return []
    agent_id, thing_id = _split(full)
    return [Notification(NotificationKind.TD, agent_id, thing_id, "", document, timestamp=message.timestamp)]


def _split(full: Any) -> tuple[str, str]:
    """Agent and Thing of `dtw:agent:thing`. Raises BadMessage."""
    parts = full.split(":") if isinstance(full, str) else []
    if len(parts) != 3 or parts[0] != "dtw":
        raise BadMessage("a notification names no Thing", why=f"{full!r}"[:140])
    return parts[1], parts[2]
