"""What can be said about launcher.yaml: diagnostics with code, position and remedy, and where they are collected.

Values only; `render` turns them into text and `codes` explains each code. Positions count from 1: lines as an
editor counts them, columns in characters (code points), the end column is the one after the last character.
"""

from __future__ import annotations

import bisect
import dataclasses
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, TypedDict, Unpack

MAX_DIAGNOSTICS = 1000
"""More errors than this in one file, or more warnings, are counted, not listed."""

_LINE_END = re.compile(r"\r\n|\n|\r")


class Severity(StrEnum):
    """How bad it is: an error keeps the file from being used, a warning does not."""

    ERROR = "error"
    WARNING = "warning"


class Span(NamedTuple):
    """A piece of the source text: offsets in characters, `end` exclusive."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Related:
    """Another place that helps to understand a diagnostic, e.g. the first of two equal keys."""

    message: str
    line: int
    column: int
    end_column: int
    source_line: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One problem.

    message: one sentence without full stop; file: as it is to be shown; line 0: the file as a whole;
    suggestion: what to write instead, as a phrase; replacement: the text to put in place of the range, when it is
    known exactly; help: what else there is to know; source_line: the line that `line` names.
    """

    code: str
    severity: Severity
    message: str
    file: str = ""
    line: int = 0
    column: int = 0
    end_line: int = 0
    end_column: int = 0
    suggestion: str = ""
    replacement: str | None = None
    help: str = ""
    related: tuple[Related, ...] = ()
    source_line: str = ""

    @property
    def sort_key(self) -> tuple[int, int, int, str, str]:
        """By position; what concerns the file as a whole comes last."""
        return (self.line == 0, self.line, self.column, self.code, self.message)


class Source:
    """The text of a file, able to tell line and column of an offset."""

    __slots__ = ("_last", "_starts", "name", "path", "text")

    def __init__(self, path: Path, text: str, name: str = "") -> None:
        self.path = path
        self.text = text
        self.name = name or str(path)
        self._starts: list[int] | None = None
        self._last = (0, "")  # hundreds of diagnostics may be about one line of a megabyte, and share its text

    def _line_starts(self) -> list[int]:
        if self._starts is None:
            self._starts = [0, *(m.end() for m in _LINE_END.finditer(self.text))]
        return self._starts

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column of `offset`, both from 1."""
        starts = self._line_starts()
        line = bisect.bisect_right(starts, min(max(offset, 0), len(self.text)))
        return line, offset - starts[line - 1] + 1

    def offset(self, line: int) -> int:
        """Offset of the first character of `line` (from 1)."""
        return self._line_starts()[line - 1]

    def line(self, number: int) -> str:
        """The text of line `number` (from 1) without its line end; empty when there is no such line."""
        starts = self._line_starts()
        if not 1 <= number <= len(starts):
            return ""
        if self._last[0] != number:
            end = starts[number] if number < len(starts) else len(self.text)
            self._last = number, self.text[starts[number - 1] : end].rstrip("\r\n")
        return self._last[1]


class Remedy(TypedDict, total=False):
    """The optional members of a Diagnostic that say what to do; `related` as pairs of message and place."""

    suggestion: str
    replacement: str | None
    help: str
    related: tuple[tuple[str, Span], ...]


class Collector:
    """Gathers the diagnostics of one file, in any order and without repetition (YAML aliases repeat places)."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._found: dict[tuple[str, int, str], Diagnostic] = {}
        self._count = dict.fromkeys(Severity, 0)
        self._told: set[str] = set()

    def error(self, code: str, message: str, span: Span | None = None, **remedy: Unpack[Remedy]) -> None:
        """Add an error about `span`, or about the file as a whole."""
        self._add(Severity.ERROR, code, message, span, remedy)

    def warning(self, code: str, message: str, span: Span | None = None, **remedy: Unpack[Remedy]) -> None:
        """Add a warning about `span`, or about the file as a whole."""
        self._add(Severity.WARNING, code, message, span, remedy)

    @property
    def errors(self) -> int:
        """How many errors were added."""
        return self._count[Severity.ERROR]

    @property
    def failed(self) -> bool:
        """True when an error was added."""
        return self.errors > 0

    def once(self, text: str) -> str:
        """`text`, if it was not asked for before, else nothing: for help that need not be repeated."""
        if text in self._told:
            return ""
        self._told.add(text)
        return text

    @property
    def crowded(self) -> bool:
        """True when so much is wrong that guessing what was meant is not worth the time."""
        return len(self._found) >= MAX_DIAGNOSTICS // 10

    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """Everything found, in the order of the file."""
        found = sorted(self._found.values(), key=lambda d: d.sort_key)
        for severity, count in self._count.items():
            if count > MAX_DIAGNOSTICS:
                text = f"{count - MAX_DIAGNOSTICS} more {severity.value}s are not listed"
                found.append(Diagnostic("L012", severity, text, self.source.name))
        return tuple(found)

    def _add(self, severity: Severity, code: str, message: str, span: Span | None, remedy: Remedy) -> None:
        key = (code, -1 if span is None else span.start, message)
        if key in self._found:
            return
        self._count[severity] += 1
        if self._count[severity] > MAX_DIAGNOSTICS:
            return
        self._found[key] = self._locate(Diagnostic(code, severity, message, self.source.name), span, remedy)

    def _locate(self, bare: Diagnostic, span: Span | None, remedy: Remedy) -> Diagnostic:
        line = column = end_line = end_column = 0
        if span is not None:
            line, column = self.source.position(span.start)
            end_line, end_column = self.source.position(max(span.end, span.start))
        return dataclasses.replace(
            bare,
            line=line,
            column=column,
            end_line=end_line,
            end_column=end_column,
            suggestion=remedy.get("suggestion", ""),
            replacement=remedy.get("replacement"),
            help=remedy.get("help", ""),
            related=tuple(self._relate(message, place) for message, place in remedy.get("related", ())),
            source_line=self.source.line(line),
        )

    def _relate(self, message: str, span: Span) -> Related:
        line, column = self.source.position(span.start)
        end_line, end_column = self.source.position(span.end)
        text = self.source.line(line)
        return Related(message, line, column, end_column if end_line == line else len(text) + 1, text)
