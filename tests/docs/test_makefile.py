"""The Makefile: what its help says, which Python it takes, and that nothing is installed twice."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What make looks at of a fresh clone."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def installed(checkout: Path) -> Path:
    """The same after `make test`, without what takes long."""
    (checkout / ".venv/bin").mkdir(parents=True)
    (checkout / ".venv/bin/python").touch()
    (checkout / ".venv/.place").write_text(f"{checkout}\n")
    for stamp in (".hub", ".dev"):
        (checkout / ".venv" / stamp).touch()
    return checkout


def make(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    return subprocess.run(["make", *words], cwd=folder, capture_output=True, text=True, env=inherited | environment)


def test_help_is_the_default_and_complete(checkout: Path) -> None:
    shown = make(checkout).stdout
    phony = re.search(r"^\.PHONY: (.*)$", (checkout / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    for target in set(phony[1].split()) - {"FORCE"}:
        assert re.search(rf"^  make {target}\s+\S", shown, re.MULTILINE), target
    assert "PORT=" in shown


@pytest.mark.parametrize("version", ["3.9.2", ""])
def test_an_old_or_missing_python_is_refused_with_advice(checkout: Path, version: str) -> None:
    python = checkout / "old"
    if version:
        python.write_text("#!/bin/sh\nexit 1\n")
        python.chmod(0o755)
    made = make(checkout, "run", f"PYTHON={python}")
    assert made.returncode != 0
    assert "Python 3.11 or newer is needed" in made.stderr
    assert str(python) in made.stderr
    assert "make PYTHON=" in made.stderr
    assert not (checkout / ".venv").exists()


def test_a_python_that_can_make_no_environment_is_told_so(checkout: Path) -> None:
    python = checkout / "poor"
    python.write_text('#!/bin/sh\ncase "$*" in *version_info*) exit 0 ;; esac\nexit 1\n')
    python.chmod(0o755)
    made = make(checkout, "test", f"PYTHON={python}")
    assert made.returncode != 0
    assert "python3-venv" in made.stderr


def test_the_first_python_that_is_new_enough_is_taken(checkout: Path) -> None:
    folder = checkout / "path"
    folder.mkdir()
    for tool in ("sh", "cat"):
        (folder / tool).symlink_to(shutil.which(tool) or tool)
    scripts = {"python3.13": "exit 1", "python3.12": f'echo "$0 $*" >>"{checkout}/used"; exit 0', "python3": "exit 0"}
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    made = subprocess.run(
        [shutil.which("make") or "make", ".venv/bin/python"],
        cwd=checkout, capture_output=True, text=True, env={"PATH": str(folder)},
    )  # fmt: skip
    used = (checkout / "used").read_text()
    assert f"{folder}/python3.12 -m venv --clear .venv" in used or "python3.12 -m venv --clear .venv" in used, made


@pytest.mark.parametrize("target", ["run", "test"])
def test_nothing_is_installed_twice(installed: Path, target: str) -> None:
    planned = make(installed, "-n", target)
    assert planned.returncode == 0
    assert "pip" not in planned.stdout
    assert "-m venv" not in planned.stdout


def test_new_dependencies_are_installed(installed: Path) -> None:
    later = time.time() + 10
    os.utime(installed / "pyproject.toml", (later, later))
    planned = make(installed, "-n", "run").stdout
    assert "--editable '.[hub]'" in planned
    assert "-m venv" not in planned


def test_a_checkout_that_was_moved_gets_a_new_environment(installed: Path) -> None:
    (installed / ".venv/.place").write_text("/somewhere/else\n")
    planned = make(installed, "-n", "run").stdout
    assert "-m venv" in planned
    assert "--editable '.[hub]'" in planned


def test_an_environment_that_somebody_else_made_is_used(installed: Path) -> None:
    (installed / ".venv/.place").unlink()
    assert "-m venv" not in make(installed, "-n", "run").stdout


def test_clean_leaves_the_home_alone(installed: Path) -> None:
    (installed / "home").mkdir()
    (installed / "home/launcher.yaml").touch()
    assert make(installed, "clean").returncode == 0
    assert not (installed / ".venv").exists()
    assert (installed / "home/launcher.yaml").exists()
