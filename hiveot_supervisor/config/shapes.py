"""The compound kinds of launcher.yaml: sections with known keys, lists, and mappings from names to values.

A section is a tuple of typed `Key`s; decoding one gives `Settings`, which answer `settings[KEY]` with the value or the
default and know where each was written. Unknown keys, aliases and keys without a value are handled here, once.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from hiveot_supervisor.config.diagnostics import Collector, Source, Span
from hiveot_supervisor.config.kinds import Kind, Place, ScalarKind, place_name
from hiveot_supervisor.config.nodes import Entry, Mapping, Node, Scalar, Sequence, flow_list, instead, show
from hiveot_supervisor.config.suggest import meant_key

T = TypeVar("T")
D = TypeVar("D")


@dataclass(frozen=True, eq=False)  # no slots: Python 3.11 cannot create a slotted, frozen `Key[T](...)`
class Key(Generic[T]):
    """A key of a section.

    name: as written in the file; default: the value when it is not given; doc: one sentence; aliases: other names that
    mean the same; field: the member of the model's dataclass that it sets, for `Settings.over`.
    """

    name: str
    kind: Kind[T]
    default: T
    doc: str
    aliases: tuple[str, ...] = ()
    field: str = ""


@dataclass(frozen=True, slots=True)
class Given(Generic[T]):
    """A value that stands in the file: the key's place and the value's."""

    value: T
    key: Span
    span: Span


class Settings:
    """A decoded section: `settings[KEY]` is the value or the key's default."""

    __slots__ = ("_given", "_refused", "span")

    def __init__(
        self, given: dict[str, Given[Any]], span: Span | None = None, refused: frozenset[str] = frozenset()
    ) -> None:
        self._given = given
        self._refused = refused
        self.span = span

    def __getitem__(self, key: Key[T]) -> T:
        given = self._given.get(key.name)
        return key.default if given is None else cast(T, given.value)

    def given(self, key: Key[T]) -> Given[T] | None:
        """The value with its places, or None when the file does not give the key."""
        return self._given.get(key.name)

    def has(self, key: Key[Any]) -> bool:
        return key.name in self._given

    def mentions(self, key: Key[Any]) -> bool:
        """True when the file gives the key, even if its value was refused."""
        return key.name in self._given or key.name in self._refused

    def either(self, key: Key[T], fallback: Settings) -> T:
        """The value given here, else the one of `fallback` (whose default counts last)."""
        return self[key] if self.has(key) else fallback[key]

    def replaced(self, values: dict[Key[Any], Any]) -> Settings:
        """The same with other values (of a command line) for some keys, which then count as given, without a place."""
        nowhere = self.span or Span(0, 0)
        changes = {key.name: Given(value, nowhere, nowhere) for key, value in values.items()}
        return Settings({**self._given, **changes}, self.span, self._refused)

    def over(self, base: D, keys: tuple[Key[Any], ...]) -> D:
        """`base`, a dataclass of the model, with the members replaced that are given here."""
        changes = {key.field: self._given[key.name].value for key in keys if key.name in self._given}
        return cast(D, dataclasses.replace(cast(Any, base), **changes)) if changes else base


class Section:
    """A mapping with known keys. `title` names it in messages: `keys of a plugin: ...`."""

    scalar = False
    expects = "a mapping"

    def __init__(self, title: str, *keys: Key[Any]) -> None:
        self.title = title
        self.keys = keys
        self._by_name = {name: key for key in keys for name in (key.name, *key.aliases)}

    @property
    def names(self) -> list[str]:
        return [key.name for key in self.keys]

    def decode(self, node: Node, at: Place, sink: Collector) -> Settings:
        """The settings; those that are refused, or all when it is no mapping, count as not given."""
        if isinstance(node, Scalar) and node.is_null:
            return Settings({}, node.span)
        if not isinstance(node, Mapping):
            self.refuse(node, at, sink)
            return Settings({}, node.span, frozenset(self.names))
        given: dict[str, Given[Any]] = {}
        for entry in node.entries:
            self._take(entry, at, sink, given)
        written = frozenset(entry.key.text for entry in node.entries)
        return Settings(given, node.span, written - given.keys())

    def refuse(self, node: Node, at: Place, sink: Collector) -> None:
        """Report that `node` is no mapping; a single value is shown with the first key that takes it."""
        meant = self._meant(node) if isinstance(node, Scalar) else None
        keys = f"keys {self.title}: {', '.join(self.names)}"
        sink.error(
            "L103",
            f"{place_name(at)} must be a mapping{instead(node)}",
            node.span,
            suggestion=f"write {show(meant, 80)}" if meant else "",
            replacement=meant,
            help=sink.once(keys),
        )

    def _meant(self, node: Scalar) -> str | None:
        """`{policy: always}` for `always`: tries the keys with a scratch collector."""
        for key in self.keys:
            if not key.kind.scalar:
                continue
            scratch = Collector(Source(Path(), ""))
            taken = key.kind.decode(node, (), scratch) is not None
            text = node.text if taken else next((d.replacement for d in scratch.diagnostics()), None)
            if text is not None:
                return f"{{{key.name}: {text}}}"
        return None

    def _take(self, entry: Entry, at: Place, sink: Collector, given: dict[str, Given[Any]]) -> None:
        name = entry.key.text
        key = self._by_name.get(name)
        if key is None:
            self._unknown(entry, at, sink)
            return
        first = given.get(key.name)
        if first is not None:
            text = (
                f"`{name}` means the same as `{key.name if name != key.name else key.aliases[0]}`, which is given too"
            )
            sink.error("L106", text, entry.key.span, related=(("given here", first.key),), help="remove one of them")
            return
        if isinstance(entry.value, Scalar) and entry.value.is_null:
            if key.kind.scalar:
                text = f"{place_name((*at, name))} has no value; the default is used"
                sink.warning("L105", text, entry.key.span, help="remove the line, or give a value after the colon")
            return
        value = key.kind.decode(entry.value, (*at, name), sink)
        if value is not None:
            given[key.name] = Given(value, entry.key.span, entry.value.span)

    def _unknown(self, entry: Entry, at: Place, sink: Collector) -> None:
        name = entry.key.text
        home = elsewhere(self, name)
        meant = None if home or sink.crowded else meant_key(name, self._by_name)
        where = f" in {place_name(at)}" if at else ""
        sink.error(
            "L104",
            f"unknown key {show(name)}{where}",
            entry.key.span,
            suggestion=f"did you mean `{meant}`?" if meant else "",
            replacement=None if meant and "." in meant else meant,
            help=home or sink.once(f"keys {self.title}: {', '.join(self.names)}"),
        )

    def schema(self) -> dict[str, Any]:
        properties: dict[str, Any] = {}
        for key in self.keys:
            schema = {"description": key.doc, **optional(key.kind)}
            if isinstance(key.kind, ScalarKind) and key.default is not None:
                schema["default"] = key.kind.write(key.default)
            properties[key.name] = schema
            for alias in key.aliases:
                properties[alias] = {**properties[key.name], "description": f"The same as `{key.name}`."}
        return {"type": "object", "properties": properties, "additionalProperties": False}


