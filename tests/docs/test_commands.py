"""What the documents tell people to type exists: commands, options, make targets, actions of other tools."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from supervisor.supervisorctl import DefaultControllerPlugin

from hiveot_supervisor.cli.main import parse
from hiveot_supervisor.errors import HiveotError
from hiveot_supervisor.prestart.hook import arguments

ROOT = Path(__file__).parents[2]
PLAIN = {".", "cat", "id", "cd", "kill", "ls", "supervisord", "command", ".ci/run", "plugins/sysinfo"}
PLAIN |= {"chmod", "mv", "python3", "export", "exec", "EOF", "pip", "hubcli", "launcher"}
"""Words that need no looking up."""


def test_the_command_exists(typed: object) -> None:
    words = [word for word in typed.words if not re.fullmatch(r"\w+=\S*", word) or typed.words[0] == "make"]
    if not words:
        return  # only an assignment
    if words[0] in ("hub", "sudo"):  # hub: the function that plugin-authors.md defines
        words = words[1:]
    name, *rest = words
    name = name if name in PLAIN else Path(name).name
    if name in CHECKS:
        CHECKS[name](rest)
    else:
        assert name in PLAIN


def check_launcher(words: list[str]) -> None:
    try:
        parse(words)
    except (SystemExit, HiveotError) as error:
        pytest.fail(f"hiveot-launcher {' '.join(words)}: {error}")


def check_make(words: list[str]) -> None:
    for word in words:
        target = word.partition("=")
        if target[1]:
            assert target[0] in makefile_variables()
        else:
            assert target[0] in makefile_targets()


def check_supervisorctl(words: list[str]) -> None:
    assert hasattr(DefaultControllerPlugin, f"do_{words[0]}")


def check_options(name: str, words: list[str]) -> None:
    """Every option is in the program's own help."""
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    made = subprocess.run([name, "--help"], capture_output=True, text=True)
    known = set(re.findall(r"(?<![\w-])--?\w[\w-]*", made.stdout + made.stderr))
    assert {word.split("=")[0] for word in words if re.match(r"--?[A-Za-z]", word)} <= known


CHECKS = {
    "hiveot-launcher": check_launcher,
    "hiveot-prestart": arguments,
    "make": check_make,
    "supervisorctl": check_supervisorctl,
    "mosquitto_pub": lambda words: check_options("mosquitto_pub", words),
    "mosquitto_sub": lambda words: check_options("mosquitto_sub", words),
    "systemctl": lambda words: check_options("systemctl", words),
    "systemd-run": lambda words: check_options("systemd-run", words),
}


def makefile_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def makefile_variables() -> set[str]:
    return set(re.findall(r"\$\(([A-Z_]+)\)", (ROOT / "Makefile").read_text()))


def test_the_readme_is_really_looked_at(all_typed: list[tuple[str, ...]]) -> None:
    """The parser of shell blocks finds what is plainly there."""
    names = [words[0] for words in all_typed]
    assert {"make", "hiveot-launcher", "supervisorctl", "kill", "mosquitto_sub", "supervisord"} <= set(names)
    assert ("supervisorctl", "pid", "sysinfo") in all_typed
    assert ("hiveot-launcher", "events", "-f") in all_typed
    assert ("cat", "certs/admin.token") in all_typed
