"""The kinds that can be written in more than one form: autostart, dependsOn, environment, ready, alive."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hiveot_supervisor.config.addresses import Address, Url
from hiveot_supervisor.config.diagnostics import Collector, Source, Span
from hiveot_supervisor.config.kinds import Bool, Choice, Duration, Integer, Place, place_name
from hiveot_supervisor.config.nodes import Mapping, Node, Scalar, Sequence, instead, show
from hiveot_supervisor.config.shapes import Key, MapOf, Named, Section, Settings, words_as_list
from hiveot_supervisor.config.suggest import nearest
from hiveot_supervisor.config.texts import CommandLine, Executable, Name, Regex, Text, VariableName
from hiveot_supervisor.model import AliveProbe, Condition, Probe, ProbeKind


@dataclass(frozen=True, slots=True)
class AutostartItem:
    """`name`, or `name: executable`."""

    name: str
    span: Span
    executable: str | None = None
    executable_span: Span | None = None


class Autostart:
    """The ordered list of what starts by itself."""

    scalar = False
    expects = "a list of plugin names"

    def decode(self, node: Node, at: Place, sink: Collector) -> tuple[AutostartItem, ...] | None:
        if not isinstance(node, Sequence):
            self._refuse(node, at, sink)
            return None
        items = [self._item(item, (*at, number), sink) for number, item in enumerate(node.items)]
        return tuple(item for item in items if item is not None)

    def _refuse(self, node: Node, at: Place, sink: Collector) -> None:
        text = f"{place_name(at)} must be {self.expects}{instead(node)}"
        written = words_as_list(node.text) if isinstance(node, Scalar) else None
        suggestion = f"write {show(written)}" if written else ""
        help_ = "begin each plugin with `- `, in the order in which they shall start"
        sink.error("L103", text, node.span, suggestion=suggestion, replacement=written, help=help_)

    def _item(self, node: Node, at: Place, sink: Collector) -> AutostartItem | None:
        if isinstance(node, Mapping) and len(node.entries) == 1:
            return self._variant(node, at, sink)
        if not isinstance(node, Scalar) or node.is_null:
            text = f"{place_name(at)} must be a plugin name or `name: executable`{instead(node)}"
            sink.error("L103", text, node.span, help="begin each plugin with `- ` on a line of its own")
            return None
        name, _, executable = node.text.partition(":")
        if executable and node.plain:
            meant = f"{name}: {executable}"
            text = f"{show(node.text)} is not a valid name"
            sink.error("L301", text, node.span, suggestion=f"did you mean {show(meant)}?", replacement=meant)
            return None
        decoded = NAME.decode(node, at, sink)
        return None if decoded is None else AutostartItem(decoded, node.span)

    def _variant(self, node: Mapping, at: Place, sink: Collector) -> AutostartItem | None:
        entry = node.entries[0]
        name = NAME.decode(entry.key, at, sink)
        if isinstance(entry.value, Scalar) and entry.value.is_null:
            text = f"the executable is missing after {show(entry.key.text + ':')}"
            meant = entry.key.text
            sink.error("L107", text, entry.key.span, suggestion=f"write {show(meant)} alone, or `{meant}: EXECUTABLE`")
            return None
        executable = EXECUTABLE.decode(entry.value, (*at[:-1], entry.key.text), sink)
        if name is None or executable is None:
            return None
        return AutostartItem(name, entry.key.span, executable, entry.value.span)

    def schema(self) -> dict[str, Any]:
        variant = {
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "propertyNames": {"pattern": NAME.schema()["pattern"]},
            "additionalProperties": EXECUTABLE.schema(),
        }
        return {"type": "array", "items": {"anyOf": [NAME.schema(), variant]}, "uniqueItems": True}


@dataclass(frozen=True, slots=True)
class DependsOn:
    """A dependency as written."""

    plugin: str
    condition: Condition
    span: Span


class Dependencies:
    """`[history]`, `{history: ready}`, or a list that mixes both forms."""

    scalar = False
    expects = "a list of plugin names"

    def decode(self, node: Node, at: Place, sink: Collector) -> tuple[DependsOn, ...] | None:
        if isinstance(node, Scalar):
            written = words_as_list(node.text)
            text = f"{place_name(at)} must be {self.expects}{instead(node)}"
            suggestion = f"write {show(written)}" if written else ""
            sink.error("L103", text, node.span, suggestion=suggestion, replacement=written)
            return None
        found: list[DependsOn] = []
        for number, item in enumerate(node.items if isinstance(node, Sequence) else (node,)):
            place = (*at, number) if isinstance(node, Sequence) else at
            if isinstance(item, Mapping):
                found += self._conditions(item, place, sink)
                continue
            name = NAME.decode(item, place, sink)
            if name is not None:
                found.append(DependsOn(name, Condition.STARTED, item.span))
        return self._unique(found, sink)

    def _conditions(self, node: Mapping, at: Place, sink: Collector) -> list[DependsOn]:
        found = []
        for entry in node.entries:
            name = NAME.decode(entry.key, at, sink)
            condition = self._condition(entry.value, (*at, entry.key.text), sink)
            if name is not None and condition is not None:
                found.append(DependsOn(name, condition, entry.key.span))
        return found

    def _condition(self, node: Node, at: Place, sink: Collector) -> Condition | None:
        if isinstance(node, Mapping) and [entry.key.text for entry in node.entries] == ["condition"]:
            inner = node.entries[0].value
            word = inner.text if isinstance(inner, Scalar) else ""
            meant = "ready" if "health" in word or "ready" in word else "started"
            sink.error(
                "L103",
                f"{place_name(at)} must be `started` or `ready`, not a mapping",
                node.span,
                suggestion=f"write {show(f'{at[-1]}: {meant}')}",
                replacement=meant,
            )
            return None
        return CONDITION.decode(node, at, sink)

    def _unique(self, found: list[DependsOn], sink: Collector) -> tuple[DependsOn, ...]:
        first: dict[str, DependsOn] = {}
        for item in found:
            known = first.setdefault(item.plugin, item)
            if known is not item:
                text = f"the dependency on `{item.plugin}` is given twice"
                sink.error("L303", text, item.span, related=(("first given here", known.span),))
        return tuple(first.values())

    def schema(self) -> dict[str, Any]:
        name = NAME.schema()
        mapping = {
            "type": "object",
            "propertyNames": {"pattern": name["pattern"]},
            "additionalProperties": CONDITION.schema(),
        }
        return {"anyOf": [{"type": "array", "items": {"anyOf": [name, mapping]}}, mapping]}


class Environment(MapOf[str]):
    """Variables by name; says how to write it to those who bring compose's `- NAME=value`."""

    def __init__(self) -> None:
        super().__init__(VariableName(), Text(), "variable names to values")

    def decode(self, node: Node, at: Place, sink: Collector) -> tuple[Named[str], ...] | None:
        first = node.items[0] if isinstance(node, Sequence) and node.items else node
        if isinstance(node, (Sequence, Scalar)) and isinstance(first, Scalar) and "=" in first.text:
            name, _, value = first.text.partition("=")
            text = f"{place_name(at)} must be {self.expects}{instead(node)}"
            sink.error("L103", text, node.span, suggestion=f"write {show(f'{name}: {value}')} on a line of its own")
            return None
        return super().decode(node, at, sink)


