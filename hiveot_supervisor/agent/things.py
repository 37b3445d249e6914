"""The launcher's Thing: its Thing Description and the PluginInfo of its answers.

Names and types are the Go launcher's (HiveOT hub protocol §6.1), so that hubcli and dashboards work unchanged; titles
and descriptions are our own words. Pure.
"""

from __future__ import annotations

from typing import Any

from hiveot_supervisor.agent.table import Entry
from hiveot_supervisor.clock import iso8601
from hiveot_supervisor.hub.client import Right
from hiveot_supervisor.hub.thing import Action, DataType, Event, Property, Schema, Thing, with_mqtt_forms

THING_ID = "Admin"
ALLOW = ("manager", "admin", "service")
"""Roles that may use the launcher's Thing (the Go launcher's permission record)."""

STARTED = "started"
STOPPED = "stopped"
STATE_CHANGED = "pluginStateChanged"
LIMIT_EXCEEDED = "limitExceeded"
STRAY = "strayDetected"
CREDENTIAL_EXPIRING = "credentialExpiring"
CREDENTIAL_RENEWED = "credentialRenewed"

FUNCTION = "hiveot:function"


def text(title: str, description: str = "") -> Schema:
    return Schema(DataType.STRING, title, description)


def whole(title: str, description: str = "", unit: str = "") -> Schema:
    return Schema(DataType.INTEGER, title, description, unit)


def number(title: str, description: str = "", unit: str = "") -> Schema:
    return Schema(DataType.NUMBER, title, description, unit)


def flag(title: str, description: str = "") -> Schema:
    return Schema(DataType.BOOLEAN, title, description)


def _record(title: str, **members: Schema) -> Schema:
    """An object; a trailing underscore of a member's name is dropped (`for_`)."""
    return Schema(DataType.OBJECT, title, properties={n.rstrip("_"): s for n, s in members.items()})


_PLUGIN_ID = text("Plugin ID")
_INFO = Schema(DataType.OBJECT, "Plugin status", ref="PluginInfo")
_DEVICE = text("Device", "Host name")
_SEQ = whole("Number", "Of the event; grows by one with each")
_EPOCH = text("Epoch", "Of the numbering; another one when it has begun anew")

PLUGIN_INFO = Schema(
    DataType.OBJECT,
    "Plugin information",
    "What a plugin is and what it is doing",
    properties={
        "pluginID": text("Plugin ID", "Name of the plugin, also its account on the hub"),
        "execPath": text("Executable", "Path of the program that is run"),
        "size": whole("Size", "Size of the executable", "Bytes"),
        "modifiedTime": text("Modified", "When the executable was last changed, ISO 8601"),
        "running": flag("Running", "The plugin's program runs now"),
        "pid": whole("Process ID", "Of the running process, or of the last one"),
        "startCount": whole("Starts", "How often it has been started"),
        "startedTime": text("Started", "Time of the last start, ISO 8601"),
        "stoppedTime": text("Stopped", "Time of the last stop, ISO 8601"),
        "status": text("Status", "Why it is in its state, in words"),
        "cpu": whole("CPU", "CPU use of all its processes, 0 when not running", "%"),
        "rss": whole("Memory", "Resident memory of all its processes", "Bytes"),
        "Uptime": whole("Uptime", "How long it has been running", "seconds"),
        "state": text("State", "stopped, waiting, starting, running, stopping, backoff, exited, failed or missing"),
        "enabled": flag("Enabled", "It is started again after a restart of the machine"),
    },
)

_STATE_CHANGE = _record(
    "State change",
    pluginID=_PLUGIN_ID,
    state=text("State"),
    previous=text("Previous state"),
    cause=text("Cause", "operator, crash, exit, limit, probe, dependency, credentials, shutdown, launcher-lost …"),
    exitCode=whole("Exit code", "Absent when a signal ended it"),
    signal=text("Signal", "Name of the signal that ended it"),
    maxRss=whole("Peak memory", "Of the process that ended", "Bytes"),
    uptime=number("Uptime", unit="seconds"),
    startCount=whole("Starts"),
    attempt=whole("Attempt", "Failures in a row"),
    nextTry=text("Next try", "When it will be started again, ISO 8601"),
    note=text("Note", "Why, in words"),
    ready=flag("Ready", "It has passed its readiness check"),
    lastLog=Schema(DataType.ARRAY, "Last words", "The last lines of its log", items=text("Line")),
    inferred=flag("Inferred", "Nobody saw it happen; found out later"),
    device=_DEVICE,
    time=text("Time", "When it happened, ISO 8601"),
    seq=_SEQ,
    epoch=_EPOCH,
)

_LIMIT = _record(
    "Exceeded limit",
    pluginID=_PLUGIN_ID,
    resource=text("Resource", "memory or cpu"),
    value=number("Value", "Bytes, or percent of a core"),
    limit=number("Limit", "In the same unit"),
    for_=number("For", "How long it was exceeded", "seconds"),
    action=text("Action", "event or restart"),
    device=_DEVICE,
    time=text("Time", "When it happened, ISO 8601"),
    seq=_SEQ,
    epoch=_EPOCH,
)

_STRAY = _record(
    "Stray",
    pluginID=_PLUGIN_ID,
    pid=whole("Process ID"),
    since=text("Since", "When it was started, ISO 8601"),
    detected=text("Detected", "manual"),
    device=_DEVICE,
    time=text("Time", "When it was noticed, ISO 8601"),
    seq=_SEQ,
    epoch=_EPOCH,
)

