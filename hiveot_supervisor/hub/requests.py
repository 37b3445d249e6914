"""What an agent does with a message on one of its request topics: decisions, and the memory of answers given.

`judge` is pure but for the memory: it turns topic and payload into one of Accept, Repeat, Reject, Ignore. The topic is
what the broker has checked, so its sender, thing, name and right hold; an envelope that says otherwise is rejected.
Never publishes anything.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, TypeAlias

from hiveot_supervisor.clock import parse_iso8601
from hiveot_supervisor.hub import topics
from hiveot_supervisor.hub.client import Request, Right
from hiveot_supervisor.hub.messages import Operation, RequestMessage, from_json
from hiveot_supervisor.hub.wire import BadMessage, decode_json

CLOCK_SKEW = 5.0
"""Seconds that a sender's clock may be behind ours before its requests count as expired."""

MAX_REQUEST = 65_536
"""Bytes of a request that an agent looks into; requests carry IDs and settings, a certificate request at most."""

MAX_CORRELATION = 128
"""Characters of a correlation ID: it is remembered with the answer."""

_OPERATIONS = (Operation.INVOKE_ACTION.value, Operation.WRITE_PROPERTY.value)


@dataclass(frozen=True, slots=True)
class Accept:
    """A new request for the agent."""

    request: Request


@dataclass(frozen=True, slots=True)
class Repeat:
    """A request that was answered before: send `payload`, the same answer, to `reply_to`."""

    reply_to: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Reject:
    """A request that cannot be taken: answer it with an error."""

    request: Request
    why: str


@dataclass(frozen=True, slots=True)
class Ignore:
    """Nothing is to be done. `suspect`: worth a line in the log."""

    why: str
    suspect: bool = False


Verdict: TypeAlias = Accept | Repeat | Reject | Ignore


class Answers:
    """Answers given, by sender and correlation ID, so that a repeated request is not carried out twice. Thread-safe.

    Bounded by number, bytes and age (seconds, on the clock the caller passes); the oldest go first, of a sender with
    more than `each` entries its own. An entry without a payload is a request that is still being worked on.
    """

    def __init__(
        self, *, limit: int = 1000, each: int = 250, max_bytes: int = 4_000_000, max_age: float = 600.0
    ) -> None:
        self._limit = limit
        self._each = each
        self._by_sender: dict[str, OrderedDict[str, None]] = {}
        self._max_bytes = max_bytes
        self._max_age = max_age
        self._bytes = 0
        self._lock = threading.Lock()
        self._entries: OrderedDict[tuple[str, str], tuple[float, bytes | None]] = OrderedDict()

    def begin(self, sender: str, correlation_id: str, now: float) -> bytes | bool | None:
        """Note a request. True: it is new. Bytes: the answer given before. None: it is being worked on."""
        key = (sender, correlation_id)
        with self._lock:
            self._trim(now)
            if key in self._entries:
                return self._entries[key][1]
            self._add(key, now, None)
            return True

    def finish(self, sender: str, correlation_id: str, payload: bytes, now: float) -> None:
        """Remember the answer to a request."""
        key = (sender, correlation_id)
        with self._lock:
            self._drop(key)
            self._add(key, now, payload)
            self._trim(now)

    def forget(self, sender: str, correlation_id: str) -> None:
        """A request was refused for now: the same one may be sent again."""
        with self._lock:
            self._drop((sender, correlation_id))

    def __len__(self) -> int:
        return len(self._entries)

    def _trim(self, now: float) -> None:
        while self._entries:
            key, (stamp, _) = next(iter(self._entries.items()))
            full = len(self._entries) > self._limit or self._bytes > self._max_bytes
            if not full and now - stamp <= self._max_age:
                return
            self._drop(key)

    def _add(self, key: tuple[str, str], now: float, payload: bytes | None) -> None:
        sender, correlation_id = key
        self._entries[key] = (now, payload)
        self._bytes += len(payload or b"")
        own = self._by_sender.setdefault(sender, OrderedDict())
        own[correlation_id] = None
        if len(own) > self._each:
            self._drop((sender, next(iter(own))))

    def _drop(self, key: tuple[str, str]) -> None:
        if key not in self._entries:
            return
        sender, correlation_id = key
        _, payload = self._entries.pop(key)
        self._bytes -= len(payload or b"")
        own = self._by_sender[sender]
        del own[correlation_id]
        if not own:
            del self._by_sender[sender]


