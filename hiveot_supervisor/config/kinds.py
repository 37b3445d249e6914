"""The kinds of single values in launcher.yaml: how each is read, what to say when it is wrong, its JSON Schema.

A kind turns a node into a value of the model's units and reports everything it refuses; it knows nothing of other
keys. Compound kinds (lists, mappings, sections) are in `shapes`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Mapping as AbstractMapping
from typing import Any, Generic, Protocol, TypeVar

from hiveot_supervisor.config import units
from hiveot_supervisor.config.diagnostics import Collector
from hiveot_supervisor.config.nodes import Node, Scalar, instead, show
from hiveot_supervisor.config.suggest import nearest, plain

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Place = tuple[str | int, ...]
"""Where a value stands: keys and list positions from the top, e.g. ("plugins", "zwavejs", "args", 0)."""


def place_name(at: Place) -> str:
    """The place in words: `item 1 of `args` of plugin `zwavejs``."""
    if not at:
        return "the file"
    if isinstance(at[-1], int):
        return f"item {at[-1] + 1} of {place_name(at[:-1])}"
    if at[0] == "plugins" and len(at) >= 2:
        plugin = f"plugin {show(str(at[1]))}"
        return plugin if len(at) == 2 else f"`{_dotted(at[2:])}` of {plugin}"
    return f"`{_dotted(at)}`"


def _dotted(at: Place) -> str:
    text = ".".join(f"item {part + 1}" if isinstance(part, int) else part for part in at)
    return show(text, 80)[1:-1]


class Kind(Protocol[T_co]):
    """A kind of value. `expects` completes `... must be`; `scalar` kinds warn when a key has no value."""

    @property
    def expects(self) -> str: ...

    @property
    def scalar(self) -> bool: ...

    def decode(self, node: Node, at: Place, sink: Collector) -> T_co | None:
        """The value, or None when it was refused (and reported)."""
        ...

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of what `decode` accepts, as far as JSON Schema can say it."""
        ...


class Refused(Exception):
    """Inside a kind: the text is not acceptable.

    wants: replaces `must be <expects>`; found: replaces the text after `not`; the others as in `diagnostics.Remedy`.
    """

    def __init__(
        self,
        code: str,
        *,
        wants: str = "",
        found: str = "",
        replacement: str | None = None,
        suggestion: str = "",
        remedy: str = "",
    ) -> None:
        super().__init__(code)
        self.code = code
        self.wants = wants
        self.found = found
        self.replacement = replacement
        self.suggestion = suggestion
        self.remedy = remedy


class ScalarKind(Generic[T]):
    """Base of the kinds for single values: subclasses parse the text and raise Refused."""

    expects = "a single value"
    scalar = True

    def parse(self, scalar: Scalar) -> T:
        """The value. Raises Refused."""
        raise NotImplementedError

    def write(self, value: Any) -> Any:
        """The JSON value that decodes to `value`: how a default is shown."""
        return value

    def decode(self, node: Node, at: Place, sink: Collector) -> T | None:
        if not isinstance(node, Scalar) or node.is_null:
            sink.error("L103", f"{place_name(at)} must be {self.expects}{instead(node)}", node.span)
            return None
        try:
            if "\0" in node.text:
                raise Refused("L209", wants="must not contain a NUL character", remedy="no program can be given one")
            return self.parse(node)
        except Refused as refused:
            wants = refused.wants or f"must be {self.expects}"
            suggestion = refused.suggestion
            if not suggestion and refused.replacement is not None:
                suggestion = f"did you mean {show(refused.replacement, 80)}?"
            found = "" if wants.startswith("must not") else f", not {refused.found or show(node.text)}"
            sink.error(
                refused.code,
                f"{place_name(at)} {wants}{found}",
                node.span,
                suggestion=suggestion,
                replacement=refused.replacement,
                help=refused.remedy,
            )
            return None


_TRUE = frozenset(("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y"))
_FALSE = frozenset(("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N"))
_REMARK = re.compile(r"(\w+)(\s+)(\(.*\))", re.DOTALL)


class Bool(ScalarKind[bool]):
    """true or false, and the other words that Go's YAML takes for them."""

    expects = "true or false"

    def decode(self, node: Node, at: Place, sink: Collector) -> bool | None:
        remark = _REMARK.fullmatch(node.text) if isinstance(node, Scalar) and node.plain else None
        if isinstance(node, Scalar) and remark and remark[1] in _TRUE | _FALSE:
            # HiveOT's sample has `#createPluginCred: true    (default true)`.
            sink.warning(
                "L109",
                f"the remark {show(remark[3])} after {place_name(at)} needs a `#`",
                node.span,
                suggestion=f"write {show(f'{remark[1]} # {remark[3]}', 80)}",
                replacement=f"{remark[1]}{remark[2]}# {remark[3]}",
            )
            return remark[1] in _TRUE
        return super().decode(node, at, sink)

    def parse(self, scalar: Scalar) -> bool:
        word = scalar.text
        if scalar.plain and word in _TRUE | _FALSE:
            return word in _TRUE
        if word in _TRUE | _FALSE:
            meant = "true" if word in _TRUE else "false"
            suggestion = f"write {meant} without quotes"
            raise Refused("L103", found=f"the text {show(word)}", replacement=meant, suggestion=suggestion)
        if word in ("0", "1"):
            raise Refused("L103", replacement="true" if word == "1" else "false")
        raise Refused("L103", replacement=nearest(word, ("true", "false")))

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