_EXPIRING = _record(
    "Ending credentials",
    pluginID=_PLUGIN_ID,
    expires=text("Expires", "When the first of them ends, ISO 8601; absent when there are none"),
    problem=text("Problem", "Why they could not be renewed"),
    device=_DEVICE,
    time=text("Time", "When it was noticed, ISO 8601"),
    seq=_SEQ,
    epoch=_EPOCH,
)

_RENEWED = _record(
    "Renewed credentials",
    pluginID=_PLUGIN_ID,
    renewed=Schema(DataType.ARRAY, "Renewed", "key, token, certificate", items=text("Kind")),
    expires=text("Expires", "When the first of all ends, ISO 8601"),
    action=text("Action", "What the running plugin got: none, restart or HUP"),
    device=_DEVICE,
    time=text("Time", "When it happened, ISO 8601"),
    seq=_SEQ,
    epoch=_EPOCH,
)

LOG_LINES, MAX_LOG_LINES = 100, 1000
LINES = whole("Lines", "How many of the last lines, 100 without a number, 1000 at most")
LOG = Schema(DataType.ARRAY, "Log", "Oldest line first", items=text("Line"))


def _control(title: str, description: str) -> Action:
    """An action on one plugin."""
    return Action(title, description, _PLUGIN_ID, _INFO, right=Right.CONFIG, at_type=FUNCTION)


ACTIONS: dict[str, Action] = {
    "listPlugins": Action(
        "List plugins",
        "All known plugins and what they are doing",
        flag("Only running"),
        Schema(DataType.ARRAY, "Plugins", items=_INFO),
        safe=True,
        idempotent=True,
        right=Right.READ,
        at_type=FUNCTION,
    ),
    "startPlugin": _control("Start plugin", "Start one plugin"),
    "stopPlugin": _control("Stop plugin", "Stop one plugin; it stays stopped"),
    "restartPlugin": _control("Restart plugin", "Stop and start one plugin"),
    "enablePlugin": _control("Enable plugin", "Start it at every start"),
    "disablePlugin": _control("Disable plugin", "Do not start it by itself"),
    "getPluginLog": Action(
        "Get log",
        "The last lines of a plugin's log: of the plugin with this ID, or an object that says how many",
        _record("Which log", pluginID=_PLUGIN_ID, lines=LINES),
        LOG,
        safe=True,
        idempotent=True,
        right=Right.READ,
        at_type=FUNCTION,
    ),
    "startAllPlugins": Action("Start all", "Start all known plugins in order", right=Right.CONFIG, at_type=FUNCTION),
    "stopAllPlugins": Action(
        "Stop all",
        "Stop all running plugins in reverse order",
        flag("Full stop", "Stop the hub runtime as well; that demands the right `admin`"),
        right=Right.CONFIG,
        at_type=FUNCTION,
    ),
}
"""The actions with the least right that each demands; `stopAllPlugins` with full stop demands ADMIN."""


def launcher_thing(created: str) -> Thing:
    """The launcher's Thing. `created`: ISO 8601 time for created/modified."""
    return Thing(
        THING_ID,
        "Plugin launcher",
        "Lists, starts and stops the plugins of this hub and tells when they start and stop",
        at_type="Service",
        created=created,
        modified=created,
        properties={
            "nrPlugins": Property(whole("Plugins", "Number of known plugins")),
            "nrRunning": Property(whole("Running plugins", "Number of plugins that run now")),
        },
        events={
            STARTED: Event("Plugin started", "A plugin has been started", _PLUGIN_ID),
            STOPPED: Event("Plugin stopped", "A plugin has ended or was stopped", _PLUGIN_ID),
            STATE_CHANGED: Event("Plugin state changed", "A plugin changed its state, and why", _STATE_CHANGE),
            LIMIT_EXCEEDED: Event("Limit exceeded", "A plugin has used more than its limit for too long", _LIMIT),
            STRAY: Event("Stray detected", "A copy of a plugin runs that the launcher did not start", _STRAY),
            CREDENTIAL_EXPIRING: Event(
                "Credentials end soon", "They could not be renewed so far; the launcher goes on trying", _EXPIRING
            ),
            CREDENTIAL_RENEWED: Event("Credentials renewed", "A plugin, or the launcher, has new ones", _RENEWED),
        },
        actions=ACTIONS,
        schema_definitions={"PluginInfo": PLUGIN_INFO},
    )


def describe(thing: Thing, launcher_id: str, url: str) -> dict[str, Any]:
    """The TD to publish: with forms on an MQTT hub; the HiveOT hub makes its own."""
    if url.startswith("mqtts:"):
        return with_mqtt_forms(thing, agent_id=launcher_id, url=url)
    return thing.to_json()


def plugin_info(entry: Entry, wall: float, *, cpu: float | None, rss: int | None) -> dict[str, Any]:
    """PluginInfo of an entry; members that are 0, false or empty are left out, as on the hub's wire."""
    plugin = entry.plugin
    size, modified = 0, ""
    try:
        stat = plugin.executable.stat()
        size, modified = stat.st_size, iso8601(stat.st_mtime)
    except OSError:
        pass
    info = {
        "pluginID": plugin.id if entry.managed else plugin.executable.name,
        "execPath": str(plugin.executable),
        "size": size,
        "modifiedTime": modified,
        "running": entry.running,
        "pid": entry.pid,
        "startCount": entry.start_count,
        "startedTime": iso8601(entry.started) if entry.started else "",
        "stoppedTime": iso8601(entry.stopped) if entry.stopped else "",
        "status": entry.note,
        "cpu": round(cpu or 0) if entry.running else 0,
        "rss": (rss or 0) if entry.running else 0,
        "Uptime": int(max(0.0, wall - entry.started)) if entry.running else 0,
        "enabled": entry.enabled,
    }
    return {k: v for k, v in info.items() if v} | {"state": entry.state.value}
