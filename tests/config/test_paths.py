"""Where launcher.yaml is looked for, and which folders a home has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fakes.configs import EMBEDDED, executable

from hiveot_supervisor.config.inventory import FileState, examine, is_embedded, scan
from hiveot_supervisor.config.load import inspect
from hiveot_supervisor.config.paths import display, home_of, is_system, locate, paths_of
from hiveot_supervisor.config.render import full


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("runtime: runtime\n")
    return path


def test_the_current_folder_comes_before_its_config_folder(tmp_path: Path) -> None:
    assert not locate(cwd=tmp_path).found
    below = touch(tmp_path / "config" / "launcher.yaml")
    assert (locate(cwd=tmp_path).file, locate(cwd=tmp_path).paths.home) == (below, tmp_path)
    beside = touch(tmp_path / "launcher.yaml")
    assert (locate(cwd=tmp_path).file, locate(cwd=tmp_path).paths.home) == (beside, tmp_path)


def test_inside_the_config_folder_the_home_is_above(tmp_path: Path) -> None:
    file = touch(tmp_path / "config" / "launcher.yaml")
    found = locate(cwd=tmp_path / "config")
    assert (found.file, found.paths.home, found.paths.config) == (file, tmp_path, tmp_path / "config")


def test_home_and_file_can_be_named(tmp_path: Path) -> None:
    file = touch(tmp_path / "a" / "config" / "launcher.yaml")
    assert locate(Path("a"), cwd=tmp_path).file == file
    assert locate(Path("a"), cwd=tmp_path).paths.home == tmp_path / "a"
    other = touch(tmp_path / "b" / "other.yaml")
    assert locate(config=Path("b/other.yaml"), cwd=tmp_path).paths.home == tmp_path / "b"
    both = locate(Path("a"), Path("b/../b/other.yaml"), tmp_path)
    assert (both.file, both.paths.home) == (other, tmp_path / "a")
    assert not locate(config=Path("nothing.yaml"), cwd=tmp_path).found


def test_a_named_home_does_not_fall_back_to_the_current_folder(tmp_path: Path) -> None:
    touch(tmp_path / "launcher.yaml")
    (tmp_path / "a").mkdir()
    found = locate(tmp_path / "a", cwd=tmp_path)
    assert not found.found
    assert found.searched == (tmp_path / "a/launcher.yaml", tmp_path / "a/config/launcher.yaml")


def test_folders_of_the_user_layout(tmp_path: Path) -> None:
    paths = paths_of(tmp_path, tmp_path)
    for name in ("bin", "plugins", "config", "certs", "logs", "stores", "run", "generated"):
        assert getattr(paths, name) == tmp_path / name
    assert paths.supervisord_conf == tmp_path / "supervisord.conf"


@pytest.mark.parametrize(
    ("home", "system"),
    [("/usr/local/hiveot", True), ("/opt/hiveot", True), ("/opt", True), ("/optional", False), ("/home/opt/x", False)],
)
def test_system_homes(home: str, system: bool) -> None:
    assert is_system(Path(home)) is system


def test_folders_of_the_system_layout(tmp_path: Path) -> None:
    """hiveot-hub-protocol.md §1.1, here staged below another folder."""
    file = touch(tmp_path / "etc/hiveot/conf.d/launcher.yaml")
    executable(tmp_path / "opt/hiveot/runtime", EMBEDDED)
    executable(tmp_path / "opt/hiveot/plugins/history")
    found = inspect(locate(config=file))
    assert found.launcher is not None, found.diagnostics
    paths = found.launcher.paths
    assert paths.home == paths.stores == tmp_path / "var/lib/hiveot"
    assert (paths.bin, paths.plugins) == (tmp_path / "opt/hiveot", tmp_path / "opt/hiveot/plugins")
    assert (paths.config, paths.certs) == (file.parent, tmp_path / "etc/hiveot/certs")
    assert (paths.logs, paths.run) == (tmp_path / "var/log/hiveot", tmp_path / "run/hiveot")
    assert (paths.generated, paths.supervisord_conf) == (file.parent / "generated", file.parent / "supervisord.conf")
    assert [plugin.id for plugin in found.launcher.plugins] == ["history"]
    executable(tmp_path / "opt/hiveot/bin/runtime", EMBEDDED)
    assert locate(config=file).paths.bin == tmp_path / "opt/hiveot/bin"


def test_real_system_folders() -> None:
    paths = paths_of(Path("/opt/hiveot"), Path("/etc/hiveot/conf.d"))
    assert (paths.home, paths.certs, paths.run) == (
        Path("/var/lib/hiveot"),
        Path("/etc/hiveot/certs"),
        Path("/run/hiveot"),
    )
    assert home_of(Path("/etc/hiveot/conf.d/launcher.yaml")) == Path("/opt/hiveot")
    assert Path("/etc/hiveot/conf.d/launcher.yaml") in locate(Path("/opt/hiveot")).searched


def test_links_are_not_resolved(tmp_path: Path) -> None:
    touch(tmp_path / "real" / "launcher.yaml")
    (tmp_path / "link").symlink_to("real")
    assert locate(tmp_path / "link").paths.home == tmp_path / "link"


def test_shown_paths_are_short(tmp_path: Path) -> None:
    assert display(tmp_path / "a" / "b", tmp_path) == "a/b"
    assert display(Path("/etc/x"), tmp_path) == "/etc/x"


def test_what_can_be_executed(tmp_path: Path) -> None:
    program = executable(tmp_path / "program")
    (tmp_path / "text").write_text("x")
    (tmp_path / "empty").touch(mode=0o755)
    (tmp_path / "group").write_text("x")
    (tmp_path / "group").chmod(0o071)
    (tmp_path / "link").symlink_to("program")
    (tmp_path / "loop").symlink_to("loop")
    states = {
        name: examine(tmp_path / name)
        for name in ("program", "text", "empty", "group", "link", "loop", "no", "program/x")
    }
    assert states == {
        "program": FileState.OK,
        "text": FileState.NO_BIT,
        "empty": FileState.EMPTY,
        "group": FileState.NO_BIT,
        "link": FileState.OK,
        "loop": FileState.UNREADABLE,
        "no": FileState.MISSING,
        "program/x": FileState.MISSING,
    }
    assert examine(tmp_path) is FileState.NO_FILE
    assert examine(program) is FileState.OK


def test_inventory_of_a_folder(tmp_path: Path) -> None:
    for name in ("b", "a", ".hidden", "bad name", "all"):
        executable(tmp_path / name)
    found = scan(tmp_path)
    assert list(found.executables) == ["a", "b"]
    assert found.unnamed == ("all", "bad name")
    assert scan(tmp_path / "nothing").found is False


def test_embedded_runtime_is_recognised(tmp_path: Path) -> None:
    assert is_embedded(executable(tmp_path / "shim", EMBEDDED))
    assert not is_embedded(executable(tmp_path / "late", "#" * 2048 + EMBEDDED))
    assert not is_embedded(executable(tmp_path / "go", "\x7fELF"))
    assert not is_embedded(tmp_path / "nothing")
    executable(tmp_path / "hiveot-runtime", "\x7fELF")
    (tmp_path / "link").symlink_to("hiveot-runtime")
    assert is_embedded(tmp_path / "link")


def test_plugins_folder_and_long_home(tmp_path: Path) -> None:
    home = tmp_path / ("x" * 90)
    executable(home / "bin" / "runtime", EMBEDDED)
    (home / "launcher.yaml").write_text("runtime: runtime\nautostart: [history]\n")
    found = inspect(locate(home))
    assert found.launcher is not None
    assert [d.code for d in found.diagnostics] == ["L402", "L404", "L408"]


def test_home_whose_name_is_not_utf8(tmp_path: Path) -> None:
    home = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    executable(home / "bin" / "runtime", EMBEDDED)
    executable(home / "plugins" / "history")
    (home / "launcher.yaml").write_text("runtime: runtime\n")
    found = inspect(locate(home))
    assert found.launcher is None
    assert [(d.code, d.severity) for d in found.diagnostics] == [("L408", "error")]
    full(found.diagnostics[0]).encode()
