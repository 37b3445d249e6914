"""Escaped text is read back exactly by Supervisor, by /bin/sh and by the rules of systemd; or it is refused."""

from __future__ import annotations

import io
import shlex
import subprocess
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from supervisor.options import UnhosedConfigParser, expand

from hiveot_supervisor.errors import ConfigError
from hiveot_supervisor.generate.escape import (
    carried,
    ini_command,
    ini_value,
    path_text,
    shell_word,
    unit_argument,
    unit_path,
    unit_word,
)

NASTY = "ab %;#'\"\\$`=:,[]{}()<>|&*?!~\u00a0\u2003é日\U0001f600-_./"
texts = st.text(alphabet=st.one_of(st.sampled_from(NASTY), st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp"))))
paths = texts.map(lambda text: "/" + text.strip().replace("\0", "") + "/x")


def read_back(value: str, expansions: int = 1) -> str:
    """What Supervisor gets for an option, as ServerOptions reads it."""
    parser = UnhosedConfigParser()
    parser.read_file(io.StringIO(f"[a]\nbefore = 1\nkey = {value}\nafter = 2\n[b]\nlast = 3\n"))
    assert parser.sections() == ["a", "b"]
    assert parser.options("a") == ["before", "key", "after"]
    found = parser.saneget("a", "key", expansions={"here": "/he re%s"})
    for _ in range(expansions - 1):
        found = expand(found, {"here": "/he re%s"}, "key")
    return str(found)


@given(paths)
@example("/tmp/a ;b")
@example("/tmp/a\u00a0;b #c\t".strip())
@example("/tmp/%(ENV_HOME)s/%%/%")
@example("/a ;;# ;#")
def test_ini_values_round_trip(path: str) -> None:
    assert read_back(ini_value(path)) == path


@given(paths)
@example("/tmp/a ;b%")
def test_log_file_values_survive_two_expansions(path: str) -> None:
    assert read_back(ini_value(path, expansions=2), expansions=2) == path


@given(st.lists(texts, min_size=1))
@example(["/bin/sh", "/tmp/it's ;here/#1 #2/50%/p.sh"])
@example(["", " "])
def test_ini_commands_round_trip_through_shlex(words: list[str]) -> None:
    assert shlex.split(read_back(ini_command(words))) == words


@pytest.mark.parametrize("bad", ["/a\nb", "/a\rb", "/a\0b", "/a\x7fb", "/a\x85b", "/a\u2028b", "/a\udc80b", "/a\tb"])
def test_control_characters_and_broken_text_are_refused(bad: str) -> None:
    for escape in (ini_value, unit_word, unit_path, carried, lambda t: ini_command([t])):
        with pytest.raises(ConfigError, match="cannot stand in"):
            escape(bad)


@pytest.mark.parametrize("bad", [" /a", "/a ", "/a\u00a0"])
def test_blanks_at_the_ends_are_refused_because_the_reader_strips_them(bad: str) -> None:
    with pytest.raises(ConfigError, match="begins or ends with a blank"):
        ini_value(bad)


words = st.text(alphabet=st.characters(exclude_categories=("Cs",), exclude_characters="\0"))


@settings(max_examples=15, deadline=None)
@given(st.lists(words, min_size=30, max_size=60))
@example(["\n", "a\n\nb\n", "'", "''", "\\", "$(id)", "`id`", "\x01\x81\x88", "é", "", "-n", "~", "*", "x" * 4096])
@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_shell_words_arrive_byte_for_byte(shell: str, texts: list[str]) -> None:
    script = "exec printf '%s\\0' " + " ".join(shell_word(t) for t in texts)
    out = subprocess.run([shell, "-c", script], capture_output=True, check=True).stdout
    assert out == b"".join(t.encode() + b"\0" for t in texts)


def test_no_program_can_receive_nul() -> None:
    with pytest.raises(ConfigError, match="NUL"):
        shell_word("a\0b")


def unescape_unit(word: str, *, argument: bool) -> str:
    """systemd.syntax(7) for a double-quoted word, specifiers, and `$$` in arguments."""
    assert word.startswith('"')
    assert word.endswith('"')
    out, at, inner = [], 0, word[1:-1]
    while at < len(inner):
        pair = inner[at : at + 2]
        special = pair in ("\\\\", '\\"', "%%") or (argument and pair == "$$")
        assert special or inner[at] not in '\\"%' + "$" * argument
        out.append(pair[1] if special else inner[at])
        at += 2 if special else 1
    return "".join(out)


@given(texts)
def test_unit_words_follow_systemds_rules(text: str) -> None:
    assert unescape_unit(unit_word(text), argument=False) == text
    assert unescape_unit(unit_argument(text), argument=True) == text


def test_unit_path_must_not_continue_the_line() -> None:
    assert unit_path("/a b/50%") == "/a b/50%%"
    with pytest.raises(ConfigError, match="backslash"):
        unit_path("/a\\")


def test_paths_must_be_absolute() -> None:
    assert path_text(Path("/a b")) == "/a b"
    with pytest.raises(ConfigError, match="not absolute"):
        path_text(Path("a"))


@given(st.characters())
def test_every_control_character_is_refused(character: str) -> None:
    allowed = unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp")
    try:
        assert carried(f"/{character}") == f"/{character}"
        assert allowed
    except ConfigError:
        assert not allowed
