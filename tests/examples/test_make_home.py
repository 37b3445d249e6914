"""The home of `make run`: made once, never changed again, and it works as a whole."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fakes.ports import free_port
from fakes.wait import wait_until

from hiveot_supervisor.hub.client import Account, Notification, NotificationKind
from hiveot_supervisor.hub.mqtt import MqttHubClient

KINDS = (NotificationKind.PROPERTY, NotificationKind.EVENT, NotificationKind.PRESENCE)
SCRIPT = Path(__file__).parents[2] / "examples/make_home.py"


def make_home(home: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), str(home), *options], capture_output=True, text=True)


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def home() -> Iterator[Path]:
    """A short path: supervisord's socket is in it."""
    folder = Path(tempfile.mkdtemp(prefix="hs", dir="/tmp"))
    yield folder / "home"
    if (folder / "home/run").exists():
        launch(folder / "home", "down", check=False)
    shutil.rmtree(folder)


def launch(home: Path, *words: str, check: bool = True) -> str:
    command = [sys.executable, "-m", "hiveot_supervisor.cli.main", "--home", str(home), *words]
    made = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert not check or made.returncode == 0, made.stdout + made.stderr
    return made.stdout


def test_it_is_made_once_and_then_left_alone(home: Path) -> None:
    made = make_home(home, "--port", "8999")
    assert made.returncode == 0, made.stderr
    assert "url: mqtts://localhost:8999" in (home / "launcher.yaml").read_text()
    assert (home / "plugins/sysinfo").read_text().startswith(f"#!{sys.executable}\n")
    assert (home / "plugins/sysinfo").stat().st_mode & 0o777 == 0o755
    launch(home, "check", "--strict")
    (home / "launcher.yaml").write_text("# mine\n")
    (home / "plugins/sysinfo").unlink()
    before = contents(home)
    again = make_home(home)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert contents(home) == before


def test_a_plugin_that_is_there_is_kept(home: Path) -> None:
    (home / "plugins").mkdir(parents=True)
    (home / "plugins/sysinfo").write_text("mine")
    assert make_home(home).returncode == 0
    assert (home / "plugins/sysinfo").read_text() == "mine"
    assert (home / "plugins/heartbeat").exists()


def test_when_it_fails_the_next_try_begins_anew(home: Path) -> None:
    (home / "plugins").mkdir(parents=True)
    (home / "plugins/heartbeat").symlink_to("/nowhere/at/all")
    made = make_home(home)
    assert made.returncode != 0
    assert not (home / "launcher.yaml").exists()
    (home / "plugins/heartbeat").unlink()
    assert make_home(home).returncode == 0
    assert "heartbeat" in (home / "launcher.yaml").read_text()


def test_it_cannot_be_made_where_we_may_not_write() -> None:
    made = make_home(Path("/proc/home"))
    assert made.returncode != 0
    assert "cannot make a home" in made.stderr


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_home_example", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("folder", ["plain", "with space", 'it\'s a "folder"', "x" * 200])
def test_the_first_line_works_for_every_path(tmp_path: Path, script: ModuleType, folder: str) -> None:
    python = tmp_path / folder / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    program = tmp_path / "program"
    program.write_text(script.first_line(str(python)) + '"""Doc."""\nimport sys\nprint(sys.argv[1:])\n')
    program.chmod(0o755)
    made = subprocess.run([program, "a b", "c'"], capture_output=True, text=True)
    assert made.stdout == "['a b', \"c'\"]\n", made.stderr


@contextlib.contextmanager
def consumer(home: Path, port: int) -> Iterator[MqttHubClient]:
    account = Account("admin", home / "certs/admin.token", home / "certs/caCert.pem")
    client = MqttHubClient(f"mqtts://localhost:{port}", account, agent=False)
    client.start()
    client.wait_connected(10)
    yield client
    client.close()


def test_the_examples_run_under_the_launcher(home: Path) -> None:
    port = free_port()
    assert make_home(home, "--port", str(port)).returncode == 0
    launch(home, "up", "--wait")
    seen: dict[tuple[str, str], Any] = {}

    def note(found: Notification) -> None:
        seen[found.agent_id, found.name or found.kind.value] = found.value

    with consumer(home, port) as client:
        client.subscribe(KINDS, note).result(10)
        wait_until(lambda: ("sysinfo", "memory") in seen, 10, str(seen))
        assert seen["sysinfo", "presence"]["state"] == "online"
        assert client.invoke_action("sysinfo", "host", "identify", timeout=10)["kernel"]
        if shutil.which("mosquitto_pub"):
            wait_until(lambda: ("heartbeat", "beats") in seen, 10, str(seen))
        launch(home, "stop", "sysinfo")
        wait_until(lambda: seen["sysinfo", "presence"]["state"] == "offline")
        assert seen["sysinfo", "presence"]["reason"] == "stopped"
    credentials = contents(home / "certs")
    views = {view["name"]: view["state"] for view in json.loads(launch(home, "list", "--json"))["plugins"]}
    assert views == {"runtime": "running", "sysinfo": "stopped", "heartbeat": "running"}
    launch(home, "down")
    assert make_home(home).stdout == ""
    launch(home, "up", "--wait")
    assert contents(home / "certs") == credentials
