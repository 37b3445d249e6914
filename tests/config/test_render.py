"""Diagnostics as text: underlines where a terminal shows the place, nothing acts on it, machine forms are exact."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiveot_supervisor.config.diagnostics import Collector, Diagnostic, Severity, Source, Span
from hiveot_supervisor.config.render import MAX_WIDTH, as_json, concise, full, github, summary


def underline(line: str, word: str) -> tuple[str, str]:
    """The source line and the line below it, as shown for `word` in `line`."""
    source = Source(Path("f"), f"# x\n{line}\nend\n", "f")
    sink = Collector(source)
    at = source.text.index(word, 4)
    sink.error("L104", "m", Span(at, at + len(word)))
    shown = full(sink.diagnostics()[0]).splitlines()
    return shown[3].removeprefix("2 | "), shown[4].removeprefix("  | ")


@pytest.mark.parametrize(
    ("line", "word", "shown", "under"),
    [
        ("a: b", "b", "a: b", "   ^"),
        ("a:\tbc", "bc", "a:    bc", "      ^^"),
        ("\t\tx", "x", "        x", "        ^"),
        ("漢字: x", "x", "漢字: x", "      ^"),
        ("a: 漢字", "漢字", "a: 漢字", "   ^^^^"),
        ("e\u0301e\u0301: x", "x", "e\u0301e\u0301: x", "    ^"),
        ("a: e\u0301", "e\u0301", "a: e\u0301", "   ^"),
        ("a: \U0001f600 x", "x", "a: \U0001f600 x", "      ^"),
        ("ａ: x", "x", "ａ: x", "    ^"),
        ("a: \u202ex", "x", "a: \ufffdx", "    ^"),
        ("a: \u200bx", "x", "a: \ufffdx", "    ^"),
    ],
)
def test_underline_stands_below_the_word(line: str, word: str, shown: str, under: str) -> None:
    assert underline(line, word) == (shown, under)


@given(st.text(st.sampled_from("ab \t漢é"), max_size=300), st.text(st.sampled_from("ab \t漢é"), max_size=300))
def test_long_lines_are_cut_around_the_word(before: str, after: str) -> None:
    shown, under = underline(f"{before}[WORD]{after}", "WORD")
    width = sum(2 if c == "漢" else 1 for c in shown)
    assert width <= MAX_WIDTH + 2
    assert under.strip() == "^^^^"
    column = len(under) - 4
    position = 0
    for index, char in enumerate(shown):
        if position == column:
            assert shown[index : index + 4] == "WORD"
            return
        position += 2 if char == "漢" else 1
    raise AssertionError("the underline is outside the line")


def test_a_range_over_several_lines_is_underlined_on_the_first() -> None:
    source = Source(Path("f"), "a: [x,\n  y]\n", "f")
    sink = Collector(source)
    sink.error("L103", "m", Span(3, 11))
    assert full(sink.diagnostics()[0]).splitlines()[-1] == "  |    ^^^"


def test_the_end_of_the_file_can_be_pointed_at() -> None:
    source = Source(Path("f"), "a: [x\n", "f")
    sink = Collector(source)
    sink.error("L006", "m", Span(6, 7))
    assert full(sink.diagnostics()[0]).splitlines()[3:] == ["2 |", "  | ^"]


def test_full_form_as_in_the_manual() -> None:
    text = "\n" * 13 + "    autorestat: true\n"
    sink = Collector(Source(Path("launcher.yaml"), text, "launcher.yaml"))
    sink.error(
        "L104",
        "unknown key `autorestat` in plugin `zwavejs`",
        Span(17, 27),
        suggestion="did you mean `autorestart`?",
        help="keys of a plugin: command, args",
    )
    assert full(sink.diagnostics()[0]) == (
        "error[L104]: unknown key `autorestat` in plugin `zwavejs`\n"
        "  --> launcher.yaml:14:5\n"
        "   |\n"
        "14 |     autorestat: true\n"
        "   |     ^^^^^^^^^^ did you mean `autorestart`?\n"
        "   = help: keys of a plugin: command, args"
    )


def test_colours_do_not_move_anything() -> None:
    sink = Collector(Source(Path("f"), "a: b\n", "f"))
    sink.warning("L105", "m", Span(3, 4), help="h", related=(("r", Span(0, 1)),))
    (diagnostic,) = sink.diagnostics()
    assert full(diagnostic, lambda text, color: f"<{color}>{text}</>").replace("</>", "").count("<") > 5
    stripped = (
        full(diagnostic, lambda text, color: f"\x1b[1m{text}\x1b[0m").replace("\x1b[1m", "").replace("\x1b[0m", "")
    )
    assert stripped == full(diagnostic)


ERROR = Diagnostic("L104", Severity.ERROR, "50% of a,b:c\r\n", "dir,x:y/f%.yaml", 3, 5, 3, 9, suggestion="s")


def test_github_form_is_escaped() -> None:
    assert github(ERROR) == (
        "::error file=dir%2Cx%3Ay/f%25.yaml,title=L104,line=3,col=5,endLine=3,endColumn=9::50%25 of a,b:c%0D%0A (s)"
    )


def test_concise_and_json_forms() -> None:
    sink = Collector(Source(Path("f"), "id: x\nid: y\n", "f"))
    sink.error("L102", "m", Span(6, 8), replacement="z", help="h", related=(("first", Span(0, 2)),))
    sink.warning("L309", "w")
    error, warning = sink.diagnostics()
    assert concise(error) == "f:2:1: L102 m"
    assert concise(warning) == "f: warning L309 w"
    assert as_json(error) == {
        "code": "L102",
        "severity": "error",
        "message": "m",
        "file": "f",
        "line": 2,
        "column": 1,
        "end_line": 2,
        "end_column": 3,
        "suggestion": "",
        "replacement": "z",
        "help": "h",
        "related": [{"message": "first", "line": 1, "column": 1, "end_column": 3}],
    }
    assert summary(sink.diagnostics()) == "1 error, 1 warning"
    assert summary(()) == "no problems"


def test_nothing_acts_on_the_terminal() -> None:
    nasty = "a\x1b[2Jb\nc\u202e"
    diagnostic = Diagnostic("L402", Severity.WARNING, nasty, nasty, 1, 1, 1, 2, nasty, None, nasty, (), nasty)
    assert "\x1b" not in full(diagnostic) + concise(diagnostic)
    assert "\u202e" not in full(diagnostic) + concise(diagnostic)
    assert len(full(diagnostic).splitlines()) == 6
    assert len(concise(diagnostic).splitlines()) == 1


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_are_counted_as_editors_do(end: str) -> None:
    source = Source(Path("f"), end.join(["a", "", "b\u2028c", ""]), "f")
    assert source.position(source.text.index("b")) == (3, 1)
    assert source.position(source.text.index("c")) == (3, 3)
    assert [source.line(number) for number in (1, 2, 3, 4, 5)] == ["a", "", "b\u2028c", "", ""]
