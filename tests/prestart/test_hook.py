"""The slow path in a real process: what becomes the plugin, and how every refusal ends."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pwd
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.launchers import launcher_of, plugin_of, program, short_home

from hiveot_supervisor.errors import (
    CredentialError,
    HiveotError,
    HubError,
    HubRefused,
    HubUnavailable,
    NeverWorks,
    RequestTimeout,
    TimedOut,
    TryLater,
)
from hiveot_supervisor.generate import plan, write
from hiveot_supervisor.generate.hooks import Tools
from hiveot_supervisor.model import Launcher
from hiveot_supervisor.prestart import hook
from hiveot_supervisor.prestart.become import find_user

DUMP = f"""#!{sys.executable} -IS
import json, os, sys
status = open("/proc/self/status").read()
print(json.dumps({{"argv": sys.argv, "env": dict(os.environ), "cwd": os.getcwd(), "pid": os.getpid(), "status": status,
                  "uid": os.getresuid(), "gid": os.getresgid(), "groups": os.getgroups(), "sid": os.getsid(0)}}))
"""
NOBODY = pwd.getpwnam("nobody")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def home() -> Iterator[Path]:
    with short_home() as made:
        program(made / "plugins/p", DUMP)
        yield made


def generate(home: Path, **settings: Any) -> Launcher:
    launcher = launcher_of(home, plugin_of(home, "p", **settings))
    write.write(plan.make(launcher))
    return launcher


def run(home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Start the plugin as supervisord does."""
    command = ["/bin/sh", str(home / "generated/plugins/p.sh")]
    inherited = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, env=inherited, cwd="/", timeout=30)


def refused(home: Path, code: int, name: str = "p") -> tuple[str, str]:
    """Start it, expect the exit code and a matching reason file; returns reason and stderr."""
    process = subprocess.Popen(
        ["/bin/sh", str(home / f"generated/plugins/{name}.sh")], stderr=subprocess.PIPE, text=True
    )
    _, errors = process.communicate(timeout=30)
    assert process.returncode == code, errors
    file = home / f"run/prestart/{name}.json"
    content = json.loads(file.read_text())
    assert (content["pid"], content["code"]) == (process.pid, code)
    assert abs(content["time"] - time.time()) < 30
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "\n" not in content["reason"]
    assert f"hiveot-prestart: {name} is not started" in errors
    return str(content["reason"]), errors


def test_the_program_takes_over_the_very_process(home: Path) -> None:
    generate(
        home, args=("a b", "ü\n"), environment=(("X", "1"), ("IFS", "x"), ("a.b", "y")), directory=home / "plugins"
    )
    command = ["/bin/sh", str(home / "generated/plugins/p.sh")]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, env={**os.environ, "SUPERVISOR_SERVER_URL": "unix:///x"}
    )
    seen = json.loads(process.communicate(timeout=30)[0])
    assert (seen["pid"], process.returncode) == (process.pid, 0)
    assert seen["argv"] == [str(home / "plugins/p"), "a b", "ü\n"]
    assert seen["cwd"] == seen["env"]["PWD"] == str(home / "plugins")
    assert {name: seen["env"][name] for name in ("X", "IFS", "a.b")} == {"X": "1", "IFS": "x", "a.b": "y"}
    assert "SUPERVISOR_SERVER_URL" not in seen["env"]
    ignored = int(re.search(r"SigIgn:\s*(\w+)", seen["status"])[1], 16)
    # the dumping program is Python, which ignores SIGPIPE itself: test_supervisord.py looks at a program that does not
    assert not ignored >> (signal.SIGTERM - 1) & 1


def test_after_one_verified_start_the_fast_path_does_it(home: Path) -> None:
    generate(home)
    assert run(home).returncode == 0
    assert {p.name for p in (home / "stores/launcher/verified").iterdir()} == {"p.exe", "p.until"}
    moved = home / "generated/plugins/p.json"
    moved.rename(moved.with_suffix(".away"))  # the slow path would miss it
    assert run(home).returncode == 0


