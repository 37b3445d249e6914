"""The extension in other versions of supervisor than the one that is installed with us."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from fakes.supervisords import Supervisord, other_versions
from fakes.wait import wait_until

from hiveot_supervisor.supervisord.states import ProcessState

VERSIONS = other_versions()
if not VERSIONS:
    pytest.skip("no other version of supervisor in .venv/supervisors", allow_module_level=True)


@pytest.fixture(params=VERSIONS, ids=lambda path: path.name)
def other(request: pytest.FixtureRequest, daemon: Supervisord) -> Supervisord:
    daemon.installation = request.param
    for number in range(5):
        daemon.program(f"p{number}", priority=100 + number)
    return daemon.start()


def ended(daemon: Supervisord, name: str) -> float:
    """Seconds from kill -9 to the event, which tells the signal."""
    pid = daemon.begin(name)
    killed = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    arrived, event = daemon.await_event(name, ProcessState.EXITED, after=killed)
    assert (event.pid, event.signal, event.exitcode) == (pid, signal.SIGKILL, None)
    return arrived - killed


def test_it_is_that_version(other: Supervisord) -> None:
    assert other.installation is not None
    loaded = Path(f"/proc/{other.pid}/environ").read_bytes()
    assert str(other.installation).encode() in loaded
    if other.installation.name[0].isdigit():
        assert other.client._call("supervisor.getSupervisorVersion") == other.installation.name


def test_it_works_there_across_reloads_and_to_the_end(other: Supervisord) -> None:
    assert (other.client.extension() or "").endswith(" full")
    counts = []
    for _ in range(3):
        assert min(ended(other, "p0") for _ in range(3)) < 0.1
        assert other.client.start_all(["p1", "p2", "p3", "p4"]) == {}
        wait_until(lambda: sum(p.pid > 0 for p in other.client.snapshot()) == 5)
        other.client.close()
        counts.append(other.fds())
        other.reload()
    assert max(counts) - min(counts) <= 1, counts
    other.client.start_all(["p1", "p2", "p3", "p4"])
    for name in ("p1", "p2", "p3", "p4"):
        other.await_state(name, ProcessState.RUNNING)
    assert other.terminate() < 3
    stopped = [e.process for _, e in other.events() if e.state is ProcessState.STOPPED]
    assert stopped[-4:] == ["p4", "p3", "p2", "p1"]
    assert other.log_count("trouble with|WARN hiveot|Traceback") == 0
    assert other.remains() == []
