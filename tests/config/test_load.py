"""The one call: everything at once, an error that carries it all, and quickly."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from fakes.configs import executable

from hiveot_supervisor.config.load import InvalidConfig, load
from hiveot_supervisor.errors import ConfigError, ExitCode

BROKEN = """\
runtime: runtime
loglevel: info
startWait: soon
autostart: [history, my plugin, nothing]
plugins:
  history: {dependsOn: [histroy], limits: {memory: 5apples}}
"""


def test_all_problems_come_at_once_in_the_order_of_the_file(home: Path) -> None:
    (home / "launcher.yaml").write_text(BROKEN)
    with pytest.raises(InvalidConfig) as caught:
        load(home, cwd=home)
    error = caught.value
    assert isinstance(error, ConfigError)
    assert error.exit_code == ExitCode.CONFIG == 6
    assert [(d.code, d.line) for d in error.diagnostics] == [
        ("L104", 2),
        ("L202", 3),
        ("L301", 4),
        ("L402", 4),
        ("L304", 6),
        ("L203", 6),
    ]
    assert str(error).splitlines()[:2] == [
        "launcher.yaml is invalid: 5 errors, 1 warning",
        "  launcher.yaml:2:1: L104 unknown key `loglevel` (did you mean `logLevel`?)",
    ]


def test_warnings_come_with_the_model(home: Path) -> None:
    (home / "launcher.yaml").write_text("runtime: runtime\nautostart: [nothing]\n")
    found = load(home)
    assert found.launcher is not None
    assert [d.code for d in found.warnings] == ["L402"]


def test_missing_file(home: Path) -> None:
    with pytest.raises(InvalidConfig, match=r"there is no launcher\.yaml") as caught:
        load(home)
    assert [d.code for d in caught.value.diagnostics] == ["L001"]


def test_hash_names_the_bytes_of_the_file(home: Path) -> None:
    def digest(text: str) -> str:
        (home / "launcher.yaml").write_text(text)
        launcher = load(home).launcher
        assert launcher is not None
        return launcher.source_hash

    assert digest("runtime: runtime\n") == digest("runtime: runtime\n")
    assert digest("runtime: runtime\n") != digest("runtime: runtime # same\n")
    assert len(digest("")) == 64


def test_a_thousand_plugins_load_quickly(home: Path) -> None:
    lines = ["runtime: runtime", "autostart:", *(f"  - p{n}" for n in range(1000)), "plugins:"]
    for number in range(1000):
        executable(home / "plugins" / f"p{number}")
        lines.append(f"  p{number}: {{args: [-v], environment: {{TZ: UTC}}, dependsOn: [p{max(0, number - 1)}]}}")
    lines[-1000] = "  p0: {args: [-v]}"
    (home / "launcher.yaml").write_text("\n".join(lines))
    begin = time.process_time()
    found = load(home)
    used = time.process_time() - begin
    assert found.launcher is not None
    assert found.diagnostics == ()
    assert len(found.launcher.plugins) == 1004
    assert used < 1.5  # seconds; 0.2 on an idle machine with libyaml