_HOMES: dict[str, list[tuple[Section, str]]] = {}


def register(section: Section, where: str) -> Section:
    """Remember that `section` stands at `where`, so that a key in the wrong section can be pointed there."""
    for name in section.names:
        _HOMES.setdefault(name, []).append((section, where))
    return section


def elsewhere(section: Section, name: str) -> str | None:
    """`\\`delay\\` belongs to ...` when another section than `section` has the key `name`."""
    places = [where for other, where in _HOMES.get(name, ()) if other is not section]
    return f"`{name}` belongs {places[0]}" if len(places) == 1 else None


def optional(kind: Kind[Any]) -> dict[str, Any]:
    """The JSON Schema of a value that may also be left empty, as sections and lists may."""
    schema = kind.schema()
    if kind.scalar:
        return schema
    if "type" in schema:
        types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        return {**schema, "type": [*types, "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def words_as_list(text: str) -> str | None:
    """The YAML list of the words in `text`: `[-v, --name]` for `-v --name`; None when they cannot be told apart."""
    try:
        words = shlex.split(text.replace(",", " "))
    except ValueError:
        return None
    return flow_list(words) if words and "[" not in text else None


class ListOf(Generic[T]):
    """A list of values of one kind."""

    scalar = False

    def __init__(self, item: Kind[T], example: str) -> None:
        self.item = item
        self.expects = f"a list such as `{example}`"

    def decode(self, node: Node, at: Place, sink: Collector) -> tuple[T, ...] | None:
        if not isinstance(node, Sequence):
            written = words_as_list(node.text) if isinstance(node, Scalar) else None
            sink.error(
                "L103",
                f"{place_name(at)} must be {self.expects}{instead(node)}",
                node.span,
                suggestion=f"write {show(written)}" if written else "",
                replacement=written,
            )
            return None
        values = [self.item.decode(item, (*at, number), sink) for number, item in enumerate(node.items)]
        return tuple(value for value in values if value is not None)

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": self.item.schema()}


@dataclass(frozen=True, slots=True)
class Named(Generic[T]):
    """A value under a name that the user chose."""

    name: str
    span: Span
    value: T


class MapOf(Generic[T]):
    """A mapping from free names to values of one kind; an empty value is decoded as such (`Section`: no keys)."""

    scalar = False

    def __init__(self, name: Kind[str], value: Kind[T], what: str) -> None:
        self.name = name
        self.value = value
        self.expects = f"a mapping from {what}"

    def decode(self, node: Node, at: Place, sink: Collector) -> tuple[Named[T], ...] | None:
        if not isinstance(node, Mapping):
            sink.error("L103", f"{place_name(at)} must be {self.expects}{instead(node)}", node.span)
            return None
        return tuple(self._entries(node, at, sink))

    def _entries(self, node: Mapping, at: Place, sink: Collector) -> Iterator[Named[T]]:
        for entry in node.entries:
            name = self.name.decode(entry.key, (*at, entry.key.text), sink)
            if self.value.scalar and isinstance(entry.value, Scalar) and entry.value.is_null:
                text = f"{place_name((*at, entry.key.text))} has no value"
                sink.error("L107", text, entry.key.span, suggestion='write `""` for an empty text')
                continue
            value = self.value.decode(entry.value, (*at, entry.key.text), sink)
            if name is not None and value is not None:
                yield Named(name, entry.key.span, value)

    def schema(self) -> dict[str, Any]:
        name = {key: value for key, value in self.name.schema().items() if key != "type"}
        return {"type": "object", "propertyNames": name, "additionalProperties": optional(self.value)}
