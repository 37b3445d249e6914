"""What was meant: slips, case, and the words of other tools."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiveot_supervisor.config import schema
from hiveot_supervisor.config.shapes import Section
from hiveot_supervisor.config.suggest import HABITS, meant_key, nearest, plain

KEYS = schema.PLUGIN.names


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("autorestat", "autorestart"),
        ("autoRestart", "autorestart"),
        ("depends_on", "dependsOn"),
        ("DependsOn", "dependsOn"),
        ("depnedsOn", "dependsOn"),
        ("dependOn", "dependsOn"),
        ("env", "environment"),
        ("ENV_FILE", "environmentFile"),
        ("enviroment", "environment"),
        ("exec-start", "command"),
        ("mem_limit", "limits.memory"),
        ("usr", "user"),
        ("arg", "args"),
        ("xyzzy", None),
        ("", None),
        ("a" * 500, None),
    ],
)
def test_keys(word: str, meant: str | None) -> None:
    assert meant_key(word, KEYS) == meant


def test_short_words_are_not_guessed_from_nothing() -> None:
    assert nearest("ab", ["id", "or"]) is None
    assert nearest("a", ["id"]) is None


@given(st.sampled_from([k for k in schema.TOP.names if len(k) > 4]), st.data())
def test_one_slip_is_always_understood(key: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(1, len(key) - 1))
    slips = [key[:at] + key[at + 1 :], key[:at] + "x" + key[at:], key[:at] + "x" + key[at + 1 :]]
    for word in slips:
        assert nearest(word, schema.TOP.names) is not None
    assert nearest(slips[1], schema.TOP.names) == key


def test_habits_lead_to_keys_that_exist() -> None:
    def sections(section: Section) -> dict[str, Section]:
        inner = {key.name: key.kind for key in section.keys if isinstance(key.kind, Section)}
        return inner

    from hiveot_supervisor.config.forms import ALIVE, READY

    everywhere = [schema.TOP, schema.PLUGIN, READY, ALIVE, *sections(schema.TOP).values()]
    known = {name for section in everywhere for name in section.names}
    for word, keys in HABITS.items():
        assert word == plain(word)
        for key in keys:
            name, _, inner = key.partition(".")
            assert name in known
            assert not inner or inner in sections(schema.TOP)[name].names
