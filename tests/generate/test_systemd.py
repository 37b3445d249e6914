"""`systemd-run supervisord` and the generated unit, in a real systemd."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.launchers import SUPERVISORCTL, SUPERVISORD, Daemon, launcher_of, plugin_of, program
from fakes.systemds import Systemd, systemd, unavailable
from fakes.wait import wait_until

from hiveot_supervisor.generate.unit import UNIT_NAME, longest_stop, systemd_unit
from hiveot_supervisor.model import Launcher, Stop
from hiveot_supervisor.supervisord.process import is_alive

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(why := unavailable()), reason=f"no systemd here: {why}")]

DAEMONIZES = """#!/bin/sh
# leaves a process behind that is in no process group of ours
setsid sleep 100000 &
exec sleep 100000
"""


@pytest.fixture(scope="module")
def manager() -> Iterator[Systemd]:
    with systemd() as made:
        assert made.processes() == {}
        yield made


@pytest.fixture
def launcher(manager: Systemd, request: pytest.FixtureRequest) -> Iterator[Launcher]:
    """A home with blanks and a percent sign in its path, seen inside too; two plugins, one of them a daemonizer."""
    home = manager.folder / "my home 50%"
    program(home / "plugins/tame")
    program(home / "plugins/wild", DAEMONIZES)
    plugins = (plugin_of(home, "tame"), plugin_of(home, "wild", stop=Stop(timeout=1)))
    made = launcher_of(home, *plugins, runtime=plugin_of(home, "runtime", executable=program(home / "bin/runtime")))
    Daemon(made)
    yield made
    shutil.rmtree(home)


def start_plugins(manager: Systemd, launcher: Launcher, unit: str) -> dict[int, str]:
    """Start both plugins with supervisorctl inside; all processes of the unit."""
    home = launcher.paths.home
    wait_until(lambda: launcher.paths.socket.exists(), what="supervisord's socket")
    out = wait_until(
        lambda: (
            (o := manager.run(SUPERVISORCTL, "start", "tame", "wild", cwd=home, check=False).stdout).count("started")
            and o
        )
    )
    assert "tame: started" in out
    assert "wild: started" in out
    wait_until(lambda: sum("sleep 100000" in line for line in manager.processes().values()) == 4)
    found = manager.processes()
    outside = [pid for pid in found if f"/{unit}.service" not in Path(f"/proc/{pid}/cgroup").read_text()]
    assert not outside
    return found


def assert_stopped_in_order(manager: Systemd, launcher: Launcher, pids: dict[int, str]) -> None:
    wait_until(lambda: not manager.processes(), what=f"nothing is left: {manager.processes()}")
    assert not [pid for pid in pids if is_alive(pid)]
    log = launcher.paths.supervisord_log.read_text()
    order = [line.split("stopped: ")[1].split()[0] for line in log.splitlines() if "stopped: " in line]
    assert order == ["wild", "tame", "launcher", "runtime"]
    assert not launcher.paths.socket.exists()
    assert not launcher.paths.pidfile.exists()


def test_systemd_run_as_typed_in_the_home_folder(manager: Systemd, launcher: Launcher) -> None:
    manager.run("systemd-run", "--unit=typed", "--same-dir", SUPERVISORD, cwd=launcher.paths.home)
    pids = start_plugins(manager, launcher, "typed")
    # KillMode of systemd-run is control-group: everybody gets SIGTERM at once; use mixed for the right order
    manager.run("systemctl", "stop", "typed")
    wait_until(lambda: not manager.processes())
    assert not [pid for pid in pids if is_alive(pid)]


def test_systemd_run_with_an_ordered_stop(manager: Systemd, launcher: Launcher) -> None:
    options = ["--unit=ordered", "--property=KillMode=mixed", "--property=Type=exec"]
    manager.run("systemd-run", *options, SUPERVISORD, "-c", str(launcher.paths.supervisord_conf))
    pids = start_plugins(manager, launcher, "ordered")
    manager.run("systemctl", "stop", "ordered")
    assert_stopped_in_order(manager, launcher, pids)


def write_unit(launcher: Launcher, name: str) -> Path:
    path = launcher.paths.home / name
    path.write_text(systemd_unit(launcher, supervisord=Path(SUPERVISORD), path=path, user=None))
    return path


def test_the_generated_unit_runs_and_stops_everything(manager: Systemd, launcher: Launcher) -> None:
    unit = write_unit(launcher, UNIT_NAME)
    manager.run("systemctl", "enable", "--now", str(unit))
    assert manager.state("hiveot") == "active"
    pids = start_plugins(manager, launcher, "hiveot")
    manager.run("systemctl", "stop", "hiveot")
    assert manager.state("hiveot") == "inactive"
    assert_stopped_in_order(manager, launcher, pids)
    manager.run("systemctl", "disable", "hiveot")


def test_a_killed_supervisord_comes_back_and_its_plugins_do_not_run_twice(manager: Systemd, launcher: Launcher) -> None:
    unit = write_unit(launcher, "again.service")
    manager.run("systemctl", "enable", "--now", str(unit))
    before = start_plugins(manager, launcher, "again")
    main = next(pid for pid, line in before.items() if "bin/supervisord" in line)
    os.kill(main, signal.SIGKILL)
    wait_until(lambda: not [pid for pid in before if is_alive(pid)], what="all of the old are gone")
    wait_until(lambda: manager.state("again") == "active", timeout=15)
    after = start_plugins(manager, launcher, "again")
    assert not set(before) & set(after)
    manager.run("systemctl", "stop", "again")
    wait_until(lambda: not manager.processes())


def test_a_supervisord_that_cannot_start_is_a_failed_unit(manager: Systemd, launcher: Launcher) -> None:
    path = launcher.paths.home / "bad.service"
    path.write_text(
        systemd_unit(launcher, supervisord=Path("/no/such"), path=path, user=None).replace("on-failure", "no")
    )
    assert manager.run("systemctl", "enable", "--now", str(path), check=False).returncode != 0
    assert manager.state("bad") == "failed"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("user_manager", [False, True])
def test_systemd_finds_nothing_wrong_in_the_unit(launcher: Launcher, tmp_path: Path, user_manager: bool) -> None:
    unit = tmp_path / "hiveot.service"
    user = None if user_manager else "daemon"
    text = systemd_unit(launcher, supervisord=Path(SUPERVISORD), path=unit, user=user, user_manager=user_manager)
    unit.write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *["--user"] * user_manager, str(unit)]
    result = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    )
    assert "hiveot.service" not in result.stdout + result.stderr, result.stderr
    assert f"TimeoutStopSec={longest_stop_of(launcher)}" in text


def longest_stop_of(launcher: Launcher) -> int:
    from hiveot_supervisor.generate.programs import configure

    stop = longest_stop(configure(launcher, Path("/python")))
    assert stop == 3 + 1 + 30 + 10 + 10  # tame, wild, runtime, agent, to spare
    return stop
