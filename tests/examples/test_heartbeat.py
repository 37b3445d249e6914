"""heartbeat in every shell of this machine: log, publishing without showing the token, and the end on SIGTERM."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path

import psutil
import pytest
from fakes.examples import ACCOUNT, Home, Watcher
from fakes.wait import wait_until

SHELLS = {"sh": [], "bash": ["--posix"], "busybox": ["sh"]}
BEATS = f"hiveot/prop/{ACCOUNT}/heart/beats"
mosquitto_pub = pytest.mark.skipif(
    shutil.which("mosquitto_pub") is None, reason="mosquitto_pub (Debian: mosquitto-clients) is not installed"
)


@pytest.fixture(params=list(SHELLS))
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A program that runs a script with that shell."""
    found = shutil.which(request.param)
    if found is None:
        pytest.skip(f"the shell {request.param} is not installed")
    path = tmp_path / "shell"
    path.write_text(f'#!/bin/sh\nexec {" ".join([found, *SHELLS[request.param]])} "$@"\n')
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def without_mosquitto(tmp_path: Path) -> str:
    """A PATH with only what a POSIX system must have."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "basename", "dirname", "date", "mktemp", "ln", "rm", "sleep", "cat", "kill"):
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    return str(folder)


@pytest.fixture
def spied(tmp_path: Path) -> Path:
    """A folder for PATH whose mosquitto_pub writes down what anybody can see of the real one."""
    folder = tmp_path / "spy"
    folder.mkdir()
    program = folder / "mosquitto_pub"
    program.write_text(
        f"""#!/bin/sh
tr '\\0' '\\n' </proc/$$/cmdline >>'{folder}/seen'
tr '\\0' '\\n' </proc/$$/environ >>'{folder}/seen'
exec '{shutil.which("mosquitto_pub")}' "$@"
"""
    )
    program.chmod(0o755)
    return folder


def test_without_mosquitto_pub_it_beats_into_its_log(home: Home, shell: str, without_mosquitto: str) -> None:
    run = home.run("heartbeat", "--interval=0.1", interpreter=shell, PATH=without_mosquitto, TMPDIR=str(home.certs))
    wait_until(lambda: "beat 3" in run.said())
    assert "to the log only" in run.said()
    started = time.monotonic()
    assert run.terminate() == 0
    assert time.monotonic() - started < 2
    assert run.said().rstrip().splitlines()[-1].split(" ", 1)[1].startswith("stopped after ")
    assert {p.name for p in home.certs.iterdir()} == {"caCert.pem", home.token.name}


@mosquitto_pub
def test_it_publishes_and_nobody_sees_the_token(home: Home, watch: Watcher, shell: str, spied: Path) -> None:
    path = f"{spied}:{os.environ['PATH']}"
    run = home.run("heartbeat", "--interval=0.1", interpreter=shell, PATH=path, TMPDIR=str(spied))
    assert watch.wait(f"hiveot/td/{ACCOUNT}/heart")["id"] == "heart"
    assert watch.wait(BEATS, lambda beats: beats >= 2)
    assert run.terminate() == 0
    token = home.token.read_text().strip()
    seen = (spied / "seen").read_text()
    assert "hiveot/td" in seen
    assert token not in seen
    assert {p.name for p in spied.iterdir()} == {"seen", "mosquitto_pub"}, "its own folder is gone"


@mosquitto_pub
def test_it_goes_on_while_the_hub_is_away_and_takes_a_new_token(home: Home, watch: Watcher) -> None:
    good = home.token.read_text()
    home.token.write_text("wrong")
    # a second, so that the broker ends between two beats: mosquitto_pub waits for one that goes after its login
    run = home.run("heartbeat", "--interval=1")
    wait_until(lambda: "cannot publish" in run.said())
    home.token.write_text(good)
    assert watch.wait(BEATS)
    home.broker.stop()
    wait_until(lambda: "is not published" in run.said())
    assert run.terminate() == 0


def test_it_ends_at_once_in_the_middle_of_a_long_pause(home: Home, without_mosquitto: str) -> None:
    run = home.run("heartbeat", "--interval=1000", PATH=without_mosquitto)
    wait_until(lambda: "beat 1" in run.said())
    started = time.monotonic()
    assert run.terminate() == 0
    assert time.monotonic() - started < 2
    wait_until(lambda: not alive(run.process.pid), what="its `sleep` is gone too")


def alive(group: int) -> list[int]:
    """The processes of a process group that are more than a zombie."""
    found = []
    for process in psutil.process_iter(["status"]):
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(process.pid) == group and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found
