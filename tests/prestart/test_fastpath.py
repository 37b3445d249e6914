"""The shell fast path: executes at once when nothing has changed, and leaves every doubt to Python."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from fakes.launchers import launcher_of, plugin_of, program, short_home

from hiveot_supervisor.generate import plan, write
from hiveot_supervisor.generate.hooks import Tools, specify
from hiveot_supervisor.model import Plugin
from hiveot_supervisor.prestart import verified
from hiveot_supervisor.prestart.spec import Spec

SHELLS = [
    pytest.param([found, *options], id=name)
    for name, options in (("dash", []), ("bash", ["--posix"]), ("busybox", ["sh"]), ("mksh", []))
    if (found := shutil.which(name))
]
SLOW = 77
"""Exit code of the interpreter that stands in for Python."""

TELLS = f"#!{sys.executable} -IS\nimport os, sys\nprint(os.getpid(), os.getcwd(), sys.argv[0], *sys.argv[1:])\n"
YEAR = 365 * 86400


@dataclass
class Case:
    """A plugin whose files are all there and verified, and the shell that starts it."""

    home: Path
    shell: list[str]
    spec: Spec

    def run(self, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [*self.shell, str(self.home / "generated/plugins/p.sh")]
        inherited = {**os.environ, **environment}
        return subprocess.run(command, capture_output=True, text=True, env=inherited, cwd="/", timeout=30)

    @property
    def slow(self) -> bool:
        result = self.run()
        assert result.returncode in (0, SLOW), result
        if result.returncode == SLOW:
            expected = f"-P -X utf8 -m hiveot_supervisor.prestart p --generated {self.home}/generated\n"
            assert result.stdout == expected
        return result.returncode == SLOW

    def verify(self, until: float | None = None) -> None:
        verified.mark(self.spec, verified.look(self.spec), time.time() + YEAR if until is None else until)

    def credential(self, name: str) -> Path:
        return Path(str(getattr(self.spec.credentials, name)))


def make(home: Path, shell: list[str], plugin: Plugin, **settings: object) -> Case:
    python = program(home / "quiet/python", f'#!/bin/sh\necho "$@"\nexit {SLOW}\n')
    launcher = launcher_of(home, plugin, **settings)
    write.write(plan.make(launcher, python=python))
    spec = specify(launcher, launcher.plugins[0])
    case = Case(home, shell, spec)
    if spec.credentials is not None:
        case.credential("key").parent.mkdir(mode=0o700, exist_ok=True)
        for name in ("key", "token", "certificate", "ca", "issuer"):
            case.credential(name).write_text("something")
    case.verify()
    return case


@pytest.fixture(scope="module", params=SHELLS)
def shared(request: pytest.FixtureRequest) -> Iterator[Case]:
    with short_home("my ;home's") as home:
        program(home / "plugins/p", TELLS)
        plugin = plugin_of(home, "p", args=("a b", "c"), create_cred=True, requires=(home / "device",))
        yield make(home, request.param, plugin)


@pytest.fixture
def case(shared: Case) -> Case:
    """All files in place, verified, and the program executed at once."""
    program(shared.home / "plugins/p", TELLS)
    (shared.home / "device").touch()
    for name in ("key", "token", "certificate", "ca", "issuer"):
        shared.credential(name).write_text("something")
    Path(shared.spec.reason_file).unlink(missing_ok=True)
    shared.verify()
    return shared


def test_an_unchanged_plugin_is_executed_at_once_in_the_same_process(case: Case) -> None:
    process = subprocess.Popen(
        [*case.shell, str(case.home / "generated/plugins/p.sh")], stdout=subprocess.PIPE, cwd="/"
    )
    out, _ = process.communicate(timeout=30)
    assert out.decode() == f"{process.pid} {case.home} {case.home}/plugins/p a b c\n"
    assert process.returncode == 0


CHANGES: dict[str, Callable[[Case], object]] = {
    "no markers": lambda c: verified.forget(c.spec),
    "no until": lambda c: Path(f"{c.spec.verified}.until").unlink(),
    "renewal due": lambda c: c.verify(until=time.time() - 1),
    "program gone": lambda c: Path(c.spec.argv[0]).unlink(),
    "program not executable": lambda c: Path(c.spec.argv[0]).chmod(0o644),
    "program replaced": lambda c: touch(Path(c.spec.argv[0]), 1),
    "program replaced by an older one": lambda c: touch(Path(c.spec.argv[0]), -1),
    "device gone": lambda c: (c.home / "device").unlink(),
    "a reason of the last start": lambda c: Path(c.spec.reason_file).write_text("{}"),
    "key empty": lambda c: rewrite(c.credential("key"), ""),
    "token empty": lambda c: rewrite(c.credential("token"), ""),
    **{f"{name} gone": lambda c, n=name: c.credential(n).unlink() for name in ("key", "token", "certificate", "ca")},
    **{
        f"{name} {word}": lambda c, n=name, s=seconds: touch(c.credential(n), s)
        for name in ("key", "token", "certificate", "ca", "issuer")
        for word, seconds in (("newer", 1), ("older", -1))
    },
}


def touch(path: Path, seconds: int) -> None:
    """Another file of the same content in its place, with a modification time that differs."""
    stamp = path.stat().st_mtime_ns + seconds * 10**9
    os.utime(path, ns=(stamp, stamp))


def rewrite(path: Path, text: str) -> None:
    """Other content, same modification time."""
    stamp = path.stat().st_mtime_ns
    path.write_text(text)
    os.utime(path, ns=(stamp, stamp))


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_any_doubt_is_left_to_python(case: Case, change: Callable[[Case], object]) -> None:
    assert not case.slow
    change(case)
    assert case.slow


def test_what_the_hub_does_not_offer_is_not_missed(case: Case) -> None:
    for name in ("certificate", "ca", "issuer"):
        case.credential(name).unlink()
    case.verify()
    assert not case.slow
    case.credential("ca").write_text("new")
    assert case.slow


@pytest.mark.parametrize("shell", SHELLS)
def test_without_credentials_no_date_counts(shell: list[str]) -> None:
    with short_home() as home:
        program(home / "plugins/p", TELLS)
        case = make(home, shell, plugin_of(home, "p"))
        case.verify(until=1)
        assert not case.slow


@pytest.mark.parametrize("shell", SHELLS)
def test_a_missing_working_folder_is_left_to_python(shell: list[str]) -> None:
    with short_home() as home:
        program(home / "plugins/p", TELLS)
        (home / "work").mkdir()
        case = make(home, shell, plugin_of(home, "p", directory=home / "work"))
        assert not case.slow
        (home / "work").rmdir()
        assert case.slow


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("content", "plain"),
    [
        (b"#!/bin/sh\n", True),
        (b"#! /bin/sh -e\n", True),
        (b"#!/usr/bin/env sh\n", True),
        (b"#!/no/such/interpreter\n", False),
        (b"#!/bin/sh\r\n", False),
        (b"echo hello\n", False),
        (b"\x7fELF\x01\x01\x01" + bytes(11) + b"\xff\xff" + bytes(100), False),
        (b"", False),
    ],
)
def test_only_what_surely_can_be_executed_is_ever_marked(shell: list[str], content: bytes, plain: bool) -> None:
    """A shell would run a text without `#!` by itself, execve(2) refuses it: so the shell must never meet one."""
    with short_home() as home:
        executable = program(home / "plugins/p")
        executable.write_bytes(content)
        case = make(home, shell, plugin_of(home, "p"))
        assert case.slow is not plain


@pytest.mark.parametrize("shell", SHELLS)
def test_a_binary_of_this_machine_is_plain(shell: list[str]) -> None:
    with short_home() as home:
        case = make(home, shell, plugin_of(home, "p", executable=Path("/bin/true")))
        assert not case.slow


@pytest.mark.parametrize("shell", SHELLS)
def test_the_environment_that_arrives(shell: list[str]) -> None:
    """Ours is set, control over supervisord is gone, the rest is as inherited."""
    with short_home() as home:
        dump = f"#!{sys.executable} -IS\nimport os, json\nprint(json.dumps(dict(os.environ)))\n"
        program(home / "plugins/p", dump)
        ours = (("A", "1\n2"), ("PATH", "/x"), ("SUPERVISOR_USERNAME", "mine"), ("EMPTY", ""))
        case = make(home, shell, plugin_of(home, "p", environment=ours))
        given = {
            "SUPERVISOR_SERVER_URL": "unix:///secret", "SUPERVISOR_PASSWORD": "x", "SUPERVISOR_ENABLED": "1",
            "OLDPWD": "/old", "CDPATH": "/tmp", "INHERITED": "ü\n", "A": "0",
        }  # fmt: skip
        found = {**os.environ, **given}
        for name in ("SUPERVISOR_SERVER_URL", "SUPERVISOR_PASSWORD", "OLDPWD", "SHLVL", "_"):
            found.pop(name, None)
        result = json.loads(case.run(**given).stdout)
        result.pop("SHLVL", None)  # bash
        result.pop("_", None)
        assert result == {**found, **dict(ours), "PWD": str(home)}


@pytest.mark.parametrize("shell", SHELLS)
def test_without_the_extension_the_tools_must_be_there(shell: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with short_home() as home:
        program(home / "plugins/p", TELLS)
        tool = program(home / "setpriv", '#!/bin/sh\nshift 3\necho with "$1"\nexec "$@"\n')
        tools = Tools(parent_death=(str(tool), "--pdeathsig", "TERM", "--"))
        monkeypatch.setattr(Tools, "find", classmethod(lambda cls: tools))
        case = make(home, shell, plugin_of(home, "p"), extension=False)
        assert case.run().stdout.startswith(f"with {home}/plugins/p\n")
        tool.unlink()
        assert case.slow


def test_markers_carry_the_very_time_of_their_files() -> None:
    with short_home() as home:
        program(home / "plugins/p", TELLS)
        case = make(home, ["sh"], plugin_of(home, "p", create_cred=True))
        for suffix, path in verified.tracked(case.spec).items():
            assert Path(f"{case.spec.verified}.{suffix}").stat().st_mtime_ns == Path(path).stat().st_mtime_ns
        case.verify(until=float("inf"))
        assert Path(f"{case.spec.verified}.until").stat().st_mtime == 2**31 - 1
        verified.forget(replace(case.spec))
        assert not list(Path(case.spec.verified).parent.iterdir())
