"""Says in words what is wrong when a file is not YAML.

libyaml and PyYAML describe the state of their scanner (`did not find expected key`); this module looks at the
place in the text and names the slip that people make there. Pure: text and the scanner's complaint in, words out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hiveot_supervisor.config.diagnostics import Source, Span
from hiveot_supervisor.config.nodes import show

QUOTE_HELP = "put the value in quotes: 'like this'"
HALF_CHARACTER_HELP = "write the character itself, or \\U and the 8 digits of its number"
_ESCAPE = re.compile(r"\\(?:x[0-9A-Fa-f]{0,2}|u[0-9A-Fa-f]{0,4}|U[0-9A-Fa-f]{0,8}|.)")
_ODD_SPACE = re.compile("[\u00a0\u2000-\u200b\u202f\u3000\ufeff]")
_INDENT_HELP = "keys of one level begin in the same column; what belongs to a key is indented further"


@dataclass(frozen=True, slots=True)
class Complaint:
    """What the YAML scanner said: offsets are in characters, `began` is where the construct starts."""

    problem: str
    context: str
    at: int
    began: int | None


@dataclass(frozen=True, slots=True)
class Finding:
    """The same for people: `related` as in `diagnostics.Remedy`."""

    code: str
    message: str
    span: Span
    help: str = ""
    related: tuple[tuple[str, Span], ...] = ()


def explain(complaint: Complaint, source: Source) -> Finding:
    """Put the scanner's complaint in words."""
    finding = _explain(complaint, source)
    line = source.position(finding.span.start)[0]
    space = _ODD_SPACE.search(source.line(line).split(" #")[0])
    if space is None:
        return finding
    at = source.offset(line) + space.start()
    code = f"U+{ord(space[0]):04X}"
    text = f"{code} looks like a blank, but is none for YAML"
    return Finding("L006", text, Span(at, at + 1), "it comes in by copying from a web page; replace it by a blank")


def _explain(complaint: Complaint, source: Source) -> Finding:
    problem, context = complaint.problem, complaint.context
    if _tab_indents(source, complaint.at):
        return _tab(source, complaint.at)
    if "mapping values are not allowed" in problem:
        return _colon(source, complaint.at)
    if "cannot start any token" in problem:
        return _bad_start(source, complaint.at)
    if complaint.began is not None:
        if "unexpected end of stream" in problem and "scalar" in context:
            return Finding("L006", "this quote is never closed", _one(complaint.began))
        if "flow sequence" in context or "flow mapping" in context:
            return _unclosed(source, complaint)
        if "could not find expected ':'" in problem:
            return _no_colon(source, complaint.began)
        if "scanning an alias" in context or "scanning an anchor" in context:
            return _bad_start(source, complaint.began)
    return _by_place(source, complaint)


def _by_place(source: Source, complaint: Complaint) -> Finding:
    """What the character at the problem tells, when the complaint alone does not."""
    problem, at = complaint.problem, complaint.at
    char = source.text[at : at + 1]
    if "escape" in problem or "hex" in problem:
        return _escape(source, at)
    if char and char in "]},":
        return Finding("L006", f"{show(char)} where none is expected", _one(at), f"remove it, or {QUOTE_HELP}")
    if "sequence entries are not allowed" in problem:
        text = "a list item cannot begin on the line of its key"
        return Finding("L006", text, _one(at), "begin a new line for each `- item`, or write [item, item]")
    if "did not find expected key" in problem or "<block end>" in problem or "'-' indicator" in problem:
        return _structure(source, complaint)
    return Finding("L006", f"not valid YAML: {problem}", _one(at), QUOTE_HELP)


def _escape(source: Source, at: int) -> Finding:
    """A backslash in double quotes; the scanner's place is one of the characters of the escape."""
    start = max(0, source.text.rfind("\\", 0, at + 1))
    match = _ESCAPE.match(source.text, start)
    span = Span(*match.span()) if match else _one(at)
    shown = show(source.text[slice(*span)])
    if re.fullmatch(r"\\u[dD][89a-fA-F].*", source.text[slice(*span)]):
        return Finding("L209", f"{shown} is half a character", span, HALF_CHARACTER_HELP)
    why = "in single quotes a backslash has no special meaning; in double quotes write it twice"
    return Finding("L006", f"{shown} means nothing in double quotes", span, why)


