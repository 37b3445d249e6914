"""What commands get of a home: the configuration, or its folders when that is broken."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.configs import config_home

from hiveot_supervisor.cli.context import find_home, load_launcher
from hiveot_supervisor.errors import ConfigError
from hiveot_supervisor.model import to_json


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with config_home() as folder:
        monkeypatch.chdir(folder)
        yield folder


def args(**given: Any) -> Namespace:
    return Namespace(**{"home": None, "config": None, "quiet": False, "color": "never", **given})


def test_warnings_are_shown_unless_quiet(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "launcher.yaml").write_text("runtime: runtime\nautostart: [nothing]\n")
    assert load_launcher(args()).plugins[0].id == "nothing"
    assert "warning L402" in capsys.readouterr().err
    assert load_launcher(args(quiet=True)).plugins[0].id == "nothing"
    assert capsys.readouterr().err == ""


def test_errors_are_shown_all_and_summed_up(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "launcher.yaml").write_text("runtime: runtime\nloglevel: info\nautostart: [nothing, a b]\n")
    with pytest.raises(ConfigError) as caught:
        load_launcher(args(quiet=True))
    assert capsys.readouterr().err.count("\n") == 2
    assert caught.value.exit_code == 6
    assert str(caught.value) == (
        "launcher.yaml is invalid: 2 errors, 1 warning\n"
        "  hiveot-launcher check --explain L104 tells more about the first one"
    )


def test_no_file(home: Path) -> None:
    with pytest.raises(ConfigError, match="there is no configuration\n  hiveot-launcher init writes one"):
        load_launcher(args())


def test_home_without_a_valid_file(home: Path) -> None:
    (home / "launcher.yaml").write_text("{broken")
    assert find_home(args()).home == home
    assert find_home(args(home=home)).home == home


def test_generated_paths_count(home: Path) -> None:
    """The logs folder was moved when the configuration was generated; the file is gone or broken now."""
    (home / "launcher.yaml").write_text("runtime: runtime\nlogsDir: other\n")
    launcher = load_launcher(args())
    (home / "generated").mkdir()
    (home / "generated" / "launcher.json").write_text(json.dumps(to_json(launcher)))
    (home / "launcher.yaml").write_text("{broken")
    assert find_home(args()).logs == home / "other"
    (home / "launcher.yaml").unlink()
    assert find_home(args()).logs == home / "other"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"paths": {"home": "/elsewhere"}}', "\xff"])
def test_useless_generated_files_do_not_matter(text: str, home: Path) -> None:
    (home / "launcher.yaml").write_text("runtime: runtime\n")
    (home / "generated").mkdir()
    (home / "generated" / "launcher.json").write_text(text, encoding="latin-1")
    assert find_home(args()).home == home


def test_a_copied_home_is_not_the_one_it_was_copied_from(home: Path) -> None:
    (home / "launcher.yaml").write_text("runtime: runtime\n")
    data = to_json(load_launcher(args()))
    data["paths"]["home"] = data["paths"]["logs"] = "/elsewhere"
    (home / "generated").mkdir()
    (home / "generated" / "launcher.json").write_text(json.dumps(data))
    assert find_home(args()).logs == home / "logs"


def test_no_home(home: Path) -> None:
    with pytest.raises(ConfigError, match="this is not the home of a launcher"):
        find_home(args())
