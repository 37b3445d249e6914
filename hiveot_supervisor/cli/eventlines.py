"""The journal's events as lines for people: `started` and `stopped` joined with the state change that explains them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from hiveot_supervisor.cli.output import human_time, paint, printable
from hiveot_supervisor.clock import iso8601, parse_iso8601

if TYPE_CHECKING:
    from hiveot_supervisor.agent.state import Event

STATE_CHANGED = "pluginStateChanged"
_COLORS = {
    "started": "green",
    "stopped": "dim",
    "failed": "red",
    "missing": "red",
    "backoff": "yellow",
    "waiting": "yellow",
    "expiring": "red",
}
_CREDENTIALS = {"credentialRenewed": "renewed", "credentialExpiring": "expiring"}
_QUIET_STATES = {"starting", "stopping", "running"}


def as_json(event: Event) -> dict[str, Any]:
    """One event in the stable machine-readable form."""
    return {
        "seq": event.seq,
        "time": iso8601(event.time),
        "name": event.name,
        "plugin": event.plugin,
        "value": event.value,
    }


def lines(events: Iterable[Event], *, color: bool, verbose: bool = False) -> Iterator[str]:
    """One line an event. A state change right after its `started`/`stopped` is joined to it."""
    held: Event | None = None
    for event in events:
        if event.name in _CREDENTIALS:
            if held is not None:
                yield _line(held.time, held.name, held.plugin, "", color)
                held = None
            yield _line(event.time, _CREDENTIALS[event.name], event.plugin, _about_credentials(event.value), color)
            continue
        if event.name != STATE_CHANGED:
            if held is not None:
                yield _line(held.time, held.name, held.plugin, "", color)
            held = event
            continue
        change = event.value if isinstance(event.value, dict) else {}
        if held is not None and held.plugin == event.plugin:
            yield _line(held.time, held.name, held.plugin, _detail(held.name, change), color)
        elif verbose or str(change.get("state")) not in _QUIET_STATES:
            if held is not None:
                yield _line(held.time, held.name, held.plugin, "", color)
            yield _line(event.time, str(change.get("state", "?")), event.plugin, _reason(change), color)
        held = None
    if held is not None:
        yield _line(held.time, held.name, held.plugin, "", color)


def _line(wall: float, word: str, plugin: str, detail: str, color: bool) -> str:
    clock = time.strftime("%H:%M:%S", time.localtime(wall))
    text = paint(f"{printable(word):<8}", _COLORS.get(word, "cyan"), color)
    return f"{paint(clock, 'dim', color)}  {text}  {printable(plugin):<16}  {printable(detail)}".rstrip()


def _detail(name: str, change: dict[str, Any]) -> str:
    if name == "started":
        count = change.get("startCount", 1)
        return "" if change.get("cause") in ("autostart", None) else f"{change['cause']}, start number {count}"
    parts = [_reason(change)]
    if isinstance(change.get("uptime"), (int, float)):
        parts.append(f"after {human_time(change['uptime'])}")
    if change.get("state") in ("backoff", "failed"):
        parts.append(str(change["state"]) + _next_try(change))
    return ", ".join(p for p in parts if p)


def _reason(change: dict[str, Any]) -> str:
    cause, note = str(change.get("cause", "")), str(change.get("note", ""))
    if not note or note == cause:
        return cause
    return note if note.startswith("by ") or cause == "dependency" else f"{cause}: {note}"


def _about_credentials(value: Any) -> str:
    """`token, certificate until 2027-01-31; restart`, or what keeps them from being renewed."""
    told = value if isinstance(value, dict) else {}
    until = f"until {str(told['expires'])[:10]}" if told.get("expires") else ""
    if told.get("problem"):
        return f"credentials {until}: {told['problem']}".replace(" :", ":")
    renewed = ", ".join(str(kind) for kind in told.get("renewed") or ())
    action = "" if told.get("action") in (None, "none") else f"; {told['action']}"
    return f"{renewed} {until}{action}"


def _next_try(change: dict[str, Any]) -> str:
    try:
        left = parse_iso8601(str(change["nextTry"])) - parse_iso8601(str(change["time"]))
    except (KeyError, ValueError):
        return ""
    return f", next try in {human_time(left) if left >= 1 else f'{left:.1f}s'}"
