"""What children of supervisord get, and what is told of their end."""

from __future__ import annotations

import os
import pwd
import signal
import sys
import time
from pathlib import Path

import pytest
from fakes.supervisords import SLEEPER, Supervisord
from fakes.wait import wait_until

from hiveot_supervisor.supervisord import process
from hiveot_supervisor.supervisord.answers import from_struct
from hiveot_supervisor.supervisord.states import Mood, ProcessState


def status_field(pid: int, key: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split(":", 1)[1].strip() for line in lines if line.startswith(f"{key}:"))


def test_a_stop_right_after_a_start_is_never_lost(daemon: Supervisord) -> None:
    """Between fork and exec a stock child still has supervisord's handlers, and no process group of its own."""
    daemon.program("p", stopwaitsecs=3)
    daemon.start()
    for attempt in range(24):
        daemon.client.start("p")
        asked = time.monotonic()
        daemon.client.stop("p")
        stopped, event = daemon.await_event("p", ProcessState.STOPPED, after=asked)
        assert stopped - asked < 1.0, f"lost in attempt {attempt}"
        assert event.signal == signal.SIGTERM


@pytest.mark.parametrize("user", [None, "nobody"])
def test_children_die_with_supervisord(daemon: Supervisord, user: str | None) -> None:
    if user and os.getuid() != 0:
        pytest.skip("needs root to start children as somebody else")
    for number in range(5):
        daemon.program(f"p{number}", autostart="true", **({"user": user} if user else {}))
    daemon.start()
    pids = [daemon.await_state(f"p{number}", ProcessState.RUNNING).pid for number in range(5)]
    wait_until(lambda: all(process.cmdline(pid) == SLEEPER.split() for pid in pids))
    if user:
        assert Path(f"/proc/{pids[0]}").stat().st_uid == pwd.getpwnam(user).pw_uid
    assert daemon.process is not None
    daemon.process.kill()
    wait_until(lambda: not any(process.is_alive(pid) for pid in pids), 2.0, "all children are gone")
    wait_until(lambda: daemon.remains() == [], 2.0)


def test_the_death_signal_can_be_chosen_and_switched_off(daemon: Supervisord) -> None:
    shell = "trap 'echo got INT; exit' INT\ntrap '' TERM\nwhile :; do sleep 0.05; done"
    daemon.program("p", daemon.script("p.sh", shell.replace("echo got INT", f"echo INT > {daemon.folder}/got")))
    daemon.extension = f"{daemon.extension}\npdeathsig = INT"
    daemon.start()
    pid = daemon.begin("p")
    wait_until(lambda: int(status_field(pid, "SigCgt"), 16) >> (signal.SIGINT - 1) & 1)
    assert daemon.process is not None
    daemon.process.kill()
    wait_until(lambda: (daemon.folder / "got").exists(), 5.0)
    daemon.extension = f"{daemon.extension}".replace("INT", "none")
    daemon.program("q")
    daemon.start()
    pid = daemon.begin("q")
    daemon.process.kill()
    daemon.process.wait()
    time.sleep(0.2)
    assert process.is_alive(pid)


def test_children_have_ordinary_signals_and_umask(daemon: Supervisord) -> None:
    """Python ignores SIGPIPE and SIGXFSZ, exec hands that on; supervisord's own umask is 077."""
    daemon.umask = 0o027
    daemon.program("p")
    daemon.program("other", umask="002")
    daemon.start()
    pid = daemon.begin("p")
    # without the C library's own signals 32 and 33, which GNU make has its children ignore
    assert int(status_field(pid, "SigIgn"), 16) & 0x7FFFFFFF == 0
    assert int(status_field(pid, "SigBlk"), 16) == 0
    assert status_field(pid, "Umask") == "0027"
    assert status_field(daemon.begin("other"), "Umask") == "0002"
    assert status_field(daemon.pid, "Umask") == "0077"
    assert process.stat_fields(pid)[2] == str(pid)  # type: ignore[index]  # leads its own group


def test_children_get_no_descriptor_of_supervisord(daemon: Supervisord) -> None:
    """It closes them all itself, one by one; with many programs that takes longer than all the rest of a start."""
    daemon.program("other", autostart="true")
    daemon.program("p")
    daemon.start()
    descriptors = Path(f"/proc/{daemon.begin('p')}/fd")
    assert sorted(fd.name for fd in descriptors.iterdir()) == ["0", "1", "2"]


def test_logs_are_for_their_owner_only(daemon: Supervisord) -> None:
    daemon.umask = 0o022
    out = daemon.folder / "out"
    daemon.program("p", daemon.script("p.sh", "echo hello"), stdout_logfile=out)
    daemon.program("sleeper")
    daemon.start()
    daemon.client.start("p")
    daemon.await_event("p", ProcessState.EXITED)
    assert out.stat().st_mode & 0o777 == 0o600
    assert daemon.log.stat().st_mode & 0o777 == 0o600
    daemon.reload()
    assert status_field(daemon.pid, "Umask") == "0077"
    assert status_field(daemon.begin("sleeper"), "Umask") == "0022"


def test_what_a_link_as_log_points_to_keeps_its_mode(daemon: Supervisord) -> None:
    """The log may be /dev/stdout or /dev/null; those are not supervisord's own."""
    target = daemon.folder / "elsewhere"
    target.touch()
    target.chmod(0o666)
    daemon.log.symlink_to(target)
    daemon.start()
    assert "is active" in target.read_text()
    assert target.stat().st_mode & 0o777 == 0o666


ENDINGS = {
    "exit0": ("exit 0", 0, None),
    "exit3": ("exit 3", 3, None),
    "exit255": ("exit 255", 255, None),
    "kill": ("kill -KILL $$", None, signal.SIGKILL),
    "segv": ("kill -SEGV $$", None, signal.SIGSEGV),
    "term": ("kill -TERM $$", None, signal.SIGTERM),
}