class Integer(ScalarKind[int]):
    """A whole number between `low` and `high`."""

    expects = "a whole number"

    def __init__(self, low: int = 0, high: int = 1_000_000) -> None:
        self.low, self.high = low, high

    def parse(self, scalar: Scalar) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", scalar.text):
            raise Refused("L103")
        return int(in_range(int(scalar.text), self.low, self.high, lambda n: str(int(n))))

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.low, "maximum": self.high}


class Number(ScalarKind[float]):
    """A number, perhaps with a fraction."""

    expects = "a number"

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def parse(self, scalar: Scalar) -> float:
        if not re.fullmatch(r"[+-]?[0-9]{1,12}(\.[0-9]{1,12})?", scalar.text):
            raise Refused("L103")
        return in_range(float(scalar.text), self.low, self.high, lambda n: f"{n:g}")

    def schema(self) -> dict[str, Any]:
        return {"type": "number", "minimum": self.low, "maximum": self.high}


class Duration(ScalarKind[float]):
    """Seconds, written `10s` or `1h30m`; a bare number is in the unit `bare` (s or ms)."""

    expects = "a duration such as `500ms`, `10s` or `1h30m`"

    def __init__(self, low: float = 0.0, high: float = 366 * 86400.0, bare: str = "s") -> None:
        self.low, self.high, self.bare = low, high, bare

    def parse(self, scalar: Scalar) -> float:
        text = scalar.text
        if text.startswith("-") and units.parse_duration(text[1:], self.bare) is not None:
            raise Refused("L205", wants=f"must be at least {units.format_duration(self.low)}")
        seconds = units.parse_duration(text, self.bare)
        if seconds is None:
            raise Refused("L202", replacement=units.meant_duration(text))
        return in_range(seconds, self.low, self.high, units.format_duration)

    def schema(self) -> dict[str, Any]:
        return {
            "type": ["string", "number"],
            "pattern": r"^(\d+(\.\d+)?|(\d+(\.\d+)?(ms|s|m|h|d))+)$",
            "minimum": 0,
            "$comment": f"a bare number is in {'milliseconds' if self.bare == 'ms' else 'seconds'}",
        }

    def write(self, value: Any) -> Any:
        return units.format_duration(value)


class Size(ScalarKind[int]):
    """Bytes, written `200MB` (decimal) or `64KiB` (binary)."""

    expects = "a size such as `200MB` or `64MiB`"

    def __init__(self, low: int = 0, high: int = 1000**5) -> None:
        self.low, self.high = low, high

    def parse(self, scalar: Scalar) -> int:
        size = units.parse_size(scalar.text)
        if size is None:
            raise Refused("L203", replacement=units.meant_size(scalar.text))
        return int(in_range(size, self.low, self.high, lambda n: units.format_size(int(n))))

    def schema(self) -> dict[str, Any]:
        return {
            "type": ["string", "integer"],
            "pattern": r"^\d+(\.\d+)?([kKMGT]i?B|B)?$",
            "minimum": self.low,
            "$comment": "a bare number is in bytes",
        }

    def write(self, value: Any) -> Any:
        return units.format_size(value)


class Percent(ScalarKind[float]):
    """`80%`; the value is 80.0, or the fraction 0.8 with `divisor` 100."""

    expects = "a percentage such as `80%`"

    def __init__(self, low: float, high: float, divisor: float = 1.0) -> None:
        self.low, self.high, self.divisor = low, high, divisor

    def parse(self, scalar: Scalar) -> float:
        percent = units.parse_percent(scalar.text)
        if percent is None:
            raise Refused("L204", replacement=units.meant_percent(scalar.text))
        return in_range(percent, self.low, self.high, units.format_percent) / self.divisor

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^\d+(\.\d+)?%$"}

    def write(self, value: Any) -> Any:
        return units.format_percent(value * self.divisor)


def in_range(value: float, low: float, high: float, render: Callable[[float], str]) -> float:
    """`value`, when it lies between `low` and `high`; raises Refused otherwise."""
    if value < low:
        raise Refused("L205", wants=f"must be at least {render(low)}")
    if value > high:
        raise Refused("L205", wants=f"must be at most {render(high)}")
    return value


class Choice(ScalarKind[T]):
    """One of some words; `habits` are words of other tools (without case and separators) and what they mean here."""

    def __init__(self, words: AbstractMapping[str, T], habits: AbstractMapping[str, str] | None = None) -> None:
        self.words = words
        self.habits = habits or {}
        shown = list(dict.fromkeys(words))
        self.expects = "one of " + ", ".join(f"`{word}`" for word in shown) if len(shown) > 1 else f"`{shown[0]}`"

    def parse(self, scalar: Scalar) -> T:
        try:
            return self.words[scalar.text]
        except KeyError:
            meant = self.habits.get(plain(scalar.text)) or nearest(scalar.text, self.words)
            raise Refused("L201", replacement=meant) from None

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.words)}

    def write(self, value: Any) -> Any:
        return next(word for word, meaning in self.words.items() if meaning == value)
