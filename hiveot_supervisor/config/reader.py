"""Reads launcher.yaml into nodes that know their place; the only user of PyYAML.

Everything that a file can do to a reader is bounded and answered with a diagnostic: size, encoding, control
characters, nesting, aliases that multiply or contain themselves, tags, second documents, duplicate keys. Works on
the parser's events, not on `compose()`, so that nesting needs no recursion and no value is interpreted on the way.
"""

from __future__ import annotations

import codecs
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hiveot_supervisor.config.diagnostics import Collector, Source, Span
from hiveot_supervisor.config.nodes import Entry, Mapping, Node, Scalar, Sequence, instead, show
from hiveot_supervisor.config.syntax import HALF_CHARACTER_HELP, QUOTE_HELP, Complaint, explain

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
MAX_VALUES = 100_000

_CONTROL = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_CORE_TAG = re.compile(r"(tag:yaml\.org,2002:(?:str|int|float|bool|null|map|seq))|!")
_LOADER: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Unreadable(Exception):
    """The file cannot be opened or is no text; carries the diagnostic's code and words."""

    def __init__(self, code: str, message: str, help: str = "", line: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.help = help


def read_bytes(path: Path) -> bytes:
    """The content of a configuration file. Raises Unreadable."""
    try:
        # O_NONBLOCK: opening a named pipe must not wait for a writer.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise Unreadable("L002", f"{path} is not a regular file")
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise Unreadable("L001", f"{path} does not exist", "hiveot-launcher init writes one") from None
    except IsADirectoryError:
        raise Unreadable("L002", f"{path} is a folder", "give the file, e.g. -c FOLDER/launcher.yaml") from None
    except OSError as error:
        raise Unreadable("L002", f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error
    if len(data) > MAX_BYTES:
        raise Unreadable("L003", f"{path} is larger than 1 MB", "is it really the configuration?")
    return data


def decode(data: bytes, path: Path, name: str) -> tuple[Source, Collector]:
    """The text of the file and a collector for it; what is wrong with the encoding is already in the collector."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        source = Source(path, "", name)
        sink = Collector(source)
        sink.error("L004", "the file is UTF-16, not UTF-8", help="save it as UTF-8 in the editor")
        return source, sink
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        source = Source(path, data.decode(), name)
    except UnicodeDecodeError as error:
        source = Source(path, data.decode(errors="replace"), name)
        at = len(data[: error.start].decode())
        sink = Collector(source)
        was = f", as it is in Latin-1: {data[error.start : error.start + 1].decode('latin-1')}"
        text = f"the byte 0x{data[error.start]:02x} is not UTF-8"
        help_ = f"save the file as UTF-8{was}" if data[error.start] >= 0xA0 else "save the file as UTF-8"
        sink.error("L004", text, Span(at, at + 1), help=help_)
        return source, sink
    return source, Collector(source)


def parse(source: Source, sink: Collector) -> Node | None:
    """The tree of the file's only document; None when it is empty or cannot be read at all (see `sink`)."""
    if sink.failed:
        return None
    control = _CONTROL.search(source.text)
    if control is not None:
        code = f"U+{ord(control[0]):04X}"
        text = f"the control character {code} is not allowed in YAML"
        sink.error("L005", text, Span(*control.span()), help=f'inside double quotes it is written "\\u{code[2:]}"')
        return None
    builder = _Builder(sink)
    try:
        for event in yaml.parse(source.text, Loader=_LOADER):
            if not builder.take(event):
                break
    except yaml.MarkedYAMLError as error:
        _report(error, source, sink)
        return None
    except (yaml.YAMLError, UnicodeError, RecursionError, ValueError) as error:
        sink.error("L006", f"not valid YAML: {show(str(error), 100)}")
        return None
    return None if builder.broken else builder.root


def _report(error: yaml.MarkedYAMLError, source: Source, sink: Collector) -> None:
    began = _index(error.context_mark) if error.context_mark is not None else None
    at = _index(error.problem_mark or error.context_mark)
    complaint = Complaint(error.problem or "", error.context or "", at, began)
    finding = explain(complaint, source)
    sink.error(finding.code, finding.message, finding.span, help=finding.help, related=finding.related)


@dataclass(slots=True)
class _Frame:
    """A list or mapping that is still open; `key` waits for its value."""

    start: int
    anchor: str | None
    mapping: bool
    items: list[Node] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)
    merged: list[Node] = field(default_factory=list)
    key: Scalar | None = None
    has_key: bool = False
    weight: int = 1


class _Builder:
    """Turns parser events into nodes without recursion."""

    def __init__(self, sink: Collector) -> None:
        self.sink = sink
        self.root: Node | None = None
        self.broken = False
        self._frames: list[_Frame] = []
        self._anchors: dict[str, Node | None] = {}
        self._documents = 0

    def take(self, event: yaml.Event) -> bool:
        """Use one event; False when reading on makes no sense."""
        handler = _HANDLERS.get(type(event))
        return True if handler is None else handler(self, event)

    def _document(self, event: yaml.Event) -> bool:
        self._documents += 1
        if self._documents > 1:
            self.sink.error("L010", "a second YAML document begins here", _span(event), help="remove the `---`")
            return False
        return True

    def _scalar(self, event: yaml.ScalarEvent) -> bool:
        if event.tag is not None:
            self._check_tag(event)
        quoted = event.style in ("'", '"', "|", ">") or (event.tag or "").endswith(":str")
        text = str(event.value)
        if not text.isascii() and _SURROGATE.search(text):  # only PyYAML's own parser lets them through
            self.sink.error("L209", "the text contains half a character", _span(event), help=HALF_CHARACTER_HELP)
            text = _SURROGATE.sub("\ufffd", text)
        return self._put(Scalar(text, not quoted, _span(event)), event.anchor)

    def _open(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent) -> bool:
        self._check_tag(event)
        if len(self._frames) >= MAX_DEPTH:
            self.sink.error("L008", f"more than {MAX_DEPTH} levels are nested in each other", _span(event))
            self.broken = True
            return False
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        mapping = isinstance(event, yaml.MappingStartEvent)
        self._frames.append(_Frame(_index(event.start_mark), event.anchor, mapping))
        return True

    def _close(self, event: yaml.MappingEndEvent | yaml.SequenceEndEvent) -> bool:
        frame = self._frames.pop()
        span = Span(frame.start, max(frame.start + 1, _index(event.end_mark)))
        if not frame.mapping:
            return self._put(Sequence(tuple(frame.items), span, frame.weight), frame.anchor)
        for node in frame.merged:
            self._merge(node, frame)
        return self._put(Mapping(tuple(frame.entries.values()), span, frame.weight), frame.anchor)

    def _alias(self, event: yaml.AliasEvent) -> bool:
        span = _span(event)
        name = str(event.anchor)
        if name not in self._anchors:
            text = f"there is no anchor `&{name}` for the alias {show('*' + name)}"
            self.sink.error("L009", text, span, help=f"if it is meant as text, {QUOTE_HELP}")
            return self._put(Scalar("", False, span), None, known=False)
        node = self._anchors[name]
        if node is None:
            self.sink.error("L009", f"the anchor `&{name}` contains itself", span)
            return self._put(Scalar("", False, span), None, known=False)
        return self._put(node, None)

    def _put(self, node: Node, anchor: str | None, *, known: bool = True) -> bool:
        """Add a finished node to the innermost open one."""
        if anchor is not None:
            self._anchors[anchor] = node
        if not known:
            self.broken = True
        if not self._frames:
            self.root = node
            return True
        frame = self._frames[-1]
        frame.weight += node.weight
        if frame.weight > MAX_VALUES:
            self.sink.error("L008", f"the file stands for more than {MAX_VALUES:,} values", node.span)
            self.broken = True
            return False
        if not frame.mapping:
            frame.items.append(node)
        elif frame.has_key:
            self._value(frame, node)
        else:
            self._key(frame, node)
        return True

    def _key(self, frame: _Frame, node: Node) -> None:
        frame.has_key = True
        if isinstance(node, Scalar):
            frame.key = node
            return
        frame.key = None
        self.sink.error("L103", f"a key must be text{instead(node)}", node.span, help=QUOTE_HELP)

    def _value(self, frame: _Frame, node: Node) -> None:
        key, frame.key, frame.has_key = frame.key, None, False
        if key is None:
            return
        if key.text == "<<" and key.plain:
            frame.merged.append(node)
            return
        first = frame.entries.get(key.text)
        if first is None:
            frame.entries[key.text] = Entry(key, node)
            return
        related = (("first given here", first.key.span),)
        self.sink.error("L102", f"the key {show(key.text)} is given twice", key.span, related=related)

    def _merge(self, node: Node, frame: _Frame) -> None:
        """`<<: *base`: take over the keys that are not given."""
        sources = node.items if isinstance(node, Sequence) else (node,)
        for source in sources:
            if isinstance(source, Mapping):
                for entry in source.entries:
                    frame.entries.setdefault(entry.key.text, entry)
            else:
                text = f"`<<` must be followed by a mapping or an alias of one{instead(source)}"
                self.sink.error("L103", text, source.span)

    def _check_tag(self, event: yaml.NodeEvent) -> None:
        tag = getattr(event, "tag", None)
        if tag is None or _CORE_TAG.fullmatch(tag):
            return
        help_ = f"if it is meant as text, {QUOTE_HELP}"
        if tag in ("!secret", "!env_var", "!include"):
            help_ = "secrets of a plugin go into a file of its own, see `environmentFile`"
        self.sink.error("L011", f"the tag {show(tag)} is not supported", _span(event), help=help_)


_HANDLERS: dict[type[yaml.Event], Callable[[_Builder, Any], bool]] = {
    yaml.ScalarEvent: _Builder._scalar,
    yaml.MappingStartEvent: _Builder._open,
    yaml.SequenceStartEvent: _Builder._open,
    yaml.MappingEndEvent: _Builder._close,
    yaml.SequenceEndEvent: _Builder._close,
    yaml.AliasEvent: _Builder._alias,
    yaml.DocumentStartEvent: _Builder._document,
}


def _span(event: Any) -> Span:
    """Where an event stands. (The type stubs allow events without marks; the parsers always set them.)"""
    start: int = event.start_mark.index
    return Span(start, max(start + 1, event.end_mark.index))


def _index(mark: Any) -> int:
    return int(mark.index) if mark is not None else 0
