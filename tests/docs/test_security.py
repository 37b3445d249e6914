"""docs/security.md promises nothing that no test shows: the tests that it names exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
TEXT = (TESTS.parent / "docs/security.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(test_\w+)`", TEXT)))


@pytest.mark.parametrize(("file", "name"), NAMED, ids="::".join)
def test_the_named_test_exists(file: str, name: str) -> None:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_each_attacker_has_tests() -> None:
    sections = dict(zip(*[iter(re.split(r"^## (.+)$", TEXT, flags=re.MULTILINE)[1:])] * 2, strict=True))
    for title in ("A malicious or hijacked plugin", "A malicious user of the hub", "Somebody on the network"):
        assert len(re.findall(r"::test_", sections[title])) >= 5
    assert "::test_" in sections["Another user of the machine"]
    assert "::test_" in sections["A stolen device or SD card"]
    for title in ("Defaults", "What does not hold", "Advice for operators", "Reporting"):
        assert len(sections[title]) > 200
    assert len(NAMED) == len(set(re.findall(r"(?<=::)test_\w+", TEXT))), "a test is named in another form"


def test_figures_are_the_codes() -> None:
    from hiveot_supervisor.agent.service import ALLOWANCE
    from hiveot_supervisor.agent.table import MAX_NOTE
    from hiveot_supervisor.hub.link import MAX_SENDER_BACKLOG
    from hiveot_supervisor.hub.requests import MAX_REQUEST
    from hiveot_supervisor.runtime.accounts import MIN_PASSWORD

    assert f"{ALLOWANCE.rate:g} requests a second, {ALLOWANCE.unanswered} unanswered" in TEXT
    assert f"{MAX_REQUEST // 1024} KiB each" in TEXT
    assert f"one note of {MAX_NOTE} characters" in TEXT
    assert f"only {MIN_PASSWORD} characters are demanded" in TEXT
    assert MAX_SENDER_BACKLOG == 1_000_000
    assert "beyond one megabyte" in TEXT
