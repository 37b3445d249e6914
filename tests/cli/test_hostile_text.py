"""What a plugin, a hub or a file can have written, and what of it reaches the terminal: nothing that acts."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.launchers import program, short_home

from hiveot_supervisor.agent.state import Event, Record, State
from hiveot_supervisor.cli.main import main
from hiveot_supervisor.errors import ExitCode

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x1b]52;c;ZWNobw==\x07\x9b31mfake\r\x08\u202e"
LINES = f"good \x1b[32mgreen\x1b[0m\nbad {HOSTILE}\n\ttab"


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A generated home in which the agent has run once, and a plugin has tried everything."""
    with short_home() as made:
        program(made / "plugins/alpha")
        program(made / "plugins/beta")
        (made / "launcher.yaml").write_text("hub: {url: 'mqtts://localhost:1'}\nautostart: [alpha, beta]\n")
        assert main(["generate", "--quiet", "--home", str(made)]) == ExitCode.OK
        (made / "logs/alpha.log").write_text(LINES, encoding="utf-8")
        (made / "logs/launcher.log").write_text(LINES, encoding="utf-8")
        state = State(made / "stores/launcher/launcher.db")
        now = time.time()
        change = {"state": "failed", "cause": f"crash{HOSTILE}", "note": HOSTILE, "uptime": 1e999, "nextTry": HOSTILE}
        with state.transaction():
            state.save(Record("alpha", state="failed", note=f"exit 1 {HOSTILE}", since=now, cause=HOSTILE))
            for name, value in (("stopped", "alpha"), ("pluginStateChanged", change), (HOSTILE, change)):
                state.append(Event(now, name, "alpha", value))
        state.close()
        yield made


def shown(capsys: pytest.CaptureFixture[str], home: Path, *words: str) -> str:
    capsys.readouterr()
    main([*words, "--home", str(home)])
    return "".join(capsys.readouterr())


@pytest.mark.parametrize(
    "words",
    [
        ("logs",),
        ("logs", "alpha"),
        ("logs", "launcher"),
        ("logs", "alpha", "--json"),
        ("events",),
        ("events", "-v"),
        ("events", "--json"),
        ("list",),
        ("list", "--json"),
        ("status", "alpha"),
        ("status", "alpha", "--json"),
        ("start", "alpha"),
    ],
    ids=" ".join,
)
def test_commands_show_nothing_that_acts(
    home: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    for color in ("never", "always"):
        output = shown(capsys, home, *words, "--color", color)
        assert output.strip()
        without_colors = re.sub(r"\x1b\[[0-9;]*m", "", output) if color == "always" else output
        assert without_colors.replace("\n", "").replace("\t", "").isprintable(), repr(output)


def test_colours_of_logs_only_where_colours_are_wanted(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "good \x1b[32mgreen\x1b[0m" in shown(capsys, home, "logs", "alpha", "--color", "always")
    assert "good green\n" in shown(capsys, home, "logs", "alpha", "--color", "never")
    assert "good green\n" in shown(capsys, home, "logs", "alpha")  # not a terminal


def test_raw_gives_every_byte_and_json_every_character(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = shown(capsys, home, "logs", "alpha", "--raw")
    assert f"bad {HOSTILE.split(chr(13))[0]}" in raw
    lines = [json.loads(line)["line"] for line in shown(capsys, home, "logs", "alpha", "--json").splitlines()]
    assert lines[0] == "good \x1b[32mgreen\x1b[0m"
    assert "\x1b]0;owned" in lines[1]
