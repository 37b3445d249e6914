"""What consumers ask of the launcher's Thing: the Go launcher's actions and ours.

A request is answered once, when what it asked for has settled (started plugins must stay up for `startWait`), or with
an error that names the reason. Wrong thing, name, input type or right: an error answer, nothing done.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from typing import Any

from hiveot_supervisor.agent import things
from hiveot_supervisor.agent.core import Agent
from hiveot_supervisor.agent.loglines import tail
from hiveot_supervisor.agent.plugin_things import ACTIONS, PREFIX
from hiveot_supervisor.agent.table import Entry
from hiveot_supervisor.errors import HubError
from hiveot_supervisor.hub.client import Request, Right
from hiveot_supervisor.model import Cause, PluginState
from hiveot_supervisor.supervisord import process

log = logging.getLogger(__name__)

_ORDER = [Right.READ, Right.ACTION, Right.CONFIG, Right.ADMIN]
_ENDED = frozenset({PluginState.FAILED, PluginState.BACKOFF, PluginState.EXITED, PluginState.MISSING})
START_TIMEOUT = 60.0
ANSWER_TIMEOUT = 1.0
"""Seconds for the hub to take the last answer before it is stopped."""

LOG_SIZE = 200_000
"""Characters of a log in one answer; a message may have 1 MB."""

MAX_PENDING = 200
"""Requests that may wait for their outcome at once; more are refused."""


class Refused(Exception):
    """The request cannot be carried out; the text is the answer's error title."""


@dataclass(slots=True)
class _Pending:
    """A request whose outcome is awaited. `entries` are the plugins it is about."""

    request: Request
    starting: bool
    entries: list[Entry]
    deadline: float
    single: bool
    after: Callable[[], None] | None = None
    failures: dict[str, str] = field(default_factory=dict)


