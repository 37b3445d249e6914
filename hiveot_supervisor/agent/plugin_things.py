"""Each plugin as a Thing of its own, `plugin-{id}`: state for late subscribers, start and stop for dashboards.

`Board` puts only what changed into the outbox; after a reconnect everything is told again. Resource figures move all
the time, so they are told when they changed noticeably.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from hiveot_supervisor.agent.publisher import Publisher
from hiveot_supervisor.agent.samples import Usage
from hiveot_supervisor.agent.table import Entry
from hiveot_supervisor.agent.things import ALLOW, FUNCTION, LINES, LOG, flag, number, plugin_info, text, whole
from hiveot_supervisor.clock import iso8601
from hiveot_supervisor.hub.client import HubClient, Right
from hiveot_supervisor.hub.thing import Action, DataType, Property, Schema, Thing

log = logging.getLogger(__name__)

PREFIX = "plugin-"
NOTICEABLE = 0.2
"""Relative change of memory or CPU that is worth telling."""

STATES = ["stopped", "waiting", "starting", "running", "stopping", "backoff", "exited", "failed", "missing"]
ACTIONS = {"start": "startPlugin", "stop": "stopPlugin", "restart": "restartPlugin", "getLog": "getPluginLog"}
"""Actions of a plugin's Thing and the launcher's actions that they stand for."""


def thing_id(plugin_id: str) -> str:
    return PREFIX + plugin_id


def plugin_thing(plugin_id: str, created: str) -> Thing:
    """One plugin's Thing."""
    return Thing(
        thing_id(plugin_id),
        plugin_id,
        f"Plugin {plugin_id}, run by the launcher",
        at_type="Service",
        created=created,
        modified=created,
        properties={
            "state": Property(Schema(DataType.OBJECT, "State", "What the plugin is doing, in one document")),
            "status": Property(Schema(DataType.STRING, "Status", "The state in one word", enum=STATES)),
            "running": Property(flag("Running", "Write true to start it, false to stop it"), write=Right.CONFIG),
            "cpu": Property(number("CPU", "Of all its processes", "%")),
            "rss": Property(whole("Memory", "Resident memory of all its processes", "Bytes")),
            "threads": Property(whole("Threads", "Of all its processes")),
            "files": Property(
                whole("Open files", "File descriptors of all its processes, or null when they are hidden")
            ),
            "restarts": Property(whole("Restarts", "Starts after the first")),
            "nextTry": Property(text("Next try", "When it will be started again, ISO 8601, or null")),
            "tokenExpires": Property(text("Token expires", "ISO 8601, or null without a token")),
        },
        actions={
            "start": Action("Start", "Start the plugin", right=Right.CONFIG, at_type=FUNCTION),
            "stop": Action("Stop", "Stop the plugin; it stays stopped", right=Right.CONFIG, at_type=FUNCTION),
            "restart": Action("Restart", "Stop and start the plugin", right=Right.CONFIG, at_type=FUNCTION),
            "getLog": Action(
                "Log",
                "The last lines of its log",
                LINES,
                LOG,
                safe=True,
                idempotent=True,
                right=Right.READ,
                at_type=FUNCTION,
            ),
        },
    )


MEMBERS = tuple(plugin_thing("", "").properties)
"""Names of the properties of a plugin's Thing."""


def state_document(
    entry: Entry, usage: Usage | None, wall: float, mono: float, device: str, number: tuple[int, str]
) -> dict[str, Any]:
    """The `state` property: PluginInfo plus state, next try and device; complete, so that one message tells all.

    number: seq of the last event about the plugin, and the numbering's epoch: which events it includes already.
    """
    info = plugin_info(entry, wall, cpu=usage.cpu if usage else None, rss=usage.rss if usage else None)
    info.pop("Uptime", None)
    document = {
        **info,
        "running": entry.running,
        "ready": entry.ready if entry.plugin.ready else entry.running,
        "enabled": entry.enabled,
        "since": iso8601(entry.since) if entry.since else "",
        "cause": entry.cause.value,
        "restarts": max(0, entry.start_count - 1),
        "device": device,
        "seq": number[0],
        "epoch": number[1],
    }
    if entry.stray is not None:
        document["detected"] = "manual"
        document["strayPid"] = entry.stray.pid
    if entry.next_try is not None:
        document["nextTry"] = iso8601(wall + entry.next_try - mono)
    if entry.exit is not None and not entry.running:
        document["exitCode"] = entry.exit.code
        document["signal"] = entry.exit.signal
    return document