class Ready:
    """How it is known that a plugin is ready: `notify`, `hub`, or a mapping with one way of finding out."""

    scalar = False
    expects = "`notify`, `hub`, or a mapping such as `{tcp: 8091}`"

    def decode(self, node: Node, at: Place, sink: Collector) -> Probe | None:
        if isinstance(node, Scalar):
            if node.text in ("notify", "hub"):
                return Probe(ProbeKind(node.text))
            meant = nearest(node.text, ("notify", "hub")) or self._meant(node)
            sink.error(
                "L103",
                f"{place_name(at)} must be {self.expects}{instead(node)}",
                node.span,
                suggestion=f"did you mean `{meant}`?" if meant else "",
                replacement=meant,
                help=sink.once(f"keys {READY.title}: {', '.join(READY.names)}"),
            )
            return None
        errors = sink.errors
        settings = READY.decode(node, at, sink)
        probe = _probe(settings, READY_WAYS, node, at, sink, told=sink.errors > errors)
        if probe is None:
            return None
        return Probe(probe.kind, probe.target, settings[READY_EVERY], settings[READY_TIMEOUT])

    def _meant(self, node: Scalar) -> str | None:
        """`{tcp: 8091}` for a port or an address, `{http: URL}` for a URL."""
        for way in (_TCP, _HTTP):
            if way.kind.decode(node, (), Collector(Source(Path(), ""))) is not None:
                return f"{{{way.name}: {node.text}}}"
        return None

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"enum": ["notify", "hub"]}, {**READY.schema(), "minProperties": 1}]}