def test_how_a_process_ended_is_told(daemon: Supervisord) -> None:
    for name, (command, _, _) in ENDINGS.items():
        daemon.program(name, daemon.script(f"{name}.sh", command))
    daemon.start()
    for name, (_, exitcode, killed_by) in ENDINGS.items():
        before = time.time()
        daemon.client.start(name)
        _, event = daemon.await_event(name, ProcessState.EXITED)
        assert (event.exitcode, event.signal) == (exitcode, killed_by)
        assert event.expected == (exitcode == 0)
        assert event.mood is Mood.RUNNING
        assert event.time is not None
        assert before <= event.time <= time.time()
        assert event.maxrss_kb is not None
        assert 100 < event.maxrss_kb < 100_000
        assert event.cpu is not None
        assert 0 <= event.cpu < 1
        info = daemon.info(name)
        assert (info.exitcode, info.signal) == (exitcode, killed_by)


def test_what_a_process_has_used_is_told(daemon: Supervisord) -> None:
    code = "import time; x = bytearray(60_000_000); t = time.process_time()\nwhile time.process_time() - t < 0.3: pass"
    daemon.program("p", daemon.script("p.py", code, sys.executable))
    daemon.start()
    daemon.client.start("p")
    _, event = daemon.await_event("p", ProcessState.EXITED)
    assert event.maxrss_kb is not None
    assert event.cpu is not None
    assert 60_000 < event.maxrss_kb < 200_000
    assert 0.3 < event.cpu < 1.0


def test_how_a_commanded_stop_ended_is_told(daemon: Supervisord) -> None:
    daemon.program("obeys")
    daemon.program("exits", daemon.script("exits.sh", "trap 'exit 7' TERM\nwhile :; do sleep 0.01; done"))
    daemon.start()
    for name, expected in (("obeys", (None, signal.SIGTERM)), ("exits", (7, None))):
        pid = daemon.begin(name)
        wait_until(lambda pid=pid, name=name: name == "obeys" or int(status_field(pid, "SigCgt"), 16) >> 14 & 1)
        daemon.client.stop(name)
        _, event = daemon.await_event(name, ProcessState.STOPPED)
        assert (event.exitcode, event.signal) == expected
        info = daemon.info(name)
        assert (info.exitcode, info.signal) == expected
    pid = daemon.begin("exits")
    assert daemon.info("exits").exitcode is None  # of the last run, not of this one
    assert daemon.info("exits").pid == pid


def test_mood_tells_a_shutdown_from_a_command(daemon: Supervisord) -> None:
    daemon.program("p", autostart="true", priority=999)
    daemon.program("q", autostart="true", priority=1)
    daemon.start()
    daemon.await_event("p", ProcessState.RUNNING)
    daemon.reload()
    _, event = daemon.await_event("p", ProcessState.STOPPED)
    assert event.mood is Mood.RESTARTING
    reloaded = time.monotonic()
    daemon.await_event("p", ProcessState.RUNNING, after=reloaded - 5)
    daemon.terminate()
    assert daemon.events("p")[-1][1].mood is Mood.SHUTDOWN


def test_status_equals_what_supervisord_says(daemon: Supervisord) -> None:
    daemon.program("runs")
    daemon.program("never")
    daemon.program("exits", "/bin/false")
    daemon.program("fails", daemon.script("x.sh", "exit 1", "/no/such/interpreter"))
    daemon.program("retries", "/bin/false", startsecs=1, startretries=5)
    daemon.sections = (
        "[program:many]\ncommand=/bin/sleep 1000\nnumprocs=3\nprocess_name=%(program_name)s_%(process_num)d\n"
    )
    daemon.start()
    for name in ("runs", "exits", "fails", "retries"):
        daemon.client.start(name)
    daemon.await_event("exits", ProcessState.EXITED)
    daemon.await_event("fails", ProcessState.EXITED)
    daemon.await_event("retries", ProcessState.BACKOFF)
    wait_until(lambda: daemon.client.snapshot() and daemon.events("many_2"))
    ours = daemon.client.snapshot()
    theirs = [from_struct(struct) for struct in daemon.client._call("supervisor.getAllProcessInfo")]
    assert len(ours) == 9
    for mine, stock in zip(ours, theirs, strict=True):
        assert (mine.name, mine.group, mine.state, mine.pid) == (stock.name, stock.group, stock.state, stock.pid)
        assert (int(mine.start), int(mine.stop), mine.spawnerr) == (stock.start, stock.stop, stock.spawnerr)
        if stock.state is ProcessState.EXITED:
            assert mine.exitcode == stock.exitcode
    assert daemon.info("fails").exitcode == 127


def test_a_listener_that_does_not_read_does_not_end_supervisord(daemon: Supervisord) -> None:
    """Stock supervisord writes until the pipe is full and then dies of EAGAIN."""
    bad = "import os, time\nwhile True:\n    os.write(1, b'READY\\nRESULT 2\\nOK')\n    time.sleep(0.0005)"
    daemon.listener = False
    daemon.sections = (
        f"[eventlistener:bad]\ncommand={daemon.script('bad.py', bad, sys.executable)}\npriority=-1\nstartsecs=0\n"
        "buffer_size=100\nevents=REMOTE_COMMUNICATION\n"
    )
    daemon.start()
    for _ in range(40):
        daemon.client.send_remote_event("t", "x" * 10_000)
        time.sleep(0.005)
    assert daemon.client.state() is Mood.RUNNING
    assert (daemon.folder / "stderr").read_text().count("Traceback") == 0
