"""`hiveot-launcher init`: a home that works, and nothing lost."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hiveot_supervisor.cli import cmd_init
from hiveot_supervisor.cli.main import main
from hiveot_supervisor.config.inventory import is_embedded
from hiveot_supervisor.config.load import load
from hiveot_supervisor.resources import template_path

PRIVATE = ("certs", "logs", "stores", "run")


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hs", dir="/tmp") as name:
        monkeypatch.chdir(name)
        yield Path(name)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_makes_a_home_that_check_likes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    previous = os.umask(0)
    try:
        assert main(["init", "my home"]) == 0
    finally:
        os.umask(previous)
    out, err = capsys.readouterr()
    home = folder / "my home"
    assert out == ""
    assert f"made a home in {home}" in err
    assert [line.split("'")[-1].strip() for line in err.splitlines()[-2:]] == ["check", "up"]
    assert {path.name: mode(path) for path in home.iterdir()} == {
        "launcher.yaml": 0o644,
        "bin": 0o755,
        "plugins": 0o755,
        "config": 0o755,
        **dict.fromkeys(PRIVATE, 0o700),
    }
    assert (home / "launcher.yaml").read_text() == template_path("launcher.yaml").read_text()
    assert mode(home / "bin" / "runtime") == 0o755
    assert is_embedded(home / "bin" / "runtime")
    found = load(home)
    assert found.launcher is not None
    assert found.diagnostics == ()
    assert found.launcher.hub.embedded is True


def test_runtime_starts_the_hub_of_this_python(folder: Path) -> None:
    """The shim passes its arguments on, also with a home whose name needs quoting."""
    assert main(["-q", "init", "a 'b' $c"]) == 0
    shim = folder / "a 'b' $c" / "bin" / "runtime"
    done = subprocess.run([shim, "--help"], capture_output=True, text=True, timeout=30, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    assert "--home" in done.stdout


def test_here_and_by_option(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init"]) == 0
    assert (folder / "launcher.yaml").exists()
    assert "--home" not in capsys.readouterr().err
    assert main(["--home", "x", "init"]) == 0
    assert f"--home {folder}/x check" in capsys.readouterr().err
    assert main(["--home", "x", "init", "y"]) == 2


@pytest.mark.parametrize("place", ["launcher.yaml", "config/launcher.yaml"])
def test_never_overwrites_without_force(place: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "config").mkdir()
    (folder / "bin").mkdir()
    (folder / place).write_text("id: mine\n")
    (folder / "bin" / "runtime").write_text("mine")
    before = sorted(folder.rglob("*"))
    assert main(["init"]) == 1
    assert f"{folder / place} exists already" in capsys.readouterr().err
    assert sorted(folder.rglob("*")) == before
    assert (folder / place).read_text() == "id: mine\n"
    assert main(["init", "--force"]) == 0
    assert (folder / place).read_text().startswith("# Configuration of hiveot-launcher")
    assert is_embedded(folder / "bin" / "runtime")
    assert len(list(folder.rglob("launcher.yaml"))) == 1


def test_a_runtime_and_files_that_are_there_stay(folder: Path) -> None:
    (folder / "bin").mkdir()
    (folder / "bin" / "runtime").write_text("Go's")
    (folder / "certs").mkdir(mode=0o755)
    (folder / "certs" / "launcher.key").write_text("key")
    assert main(["-q", "init"]) == 0
    assert (folder / "bin" / "runtime").read_text() == "Go's"
    assert (folder / "certs" / "launcher.key").read_text() == "key"
    assert mode(folder / "certs") == 0o700


def test_a_link_is_replaced_not_followed(folder: Path) -> None:
    (folder / "elsewhere").write_text("precious")
    (folder / "launcher.yaml").symlink_to("elsewhere")
    assert main(["-q", "init"]) == 1
    assert main(["-q", "init", "--force"]) == 0
    assert (folder / "elsewhere").read_text() == "precious"
    assert not (folder / "launcher.yaml").is_symlink()


@pytest.mark.parametrize("name", ["/opt/hiveot-test", "config", "conf.d"])
def test_system_folders_are_not_made(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", name]) == 2
    assert "is not a folder for a home" in capsys.readouterr().err
    assert not Path(name).exists()


def test_a_folder_that_cannot_be_made(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "file").write_text("")
    assert main(["init", "file"]) == 1
    assert "cannot make a home in" in capsys.readouterr().err


def test_full_disk_leaves_nothing_half_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cmd_init.os, "fsync", full)
    assert main(["init"]) == 1
    assert not list(folder.rglob("*launcher.yaml*"))