def _structure(source: Source, complaint: Complaint) -> Finding:
    """A line that does not continue the block it stands in."""
    at = complaint.at
    line, column = source.position(at)
    before = source.line(line)[: column - 1]
    if before.rstrip().endswith(("'", '"')) and before.strip() not in ("-", ""):
        text = "there is more text after the closing quote"
        return Finding("L006", text, _rest(source, at), "a quote inside single quotes is written twice: 'it''s'")
    related: tuple[tuple[str, Span], ...] = ()
    item = source.text[at : at + 1] == "-"
    if not item and complaint.began is not None and source.position(complaint.began)[0] != line:
        related = (("the block that it should continue begins here", _one(complaint.began)),)
    text = "this list item is not in line with the items before it" if item else "the indentation fits no level above"
    if "'-' indicator" in complaint.problem or complaint.context.endswith("collection"):
        text = "a list item beginning with `- ` is expected here"
    return Finding("L006", text, _rest(source, at), _INDENT_HELP, related)


def _tab_indents(source: Source, at: int) -> bool:
    line, column = source.position(at)
    text = source.line(line)
    indent = text[: len(text) - len(text.lstrip())]
    return "\t" in indent and column <= len(indent) + 1


def _tab(source: Source, at: int) -> Finding:
    line, column = source.position(at)
    text = source.line(line)
    first = at - (column - 1) + text.index("\t")
    width = len(text[text.index("\t") :]) - len(text[text.index("\t") :].lstrip("\t"))
    return Finding("L007", "a tab is used for indentation", Span(first, first + width), "YAML allows only spaces there")


def _colon(source: Source, at: int) -> Finding:
    """`a: b: c`, or a line that follows something which can have no keys."""
    line, column = source.position(at)
    text = source.line(line)
    key = text[: column - 1]
    if ": " in key:
        start = source.offset(line) + key.index(": ") + 2
        value = source.text[start : source.offset(line) + len(text.split(" #")[0].rstrip())]
        span = Span(start + len(value) - len(value.lstrip()), start + len(value))
        return Finding("L006", f"a value that contains {show(': ')} needs quotes", span, QUOTE_HELP)
    previous = line - 1
    while previous > 0 and source.line(previous).partition("#")[0].strip() in ("", "-"):
        previous -= 1
    above = source.line(previous).split(" #")[0].rstrip() if previous else ""
    words = above.strip()
    if words and ": " not in words and not words.endswith(":"):
        span = Span(source.offset(previous) + len(above) - len(words), source.offset(previous) + len(above))
        if ":" in words:
            name, value = words.split(":", 1)
            message = f"a blank is missing after the colon of {show(name)}"
            return Finding("L006", message, span, f"write {show(f'{name}: {value}')}")
        return Finding("L006", f"{show(words)} is not followed by a colon", span, f"write {show(words + ':')}")
    here = Span(source.offset(line) + len(text) - len(text.lstrip()), at)
    name = words.partition(": ")[0]
    message = f"nothing can be indented below {show(name)}, which has a value already" if words else "a key is missing"
    return Finding("L006", message, here, _INDENT_HELP)


def _bad_start(source: Source, at: int) -> Finding:
    char = source.text[at : at + 1]
    if char == "\t":
        return Finding("L007", "a tab stands where only spaces may", _one(at), "replace the tab by spaces")
    return Finding(
        "L006", f"a value cannot begin with {show(char)} unless it is in quotes", _rest(source, at), QUOTE_HELP
    )


def _unclosed(source: Source, complaint: Complaint) -> Finding:
    began = complaint.began or 0
    bracket = source.text[began : began + 1]
    closing = {"[": "]", "{": "}"}.get(bracket, "]")
    text = f"{show(bracket)} is not closed"
    at = complaint.at
    if at >= len(source.text) or source.position(at)[0] == source.position(began)[0]:
        return Finding("L006", text, _one(began), f"a {show(',')} or {show(closing)} is missing after it")
    return Finding("L006", text, _one(began), related=((f"`,` or {show(closing)} is expected before this", _one(at)),))


def _no_colon(source: Source, began: int) -> Finding:
    words = source.text[slice(*_rest(source, began))].split(" #")[0].rstrip()
    span = Span(began, began + len(words))
    if " " not in words:
        return Finding("L006", f"{show(words)} is not followed by a colon", span, f"write {show(words + ':')}")
    text = "this line is neither `key: value` nor `- item`"
    return Finding("L006", text, span, "text over several lines needs quotes or `|`")


def _one(offset: int) -> Span:
    return Span(offset, offset + 1)


def _rest(source: Source, offset: int) -> Span:
    """From `offset` to the end of its line, without trailing blanks."""
    line, column = source.position(offset)
    text = source.line(line).rstrip()
    return Span(offset, offset + max(1, len(text) - (column - 1)))
