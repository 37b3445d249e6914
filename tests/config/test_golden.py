"""Every kind of mistake in a launcher.yaml, with the exact text that a person gets.

`golden/NAME.yaml` is the file, `golden/NAME.txt` what `check --output-format full` says about it, HOME standing for the
home folder. After a wanted change: `UPDATE_GOLDEN=1 pytest tests/config/test_golden.py`, then read the difference.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from hiveot_supervisor.config import reader
from hiveot_supervisor.config.codes import CODES
from hiveot_supervisor.config.load import Inspection
from hiveot_supervisor.config.render import full

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(path.stem for path in GOLDEN.glob("*.yaml"))
SOURCES = Path(reader.__file__).parent


def prepare(home: Path) -> None:
    """Files that some cases speak of."""
    (home / "plugins" / "nobit").write_text("#!/bin/sh\n")
    (home / "plugins" / "empty").touch(mode=0o755)
    (home / "plugins" / "folder").mkdir()
    for name in ("admin", "strange name"):
        (home / "plugins" / name).write_text("#!/bin/sh\n")
        (home / "plugins" / name).chmod(0o755)


def rendered(found: Inspection, home: Path) -> str:
    text = "\n\n".join(full(diagnostic) for diagnostic in found.diagnostics) + "\n"
    return text.replace(str(home), "HOME")


@pytest.mark.parametrize("name", CASES)
def test_message(name: str, home: Path, check: Callable[[bytes], Inspection]) -> None:
    if name == "machine":
        prepare(home)
    found = check((GOLDEN / f"{name}.yaml").read_bytes())
    text = rendered(found, home)
    golden = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize("name", CASES)
def test_same_places_with_the_python_parser(
    name: str, home: Path, check: Callable[[bytes], Inspection], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where PyYAML comes without libyaml, messages may differ in words, but not in what and where."""
    import yaml

    data = (GOLDEN / f"{name}.yaml").read_bytes()
    fast = [(d.code, d.line, d.column) for d in check(data).diagnostics]
    monkeypatch.setattr(reader, "_LOADER", yaml.SafeLoader)
    assert [(d.code, d.line, d.column) for d in check(data).diagnostics] == fast


def test_every_code_is_documented_and_shown() -> None:
    """Each code in the sources is explained, each explained one is used, and all of a file have a golden text."""
    used = set()
    for source in SOURCES.glob("*.py"):
        if source.name != "codes.py":
            used |= set(re.findall(r'"(L[0-9]{3})"', source.read_text()))
    assert used == set(CODES)
    shown = set(re.findall(r"\[(L[0-9]{3})\]", "".join(p.read_text() for p in GOLDEN.glob("*.txt"))))
    elsewhere = {"L001", "L002", "L003", "L004", "L005", "L008", "L012", "L404", "L408"}  # not by a text alone
    assert shown | elsewhere == set(CODES)
