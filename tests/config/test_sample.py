"""The commented launcher.yaml is complete, true, and loads with every line uncommented in turn."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

import pytest

from hiveot_supervisor.config import schema
from hiveot_supervisor.config.load import Inspection
from hiveot_supervisor.config.shapes import Section
from hiveot_supervisor.model import Launcher
from hiveot_supervisor.resources import template_path

LINES = template_path("launcher.yaml").read_text().splitlines()
COMMENTED = re.compile(r"( *)#(?=\S)(?P<item>- )?(?P<key>[A-Za-z]+)?")
NUMBERS = [number for number, line in enumerate(LINES) if COMMENTED.match(line) and not line.lstrip().startswith("# ")]

Check = Callable[[str], Inspection]


def indent(number: int) -> int:
    return len(LINES[number]) - len(LINES[number].lstrip())


def parents(number: int) -> list[int]:
    """Commented lines under which a commented line stands."""
    found: list[int] = []
    depth = indent(number)
    for other in reversed([n for n in NUMBERS if n < number]):
        if indent(other) < depth and not any(
            line and not line.lstrip().startswith("#") for line in LINES[other:number]
        ):
            found.append(other)
            depth = indent(other)
    return found


def uncommented(numbers: list[int]) -> str:
    return "\n".join(line.replace("#", "", 1) if n in numbers else line for n, line in enumerate(LINES)) + "\n"


def path(number: int) -> str:
    """The key of a line with its section, e.g. `restart.delay`; `autostart.-` for list items."""
    match = COMMENTED.match(LINES[number])
    assert match is not None
    key = "-" if match["item"] else match["key"]
    above = parents(number)
    if above:
        return f"plugins.NAME.{key}"
    if indent(number) == 0:
        return key
    section = next(line for line in reversed(LINES[:number]) if re.match(r"[a-z]+:", line))
    return f"{section.split(':')[0]}.{key}"


def resolved(found: Inspection) -> Launcher:
    assert found.launcher is not None, found.diagnostics
    return dataclasses.replace(found.launcher, source_hash="")


def test_sample_is_valid_without_a_word(check: Check) -> None:
    found = check("\n".join(LINES))
    assert found.launcher is not None
    assert found.diagnostics == ()


@pytest.mark.parametrize("number", NUMBERS, ids=lambda n: f"{n + 1}:{path(n)}")
def test_line_loads_and_says_the_default(number: int, check: Check) -> None:
    above = parents(number)
    plain = resolved(check(uncommented(above)))
    changed = resolved(check(uncommented([number, *above])))
    example = "no default" in LINES[number] or "default: none" in LINES[number] or path(number) == "autostart.-"
    assert (changed == plain) is not example


def names(section: Section, prefix: str = "") -> set[str]:
    found = set()
    for key in section.keys:
        inner = key.kind
        found |= names(inner, f"{prefix}{key.name}.") if isinstance(inner, Section) else {f"{prefix}{key.name}"}
    return found


def test_sample_has_every_key() -> None:
    documented = {path(number) for number in NUMBERS}
    documented |= {line.split(":")[0] for line in LINES if re.match(r"[a-zA-Z]+:", line)}
    assert names(schema.TOP) - documented == set()
    plugin = {f"plugins.NAME.{key.name}" for key in schema.PLUGIN_KEYS}
    shared = {f"plugins.NAME.{key.name}" for key in schema.PLUGIN_KEYS if key in schema.TOP.keys}
    assert plugin - documented - shared == set()
    assert all(key.name in "\n".join(LINES) for key in schema.PLUGIN_KEYS)


def test_sample_has_no_other_key() -> None:
    documented = {path(number) for number in NUMBERS} - {"autostart.-", "plugins.zwavejs"}
    known = names(schema.TOP) | {f"plugins.NAME.{key.name}" for key in schema.PLUGIN_KEYS}
    assert documented - known == set()


def test_lines_fit_a_screen() -> None:
    assert max(map(len, LINES)) <= 120