def test_the_reason_of_an_earlier_start_goes(home: Path) -> None:
    device = home / "device"
    generate(home, requires=(device,))
    assert refused(home, 111)[0] == f"{device} is not there"
    device.touch()
    assert run(home).returncode == 0
    assert not (home / "run/prestart/p.json").exists()


def test_environment_file_wins_over_the_settings_and_is_read_each_time(home: Path) -> None:
    file = home / "p.env"
    generate(home, environment=(("A", "settings"), ("B", "settings")), environment_file=file)
    assert refused(home, 100)[0] == f"cannot read the environment file {file}: no such file or directory"
    file.write_text("A='file'\nSECRET=s3cr3t\n")
    seen = json.loads(run(home).stdout)["env"]
    assert (seen["A"], seen["B"], seen["SECRET"]) == ("file", "settings", "s3cr3t")
    file.write_text("A=again\nwrong s3cr3t\n")
    reason, errors = refused(home, 100)
    assert reason == f"{file}:2: NAME=value is expected"
    assert "s3cr3t" not in errors
    file.write_bytes(b"A=\xff\n")
    assert "is not UTF-8 text" in refused(home, 100)[0]


def test_programs_that_cannot_be_executed_end_with_100_and_are_tried_in_full_again(home: Path) -> None:
    generate(home)
    path = home / "plugins/p"
    for content, reason in (
        (b"echo no first line\n", "neither a binary nor a script"),
        (b"#!/no/such/thing\n", "names the interpreter '/no/such/thing'"),
        (b"\x7fELF\x02\x01\x01" + bytes(200), "built for another kind of machine"),
    ):
        path.write_bytes(content)
        for _ in range(2):
            assert reason in refused(home, 100)[0]
    path.unlink()
    assert "is missing" in refused(home, 100)[0]
    program(path, DUMP)
    assert run(home).returncode == 0


def test_damaged_or_missing_files_of_ours(home: Path) -> None:
    generate(home)
    file = home / "generated/plugins/p.json"
    for text, reason in (("{", "is damaged"), ("[]", "is damaged"), ('{"format": 99}', "made by another version")):
        file.write_text(text)
        assert reason in refused(home, 100)[0]
    file.unlink()
    assert "cannot read" in refused(home, 100)[0]
    (home / "generated/launcher.json").unlink()
    assert "cannot read" in refused(home, 100)[0]


def test_without_the_extension_the_parent_death_signal_is_set_here(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tools, "find", classmethod(lambda cls: Tools()))
    program(home / "plugins/p", f"#!{sys.executable} -IS\n{PDEATHSIG}")
    write.write(plan.make(launcher_of(home, plugin_of(home, "p"), extension=False)))
    assert run(home).stdout == f"{int(signal.SIGTERM)}\n"


PDEATHSIG = """
import ctypes
number = ctypes.c_int()
ctypes.CDLL(None).prctl(2, ctypes.byref(number))
print(number.value)
"""


def test_inherited_bytes_that_are_not_text_pass_through(home: Path) -> None:
    generate(home, environment=(("IFS", "slow"),))
    command = ["/bin/sh", str(home / "generated/plugins/p.sh")]
    program(home / "plugins/p", '#!/bin/sh\nprintf %s "$BROKEN"\n')
    environment = {**os.environb, b"BROKEN": b"\xff\xe9", b"LC_ALL": b"C"}
    assert subprocess.run(command, capture_output=True, env=environment).stdout == b"\xff\xe9"


def public_python() -> str:
    """A Python that every user can run (ours may lie in somebody's home)."""
    for python in (os.path.realpath(sys.executable), "/usr/bin/python3"):
        with contextlib.suppress(OSError):
            ids = {"user": NOBODY.pw_uid, "group": NOBODY.pw_gid, "extra_groups": []}
            subprocess.run([python, "-IS", "-c", ""], capture_output=True, cwd="/", check=True, **ids)
            return python
    pytest.skip("there is no Python that the user nobody can run")


@pytest.fixture
def open_home(home: Path) -> Path:
    """A home that every user may pass through."""
    for folder in (home.parent, home, home / "plugins"):
        folder.chmod(0o755)
    return home