class Requests:
    """Serves the actions; used by the main loop only."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._pending: list[_Pending] = []
        self._handlers: dict[str, Callable[[Request, Any], None]] = {
            "listPlugins": self._list,
            "startPlugin": self._start,
            "stopPlugin": self._stop,
            "restartPlugin": self._restart,
            "enablePlugin": lambda r, v: self._set_enabled(r, v, True),
            "disablePlugin": lambda r, v: self._set_enabled(r, v, False),
            "getPluginLog": self._log,
            "startAllPlugins": self._start_all,
            "stopAllPlugins": self._stop_all,
        }

    @property
    def waiting(self) -> bool:
        return bool(self._pending)

    def handle(self, request: Request) -> None:
        """Carry a request out, or answer why not."""
        try:
            name, value = self._resolve(request)
            self._demand(request, things.ACTIONS[name].right)
            if len(self._pending) >= MAX_PENDING:
                raise Refused("too many requests are waiting; try again later")
            self._handlers[name](request, value)
        except Refused as refusal:
            self._agent.hub.respond_error(request, str(refusal))

    def _resolve(self, request: Request) -> tuple[str, Any]:
        """The launcher's action, and its input, that a request means (to its own Thing or to a plugin's)."""
        plugin_id = request.thing_id.removeprefix(PREFIX)
        if plugin_id == request.thing_id or self._agent.table.get(plugin_id) is None:
            return self._own_action(request), request.input
        if request.operation == "writeproperty" and request.name == "running":
            if not isinstance(request.input, bool):
                raise Refused(f"'running' expects true or false, not {request.input!r:.60}")
            return ("startPlugin" if request.input else "stopPlugin"), plugin_id
        if request.operation == "invokeaction" and request.name in ACTIONS:
            name = ACTIONS[request.name]
            return name, {"pluginID": plugin_id, "lines": request.input} if name == "getPluginLog" else plugin_id
        raise Refused(f"unknown action '{request.name:.80}'; the actions are {', '.join(ACTIONS)}")

    def _own_action(self, request: Request) -> str:
        if request.thing_id != things.THING_ID:
            raise Refused(f"unknown Thing '{request.thing_id:.80}' of this launcher; its Thing is '{things.THING_ID}'")
        if request.operation != "invokeaction" or request.name not in self._handlers:
            raise Refused(f"unknown action '{request.name:.80}'; the actions are {', '.join(self._handlers)}")
        return request.name

    @staticmethod
    def _demand(request: Request, right: Right) -> None:
        if _ORDER.index(request.right) < _ORDER.index(right):
            raise Refused(f"'{request.name}' demands the right '{right}'; it was sent with '{request.right}'")

    def _entry(self, request: Request, value: Any) -> Entry:
        """The plugin that the input names. The runtime answers to its file name, as in the Go launcher."""
        if not isinstance(value, str) or not value:
            raise Refused(f"'{request.name}' expects a plugin ID as text, not {value!r:.60}")
        for entry in self._agent.table.entries.values():
            if self._name(entry) == value:
                return entry
        raise Refused(f"plugin ID '{value:.80}' not found")

    @staticmethod
    def _name(entry: Entry) -> str:
        return entry.plugin.id if entry.managed else entry.plugin.executable.name

    @staticmethod
    def _flag(request: Request, value: Any) -> bool:
        if value is None:
            return False
        if not isinstance(value, bool):
            raise Refused(f"'{request.name}' expects true or false, not {value!r:.60}")
        return value

    def info(self, entry: Entry) -> dict[str, Any]:
        """PluginInfo of an entry, with its last resource sample, or what its process has now when there is none yet."""
        usage = self._agent.teller.usage.get(entry.plugin.id)
        rss = usage.rss if usage else process.resident(entry.pid) if entry.running else None
        return things.plugin_info(entry, self._agent.clock.wall(), cpu=usage.cpu if usage else None, rss=rss)

    # -- actions

    def _list(self, request: Request, value: Any) -> None:
        only_running = self._flag(request, value)
        infos = [self.info(e) for e in self._agent.table.entries.values() if e.running or not only_running]
        self._agent.hub.respond(request, sorted(infos, key=lambda i: str(i["pluginID"])))

    def _start(self, request: Request, value: Any) -> None:
        entry = self._entry(request, value)
        if not entry.running:
            self._agent.start(entry, Cause.OPERATOR, request.sender)
        self._await(request, [entry], starting=True)

    def _stop(self, request: Request, value: Any) -> None:
        entry = self._entry(request, value)
        if not entry.managed:
            self._demand(request, Right.ADMIN)
            _await_read(self._agent.hub.respond(request, self.info(entry)))
            self._agent.stop_runtime()
            return
        self._agent.stop(entry, Cause.OPERATOR, request.sender)
        self._await(request, [entry], starting=False)

    def _restart(self, request: Request, value: Any) -> None:
        entry = self._entry(request, value)
        if not entry.managed:
            raise Refused("the runtime cannot be restarted through the hub that it runs; use hiveot-launcher restart")
        self._agent.restart(entry, Cause.OPERATOR, request.sender)
        self._await(request, [entry], starting=True)

    def _set_enabled(self, request: Request, value: Any, enabled: bool) -> None:
        entry = self._entry(request, value)
        self._agent.set_enabled(entry, enabled, request.sender)
        self._agent.hub.respond(request, self.info(entry))

    def _log(self, request: Request, value: Any) -> None:
        asked = value if isinstance(value, dict) else {"pluginID": value}
        entry = self._entry(request, asked.get("pluginID"))
        count = asked.get("lines")
        if count is None:
            count = things.LOG_LINES
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise Refused(
                f"'{request.name}' expects a number of lines from 1 to {things.MAX_LOG_LINES}, not {count!r:.60}"
            )
        lines = tail(entry.plugin, min(count, things.MAX_LOG_LINES), LOG_SIZE)
        if lines is None:
            raise Refused(f"{self._name(entry)} has no log file; logPlugins is off for it")
        self._agent.hub.respond(request, lines)

    def _start_all(self, request: Request, _: Any) -> None:
        self._agent.want_all()
        self._await(request, list(self._agent.table.plugins), starting=True, single=False)

    def _stop_all(self, request: Request, value: Any) -> None:
        full = self._flag(request, value)
        if full:
            self._demand(request, Right.ADMIN)
        entries = self._agent.running_in_stop_order()
        for entry in self._agent.table.plugins:
            if not entry.up:
                self._agent.stop(entry, Cause.OPERATOR, request.sender)
        for entry in entries:
            self._agent.stop(entry, Cause.OPERATOR, request.sender)
        entries += [e for e in self._agent.table.plugins if e.coming]
        self._await(request, entries, starting=False, single=False, after=self._agent.stop_runtime if full else None)

    # -- outcomes

    def _await(
        self,
        request: Request,
        entries: list[Entry],
        *,
        starting: bool,
        single: bool = True,
        after: Callable[[], None] | None = None,
    ) -> None:
        longest = max((e.plugin.stop.timeout for e in entries), default=0.0) + 5.0
        timeout = START_TIMEOUT + len(entries) * self._agent.launcher.start_wait if starting else longest
        deadline = self._agent.clock.monotonic() + timeout
        self._pending.append(_Pending(request, starting, entries, deadline, single, after))
        self.settle()

    def settle(self) -> None:
        """Answer the requests whose outcome is known now."""
        mono = self._agent.clock.monotonic()
        for pending in list(self._pending):
            unsettled = [e for e in pending.entries if not self._settled(pending, e)]
            done = not unsettled
            late = not done and mono >= pending.deadline
            if not done and not late:
                continue
            self._pending.remove(pending)
            for entry in unsettled:
                pending.failures[entry.plugin.id] = f"{entry.plugin.id}: no result yet ({entry.state}) {entry.note}"
            self._answer(pending)

    def next_deadline(self) -> float | None:
        """When `settle` should be called again at the latest (monotonic)."""
        if not self._pending:
            return None
        wait = self._agent.launcher.start_wait
        mono = self._agent.clock.monotonic()
        due = [p.deadline for p in self._pending]
        for pending in self._pending:
            due += [e.started_mono + wait for e in pending.entries if e.running and e.started_mono + wait > mono]
        return min(due)

    def _settled(self, pending: _Pending, entry: Entry) -> bool:
        if not pending.starting:
            return not entry.up and not entry.coming
        if entry.again is not None or (entry.wanted is not None and entry.state is not PluginState.WAITING):
            return False
        if self._agent.ready(entry):
            return True
        if entry.state in _ENDED and entry.intent is None:
            pending.failures[entry.plugin.id] = f"{entry.plugin.id}: {entry.note or entry.state.value}"
            return True
        if entry.state is PluginState.WAITING and self._agent.awaits_accounts(entry):
            return False
        if entry.state is PluginState.WAITING:
            pending.failures[entry.plugin.id] = f"{entry.plugin.id} waits: {entry.note}"
            return True
        if entry.state is PluginState.STOPPED and entry.intent is None and not entry.enabled:
            pending.failures[entry.plugin.id] = f"{entry.plugin.id} was stopped: {entry.note}"
            return True
        return False

    def _answer(self, pending: _Pending) -> None:
        hub = self._agent.hub
        if pending.failures:
            sent = hub.respond_error(pending.request, "; ".join(pending.failures.values())[:1000])
        else:
            sent = hub.respond(pending.request, self.info(pending.entries[0]) if pending.single else None)
        if pending.after:
            _await_read(sent)
            pending.after()


def _await_read(sent: Future[None]) -> None:
    """Wait until the hub has an answer that must reach it before it is stopped, but not for long."""
    with contextlib.suppress(HubError, FutureTimeout):
        sent.result(ANSWER_TIMEOUT)