class Board:
    """What the hub has been told about the plugins; used by the main loop only.

    token_expires: gives the wall time at which a plugin's token expires, None when it has none. describe: makes the TD
    of a Thing, with the forms that suit the hub. number: seq of the last event about a plugin, and epoch.
    """

    def __init__(
        self,
        hub: HubClient,
        publisher: Publisher,
        device: str,
        token_expires: Callable[[str], float | None],
        describe: Callable[[Thing], dict[str, Any]],
        number: Callable[[str], tuple[int, str]],
    ) -> None:
        self._describe = describe
        self._hub = hub
        self._publisher = publisher
        self._number = number
        self._device = device
        self._token_expires = token_expires
        self._told: dict[str, tuple[Any, ...]] = {}
        self._values: dict[str, dict[str, Any]] = {}

    def forget(self) -> None:
        """The hub may have forgotten everything: tell it again."""
        self._told.clear()
        self._values.clear()

    def tell_again(self, name: str) -> None:
        """Something about a plugin changed that its entry does not show; what is as it was is not sent again."""
        self._told.pop(name, None)

    def publish(
        self, entries: list[Entry], gone: set[str], usage: Callable[[str], Usage | None], wall: float, mono: float
    ) -> None:
        """Tell what changed about `entries` since the last call; plugins in `gone` are no longer configured."""
        for entry in entries:
            name = entry.plugin.id
            if name not in self._values:
                self._values[name] = {}
                self._hub.publish_td(self._describe(plugin_thing(name, iso8601(wall))))
                # without a record HiveOT's hub would let operators and all agents start and stop it
                self._hub.set_permissions(thing_id(name), ALLOW)
            key = (entry.state, entry.note, entry.pid, entry.enabled, entry.executed, entry.ready, entry.stray)
            if self._told.get(name) != (*key, entry.next_try):
                self._told[name] = (*key, entry.next_try)
                self._tell(entry, usage(name), wall, mono)
            self._tell_resources(entry, usage(name))
        for name in gone:
            self._publisher.forget_properties(thing_id(name))
            self._hub.remove_td(thing_id(name), MEMBERS)
            self._values.pop(name, None)
            self._told.pop(name, None)

    def _tell(self, entry: Entry, usage: Usage | None, wall: float, mono: float) -> None:
        name = entry.plugin.id
        expires = self._token_expires(name)
        next_try = None if entry.next_try is None else iso8601(wall + entry.next_try - mono)
        self._publish(name, "state", state_document(entry, usage, wall, mono, self._device, self._number(name)))
        self._publish(name, "status", entry.state.value)
        self._publish(name, "running", entry.running)
        self._publish(name, "restarts", max(0, entry.start_count - 1))
        self._publish(name, "nextTry", next_try)
        self._publish(name, "tokenExpires", None if expires is None else iso8601(expires))

    def _tell_resources(self, entry: Entry, usage: Usage | None) -> None:
        name = entry.plugin.id
        used = usage if usage and entry.running else Usage(0.0, 0, 0, 0, 0)
        told = self._values[name]
        if "rss" not in told or _differs(told["cpu"], used.cpu) or _differs(told["rss"], used.rss):
            for member in ("cpu", "rss", "threads", "files"):
                self._publish(name, member, getattr(used, member), lasting=False)

    def _publish(self, name: str, member: str, value: Any, *, lasting: bool = True) -> None:
        told = self._values[name]
        if member not in told or told[member] != value:
            told[member] = value
            self._publisher.put_property(thing_id(name), member, value, lasting=lasting)


def _differs(before: float, now: float) -> bool:
    """Noticeably: by 20 % and by more than a hair (1 % CPU; for memory every value is far above that)."""
    return abs(now - before) > max(1.0, NOTICEABLE * before)
