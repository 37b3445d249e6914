"""The tree of a YAML file as the reader hands it on: text with places, nothing interpreted yet.

`weight` is the number of values a node stands for once its aliases are written out; the reader bounds it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import NamedTuple

from hiveot_supervisor.config.diagnostics import Span

_NULLS = frozenset(("", "~", "null", "Null", "NULL"))


class Scalar(NamedTuple):
    """A single value: its text, and whether it was written without quotes (`plain`)."""

    text: str
    plain: bool
    span: Span
    weight: int = 1

    @property
    def is_null(self) -> bool:
        """True for nothing at all, `~` and `null`."""
        return self.plain and self.text in _NULLS


class Sequence(NamedTuple):
    """A list."""

    items: tuple[Node, ...]
    span: Span
    weight: int


class Entry(NamedTuple):
    """A key with its value in a mapping."""

    key: Scalar
    value: Node


class Mapping(NamedTuple):
    """A mapping; keys are unique, in the order of the file."""

    entries: tuple[Entry, ...]
    span: Span
    weight: int


Node = Scalar | Sequence | Mapping


def describe(node: Node) -> str:
    """What a node is: `a list`, `a mapping`, or the text itself."""
    if isinstance(node, Sequence):
        return "a list"
    return "a mapping" if isinstance(node, Mapping) else show(node.text)


def instead(node: Node) -> str:
    """What was found, to follow `... must be X`: `, not a list`, `, but is empty`."""
    if isinstance(node, Scalar) and node.is_null:
        return ", but is empty"
    return f", not {describe(node)}"


def show(text: str, limit: int = 40) -> str:
    """`text` in backticks, on one line, shortened, and without characters that would act on a terminal."""
    short = text if len(text) <= limit else text[: limit - 1] + "…"
    return "`" + "".join(c if c.isprintable() else repr(c)[1:-1] for c in short) + "`"


_PLAIN = re.compile(r"[A-Za-z0-9_./+=-]+")
_SPECIAL = re.compile(r"-|true|false|null|yes|no|on|off|[0-9.+-]+", re.IGNORECASE)


def flow_list(words: Iterable[str]) -> str:
    """The words as a YAML list on one line, quoted where YAML would take them for something else."""
    safe = (
        w if _PLAIN.fullmatch(w) and not _SPECIAL.fullmatch(w) else json.dumps(w, ensure_ascii=False) for w in words
    )
    return f"[{', '.join(safe)}]"
