"""bin/launcher's command line: Go's flag syntax, home and ID from argv[0], supervisord in the foreground."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.hiveot_home import GoHome, wait_gone
from fakes.home import ROOT, until

from hiveot_supervisor.cli import launcher
from hiveot_supervisor.config.flags import Flags
from hiveot_supervisor.config.load import inspect
from hiveot_supervisor.errors import ConfigError, UsageError


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--home", "/h"], {"home": "/h"}),
        (["-home=/h", "-logLevel", "warn"], {"home": "/h", "logLevel": "warn"}),
        (["--serverURL=wss://x/y?a=b"], {"serverURL": "wss://x/y?a=b"}),
        (["-configFile=", "--clientID", "l2"], {"configFile": "", "clientID": "l2"}),
        (["--config", "-odd"], {"config": "-odd"}),
        (["-h"], {"help": "true"}),
        ([], {}),
    ],
)
def test_flags_in_the_syntax_of_go(words: list[str], found: dict[str, str]) -> None:
    assert launcher.parse(words) == found


@pytest.mark.parametrize(
    "words",
    [["--Home", "/h"], ["--homes=/h"], ["---home=/h"], ["extra"], ["--home"], ["-"], ["--"], ["--certs=/x"], ["a=b"]],
)
def test_everything_else_ends_with_code_2(words: list[str]) -> None:
    with pytest.raises(UsageError) as failed:
        launcher.parse(words)
    assert failed.value.exit_code == 2


def test_wrong_flags_on_the_command_line() -> None:
    result = subprocess.run([ROOT / "bin/launcher", "--serverUrl=x"], capture_output=True, text=True)
    assert (result.returncode, "did you mean --serverURL?" in result.stderr) == (2, True)
    assert subprocess.run([ROOT / "bin/launcher", "--help"], capture_output=True, text=True).returncode == 0


@pytest.mark.parametrize(
    ("program", "home", "client_id"),
    [
        ("/opt/hiveot/bin/launcher", "/opt/hiveot", "launcher"),
        ("./launcher-x", "/", "launcher-x"),
        ("bin/launcher", "/srv", "launcher"),
        ("../bin/launcher", "/", "launcher"),
    ],
)
def test_home_and_id_come_from_the_name_it_was_called_by(program: str, home: str, client_id: str) -> None:
    assert launcher.place_of(program, Path("/srv")) == launcher.Place(Path(home), client_id)


def test_files_of_the_layouts(tmp_path: Path) -> None:
    place = launcher.Place(tmp_path, "launcher")
    assert launcher.locate({}, place, "launcher").file == tmp_path / "config/launcher.yaml"
    assert launcher.locate({}, place, "l2").file == tmp_path / "config/l2.yaml"
    assert launcher.locate({"config": "conf"}, place, "l2").file == Path.cwd() / "conf/l2.yaml"
    assert launcher.locate({"configFile": "/x/y.yaml"}, place, "l2").file == Path("/x/y.yaml")
    (tmp_path / "launcher.yaml").touch()  # beside the folders, as our own documentation has it
    assert launcher.locate({}, place, "launcher").file == tmp_path / "launcher.yaml"
    system = launcher.locate({"home": "/opt/hiveot", "config": "/ignored"}, place, "launcher")
    assert (system.file, system.paths.certs) == (Path("/etc/hiveot/conf.d/launcher.yaml"), Path("/etc/hiveot/certs"))
    for bad in ("/", "/etc", "/tmp", "/home"):
        with pytest.raises(ConfigError):
            launcher.locate({"home": bad}, place, "launcher")


def test_flags_win_over_the_file_and_a_missing_file_is_fine(home: GoHome) -> None:
    location = launcher.locate({}, launcher.Place(home.path, "launcher"), "launcher")
    without = inspect(location, flags=Flags()).launcher
    assert without is not None
    assert (without.log_level, without.id, without.runtime) == ("info", "launcher", None)
    home.configure("sleeper", extra="logLevel: error\n".replace("logLevel", "#"))
    flags = Flags(
        client_id="l2", server_url="wss://hub.lan/wot/wss", directory_url="https://hub.lan/d", log_level="odd"
    )
    found = inspect(launcher.locate({}, launcher.Place(home.path, "launcher"), "launcher"), flags=flags).launcher
    assert found is not None
    plugin = found.plugin("sleeper")
    assert plugin is not None
    assert plugin.args == ("--serverURL=wss://hub.lan/wot/wss", "--directoryURL=https://hub.lan/d")
    assert (found.id, found.log_level, found.hub.url) == ("l2", "info", "wss://hub.lan/wot/wss")
    assert found.token_file == home.path / "certs/l2.token"
    assert dict(plugin.environment)["LOGLEVEL"] == "info"


def test_without_url_the_local_runtime_is_meant(home: GoHome) -> None:
    home.configure(url=False)
    found = inspect(launcher.locate({}, launcher.Place(home.path, "launcher"), "launcher"), flags=Flags()).launcher
    assert found is not None
    assert found.hub.url == "wss://localhost:8444/wot/wss"


@pytest.mark.parametrize(
    "flags", [{"server_url": "ws://x"}, {"server_url": "wss://"}, {"directory_url": "x"}, {"client_id": "a:b"}]
)
def test_flags_that_cannot_be(flags: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        Flags(**flags)


def test_broken_configuration_is_told_and_nothing_started(home: GoHome) -> None:
    (home.path / "config/launcher.yaml").write_text("runtime: [1\n")
    home.start()
    assert home.process is not None
    assert home.process.wait(20) == 6
    assert "launcher.yaml" in home.output()
    assert not (home.path / "supervisord.conf").exists()


def test_foreground_second_start_and_sigterm(home: GoHome) -> None:
    """One process all the way: what the unit file starts is supervisord in the end; SIGTERM ends everything."""
    home.configure("sleeper")
    home.start("-logLevel=debug")
    consumer = home.client()
    home.settled(consumer, "sleeper")
    assert home.process is not None
    command = Path(f"/proc/{home.process.pid}/cmdline").read_bytes()
    assert b"supervisor.supervisord" in command
    assert Path(f"/proc/{home.process.pid}/cwd").resolve() == home.path.resolve()
    model = json.loads((home.path / "generated/launcher.json").read_text())
    assert model["log_level"] == "debug"
    token = (home.path / "certs/launcher.token").read_text()
    assert token not in (home.path / "logs/launcher.log").read_text()
    second = subprocess.run([home.path / "bin/launcher"], capture_output=True, text=True, env=home.env())
    assert second.returncode == 1
    assert "is already running" in second.stderr
    assert home.stop() == 0
    wait_gone(home, 3)


def test_the_module_can_be_run_too(home: GoHome) -> None:
    home.configure()
    environment = home.env() | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "hiveot_supervisor.cli.launcher", "--home", str(home.path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            until(lambda: (home.path / "run/supervisord.pid").exists())  # written after it takes signals
        finally:
            process.terminate()
        assert process.wait(20) == 0
    assert os.path.lexists(home.path / "supervisord.conf")
