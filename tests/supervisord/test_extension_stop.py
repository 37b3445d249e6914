"""A shutdown: who waits for whose end."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest
from fakes.supervisords import FACTORY, Supervisord
from fakes.wait import wait_until

from hiveot_supervisor.supervisord.states import ProcessState

SLOW = "trap 'sleep 1; exit 0' TERM\nwhile :; do sleep 0.05; done"
QUICK = "trap 'exit 0' TERM\nwhile :; do sleep 0.01; done"
STUBBORN = "trap '' TERM\nwhile :; do sleep 0.1; done"


def plan(daemon: Supervisord, needs: dict[str, list[str]], wait: float) -> None:
    """What of launcher.json the extension reads."""
    plugins = [{"id": name, "depends_on": [{"plugin": n} for n in others]} for name, others in needs.items()]
    (daemon.folder / "launcher.json").write_text(json.dumps({"stop_wait": wait, "plugins": plugins}))


def start(daemon: Supervisord, programs: dict[str, str], *, stop_seconds: int = 30) -> None:
    """Programs in start order, running with their traps set."""
    daemon.extension = f"supervisor.rpcinterface_factory = {FACTORY}\nlauncher = launcher.json"
    for number, (name, text) in enumerate(programs.items()):
        trap, rest = text.splitlines()
        command = daemon.script(name, f"{trap}\ntouch {daemon.folder}/{name}.up\n{rest}")
        daemon.program(name, command, autostart="true", priority=100 + number, stopwaitsecs=stop_seconds)
    daemon.start()
    for name in programs:
        wait_until(lambda n=name: (daemon.folder / f"{n}.up").exists())


def told(daemon: Supervisord, state: ProcessState) -> list[str]:
    return [e.process for _, e in daemon.events() if e.state is state]


def when(daemon: Supervisord, name: str, state: ProcessState) -> float:
    return next(t for t, e in daemon.events(name) if e.state is state)


def test_slow_ones_end_side_by_side_in_reverse_order(daemon: Supervisord) -> None:
    names = [f"p{n}" for n in range(10)]
    plan(daemon, {name: [] for name in names}, 0.1)
    start(daemon, dict.fromkeys(names, SLOW))
    assert 1.9 < daemon.terminate() < 6
    assert told(daemon, ProcessState.STOPPING) == names[::-1]
    assert when(daemon, "p0", ProcessState.STOPPING) - when(daemon, "p9", ProcessState.STOPPING) > 0.6
    assert sorted(told(daemon, ProcessState.STOPPED)) == names
    assert daemon.log_count("trouble with") == 0
    assert daemon.remains() == []


def test_one_that_is_quick_is_waited_for(daemon: Supervisord) -> None:
    names = [f"p{n}" for n in range(6)]
    plan(daemon, {name: [] for name in names}, 20.0)
    start(daemon, dict.fromkeys(names, QUICK))
    assert daemon.terminate() < 5
    ends = (ProcessState.STOPPING, ProcessState.STOPPED)
    assert [(e.process, e.state) for _, e in daemon.events() if e.state in ends] == [
        (name, state) for name in names[::-1] for state in ends
    ]


def test_all_at_once(daemon: Supervisord) -> None:
    names = [f"p{n}" for n in range(10)]
    plan(daemon, {name: [] for name in names}, 0.0)
    start(daemon, dict.fromkeys(names, SLOW))
    assert daemon.terminate() < 4
    assert told(daemon, ProcessState.STOPPING) == names[::-1]


def test_what_others_depend_on_goes_on_until_they_are_down(daemon: Supervisord) -> None:
    """db <- api <- page, and one that has nothing to do with them, which does not wait."""
    plan(daemon, {"db": [], "api": ["db"], "alone": [], "page": ["api"]}, 0.0)
    start(daemon, {"db": QUICK, "api": SLOW, "alone": QUICK, "page": SLOW})
    daemon.terminate()
    stopping, stopped = ProcessState.STOPPING, ProcessState.STOPPED
    assert when(daemon, "api", stopping) >= when(daemon, "page", stopped)
    assert when(daemon, "db", stopping) >= when(daemon, "api", stopped)
    assert when(daemon, "alone", stopped) < when(daemon, "page", stopped)


def test_a_stubborn_one_is_killed_when_its_time_is_up(daemon: Supervisord) -> None:
    plan(daemon, {"a": [], "b": [], "c": []}, 0.05)
    start(daemon, {"a": QUICK, "b": STUBBORN, "c": QUICK}, stop_seconds=1)
    assert 0.9 < daemon.terminate() < 4
    killed = {name: daemon.events(name)[-1][1].signal for name in "abc"}
    assert killed == {"a": None, "b": signal.SIGKILL, "c": None}


def test_programs_that_are_not_ours_are_stopped_one_after_another(daemon: Supervisord) -> None:
    plan(daemon, {"a": [], "b": []}, 0.0)
    start(daemon, {"a": SLOW, "b": SLOW, "mine": SLOW})
    assert 1.9 < daemon.terminate() < 5
    assert when(daemon, "b", ProcessState.STOPPING) >= when(daemon, "mine", ProcessState.STOPPED)
    assert when(daemon, "a", ProcessState.STOPPING) < when(daemon, "b", ProcessState.STOPPED)


@pytest.mark.parametrize(
    "text", [None, "", "{}", '{"stop_wait": 0, "plugins": [{}]}', '{"stop_wait": null, "plugins": []}']
)
def test_without_a_plan_it_is_one_after_another(daemon: Supervisord, text: str | None) -> None:
    if text is not None:
        (daemon.folder / "launcher.json").write_text(text)
    start(daemon, dict.fromkeys(["a", "b"], SLOW))
    assert 1.9 < daemon.terminate() < 5
    assert when(daemon, "a", ProcessState.STOPPING) >= when(daemon, "b", ProcessState.STOPPED)
    assert daemon.log_count("trouble with reading .*launcher.json") == 1
    assert daemon.remains() == []


def test_the_plan_is_read_when_the_shutdown_begins(daemon: Supervisord) -> None:
    plan(daemon, {}, 0.0)
    start(daemon, dict.fromkeys(["a", "b", "c"], SLOW))
    plan(daemon, {"a": [], "b": [], "c": []}, 0.0)
    os.kill(daemon.pid, signal.SIGHUP)
    began = time.monotonic()
    wait_until(lambda: daemon.log_count("supervisord started with pid") == 2)
    assert time.monotonic() - began < 2.5
    daemon.await_running()


def test_a_shutdown_answers_requests_and_other_signals(daemon: Supervisord) -> None:
    plan(daemon, {f"p{n}": [] for n in range(3)}, 0.0)
    start(daemon, {f"p{n}": SLOW for n in range(3)})
    assert daemon.process is not None
    daemon.process.terminate()
    wait_until(lambda: daemon.info("p0").state is ProcessState.STOPPING)
    daemon.process.send_signal(signal.SIGUSR2)
    wait_until(lambda: daemon.log_count("log reopen request"))
    assert [daemon.info(f"p{n}").state for n in range(3)] == [ProcessState.STOPPING] * 3
    daemon.process.wait(10)
