from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from fakes.wait import wait_until

from hiveot_supervisor.supervisord import process


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(["/bin/sleep", "100"], start_new_session=True)
    yield child
    child.kill()
    child.wait()


def test_facts_about_a_living_process(sleeper: subprocess.Popen[bytes]) -> None:
    pid = sleeper.pid
    assert process.parent(pid) == os.getpid()
    wait_until(lambda: process.cmdline(pid) == ["/bin/sleep", "100"])
    started = process.start_time(pid)
    assert process.is_alive(pid)
    assert process.is_alive(pid, started)
    wall = process.start_wall(pid)
    assert wall is not None
    assert abs(wall - time.time()) < 5


def test_a_reused_pid_is_not_the_same_process(sleeper: subprocess.Popen[bytes]) -> None:
    started = process.start_time(sleeper.pid)
    assert started is not None
    assert not process.is_alive(sleeper.pid, started - 1)


def test_a_zombie_is_dead_and_a_gone_process_has_no_facts(sleeper: subprocess.Popen[bytes]) -> None:
    sleeper.kill()
    wait_until(lambda: not process.is_alive(sleeper.pid))
    assert process.stat_fields(sleeper.pid) is not None  # not reaped yet
    assert process.cmdline(sleeper.pid) == []
    sleeper.wait()
    for ask in (process.start_time, process.parent, process.start_wall, process.stat_fields):
        assert ask(sleeper.pid) is None
    assert process.cmdline(sleeper.pid) == []
    assert not process.is_alive(sleeper.pid)
    assert not process.kill_group(sleeper.pid)


@pytest.mark.parametrize("pid", [0, -1])
def test_no_process_has_such_a_pid(pid: int) -> None:
    assert not process.is_alive(pid)


def test_a_process_name_with_blanks_and_brackets(tmp_path: object) -> None:
    code = "import ctypes,sys; ctypes.CDLL(None).prctl(15, b'a) S 1 (b'); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert process.parent(child.pid) == os.getpid()
        child.communicate()


def test_kill_group_reaches_the_children_too() -> None:
    with subprocess.Popen(
        ["/bin/sh", "-c", "sleep 100 & echo $!; wait"], stdout=subprocess.PIPE, start_new_session=True
    ) as shell:
        assert shell.stdout is not None
        grandchild = int(shell.stdout.readline())
        assert process.kill_group(shell.pid)
        assert shell.wait() == -signal.SIGKILL
    wait_until(lambda: not process.is_alive(grandchild))


@pytest.mark.parametrize("pid", [1, 0, -5])
def test_kill_group_refuses_what_would_hit_others(pid: int) -> None:
    with pytest.raises(ValueError, match="not the leader"):
        process.kill_group(pid, signal.SIGCONT)


def test_parent_death_signal_ends_the_child_with_its_parent() -> None:
    code = """
import os, sys, time
from hiveot_supervisor.supervisord.process import parent_death_signal, set_parent_death_signal
if os.fork() == 0:
    assert parent_death_signal() == 0
    set_parent_death_signal(15)
    assert parent_death_signal() == 15
    print(os.getpid(), flush=True)
time.sleep(100)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert process.is_alive(child)
        parent.kill()
    wait_until(lambda: not process.is_alive(child), 5.0)


def test_a_wrong_signal_number_is_an_error() -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        process.set_parent_death_signal(1000)
