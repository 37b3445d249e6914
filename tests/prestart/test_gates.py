"""Gates: what is waited for, what will never work, and how it is said."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.launchers import launcher_of, plugin_of, program

from hiveot_supervisor.errors import HiveotError, NeverWorks, TryLater
from hiveot_supervisor.generate.hooks import specify
from hiveot_supervisor.prestart import gates
from hiveot_supervisor.prestart.spec import Spec


def spec_of(home: Path, **settings: object) -> Spec:
    launcher = launcher_of(home, plugin_of(home, "p", **settings))
    return specify(launcher, launcher.plugins[0])


def test_open_gates(tmp_path: Path) -> None:
    program(tmp_path / "plugins/p")
    (tmp_path / "device").touch()
    gates.check(spec_of(tmp_path, requires=(tmp_path / "device", tmp_path)))


def test_a_missing_device_is_waited_for(tmp_path: Path) -> None:
    program(tmp_path / "plugins/p")
    with pytest.raises(TryLater, match=r"/dev/no-such is not there"):
        gates.check(spec_of(tmp_path, requires=(tmp_path, Path("/dev/no-such"))))


def test_a_missing_folder_is_waited_for(tmp_path: Path) -> None:
    program(tmp_path / "plugins/p")
    with pytest.raises(TryLater, match=r"the working folder .* is not there"):
        gates.check(spec_of(tmp_path, directory=tmp_path / "gone"))


def test_programs_that_never_work(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    path = Path(spec.argv[0])

    def problem() -> str:
        with pytest.raises(NeverWorks) as caught:
            gates.check(spec)
        return str(caught.value)

    assert "is missing: there is no such file" in problem()
    path.parent.mkdir()
    path.symlink_to("elsewhere")
    assert "it is a link to elsewhere, which does not exist" in problem()
    path.unlink()
    path.mkdir()
    assert "it is not a regular file" in problem()
    path.rmdir()
    program(path, mode=0o644)
    assert "is not executable: mode 0644\n  chmod +x" in problem()
    program(path, "")
    assert "is empty" in problem()


@pytest.mark.parametrize(
    ("content", "code", "why"),
    [
        (b"#!/no/such\n", errno.ENOENT, "its first line names the interpreter '/no/such': no such file or directory"),
        (b"#!/bin/sh\r\n", errno.ENOENT, "its first line names the interpreter '/bin/sh\\r'"),
        (b"#! relative arg\n", errno.ENOENT, "its first line names the interpreter 'relative'"),
        (b"echo\n", errno.ENOEXEC, "it is neither a binary nor a script that begins with #!"),
        (b"\x7fELF....", errno.ENOEXEC, "it was built for another kind of machine"),
        (b"\x7fELF....", errno.ENOENT, "its dynamic linker is missing"),
    ],
)
def test_why_a_program_could_not_be_executed(tmp_path: Path, content: bytes, code: int, why: str) -> None:
    path = tmp_path / "p"
    path.write_bytes(content)
    error = gates.explain(OSError(code, os.strerror(code)) if code != errno.ENOENT else FileNotFoundError(
        code, os.strerror(code)
    ), str(path))  # fmt: skip
    assert why in error.why
    assert error.what == f"{path} cannot be executed"
    assert ("Unix line ends" in error.hint) == (b"\r" in content)


def test_rights_of_another_user_are_checked_for_everything_it_needs(tmp_path: Path) -> None:
    program(tmp_path / "plugins/p")
    spec = spec_of(tmp_path, create_cred=True)
    gates.check_rights(spec, "the user x")  # files that do not exist are not a matter of rights
    closed = replace(spec, argv=("/proc/version",))
    with pytest.raises(HiveotError, match="the user x cannot execute /proc/version"):
        gates.check_rights(closed, "the user x")
