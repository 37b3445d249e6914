"""The launcher's Thing: its Thing Description and the PluginInfo of its answers.

Names and types are the Go launcher's (HiveOT hub protocol §6.1), so that hubcli and dashboards work unchanged; titles
and descriptions are our own words. Pure.
"""

from __future__ import annotations

from typing import Any

from hiveot_supervisor.agent.table import Entry
from hiveot_supervisor.clock import iso8601
from hiveot_supervisor.hub.client import Right

THING_ID = "Admin"
ALLOW = ("manager", "admin", "service")
"""Roles that may use the launcher's Thing (the Go launcher's permission record)."""

STARTED = "started"
STOPPED = "stopped"
STATE_CHANGED = "pluginStateChanged"
LIMIT_EXCEEDED = "limitExceeded"
STRAY = "strayDetected"

ACTION_RIGHTS: dict[str, Right] = {
    "listPlugins": Right.READ,
    "startPlugin": Right.CONFIG,
    "stopPlugin": Right.CONFIG,
    "restartPlugin": Right.CONFIG,
    "enablePlugin": Right.CONFIG,
    "disablePlugin": Right.CONFIG,
    "startAllPlugins": Right.CONFIG,
    "stopAllPlugins": Right.CONFIG,
}
"""The least right that each action demands; `stopAllPlugins` with full stop demands ADMIN."""


def _string(title: str, description: str = "") -> dict[str, Any]:
    return {"title": title, "type": "string", **({"description": description} if description else {})}


def typed(kind: str, title: str, description: str = "", **more: Any) -> dict[str, Any]:
    """A data schema or property: JSON type, title, description and further members."""
    return {"title": title, "type": kind, **({"description": description} if description else {}), **more}


_INFO = {"title": "Plugin status", "type": "object", "schema": "PluginInfo"}


def action(title: str, description: str, **more: Any) -> dict[str, Any]:
    """An action affordance."""
    return {"@type": "hiveot:function", "title": title, "description": description, **more}


def _plugin_info_schema() -> dict[str, Any]:
    return {
        "title": "Plugin information",
        "description": "What a plugin is and what it is doing",
        "type": "object",
        "properties": {
            "pluginID": _string("Plugin ID", "Name of the plugin, also its account on the hub"),
            "execPath": _string("Executable", "Path of the program that is run"),
            "size": typed("integer", "Size", "Size of the executable", unit="Bytes"),
            "modifiedTime": _string("Modified", "When the executable was last changed, ISO 8601"),
            "running": typed("boolean", "Running", "The plugin's program runs now"),
            "pid": typed("integer", "Process ID", "Of the running process, or of the last one"),
            "startCount": typed("integer", "Starts", "How often it has been started"),
            "startedTime": _string("Started", "Time of the last start, ISO 8601"),
            "stoppedTime": _string("Stopped", "Time of the last stop, ISO 8601"),
            "status": _string("Status", "Why it is in its state, in words"),
            "cpu": typed("integer", "CPU", "CPU use of all its processes, 0 when not running", unit="%"),
            "rss": typed("integer", "Memory", "Resident memory of all its processes", unit="Bytes"),
            "Uptime": typed("integer", "Uptime", "How long it has been running", unit="seconds"),
            "state": _string(
                "State", "stopped, waiting, starting, running, stopping, backoff, exited, failed or missing"
            ),
            "enabled": typed("boolean", "Enabled", "It is started again after a restart of the machine"),
        },
    }


