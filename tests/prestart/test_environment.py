"""Environment files: what is read, what is refused with the line, and what never shows in a message."""

from __future__ import annotations

import shlex
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiveot_supervisor.errors import NeverWorks
from hiveot_supervisor.prestart.environment import CONTROL, compose, parse_file


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("\n  \n# comment\n   # another\n", []),
        ("A=1\nB=2", [("A", "1"), ("B", "2")]),
        ("  A = b c  \n", [("A", "b c")]),
        ("export A=1\nexport\tB=2\n", [("A", "1"), ("B", "2")]),
        ("A=\nB=''\nC=\"\"\n", [("A", ""), ("B", ""), ("C", "")]),
        ("A=a#b # comment\nB=#\n", [("A", "a#b"), ("B", "")]),
        ("A='a # b' # comment\n", [("A", "a # b")]),
        ("A=' x '\nB=\" x \"\n", [("A", " x "), ("B", " x ")]),
        ("A='$HOME `id` \\n'\n", [("A", "$HOME `id` \\n")]),
        (r'A="\"\\\$\`\n"', [("A", '"\\$`\\n')]),
        ('A="one\ntwo\n\nthree"\nB=1', [("A", "one\ntwo\n\nthree"), ("B", "1")]),
        ("A='one  \n  two'\n", [("A", "one  \n  two")]),
        ('A="joined \\\nline"\n', [("A", "joined line")]),
        ("A=back\\slash\\n\n", [("A", "back\\slash\\n")]),
        ("A=1\r\nB='2\r\n3'\r\n", [("A", "1"), ("B", "2\n3")]),
        ("\ufeffA=1\n", [("A", "1")]),
        ("A=ü=日\n", [("A", "ü=日")]),
        ("A=1\nA=2\n", [("A", "1"), ("A", "2")]),
        ("A=it's\n", [("A", "it's")]),
    ],
)
def test_what_is_read(text: str, expected: list[tuple[str, str]]) -> None:
    assert parse_file(text, "x.env") == expected


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("secret", 1, "NAME=value is expected"),
        ("A=1\n\n9A=secret\n", 3, "NAME=value is expected"),
        ("a-b=secret", 1, "NAME=value is expected"),
        ("=secret", 1, "NAME=value is expected"),
        ("A=1\nB='secret\n", 2, "the quote ' is not closed"),
        ('A="secret\\"\nB=1\n', 1, 'the quote " is not closed'),
        ("A='secret' more", 1, "there is text after the closing quote"),
        ("A='secret'x", 1, "there is text after the closing quote"),
        ("A=secret\0", 1, "a value cannot contain a NUL character"),
    ],
)
def test_errors_name_file_and_line_and_show_no_content(text: str, line: int, what: str) -> None:
    with pytest.raises(NeverWorks) as caught:
        parse_file(text, "/etc/x.env")
    assert caught.value.what == f"/etc/x.env:{line}: {what}"
    assert "secret" not in str(caught.value)


values = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0\r"), max_size=40)


@given(st.lists(st.tuples(st.from_regex("[A-Z_][A-Z0-9_]{0,5}", fullmatch=True), values), max_size=5))
def test_everything_can_be_written_in_double_quotes(pairs: list[tuple[str, str]]) -> None:
    def quoted(value: str) -> str:
        for special in '\\"$`':
            value = value.replace(special, f"\\{special}")
        return f'"{value}"'

    text = "".join(f"{name}={quoted(value)}\n" for name, value in pairs)
    assert parse_file(text, "x") == pairs


@settings(max_examples=20, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0\r'")), min_size=1))
def test_quoted_values_mean_the_same_to_a_shell(texts: list[str]) -> None:
    text = "".join(f"export V{n}='{value}'\n" for n, value in enumerate(texts))
    names = " ".join(f'"$V{n}"' for n in range(len(texts)))
    out = subprocess.run(["sh", "-c", f"{text}printf '%s\\0' {names}"], capture_output=True, check=True).stdout
    assert out.decode().split("\0")[:-1] == [value for _, value in parse_file(text, "x")]
    assert shlex.quote("") == "''"


def test_compose_takes_control_over_supervisord_away_and_lets_the_later_win() -> None:
    inherited = {"PATH": "/bin", "A": "inherited", "OLDPWD": "/x", **dict.fromkeys(CONTROL, "x")}
    assert compose(inherited, [("A", "given"), ("B", "given"), ("C", "given")], [("C", "file")]) == {
        "PATH": "/bin", "A": "given", "B": "given", "C": "file",
    }  # fmt: skip
    assert compose({}, [("SUPERVISOR_SERVER_URL", "asked for")])["SUPERVISOR_SERVER_URL"] == "asked for"
