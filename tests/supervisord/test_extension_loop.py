"""How soon supervisord with our extension notices things. Limits are ample: bare supervisord takes a second each."""

from __future__ import annotations

import itertools
import os
import re
import signal
import statistics
import time
import xmlrpc.client
from datetime import datetime
from pathlib import Path

import pytest
from fakes.supervisords import FACTORY, Supervisord
from fakes.wait import wait_until

from hiveot_supervisor.supervisord import process
from hiveot_supervisor.supervisord.states import ProcessState

STUBBORN = "trap '' TERM\nwhile :; do sleep 0.1; done"


def logged(daemon: Supervisord, pattern: str) -> float:
    """When supervisord logged a line, wall seconds."""
    match = re.search(rf"^(\S+ \S+) \w+ .*{pattern}", daemon.log.read_text(), re.MULTILINE)
    assert match is not None, pattern
    return datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S,%f").timestamp()


def wake_later(daemon: Supervisord) -> None:
    """Have something else happen in between, so that a whole poll time-out would end at the wrong moment."""
    time.sleep(0.5)
    daemon.client.state()


@pytest.mark.parametrize("output", ["pipes", "own descriptors"])
def test_an_exit_is_told_within_milliseconds(daemon: Supervisord, output: str) -> None:
    """Also without the end of file on its output pipe, which is all that wakes bare supervisord up."""
    daemon.program("p", "/bin/sh -c 'exec sleep 1000 >/dev/null 2>&1'" if output != "pipes" else "/bin/sleep 1000")
    daemon.start()
    delays = []
    for _ in range(10):
        daemon.client.start("p")
        pid = daemon.info("p").pid
        wait_until(lambda pid=pid: process.cmdline(pid)[:1] == ["sleep"] or process.cmdline(pid)[:1] == ["/bin/sleep"])
        daemon.await_event("p", ProcessState.RUNNING, after=delays[-1][0] if delays else 0.0)
        killed = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        arrived, event = daemon.await_event("p", ProcessState.EXITED, after=killed)
        assert event.pid == pid
        delays.append((arrived, arrived - killed))
    assert statistics.median(delay for _, delay in delays) < 0.05


def test_a_stop_is_told_at_once(daemon: Supervisord) -> None:
    daemon.program("p")
    daemon.start()
    for _ in range(5):
        daemon.begin("p")
        asked = time.monotonic()
        daemon.client.stop("p")
        arrived, event = daemon.await_event("p", ProcessState.STOPPED, after=asked)
        assert arrived - asked < 0.3
        assert event.signal == signal.SIGTERM


def test_startsecs_are_seconds(daemon: Supervisord) -> None:
    daemon.program("p", startsecs=1)
    daemon.start()
    asked = time.monotonic()
    daemon.client.start("p")
    wake_later(daemon)
    arrived, _ = daemon.await_event("p", ProcessState.RUNNING)
    assert 0.95 < arrived - asked < 1.4


def test_a_stubborn_process_is_killed_when_its_time_is_up(daemon: Supervisord) -> None:
    daemon.program("p", daemon.script("stubborn", STUBBORN), stopwaitsecs=1)
    daemon.start()
    daemon.begin("p")
    time.sleep(0.1)  # until the shell has set its trap
    asked = time.monotonic()
    daemon.client.stop("p")
    wake_later(daemon)
    arrived, event = daemon.await_event("p", ProcessState.STOPPED)
    assert 0.95 < arrived - asked < 1.4
    assert event.signal == signal.SIGKILL


def test_the_first_programs_start_without_delay(daemon: Supervisord) -> None:
    daemon.program("p", autostart="true")
    daemon.launch()  # a look at the socket would wake it up
    wait_until(lambda: daemon.log.exists() and daemon.log_count("success: p entered RUNNING"))
    assert logged(daemon, "success: p entered") - logged(daemon, "supervisord started with pid") < 0.7