@as_root
def test_the_program_runs_as_the_user_asked_for(open_home: Path) -> None:
    program(open_home / "plugins/p", DUMP.replace(sys.executable, public_python()))
    generate(open_home, user="nobody", environment=(("HOME", "/elsewhere"),))
    seen = json.loads(run(open_home).stdout)
    assert seen["uid"] == [NOBODY.pw_uid] * 3
    assert seen["gid"] == [NOBODY.pw_gid] * 3
    assert seen["groups"] == os.getgrouplist("nobody", NOBODY.pw_gid)
    assert (seen["env"]["USER"], seen["env"]["LOGNAME"], seen["env"]["HOME"]) == ("nobody", "nobody", "/elsewhere")
    assert not (open_home / "stores/launcher/verified/p.exe").exists()  # only Python can change the user


@as_root
def test_the_change_of_user_does_not_lose_the_parent_death_signal(open_home: Path) -> None:
    program(open_home / "plugins/p", f"#!{public_python()} -IS\n{PDEATHSIG}")
    generate(open_home, user="nobody")
    assert run(open_home).stdout == f"{int(signal.SIGTERM)}\n"


@as_root
def test_what_another_user_cannot_reach_is_said_although_it_cannot_write_the_reason(home: Path) -> None:
    home.parent.chmod(0o755)  # home itself is 0700
    generate(home, user="nobody")
    reason, errors = refused(home, 100)
    assert reason == f"the user nobody cannot execute {home}/plugins/p"
    assert "namei -l" in errors
    home.chmod(0o755)
    (home / "plugins").chmod(0o755)
    (home / "plugins/p").write_bytes(b"no first line")
    assert "neither a binary" in refused(home, 100)[0]


def test_unknown_user(home: Path) -> None:
    generate(home, user="no-such-user")
    assert refused(home, 100)[0] == "there is no user no-such-user"


def test_only_root_can_become_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY.pw_uid)
    assert find_user("nobody") is None
    with pytest.raises(NeverWorks, match="cannot become the user root: the launcher does not run as root"):
        find_user("root")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "usage:"),
        (["a", "b"], 2, "one plugin name is expected"),
        (["../x"], 2, "one plugin name is expected"),
        (["p", "--generated"], 2, "--generated needs a folder"),
        (["--help"], 0, ""),
    ],
)
def test_wrong_usage(words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert hook.main(words) == code
    assert said in capsys.readouterr().err


def test_the_generated_folder_comes_from_option_environment_or_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HIVEOT_GENERATED", raising=False)
    assert hook.arguments(["p"]) == ("p", Path.cwd() / "generated")
    monkeypatch.setenv("HIVEOT_GENERATED", "/e")
    assert hook.arguments(["p"]) == ("p", Path("/e"))
    assert hook.arguments(["--generated", "/o", "p"]) == ("p", Path("/o"))


def test_a_fault_of_our_own_is_never_taken_for_the_plugins(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    generate(home)
    monkeypatch.setattr(hook, "start", lambda *_: 1 / 0)
    assert hook.main(["p", "--generated", str(home / "generated")]) == 100
    assert json.loads((home / "run/prestart/p.json").read_text())["reason"] == (
        "internal error of the pre-start hook: ZeroDivisionError: division by zero"
    )
    assert "Traceback" in capsys.readouterr().err


def failing(cause: int) -> CredentialError:
    error = CredentialError("cannot write")
    error.__cause__ = OSError(cause, "x")
    return error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TryLater("x"), 111),
        (HubUnavailable("x"), 111),
        (RequestTimeout("x"), 111),
        (TimedOut("x"), 111),
        (failing(errno.ENOSPC), 111),
        (failing(errno.EDQUOT), 111),
        (failing(errno.EACCES), 100),
        (CredentialError("x"), 100),
        (NeverWorks("x"), 100),
        (HubRefused("x"), 100),
        (HubError("x"), 100),
        (HiveotError("x"), 100),
    ],
)
def test_what_may_come_right_by_itself(error: HiveotError, code: int) -> None:
    assert hook.verdict(error) == code
