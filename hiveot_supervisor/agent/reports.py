"""Translates supervisord's events into what the agent understands; takes a new snapshot when reports were lost."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

from hiveot_supervisor.agent import reconcile
from hiveot_supervisor.agent.core import Agent
from hiveot_supervisor.agent.table import Exit
from hiveot_supervisor.model import Cause
from hiveot_supervisor.supervisord.listener import Event, Gap
from hiveot_supervisor.supervisord.rpc import ProcessInfo
from hiveot_supervisor.supervisord.states import Mood

log = logging.getLogger(__name__)

REMOTE_TYPE = "hiveot"
"""Type of the REMOTE_COMMUNICATION events with which the command line talks to the agent."""


class Reports:
    """Feeds the agent from the event listener."""

    def __init__(
        self,
        agent: Agent,
        *,
        snapshot: Callable[[], list[ProcessInfo]],
        reload: Callable[[], None],
        renew: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self._agent = agent
        self._renew = renew
        self._snapshot = snapshot
        self._reload = reload

    def handle(self, event: Event | Gap | Any) -> None:
        """One item of the listener thread."""
        if isinstance(event, Gap):
            log.warning("supervisord's event buffer overflowed; comparing with its process list")
            reconcile.resync(self._agent, self._snapshot())
        elif not isinstance(event, Event):
            log.warning("supervisord sent something unexpected: %r", event)
        elif event.name.startswith("PROCESS_STATE_"):
            self._process(event, event.name.removeprefix("PROCESS_STATE_"))
        elif event.name == "PROCESS_GROUP_REMOVED":
            self._agent.group_removed(event.group)
        elif event.name == "PROCESS_GROUP_ADDED":
            self._reload()
            self._agent.group_added(event.group)
        elif event.name == "SUPERVISOR_STATE_CHANGE_STOPPING":
            self._agent.shutting_down = True
        elif event.name == "REMOTE_COMMUNICATION" and event.type == REMOTE_TYPE:
            self._command(event.data)

    def _process(self, event: Event, state: str) -> None:
        agent, name = self._agent, event.process
        shutdown = agent.shutting_down or (event.mood in (Mood.RESTARTING, Mood.SHUTDOWN))
        exit_ = Exit(event.exitcode, event.signal, event.maxrss_kb * 1024 if event.maxrss_kb else None, event.cpu)
        match state:
            case "STARTING":
                agent.process_starting(name)
            case "RUNNING":
                agent.process_running(name, event.pid or 0)
            case "STOPPING":
                agent.process_stopping(name, event.pid, shutdown=shutdown)
            case "STOPPED":
                agent.process_stopped(name, event.pid, exit_, shutdown=shutdown)
            case "EXITED":
                if event.exitcode is None and event.signal is None:
                    exit_ = self._exit_from_supervisord(name)
                agent.process_exited(name, event.pid or 0, exit_)
            case "FATAL" | "UNKNOWN":
                agent.process_fatal(name, f"supervisord cannot start it ({state})")

    def _exit_from_supervisord(self, name: str) -> Exit:
        """Without the extension the exit code has to be asked for; signals stay unknown (-1)."""
        for process in self._snapshot():
            if process.name == name:
                code = process.exitcode
                return Exit(None if code == -1 else code, process.signal)
        return Exit()

    def _command(self, data: str) -> None:
        """A notice from the command line: {"op": "disable"|"enable"|"start"|"stop"|"reload"|"renew", "plugin": NAME,
        "actor": WHO}; for renew see `Renewals.notice`.

        `stop` is of a plugin that did not run when supervisord was asked. Where it runs by now, somebody has started it
        since, and that counts, or we have, and that does not.
        """
        try:
            message = json.loads(data)
            operation, plugin = message["op"], str(message.get("plugin", ""))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            log.warning("unreadable notice: %.200r", data)
            return
        entry = self._agent.table.get(plugin)
        if operation == "reload":
            self._reload()
        elif operation == "renew":
            self._renew(str(plugin), message)
        elif entry is None:
            log.warning("notice about an unknown plugin: %.200r", data)
        elif operation in ("enable", "disable"):
            actor = str(message.get("actor", ""))[:64]
            self._agent.set_enabled(entry, operation == "enable", actor, notice=True)
        elif operation == "start":
            self._agent.start(entry, Cause.OPERATOR)
        elif operation == "stop" and not (entry.up and entry.cause is Cause.OPERATOR):
            self._agent.stop(entry, Cause.OPERATOR)
