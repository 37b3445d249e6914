"""The generated files in a real supervisord, as typed in the home folder; the traps of docs/supervisord-facts.md §7."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from fakes.launchers import SLEEPER, SUPERVISORD, daemon, launcher_of, plugin_of, program, short_home
from fakes.wait import wait_until

from hiveot_supervisor.generate.hooks import Tools, specify
from hiveot_supervisor.model import Stop
from hiveot_supervisor.prestart import verified
from hiveot_supervisor.supervisord.process import is_alive
from hiveot_supervisor.supervisord.states import ProcessState

ODD_HOMES = {
    "blank": "my home",
    "comment signs": "a ;b #c;#d",
    "percent": "50% %(ENV_HOME)s %%",
    "quotes": 'it\'s "here"',
    "shell": "$HOME `id` \\ & | *",
    "unicode": "zuhause-é日",
    "equals and colon": "a=b: [c]",
    "tilde": "~",
}


@pytest.mark.parametrize("name", ODD_HOMES.values(), ids=ODD_HOMES.keys())
def test_any_folder_name_that_can_be_carried_works_all_the_way(name: str) -> None:
    with short_home(name) as home:
        program(home / "plugins/p", '#!/bin/sh\necho "in $PWD"\nexec sleep 100000\n')
        launcher = launcher_of(home, plugin_of(home, "p"))
        with daemon(launcher) as running:
            assert "p: started" in running.ctl("start", "p").stdout
            wait_until(lambda: f"in {home}\n" in running.log("p"), what=f"the plugin's log; {running.output()}")
            assert running.info("p").state is ProcessState.RUNNING


def test_the_plain_commands_in_the_home_folder() -> None:
    with short_home() as home:
        program(home / "plugins/p")
        with daemon(launcher_of(home, plugin_of(home, "p"))) as running:
            assert running.ctl("status", "p").stdout.split()[:2] == ["p", "STOPPED"]
            assert "p: started" in running.ctl("start", "p").stdout
            assert "p: ERROR (already started)" in running.ctl("start", "p").stdout
            pid = running.info("p").pid
            assert "p: stopped" in running.ctl("stop", "p").stdout
            assert not is_alive(pid)
            assert oct(launcher_mode(home)) == "0o700"


def launcher_mode(home: Path) -> int:
    return (home / "run/supervisor.sock").stat().st_mode & 0o777


def test_a_second_supervisord_in_the_same_home_is_refused_and_harms_nothing() -> None:
    with short_home() as home:
        program(home / "plugins/p")
        launcher = launcher_of(home, plugin_of(home, "p"))
        with daemon(launcher) as first:
            first.rpc.start("p")
            wait_until(lambda: (home / "logs/p.log").exists())
            second = subprocess.run([SUPERVISORD], cwd=home, capture_output=True, text=True, timeout=30)
            assert (second.returncode, "already listening" in second.stderr) == (2, True)
            assert first.info("p").state is ProcessState.RUNNING
            assert (home / "logs/p.log").exists()
            assert (home / "run/supervisord.pid").read_text().strip() == str(first.process and first.process.pid)


ENDS = '#!/bin/sh\ntrap \'echo "$0 ended" >> "$ENDED"; exit 0\' TERM\nwhile :; do sleep 0.05; done\n'


@pytest.mark.parametrize("extension", [True, False])
def test_everything_stops_in_the_reverse_order_of_the_start(extension: bool) -> None:
    names = ["zeta", "alpha", "mid"]
    with short_home() as home:
        ended = home / "ended"
        plugins = []
        for name in names:
            executable = program(home / "plugins" / name, ENDS)
            environment = (("ENDED", str(ended)),)
            plugins.append(plugin_of(home, name, executable=executable, environment=environment))
        runtime = plugin_of(home, "runtime", executable=program(home / "bin/runtime", ENDS), environment=environment)
        with daemon(launcher_of(home, *plugins, runtime=runtime, extension=extension, stop_wait=10.0)) as running:
            pids = []
            for name in names:
                running.rpc.start(name)
                pids.append(running.info(name).pid)
            everyone = [running.info("runtime").pid, running.info("launcher").pid, *pids]
            scripts = [str(p.executable).encode() for p in [runtime, *plugins]]
            for pid, script in zip([everyone[0], *pids], scripts, strict=True):
                wait_until(lambda p=pid, s=script: s in Path(f"/proc/{p}/cmdline").read_bytes())
                wait_until(lambda p=pid: traps_term(p))
            assert running.stop() == 0
            stopped = [Path(line.split()[0]).name for line in ended.read_text().splitlines()]
            assert stopped == ["mid", "alpha", "zeta", "runtime"]
            assert not [pid for pid in everyone if is_alive(pid)]
            order = re.findall(r"stopped: (\S+)", running.output())
            assert order[-2:] == ["launcher", "runtime"]


def traps_term(pid: int) -> bool:
    """The shell has installed its handler for SIGTERM."""
    caught = re.search(r"SigCgt:\s*([0-9a-f]+)", Path(f"/proc/{pid}/status").read_text())
    return bool(caught and int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)


def test_a_stubborn_plugin_and_its_children_are_killed_after_the_timeout() -> None:
    stubborn = "#!/bin/sh\ntrap '' TERM\nsleep 100000 &\nsleep 100000\n"
    with short_home() as home:
        program(home / "plugins/p", stubborn)
        with daemon(launcher_of(home, plugin_of(home, "p", stop=Stop("TERM", 0.3)))) as running:
            running.rpc.start("p")
            pid = running.info("p").pid
            members = wait_until(lambda: group(pid) if len(group(pid)) == 3 else None)
            running.rpc.stop("p")
            wait_until(lambda: not any(is_alive(p) for p in members), timeout=8)
            wait_until(lambda: running.info("p").state is ProcessState.STOPPED)  # dead is not yet reaped


def group(leader: int) -> list[int]:
    """Living members of a process group."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[2] == str(leader) and fields[0] not in "ZX":
                found.append(int(entry.name))
    return found