class Alive:
    """How it is known that a running plugin still works."""

    scalar = False
    expects = "a mapping such as `{tcp: 8091, every: 30s}`"

    def decode(self, node: Node, at: Place, sink: Collector) -> AliveProbe | None:
        errors = sink.errors
        settings = ALIVE.decode(node, at, sink)
        probe = _probe(settings, ALIVE_WAYS, node, at, sink, told=sink.errors > errors)
        if probe is None:
            return None
        every, timeout = settings[ALIVE_EVERY], settings[ALIVE_TIMEOUT]
        return AliveProbe(Probe(probe.kind, probe.target, every, timeout), settings[ALIVE_FAILURES])

    def schema(self) -> dict[str, Any]:
        return {**ALIVE.schema(), "minProperties": 1}


def _probe(
    settings: Settings, ways: tuple[Key[Any], ...], node: Node, at: Place, sink: Collector, *, told: bool
) -> Probe | None:
    """The one way that is given; reports more than one, and none unless something else has been `told` already."""
    given = [(way, found) for way in ways if (found := settings.given(way)) is not None]
    names = ", ".join(f"`{way.name}`" for way in ways)
    if not given:
        if not told:
            sink.error("L107", f"{place_name(at)} does not say how to find out", node.span, help=f"give one of {names}")
        return None
    way, found = given[0]
    for other, extra in given[1:]:
        text = f"`{other.name}` and `{way.name}` exclude each other in {place_name(at)}"
        sink.error("L108", text, extra.key, related=(("given here", found.key),), help=f"give one of {names}")
    kind = ProbeKind(way.name)
    if kind in (ProbeKind.NOTIFY, ProbeKind.HUB):
        if found.value is not True:
            text = f"{place_name((*at, way.name))} can only be true"
            sink.error("L201", text, found.span, suggestion="write true, or remove the line", replacement="true")
            return None
        return Probe(kind)
    if kind is ProbeKind.TCP:
        host, port = found.value
        return Probe(kind, f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    return Probe(kind, str(found.value))


NAME = Name()
EXECUTABLE = Executable()
CONDITION = Choice(
    {"started": Condition.STARTED, "ready": Condition.READY},
    {"servicestarted": "started", "servicehealthy": "ready", "healthy": "ready", "running": "started"},
)

_PROBE_URL = Url("http", "https")
_LOG = Key[str | None]("log", Regex(), None, "A line of its log matches this regular expression.")
_TCP = Key[tuple[str, int] | None](
    "tcp", Address(None), None, "A TCP connection to this port (or `host:port`) is accepted."
)
_HTTP = Key[str | None]("http", _PROBE_URL, None, "A GET of this URL is answered with a status from 200 to 399.")
_COMMAND = Key[str | None]("command", CommandLine(), None, "This command ends with exit code 0.")
_NOTIFY = Key[bool | None]("notify", Bool(), None, "The plugin says so itself, as systemd services do (sd_notify).")
_HUB = Key[bool | None]("hub", Bool(), None, "The plugin is online on the hub.")

READY_TIMEOUT = Key("timeout", Duration(0.1), 60.0, "How long to wait for it in all.")
READY_EVERY = Key("every", Duration(0.05), 1.0, "Time between two tries.")
READY_WAYS: tuple[Key[Any], ...] = (_LOG, _TCP, _HTTP, _COMMAND, _NOTIFY, _HUB)
READY = Section("of `ready`", *READY_WAYS, READY_TIMEOUT, READY_EVERY)

ALIVE_EVERY = Key("every", Duration(0.1), 30.0, "Time between two tries.")
ALIVE_TIMEOUT = Key("timeout", Duration(0.1), 5.0, "How long one try may take.")
ALIVE_FAILURES = Key("failures", Integer(1, 1000), 3, "So many failures in a row mean a restart.")
ALIVE_WAYS: tuple[Key[Any], ...] = (_TCP, _HTTP, _COMMAND, _HUB)
ALIVE = Section("of `alive`", *ALIVE_WAYS, ALIVE_EVERY, ALIVE_TIMEOUT, ALIVE_FAILURES)