def test_fifty_plugins_stop_within_a_second_in_order(daemon: Supervisord) -> None:
    names = [f"p{number:02}" for number in range(50)]
    for number, name in enumerate(names):
        daemon.program(name, autostart="true", priority=100 + number)
    daemon.start()
    for name in names:
        daemon.await_event(name, ProcessState.RUNNING)
    assert daemon.terminate() < 1.0  # the last step of a shutdown waited for a time-out of a second once
    stopped = [e.process for _, e in daemon.events() if e.state is ProcessState.STOPPED]
    assert stopped == names[::-1]  # bare supervisord loses some: they are still queued when the listener is stopped
    assert daemon.remains() == []


def test_groups_in_which_nothing_runs_do_not_slow_a_shutdown_down(daemon: Supervisord) -> None:
    for number in range(30):
        daemon.program(f"p{number}")
    daemon.start()
    assert daemon.terminate() < 1.5


def test_a_listener_that_is_stuck_does_not_hold_a_shutdown_up(daemon: Supervisord) -> None:
    daemon.program("p", autostart="true")
    daemon.start()
    daemon.await_event("p", ProcessState.RUNNING)
    os.kill(daemon.info("listener").pid, signal.SIGSTOP)
    assert 2.5 < daemon.terminate() < 4.5  # two seconds of patience, then stopwaitsecs=1


def test_waiting_for_a_stop_takes_no_cpu(daemon: Supervisord) -> None:
    """As `supervisorctl stop` does: stock supervisord spins until the process is gone."""
    daemon.program("p", daemon.script("stubborn", STUBBORN), stopwaitsecs=1)
    daemon.start()
    daemon.begin("p")
    time.sleep(0.1)
    before, asked = daemon.cpu(), time.monotonic()
    assert daemon.client._call("supervisor.stopProcess", "p", True) is True
    took = time.monotonic() - asked
    assert daemon.cpu() - before < 0.3
    assert 0.9 < took < 1.6


def test_a_waited_for_stop_is_answered_at_once(daemon: Supervisord) -> None:
    daemon.program("p")
    daemon.start()
    for _ in range(5):
        daemon.begin("p")
        asked = time.monotonic()
        assert daemon.client._call("supervisor.stopProcess", "p", True) is True
        assert time.monotonic() - asked < 0.5


def test_a_waited_for_start_is_answered_when_it_is_due(daemon: Supervisord) -> None:
    daemon.program("p", startsecs=1)
    daemon.start()
    asked = time.monotonic()
    assert daemon.client._call("supervisor.startProcess", "p", True) is True
    assert 0.9 < time.monotonic() - asked < 1.4


def test_an_idle_supervisord_takes_no_cpu(daemon: Supervisord) -> None:
    for number in range(20):
        daemon.program(f"p{number}", autostart="true")
    daemon.start()
    daemon.await_event("p19", ProcessState.RUNNING)
    before = daemon.cpu()
    time.sleep(1.0)
    assert daemon.cpu() - before <= 0.03


def test_a_crash_loop_stays_slow(daemon: Supervisord) -> None:
    """Stock supervisord is slowed down by its own poll; quick as it is now it would spawn 140 a second."""
    daemon.program("p", "/bin/false", autostart="true", autorestart="true")
    daemon.program("stable", autostart="true", autorestart="true", startsecs=1)
    daemon.start()
    pid = daemon.await_state("stable", ProcessState.RUNNING).pid
    begun = time.monotonic()
    wait_until(lambda: len([1 for _, e in daemon.events("p") if e.state is ProcessState.STARTING]) >= 3)
    starts = [t for t, e in daemon.events("p") if e.state is ProcessState.STARTING]
    assert all(0.9 < later - earlier < 1.5 for earlier, later in itertools.pairwise(starts)), starts
    assert time.monotonic() - begun < 6
    # who ran for a while is started again at once
    killed = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    again, _ = daemon.await_event("stable", ProcessState.STARTING, after=killed)
    assert again - killed < 0.5
    # and a start by hand does not wait either
    daemon.client.stop("stable")
    daemon.await_state("stable", ProcessState.STOPPED)
    daemon.client.start("stable")
    assert daemon.info("stable").state is ProcessState.STARTING