def judge(topic: topics.Topic, payload: bytes, *, retained: bool, wall: float, now: float, answers: Answers) -> Verdict:
    """Decide about a message on a request topic.

    retained: it comes from the broker's store, not from a sender; wall: seconds since the epoch, for `expires`; now:
    monotonic seconds, for the memory of answers.
    """
    if retained:
        return Ignore("requests are never retained", suspect=True)
    try:
        data = decode_json(payload)
    except BadMessage as exc:
        return Ignore(str(exc), suspect=True)
    if len(payload) > MAX_REQUEST:
        return _unreadable(topic, data, f"it has {len(payload)} bytes, more than {MAX_REQUEST}")
    if data is True or data is False:
        return Accept(_bare(topic, Operation.WRITE_PROPERTY, data))
    if data == {}:
        return Accept(_bare(topic, Operation.INVOKE_ACTION, None))
    try:
        message = from_json(data)
    except BadMessage as exc:
        return _unreadable(topic, data, str(exc))
    if not isinstance(message, RequestMessage):
        return Ignore("not a request", suspect=True)
    return _judge_message(topic, message, wall=wall, now=now, answers=answers)


def _judge_message(
    topic: topics.Topic, message: RequestMessage, *, wall: float, now: float, answers: Answers
) -> Verdict:
    reply_to = ""
    if message.reply_to:
        reply_to = _own_inbox(topic, message.reply_to)
        if not reply_to:
            return Ignore(f"{topic.sender} wants the answer in an inbox that is not its own", suspect=True)
    request = Request(
        thing_id=topic.thing,
        name=topic.name,
        operation=message.operation,
        input=message.input,
        sender=topic.sender,
        correlation_id=message.correlation_id,
        right=topic.right or Right.READ,
        reply_to=reply_to if message.correlation_id else "",
    )
    wrong = _contradiction(topic, message)
    if wrong:
        return Reject(request, wrong) if request.reply_to else Ignore(wrong, suspect=True)
    try:
        if message.expires and parse_iso8601(message.expires) + CLOCK_SKEW < wall:
            return Ignore(f"expired at {message.expires}")
    except (ValueError, OverflowError):
        why = f"expires is not a time: {message.expires[:40]!r}"
        return Reject(request, why) if request.reply_to else Ignore(why, suspect=True)
    if not message.correlation_id:
        return Accept(request)
    known = answers.begin(topic.sender, message.correlation_id, now)
    if known is True:
        return Accept(request)
    if isinstance(known, bytes) and request.reply_to:
        return Repeat(request.reply_to, known)
    return Ignore("a repeated request")


def _contradiction(topic: topics.Topic, message: RequestMessage) -> str:
    """What in the envelope differs from the topic, or is unknown; empty when all is well."""
    things = ("", topic.thing, f"dtw:{topic.agent}:{topic.thing}")
    if message.thing_id not in things:
        return f"thingID {message.thing_id[:140]!r} is not that of the topic"
    if message.name not in ("", topic.name):
        return f"name {message.name[:140]!r} is not that of the topic"
    if len(message.correlation_id) > MAX_CORRELATION:
        return f"correlationID is longer than {MAX_CORRELATION} characters"
    if message.operation not in _OPERATIONS:
        return f"unknown operation {message.operation[:40]!r}"
    return ""


def _own_inbox(topic: topics.Topic, reply_to: str) -> str:
    """The topic of the answer, or empty when `reply_to` does not lie in the sender's own inbox for this agent."""
    try:
        parsed = topics.parse(reply_to)
    except topics.InvalidTopic:
        return ""
    own = (topics.Kind.INBOX, topic.sender, topic.agent)
    return reply_to if (parsed.kind, parsed.sender, parsed.agent) == own else ""


def _unreadable(topic: topics.Topic, data: Any, why: str) -> Verdict:
    """Reject what is an object with a usable reply address, ignore anything else."""
    fields = data if isinstance(data, dict) else {}
    reply_to, correlation_id = fields.get("replyTo"), fields.get("correlationID")
    if isinstance(reply_to, str) and isinstance(correlation_id, str) and _own_inbox(topic, reply_to):
        operation = fields.get("operation")
        name = operation[:40] if isinstance(operation, str) else Operation.INVOKE_ACTION.value
        request = _bare(topic, name, None)
        return Reject(
            Request(
                thing_id=request.thing_id,
                name=request.name,
                operation=name,
                input=None,
                sender=request.sender,
                correlation_id=correlation_id,
                right=request.right,
                reply_to=reply_to,
            ),
            why,
        )
    return Ignore(why, suspect=True)


def _bare(topic: topics.Topic, operation: str, value: Any) -> Request:
    """A request without envelope, as Home Assistant sends it: no answer is expected."""
    return Request(
        thing_id=topic.thing,
        name=topic.name,
        operation=str(operation),
        input=value,
        sender=topic.sender,
        correlation_id="",
        right=topic.right or Right.READ,
    )
