"""`hiveot-launcher check` as people and programs run it: forms, streams, exit codes, explanations, -v."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.configs import config_home

from hiveot_supervisor.cli.cmd_check import delay_series, series
from hiveot_supervisor.cli.main import main
from hiveot_supervisor.config.codes import CODES
from hiveot_supervisor.model import Policy, Restart

GOOD = (
    "runtime: runtime\nautostart: [zwavejs]\nplugins:\n  zwavejs: {dependsOn: {history: ready}, ready: {tcp: 8091}}\n"
)
WARN = "runtime: runtime\nautostart: [nothing]\n"
BAD = "runtime: runtime\nloglevel: info\nstartWait: soon\nautostart: [nothing]\n"


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with config_home() as folder:
        monkeypatch.chdir(folder)
        yield folder


def write(home: Path, text: str) -> None:
    (home / "launcher.yaml").write_text(text)


def test_valid_file(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(home, GOOD.replace("zwavejs]", "history, zwavejs]"))
    assert main(["check"]) == 0
    assert capsys.readouterr() == ("launcher.yaml is valid: 4 plugins, 2 of them in autostart\n", "")


def test_errors_go_to_stderr_and_the_exit_code_says_so(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(home, BAD)
    assert main(["check"]) == 6
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "launcher.yaml:2:1: L104 unknown key `loglevel` (did you mean `logLevel`?)",
        "launcher.yaml:3:12: L202 `startWait` must be a duration such as `500ms`, `10s` or `1h30m`, not `soon`",
        f"launcher.yaml:4:13: warning L402 plugin `nothing` cannot run: {home}/plugins/nothing does not exist",
        "launcher.yaml is not valid: 2 errors, 1 warning",
    ]


def test_warnings_count_only_when_strict(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(home, WARN)
    assert main(["check"]) == 0
    out, err = capsys.readouterr()
    assert out == "launcher.yaml is valid: 5 plugins, 1 of them in autostart; 1 warning\n"
    assert "warning L402" in err
    assert main(["check", "--strict"]) == 6
    assert capsys.readouterr().err.endswith("launcher.yaml is not valid: 1 warning\n")
    assert main(["-q", "check"]) == 0
    assert capsys.readouterr() == ("", "")


def test_json_form(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(home, BAD)
    for words in (["check", "--output-format", "json"], ["--json", "check"]):
        assert main(words) == 6
        out, err = capsys.readouterr()
        assert err == ""
        document = json.loads(out)
        assert (document["format_version"], document["valid"]) == (1, False)
        assert (document["errors"], document["warnings"]) == (2, 1)
        assert document["file"] == str(home / "launcher.yaml")
        first = document["diagnostics"][0]
        assert (first["code"], first["line"], first["column"], first["replacement"]) == ("L104", 2, 1, "logLevel")
    write(home, GOOD)
    assert main(["check", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["valid"] is True
    assert [p["name"] for p in document["plugins"]] == ["history", "zwavejs", "owserver", "zwavejs-cb"]
    assert document["plugins"][1]["depends_on"] == [{"plugin": "history", "condition": "ready"}]
    assert document["plugins"][0]["restart_delays"][:3] == [1.0, 2.0, 4.0]


def test_github_form(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(home, BAD)
    assert main(["check", "--output-format", "github"]) == 6
    out, err = capsys.readouterr()
    assert err == ""
    assert [line.split(" ")[0] for line in out.splitlines()] == ["::error", "::error", "::warning"]
    assert "file=launcher.yaml,title=L104,line=2,col=1,endLine=2,endColumn=9::" in out


def test_full_form_is_the_default_on_a_terminal(home: Path) -> None:
    write(home, BAD)
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm"}
    environment.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "hiveot_supervisor.cli.main", "check"]
    with subprocess.Popen(command, stdout=follower, stderr=follower, env=environment) as process:
        os.close(follower)
        seen = b""
        while chunk := _read(leader):
            seen += chunk
    os.close(leader)
    assert process.returncode == 6
    assert b"\x1b[31merror[L104]\x1b[0m: \x1b[1munknown key `loglevel`" in seen
    assert b"^^^^^^^^ did you mean `logLevel`?" in seen


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except OSError:  # the terminal's other side is closed
        return b""


def test_a_file_can_be_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(home, BAD)
    (home / "other.yaml").write_text(GOOD)
    assert main(["check", "other.yaml"]) == 0
    assert main(["-c", "other.yaml", "check"]) == 0
    assert main(["check", "nothing.yaml"]) == 6
    assert "L001 " in capsys.readouterr().err


def test_no_file(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 6
    assert "L001 there is no launcher.yaml: neither launcher.yaml nor config/launcher.yaml" in capsys.readouterr().err


def test_verbose_shows_what_will_happen(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(home, GOOD.replace("zwavejs]", "zwavejs, nothing]"))
    assert main(["check", "-v"]) == 0
    out = capsys.readouterr().out
    assert out == (
        f"hub: mqtts://localhost:8883 (runtime {home}/bin/runtime)\n"
        "\n"
        "start order:\n"
        "  #  NAME     AFTER            READY WHEN          RUNS\n"
        f"  1  zwavejs  history (ready)  tcp 127.0.0.1:8091  {home}/plugins/zwavejs\n"
        f"  2  nothing  -                startWait           {home}/plugins/nothing (missing)\n"
        "\n"
        "known, not started by themselves: history, owserver, zwavejs-cb\n"
        "\n"
        "waits between restarts:\n"
        "  on-failure: 1s 2s 4s 8s 16s 32s 1m4s 2m8s 4m16s 8m32s 17m4s 34m8s 1h, and so on; each ±10%;"
        " forgotten after 10m of running\n"
        "\n"
        "launcher.yaml is valid: 5 plugins, 2 of them in autostart; 2 warnings\n"
    )


@pytest.mark.parametrize(
    ("restart", "delays", "words"),
    [
        (Restart(policy=Policy.NEVER), None, "never restarted"),
        (
            Restart(delay=1, factor=1, limit=5, jitter=0),
            [1.0] * 20,
            "on-failure: " + "1s " * 20 + "…; forgotten after 10m of running",
        ),
        (
            Restart(policy=Policy.ALWAYS, delay=10, factor=10, limit=60),
            [10.0, 60.0],
            "always: 10s 1m, and so on; each ±10%; forgotten after 10m of running",
        ),
        (
            Restart(delay=2, max_failures=3, jitter=0),
            [2.0, 4.0],
            "on-failure: 2s 4s, then no more; forgotten after 10m of running",
        ),
        (Restart(max_failures=1, jitter=0), [], "on-failure: then no more; forgotten after 10m of running"),
    ],
)
def test_restart_series(restart: Restart, delays: list[float] | None, words: str) -> None:
    assert series(restart) == words
    if delays is not None:
        assert delay_series(restart) == delays


@pytest.mark.parametrize("code", CODES)
def test_every_code_is_explained(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--explain", code.lower()]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{code}: {CODES[code].title}\n\n")
    assert max(map(len, out.splitlines())) <= 100


def test_unknown_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--explain", "L1044"]) == 2
    assert "there is no code `L1044`\n  did you mean L104" in capsys.readouterr().err