def test_the_stop_signal_is_the_one_asked_for() -> None:
    script = "#!/bin/sh\ntrap 'echo got INT; exit 0' INT\ntrap 'echo got TERM' TERM\nwhile :; do sleep 0.05; done\n"
    with short_home() as home:
        program(home / "plugins/p", script)
        with daemon(launcher_of(home, plugin_of(home, "p", stop=Stop("INT", 5)))) as running:
            running.rpc.start("p")
            pid = running.info("p").pid
            wait_until(lambda: Path(f"/proc/{pid}/cmdline").read_bytes().endswith(b"plugins/p\0") and traps_term(pid))
            running.rpc.stop("p")
            wait_until(lambda: "got" in running.log("p"))
            assert running.log("p") == "got INT\n"


@pytest.mark.parametrize("mode", ["extension", "setpriv", "python"])
def test_no_plugin_outlives_a_killed_supervisord(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if mode == "setpriv" and not Tools.find().parent_death:
        pytest.skip("setpriv of util-linux is not installed")
    if mode == "python":
        monkeypatch.setattr(Tools, "find", classmethod(lambda cls: Tools()))
    with short_home() as home:
        program(home / "plugins/p")
        with daemon(launcher_of(home, plugin_of(home, "p"), extension=mode == "extension")) as running:
            for _ in range(2):  # the first start always takes the slow path
                running.rpc.start("p")
                pid = running.info("p").pid
                wait_until(lambda p=pid: Path(f"/proc/{p}/cmdline").read_bytes() == b"sleep\x00100000\x00")
                assert default_signals(pid)
                if _ == 0:
                    running.rpc.stop("p")
                    wait_until(lambda: running.info("p").state is ProcessState.STOPPED)
            assert running.process is not None
            os.kill(running.process.pid, signal.SIGKILL)
            wait_until(lambda: not is_alive(pid), timeout=2)
            running.process.wait()


def default_signals(pid: int) -> bool:
    """SIGPIPE and SIGXFSZ are not ignored (Python, and so supervisord, ignores both)."""
    found = re.search(r"SigIgn:\s*([0-9a-f]+)", Path(f"/proc/{pid}/status").read_text())
    return bool(found) and not any(int(found[1], 16) >> (n - 1) & 1 for n in (signal.SIGPIPE, signal.SIGXFSZ))


def test_after_a_kill_the_next_start_needs_no_hand_work() -> None:
    with short_home() as home:
        program(home / "plugins/p")
        launcher = launcher_of(home, plugin_of(home, "p"))
        with daemon(launcher) as first:
            assert first.process is not None
            os.kill(first.process.pid, signal.SIGKILL)
            first.process.wait()
            assert (home / "run/supervisor.sock").exists()
            assert (home / "run/supervisord.pid").exists()
            with daemon(launcher) as second:
                assert "p: started" in second.ctl("start", "p").stdout


def test_two_homes_run_side_by_side() -> None:
    with short_home("one") as one, short_home("two") as two:
        running = []
        with daemon(launcher_of(one, plugin_of(one, "p"))) as a, daemon(launcher_of(two, plugin_of(two, "p"))) as b:
            for home in (a, b):
                program(home.home / "plugins/p")
                home.rpc.start("p")
                running.append(home.info("p").pid)
            assert len(set(running)) == 2
            a.rpc.stop("p")
            wait_until(lambda: a.info("p").state is ProcessState.STOPPED)
            assert b.info("p").state is ProcessState.RUNNING


def test_many_programs_do_not_lack_file_descriptors() -> None:
    with short_home() as home:
        names = [f"p{n}" for n in range(70)]
        executable = program(home / "plugins/sleeper", SLEEPER)
        launcher = launcher_of(home, *(plugin_of(home, n, executable=executable) for n in names))
        with daemon(launcher) as running:
            for plugin in launcher.plugins:
                spec = specify(launcher, plugin)
                verified.mark(spec, verified.look(spec), 0)
            for name in names:
                running.rpc.start(name)
            assert sum(p.state is ProcessState.RUNNING for p in running.rpc.snapshot() if p.name in names) == 70
            assert running.stop() == 0