def test_retries_come_when_they_are_due(daemon: Supervisord) -> None:
    """BACKOFF waits a second for the first retry; FATAL comes at once."""
    daemon.program("p", "/bin/false", startsecs=1, startretries=1)
    daemon.start()
    daemon.client.start("p")
    fatal, _ = daemon.await_event("p", ProcessState.FATAL)
    events = daemon.events("p")
    times = [t for t, e in events if e.state is ProcessState.STARTING]
    assert [e.tries for _, e in events if e.state is ProcessState.STARTING] == [0, 1]
    assert 0.9 < times[1] - times[0] < 1.5
    assert fatal - times[1] < 0.5
    assert [e.exitcode for _, e in events if e.state is ProcessState.BACKOFF] == [1, 1]


def test_many_deaths_at_once_are_all_told(daemon: Supervisord) -> None:
    """supervisord reaps at most 100 children in a turn of its loop."""
    names = [f"p{number}" for number in range(130)]
    for name in names:
        daemon.program(name, autostart="true")
    daemon.start()
    wait_until(lambda: all(p.pid for p in daemon.client.snapshot()), 20.0)
    pids = [p.pid for p in daemon.client.snapshot() if p.name != "listener"]
    killed = time.monotonic()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len([1 for _, e in daemon.events() if e.state is ProcessState.EXITED]) == 130, 10.0)
    exits = [(t, e) for t, e in daemon.events() if e.state is ProcessState.EXITED]
    assert {e.process for _, e in exits} == set(names)
    assert max(t for t, _ in exits) - killed < 4.0
    assert daemon.zombies() == []


def test_many_adopted_orphans_are_reaped_at_once(daemon: Supervisord) -> None:
    """As process 1 of a container; the end of an unknown process is no event that would go on with the reaping."""
    (daemon.folder / "wrapped.py").write_text(
        f"import ctypes\nimport {FACTORY.split(':')[0]} as real\n"
        "def factory(s, **config):\n    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)\n"
        "    return real.make_extension(s, **config)\n"
    )
    daemon.extension = "supervisor.rpcinterface_factory = wrapped:factory"
    leave = "i=0\nwhile [ $i -lt 250 ]; do sleep 1000 & i=$((i+1)); done"
    daemon.program("p", daemon.script("leave.sh", leave))
    daemon.start()
    daemon.client.start("p")
    daemon.await_event("p", ProcessState.EXITED)
    children = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children")
    wait_until(lambda: len(children.read_text().split()) == 251)
    os.kill(daemon.pid, signal.SIGSTOP)
    for pid in children.read_text().split():
        if int(pid) != daemon_listener(daemon):
            os.kill(int(pid), signal.SIGKILL)
    begun = time.monotonic()
    os.kill(daemon.pid, signal.SIGCONT)
    wait_until(lambda: len(children.read_text().split()) == 1)
    assert time.monotonic() - begun < 1.5  # the third hundred would have to wait for two poll time-outs


def daemon_listener(daemon: Supervisord) -> int:
    """The listener's pid, without asking supervisord."""
    return int(re.findall(r"spawned: 'listener' with pid (\d+)", daemon.log.read_text())[-1])


def test_two_signals_at_once_are_both_handled(daemon: Supervisord) -> None:
    """supervisord handles one signal a turn; the second must not wait for the next second."""
    daemon.listener = False
    daemon.start()
    os.kill(daemon.pid, signal.SIGSTOP)
    os.kill(daemon.pid, signal.SIGUSR2)
    os.kill(daemon.pid, signal.SIGTERM)
    os.kill(daemon.pid, signal.SIGCONT)
    begun = time.monotonic()
    assert daemon.process is not None
    daemon.process.wait(10)
    assert time.monotonic() - begun < 0.8
    assert daemon.log_count("log reopen") == 1


def test_a_proxy_of_the_usual_client_still_works(daemon: Supervisord) -> None:
    """supervisorctl lists methods with their texts; ours must be among them."""
    daemon.start()
    methods = daemon.client._call("system.listMethods")
    assert {"hiveot.status", "hiveot.version", "supervisor.stopProcess"} <= set(methods)
    assert "mood" in daemon.client._call("system.methodHelp", "hiveot.status")
    assert daemon.client._call("system.methodSignature", "hiveot.version") == ["string"]
    assert xmlrpc.client.MAXINT
