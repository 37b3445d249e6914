"""What foreign text may do on a terminal: colours at most."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiveot_supervisor.cli.output import harmless, human_time, json_text, say
from hiveot_supervisor.foreign import clean, printable

HOSTILE = [
    "\x1b[2J",  # clears the screen
    "\x1b[1;1H",  # goes to its corner
    "\x1b]0;title\x07",  # sets the window's title
    "\x1b]52;c;ZWNobyBoaQ==\x07",  # writes the clipboard
    "\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\",  # a link that is not what it says
    "\x1bP+q544e\x1b\\",  # asks the terminal something, which answers as if typed
    "\x1b[6n",
    "\x1b[>c",
    "\x9b2J",  # the same in one character
    "\x1b[31;2K",
    "\x1b[?1049h",
    "\r overwritten",
    "\b\b\b",
    "\x00",
    "\u202etxt.exe",  # right to left
    "\u2028",
    "\x1b[" + "1;" * 100 + "m",
    "\x1b",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("color", [True, False])
def test_nothing_hostile_reaches_the_terminal(text: str, color: bool) -> None:
    shown = harmless(f"before{text}after", color=color)
    assert shown.startswith("before")
    assert shown.endswith("after")
    assert shown.isprintable()
    assert printable(text).isprintable()
    assert clean(text, 100).isprintable()


def test_colours_stay_where_they_are_wanted_and_end_with_the_line() -> None:
    assert harmless("\x1b[1;32mok\x1b[0m\tdone", color=True) == "\x1b[1;32mok\x1b[0m\tdone"
    assert harmless("\x1b[1;32mok", color=True) == "\x1b[1;32mok\x1b[0m"
    assert harmless("\x1b[38;5;8mok\x1b[m", color=False) == "ok"
    assert harmless("plain ünïcode 日本", color=False) == "plain ünïcode 日本"


@given(st.text())
def test_without_colour_everything_is_printable(text: str) -> None:
    assert harmless(text, color=False).replace("\t", "").isprintable()
    assert "\n" not in harmless(text, color=True)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)
    )
)
def test_json_loses_nothing_and_acts_on_nothing(document: object) -> None:
    for indent in (None, 2):
        text = json_text(document, indent=indent)
        assert text.replace("\n", "").isprintable()
        assert json.loads(text) == document


def test_talk_is_harmless_but_coloured(capsys: pytest.CaptureFixture[str]) -> None:
    say("\x1b[31merror\x1b[0m: the hub says \x1b]0;x\x07\n  look there")
    assert capsys.readouterr().err == "\x1b[31merror\x1b[0m: the hub says \ufffd]0;x\ufffd\n  look there\n"


def test_clean_makes_one_bounded_line() -> None:
    assert clean("a\n  b\tc ", 100) == "a b c"
    assert clean("x" * 50, 10) == "x" * 9 + "…"
    assert len(clean("\x1b" * 10_000, 500)) <= 500


@pytest.mark.parametrize("seconds", [float("inf"), 1e300, float("nan"), -1.0])
def test_impossible_durations_can_be_shown(seconds: float) -> None:
    assert human_time(seconds)