def thing_description(created: str) -> dict[str, Any]:
    """The TD of the launcher's Thing. `created`: ISO 8601 time for created/modified."""
    plugin_id = _string("Plugin ID")
    return {
        "@context": ["https://www.w3.org/2022/wot/td/v1.1", {"hiveot": "https://www.hiveot.net/vocab/v0.1"}],
        "@type": "Service",
        "id": THING_ID,
        "title": "Plugin launcher",
        "description": "Lists, starts and stops the plugins of this hub and tells when they start and stop",
        "created": created,
        "modified": created,
        "properties": {
            "nrPlugins": typed("integer", "Plugins", "Number of known plugins", readOnly=True),
            "nrRunning": typed("integer", "Running plugins", "Number of plugins that run now", readOnly=True),
        },
        "events": {
            STARTED: {"title": "Plugin started", "description": "A plugin has been started", "data": plugin_id},
            STOPPED: {"title": "Plugin stopped", "description": "A plugin has ended or was stopped", "data": plugin_id},
            STATE_CHANGED: {
                "title": "Plugin state changed",
                "description": "A plugin went from one state to another, with the reason",
                "data": _state_change_schema(),
            },
            LIMIT_EXCEEDED: {
                "title": "Limit exceeded",
                "description": "A plugin has used more than its limit for longer than allowed",
                "data": _limit_schema(),
            },
            STRAY: {
                "title": "Stray detected",
                "description": "A copy of a plugin runs that the launcher did not start",
                "data": {
                    "title": "Stray",
                    "type": "object",
                    "properties": {
                        "pluginID": _string("Plugin ID"),
                        "pid": typed("integer", "Process ID"),
                        "since": _string("Since", "When it was started, ISO 8601"),
                        "detected": _string("Detected", "manual"),
                        "device": _string("Device", "Host name"),
                        "time": _string("Time", "When it was noticed, ISO 8601"),
                    },
                },
            },
        },
        "actions": {
            "listPlugins": action(
                "List plugins",
                "All known plugins and what they are doing",
                safe=True,
                idempotent=True,
                input=typed("boolean", "Only running"),
                output={"title": "Plugins", "type": "array", "items": _INFO},
            ),
            "startPlugin": action("Start plugin", "Start one plugin", input=plugin_id, output=_INFO),
            "stopPlugin": action("Stop plugin", "Stop one plugin; it stays stopped", input=plugin_id, output=_INFO),
            "restartPlugin": action("Restart plugin", "Stop and start one plugin", input=plugin_id, output=_INFO),
            "enablePlugin": action("Enable plugin", "Start it at every start", input=plugin_id, output=_INFO),
            "disablePlugin": action("Disable plugin", "Do not start it by itself", input=plugin_id, output=_INFO),
            "startAllPlugins": action("Start all", "Start all known plugins in order"),
            "stopAllPlugins": action(
                "Stop all",
                "Stop all running plugins in reverse order",
                input=typed("boolean", "Full stop", "Stop the hub runtime as well"),
            ),
        },
        "schemaDefinitions": {"PluginInfo": _plugin_info_schema()},
    }


def _state_change_schema() -> dict[str, Any]:
    return {
        "title": "State change",
        "type": "object",
        "properties": {
            "pluginID": _string("Plugin ID"),
            "state": _string("State"),
            "previous": _string("Previous state"),
            "cause": _string("Cause", "operator, crash, exit, limit, probe, dependency, shutdown, launcher-lost …"),
            "exitCode": typed("integer", "Exit code", "Absent when a signal ended it"),
            "signal": _string("Signal", "Name of the signal that ended it"),
            "uptime": typed("number", "Uptime", unit="seconds"),
            "startCount": typed("integer", "Starts"),
            "nextTry": _string("Next try", "When it will be started again, ISO 8601"),
            "note": _string("Note", "Why, in words"),
            "device": _string("Device", "Host name"),
            "time": _string("Time", "When it happened, ISO 8601"),
        },
    }


def _limit_schema() -> dict[str, Any]:
    return {
        "title": "Exceeded limit",
        "type": "object",
        "properties": {
            "pluginID": _string("Plugin ID"),
            "resource": _string("Resource", "memory or cpu"),
            "value": typed("number", "Value", "Bytes, or percent of a core"),
            "limit": typed("number", "Limit", "In the same unit"),
            "for": typed("number", "For", "How long it was exceeded", unit="seconds"),
            "action": _string("Action", "event or restart"),
            "device": _string("Device", "Host name"),
            "time": _string("Time", "When it happened, ISO 8601"),
        },
    }


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
