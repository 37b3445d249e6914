"""A file written for HiveOT's Go launcher works unchanged: its own sample, and every key of its code."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from hiveot_supervisor.config.load import Inspection
from hiveot_supervisor.model import Launcher, Policy

SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "hiveot-launcher.yaml"
needs_sample = pytest.mark.skipif(not SAMPLE.exists(), reason=f"HiveOT's sample file is not at {SAMPLE}")
COMMENTED = re.compile(r"#(?=[A-Za-z]\w*:)|#(?= +- \w)")

Check = Callable[[str], Inspection]


def commented_lines() -> list[int]:
    """The lines of the sample that are configuration once their `#` is taken away."""
    if not SAMPLE.exists():
        return []
    return [number for number, line in enumerate(SAMPLE.read_text().splitlines()) if COMMENTED.match(line)]


def loaded(found: Inspection) -> Launcher:
    assert found.launcher is not None, found.diagnostics
    return found.launcher


@needs_sample
def test_sample_loads_as_it_is(check: Check) -> None:
    found = check(SAMPLE.read_text())
    launcher = loaded(found)
    assert found.diagnostics == ()
    assert (launcher.log_level, launcher.id, launcher.create_plugin_cred) == ("info", "launcher", True)
    assert launcher.runtime is not None
    assert launcher.runtime.executable == launcher.paths.bin / "runtime"
    assert [p.order for p in launcher.plugins] == [None] * len(launcher.plugins)


@needs_sample
def test_sample_has_the_lines_that_we_know() -> None:
    assert len(commented_lines()) == 21


@needs_sample
@pytest.mark.parametrize("number", commented_lines())
def test_sample_loads_with_a_line_uncommented(number: int, check: Check) -> None:
    lines = SAMPLE.read_text().splitlines()
    lines[number] = COMMENTED.sub("", lines[number], count=1)
    found = check("\n".join(lines) + "\n")
    loaded(found)
    # A plugin that is not installed is a warning, and so is the `(default true)` without its `#`.
    assert {d.code for d in found.diagnostics} <= {"L402", "L109"}
    assert ("L109" in {d.code for d in found.diagnostics}) == ("(default true)" in lines[number])


@needs_sample
def test_variant_of_the_sample_runs_another_executable_under_its_own_name(check: Check) -> None:
    launcher = loaded(check(SAMPLE.read_text().replace("#  - zwavejs: zwavejs-cb", "  - zwavejs: zwavejs-cb")))
    plugin = launcher.plugins[0]
    assert (plugin.id, plugin.executable.name, plugin.order) == ("zwavejs", "zwavejs-cb", 0)
    assert plugin.args[0] == "--clientID=zwavejs"
    assert plugin.log_file == launcher.paths.logs / "zwavejs.log"


GO_KEYS = """\
attachstderr: false
attachstdout: true
autorestart: true
autostart: [history]
runtime: runtime
runtimeWait: 2000
createPluginCred: false
logsDir: other
logLevel: debug
logtofile: false
logPlugins: false
provideDirectoryURL: false
provideServerURL: false
startWait: 0
"""


def test_every_key_of_the_go_code(check: Check) -> None:
    found = check(GO_KEYS)
    launcher = loaded(found)
    assert found.diagnostics == ()
    assert (launcher.attach_stderr, launcher.attach_stdout) == (False, True)
    assert (launcher.runtime_wait, launcher.start_wait) == (2.0, 0.0)
    assert (launcher.log_level, launcher.log_to_file, launcher.log_plugins) == ("debug", False, False)
    assert launcher.paths.logs == launcher.paths.home / "other"
    history = launcher.plugins[0]
    assert history.args == ()
    assert history.create_cred is False
    assert history.log_file is None
    assert "LOGLEVEL" not in dict(history.environment)
    assert history.restart.policy is Policy.ON_FAILURE


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("true", True),
        ("True", True),
        ("TRUE", True),
        ("yes", True),
        ("on", True),
        ("y", True),
        ("false", False),
        ("False", False),
        ("no", False),
        ("Off", False),
        ("N", False),
    ],
)
def test_words_that_go_takes_for_booleans(word: str, value: bool, check: Check) -> None:
    assert loaded(check(f"runtime: runtime\nattachstdout: {word}\n")).attach_stdout is value


@pytest.mark.parametrize(
    ("text", "seconds"), [("100", 0.1), ("1000", 1.0), ("0", 0.0), ("1s", 1.0), ("250ms", 0.25), ("'1500'", 1.5)]
)
def test_waits_are_milliseconds_or_durations(text: str, seconds: float, check: Check) -> None:
    launcher = loaded(check(f"runtime: runtime\nruntimeWait: {text}\nstartWait: {text}\n"))
    assert (launcher.runtime_wait, launcher.start_wait) == (seconds, seconds)


@pytest.mark.parametrize(
    ("line", "policy"),
    [
        ("", Policy.ON_FAILURE),
        ("autorestart: true", Policy.ON_FAILURE),
        ("autorestart: false", Policy.NEVER),
        ("restart: {policy: always}", Policy.ALWAYS),
        ("autorestart: true\nrestart: {delay: 2s}", Policy.ON_FAILURE),
    ],
)
def test_autorestart_is_a_restart_policy(line: str, policy: Policy, check: Check) -> None:
    launcher = loaded(check(f"runtime: runtime\n{line}\n"))
    assert {plugin.restart.policy for plugin in launcher.plugins} == {policy}


@pytest.mark.parametrize(
    ("word", "level"), [("warn", "warning"), ("warning", "warning"), ("info", "info"), ("error", "error")]
)
def test_log_levels(word: str, level: str, check: Check) -> None:
    launcher = loaded(check(f"runtime: runtime\nlogLevel: {word}\n"))
    assert launcher.log_level == level
    assert dict(launcher.plugins[0].environment)["LOGLEVEL"] == level


def test_provide_discovery_is_provide_directory_url(check: Check) -> None:
    text = "runtime: runtime\ndirectoryURL: https://localhost:8444/things\nautostart: [history]\n"
    assert loaded(check(text)).plugins[0].args[1:] == ("--directoryURL=https://localhost:8444/things",)
    assert loaded(check(text + "provideDiscovery: false\n")).plugins[0].args[1:] == ()


@pytest.mark.parametrize("value", ["", " []", " null", " ~", " # nothing yet"])
def test_autostart_may_be_empty(value: str, check: Check) -> None:
    found = check(f"runtime: runtime\nautostart:{value}\n")
    assert loaded(found).plugins[0].order is None
    assert found.diagnostics == ()


def test_executables_in_the_plugins_folder_are_known(check: Check, home: Path) -> None:
    (home / "plugins" / ".hidden").write_text("#!/bin/sh\n")
    (home / "plugins" / ".hidden").chmod(0o755)
    (home / "plugins" / "README").write_text("no program")
    (home / "plugins" / "empty").touch(mode=0o755)
    (home / "plugins" / "folder").mkdir()
    (home / "plugins" / "link").symlink_to("history")
    (home / "plugins" / "dangling").symlink_to("nothing")
    launcher = loaded(check("runtime: runtime\nautostart: [owserver]\n"))
    assert [p.id for p in launcher.plugins] == ["owserver", "history", "link", "zwavejs", "zwavejs-cb"]
    assert [p.order for p in launcher.plugins] == [0, None, None, None, None]
    assert all(p.exists for p in launcher.plugins)
