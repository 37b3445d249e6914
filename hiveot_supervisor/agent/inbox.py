"""What can happen to the agent: the items of its one queue. Threads only put; the main loop alone acts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hiveot_supervisor.hub.client import Request


@dataclass(frozen=True, slots=True)
class Reported:
    """supervisord reported something (`supervisord.listener.Event`), or there is a gap in its reports."""

    event: Any


@dataclass(frozen=True, slots=True)
class SupervisordGone:
    """Standard input ended: supervisord is dead, or has closed us out."""


@dataclass(frozen=True, slots=True)
class HubUp:
    """Logged in to the hub (again)."""


@dataclass(frozen=True, slots=True)
class HubReady:
    """The hub's account service answers."""


@dataclass(frozen=True, slots=True)
class HubDown:
    """The connection to the hub is gone, or it refuses us."""

    reason: str
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """A consumer's request came in."""

    request: Request


@dataclass(frozen=True, slots=True)
class Provisioned:
    """Credentials of a plugin were made (or not: `error`, and whether trying again makes sense)."""

    plugin: str
    error: str = ""
    retry: bool = False


@dataclass(frozen=True, slots=True)
class Renewed:
    """A renewal is over. request: of the command line, or empty; written: `key`, `token`, `certificate`; superseded:
    the hub still takes the old token; certificates: the hub issues some; error: why nothing, or less, was written.
    """

    account: str
    request: str
    written: tuple[str, ...] = ()
    superseded: bool = False
    certificates: bool = True
    error: str = ""


@dataclass(frozen=True, slots=True)
class Retired:
    """The hub has forgotten an account's old tokens; `note`: why not, `again`: it is to be asked again."""

    account: str
    request: str
    note: str = ""
    again: bool = False


@dataclass(frozen=True, slots=True)
class Delivered:
    """The hub took an event (or not: `error`; `refused`: it will not take it on this connection)."""

    seq: int
    error: str = ""
    refused: bool = False


@dataclass(frozen=True, slots=True)
class PropertyDelivered:
    """The hub took a property value (`properties.Waiting.id`), or not, as in `Delivered`."""

    id: int
    error: str = ""
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Present:
    """A client's presence on the hub."""

    client: str
    online: bool


@dataclass(frozen=True, slots=True)
class Stored:
    """A durable consumer told how far it has stored our events; `value` None = it is gone."""

    consumer: str
    value: Any


@dataclass(frozen=True, slots=True)
class Signalled:
    """A signal arrived."""

    number: int


@dataclass(frozen=True, slots=True)
class Probed:
    """A check of a run (by PID) was answered. purpose: `ready` or `alive`; detail: what is wrong."""

    plugin: str
    pid: int
    purpose: str
    ok: bool
    detail: str = ""
