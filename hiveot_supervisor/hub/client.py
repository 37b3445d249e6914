"""The hub port: what the agent, prestart and the account service may ask of any hub binding.

Bindings (`hub.mqtt`, `hub.wss`) implement `HubClient`; callers never see a topic or a frame. A binding
never starts threads before `start`, reconnects by itself, and calls its `HubListener` from one dispatch thread of
its own: listener methods may publish and respond, but must not block and must not call `invoke_action`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, TypeAlias


class Right(StrEnum):
    """The right that a request demands; over MQTT it stands in the topic (docs/mqtt-hub.md §3)."""

    READ = "read"  # viewer and above
    ACTION = "action"  # operator and above
    CONFIG = "config"  # manager and above
    ADMIN = "admin"  # admin, and the launcher for the account service


@dataclass(frozen=True, slots=True)
class Account:
    """How to log in: client ID, where its token lies (re-read at every connect), and whom to trust.

    ready_file: exists while a hub on this machine takes logins (a broker listens a moment before its account service
    answers, and refuses until then); None = unknown, just try. certificate, key: log in with this client certificate
    instead of the token, at a hub's listener for certificates (MQTT only).
    """

    client_id: str
    token_file: Path
    ca_file: Path
    ready_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A request that a consumer sent to one of our Things.

    thing_id: bare ID (`Admin`); right: the class it was sent with (WSS bindings, where the hub has already checked the
    role, give ADMIN); input: decoded JSON or None; reply_to: opaque, for the binding.
    """

    thing_id: str
    name: str
    operation: str
    input: Any
    sender: str
    correlation_id: str
    right: Right
    reply_to: str = ""


class NotificationKind(StrEnum):
    """What an observer can subscribe to."""

    EVENT = "event"
    PROPERTY = "property"
    TD = "td"
    PRESENCE = "presence"
    ACK = "ack"


@dataclass(frozen=True, slots=True)
class Notification:
    """What a subscriber received.

    kind: event and property: `value` is theirs (None = the property was removed); td: the Thing Description, None =
    removed, `name` is empty; presence: the document of docs/mqtt-hub.md §3, only `agent_id` is filled besides; ack: how
    far a durable consumer (`name`) has stored the events of `agent_id`, `{"epoch", "seq"}`, None = it is gone.
    seq/epoch: numbering of the agent's events, if it numbers them.
    """

    kind: NotificationKind
    agent_id: str
    thing_id: str
    name: str
    value: Any
    timestamp: str = ""
    seq: int | None = None
    epoch: str | None = None


Observer: TypeAlias = Callable[[Notification], None]
"""Called from the binding's dispatch thread; must not block."""


class HubListener(Protocol):
    """Called by the binding from its dispatch thread."""

    def on_connected(self) -> None:
        """Logged in (again): TD, permissions and properties are to be published now."""
        ...

    def on_disconnected(self, reason: str) -> None:
        """The connection is gone; the binding is already trying again."""
        ...

    def on_refused(self, reason: str) -> None:
        """The hub refuses our credentials (or our ID was taken over too often); retried slowly."""
        ...

    def on_request(self, request: Request) -> None:
        """A consumer asks; answer once with `respond` or `respond_error`, now or later, from any thread."""
        ...


class HubClient(Protocol):
    """One account's connection to a hub. Thread-safe. All `Future`s complete outside the caller's locks."""

    @property
    def connected(self) -> bool: ...

    def start(self, listener: HubListener | None = None) -> None:
        """Connect in the background and stay connected; returns at once."""
        ...

    def wait_connected(self, timeout: float) -> None:
        """Block until logged in. Raises HubUnavailable (with the last reason) or HubRefused at `timeout` seconds;
        HubRefused at once when the hub refused the credentials."""
        ...

    def close(self, *, reason: str = "stopped", timeout: float = 2.0) -> None:
        """Publish `offline` with the reason, wait for its acknowledgement up to `timeout`, disconnect. Idempotent."""
        ...

    def publish_td(self, td: Mapping[str, Any]) -> Future[None]:
        """Publish a Thing Description; its `id` is the bare thing ID. Completes on acknowledgement, else HubError."""
        ...

    def remove_td(self, thing_id: str, properties: Sequence[str] = ()) -> Future[None]:
        """Remove a Thing, and the stored values of these properties of it."""
        ...

    def set_permissions(self, thing_id: str, allow: Sequence[str]) -> Future[None]:
        """Roles that may use the Thing; a no-op where the topic scheme enforces rights."""
        ...

    def publish_event(
        self,
        thing_id: str,
        name: str,
        value: Any,
        *,
        seq: int | None = None,
        epoch: str | None = None,
        created: str = "",
    ) -> Future[None]: ...

    def publish_property(self, thing_id: str, name: str, value: Any) -> Future[None]: ...

    def respond(self, request: Request, output: Any = None) -> Future[None]: ...

    def respond_error(self, request: Request, title: str, *, detail: str = "", status: int = 400) -> Future[None]: ...

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
        """Ask another agent and wait for its answer. Returns the output.

        Raises HubUnavailable when not connected, RequestTimeout when no answer came, HubError with the error's title.
        """
        ...

    def subscribe(self, kinds: Iterable[NotificationKind], observer: Observer, *, agent_id: str = "") -> Future[None]:
        """Have `observer` called for everything of these kinds, of all agents or of one, retained values first.

        Holds across reconnects, may be called before `start`. Completes when the hub has accepted it, HubRefused when
        rights are missing. Delivery is at least once.
        """
        ...
