"""Diagnostics as text: full (source line underlined), concise (one line), json, and GitHub's workflow commands.

Pure. Underlines fit on a terminal: tabs are expanded, wide characters take two columns, combining ones none, and
characters that would act on a terminal are shown as U+FFFD.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

from hiveot_supervisor.config.diagnostics import Diagnostic, Severity

TAB = 4
MAX_WIDTH = 100
"""Columns of source shown of a longer line."""

_NEAR = 400
"""Characters around a place that are looked at: a line may be as long as a file."""

Paint = Callable[[str, str], str]
"""Colours a text: (text, colour name) -> text."""


def no_color(text: str, color: str) -> str:
    return text


def summary(diagnostics: Sequence[Diagnostic]) -> str:
    """`2 errors, 1 warning`."""
    counts = [(sum(d.severity is severity for d in diagnostics), severity.value) for severity in Severity]
    return ", ".join(f"{count} {word}{'s' if count > 1 else ''}" for count, word in counts if count) or "no problems"


def concise(diagnostic: Diagnostic) -> str:
    """One line: `launcher.yaml:14:5: L104 message (suggestion)`; warnings say so."""
    place = diagnostic.file
    if diagnostic.line:
        place += f":{diagnostic.line}:{diagnostic.column}"
    kind = "warning " if diagnostic.severity is Severity.WARNING else ""
    tail = f" ({diagnostic.suggestion})" if diagnostic.suggestion else ""
    return _safe(f"{place}: {kind}{diagnostic.code} {diagnostic.message}{tail}")


def full(diagnostic: Diagnostic, paint: Paint = no_color) -> str:
    """The form of rustc: headline, position, source lines with the place underlined, help."""
    color = "red" if diagnostic.severity is Severity.ERROR else "yellow"
    head = paint(f"{diagnostic.severity.value}[{diagnostic.code}]", color)
    lines = [f"{head}: {paint(_safe(diagnostic.message), 'bold')}"]
    width = max([len(str(diagnostic.line)), *(len(str(r.line)) for r in diagnostic.related)])
    margin = " " * width
    bar = paint("|", "blue")
    if diagnostic.file:
        place = f":{diagnostic.line}:{diagnostic.column}" if diagnostic.line else ""
        lines.append(f"{margin}{paint('-->', 'blue')} {_safe(diagnostic.file)}{place}")
    if diagnostic.line:
        lines.append(f"{margin} {bar}")
        lines += _excerpt(diagnostic, width, color, paint)
    elif diagnostic.suggestion:
        lines.append(f"{margin} {paint('=', 'blue')} {_safe(diagnostic.suggestion)}")
    if diagnostic.help:
        lines += _wrapped(f"{margin} {paint('=', 'blue')} help: ", " " * (width + 9), _safe(diagnostic.help))
    return "\n".join(lines)


def _wrapped(head: str, margin: str, text: str) -> list[str]:
    """`head` and `text`, broken between words; words in backticks stay together."""
    words = re.findall(r"(?:`[^`]*`|\S)+", text)
    lines = [words[0]] if words else []
    for word in words[1:]:
        if len(lines[-1]) + len(word) < MAX_WIDTH:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return [f"{margin if number else head}{line}" for number, line in enumerate(lines)]


def _excerpt(diagnostic: Diagnostic, width: int, color: str, paint: Paint) -> list[str]:
    """The source lines concerned, in the order of the file, with what is to be said about each below it."""
    end = diagnostic.end_column if diagnostic.end_line == diagnostic.line else len(diagnostic.source_line.rstrip()) + 1
    marks = [(diagnostic.line, diagnostic.source_line, diagnostic.column, end, "^", diagnostic.suggestion, color)]
    marks += [(r.line, r.source_line, r.column, r.end_column, "-", r.message, "blue") for r in diagnostic.related]
    marks.sort(key=lambda mark: (mark[0], mark[4] == "^"))
    bar = paint("|", "blue")
    lines: list[str] = []
    previous = 0
    for number, text, start, stop, sign, label, tint in marks:
        shown, begin, length = _window(text, start - 1, stop - 1)
        if previous and number > previous + 1:
            lines.append(paint("...", "blue"))
        if number != previous:
            lines.append(f"{paint(str(number).rjust(width), 'blue')} {bar} {shown}".rstrip())
        under = sign * max(1, length) + (f" {_safe(label)}" if label else "")
        lines.append(f"{' ' * width} {bar} {' ' * begin}{paint(under, tint)}")
        previous = number
    return lines


def _window(text: str, start: int, stop: int) -> tuple[str, int, int]:
    """The part of a line to show, as it looks, with column and width of the range [start, stop) in it."""
    origin, beyond = max(0, start - _NEAR), start + _NEAR < len(text)
    cells = [_cell(char) for char in text[origin : start + _NEAR]]
    widths = _widths(cells)
    start, stop = start - origin, max(stop, start + 1) - origin
    first, before = 0, sum(widths[:start])
    if origin or beyond or sum(widths) > MAX_WIDTH:
        while first < start and before > MAX_WIDTH // 3:
            before -= widths[first]
            first += 1
    last, used = first, 0
    while last < len(cells) and used + widths[last] <= MAX_WIDTH:
        used += widths[last]
        last += 1
    lead = "…" if origin + first else ""
    shown = lead + "".join(cells[first:last]) + ("…" if beyond or last < len(cells) else "")
    begin = len(lead) + sum(widths[first:start]) + max(0, start - len(cells))
    return shown, begin, sum(widths[start : min(stop, last)])


def _cell(char: str) -> str:
    """How a character is shown: a tab as blanks, what could act on the terminal as U+FFFD."""
    if char == "\t":
        return " " * TAB
    return char if char.isprintable() else "\ufffd"


def _safe(text: str) -> str:
    """`text` without characters that would act on a terminal or begin a new line."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def _widths(cells: Sequence[str]) -> list[int]:
    """Terminal columns of each shown character."""
    return [sum(_columns(char) for char in cell) for cell in cells]


def _columns(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def as_json(diagnostic: Diagnostic) -> dict[str, Any]:
    """The stable machine-readable form. Lines and columns from 1 (0: the whole file), columns in characters."""
    return {
        "code": diagnostic.code,
        "severity": diagnostic.severity.value,
        "message": diagnostic.message,
        "file": diagnostic.file,
        "line": diagnostic.line,
        "column": diagnostic.column,
        "end_line": diagnostic.end_line,
        "end_column": diagnostic.end_column,
        "suggestion": diagnostic.suggestion,
        "replacement": diagnostic.replacement,
        "help": diagnostic.help,
        "related": [
            {"message": r.message, "line": r.line, "column": r.column, "end_column": r.end_column}
            for r in diagnostic.related
        ],
    }


def github(diagnostic: Diagnostic) -> str:
    """A workflow command, which GitHub Actions shows at the line of the file."""
    values = {"file": diagnostic.file, "title": diagnostic.code}
    if diagnostic.line:
        values |= {"line": str(diagnostic.line), "col": str(diagnostic.column)}
        values |= {"endLine": str(diagnostic.end_line), "endColumn": str(diagnostic.end_column)}
    properties = ",".join(f"{key}={_escape(value, ':,')}" for key, value in values.items())
    text = f"{diagnostic.message} ({diagnostic.suggestion})" if diagnostic.suggestion else diagnostic.message
    return f"::{diagnostic.severity.value} {properties}::{_escape(text)}"


def _escape(text: str, more: str = "") -> str:
    """GitHub's escaping: %, line ends, and in properties `:` and `,`."""
    return "".join(f"%{ord(c):02X}" if c in "%\r\n" + more else c for c in text)
