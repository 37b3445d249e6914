"""What goes wrong on a user's machine: a clear error each, the designed exit code, nothing half-written."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from fakes.home import Home, until


def test_missing_runtime(home: Home) -> None:
    home.configure()
    (home.path / "bin/runtime").unlink()
    result = home.launch("up", check=6)
    assert "runtime" in result.stderr
    assert not (home.path / "supervisord.conf").exists()


def test_broken_yaml_tells_the_place(home: Home) -> None:
    home.configure()
    path = next(p for p in (home.path / "launcher.yaml", home.path / "config/launcher.yaml") if p.exists())
    path.write_text("runtime: runtime\nautostart: [one\n")
    result = home.launch("up", check=6)
    assert "launcher.yaml:" in result.stderr
    assert not home.processes()


def test_a_mistyped_key_is_named_with_its_place_and_a_suggestion(home: Home) -> None:
    home.configure(extra="autorestat: true\n")
    result = home.launch("generate", check=6)
    assert "autorestat" in result.stderr
    assert "autorestart" in result.stderr


def test_port_in_use(home: Home) -> None:
    home.configure()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", home.port))
        taken.listen()
        result = home.launch("up", check=1)
    assert str(home.port) in result.stderr
    assert "in use" in result.stderr
    until(lambda: not home.processes(), what="nothing is left running")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything; see test_a_certs_folder_of_somebody_else")
def test_unreadable_certs_folder(home: Home) -> None:
    home.configure()
    (home.path / "certs").chmod(0)
    result = home.launch("up", check=1)
    assert "certs" in result.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a folder away")
def test_a_certs_folder_of_somebody_else(home: Home) -> None:
    home.configure()
    os.chown(home.path / "certs", 12345, 12345)
    result = home.launch("up", check=1)
    assert "certs" in result.stderr
    assert "belongs to uid 12345" in result.stderr


def test_a_plugin_that_is_not_executable(home: Home) -> None:
    home.plugin("one").chmod(0o644)
    home.plugin("two")
    home.configure("one", "two")
    home.launch("up", "--wait", check=1)
    views = home.views()
    assert views["two"]["state"] == "running"
    assert "executable" in views["one"]["note"]


def test_a_missing_plugin_does_not_stop_the_others(home: Home) -> None:
    home.plugin("two")
    home.configure("one", "two")
    home.launch("up", "--wait", check=1)
    views = home.views()
    assert views["one"]["state"] == "missing"
    assert views["two"]["state"] == "running"
    home.plugin("one")
    home.launch("start", "one")
    assert home.views()["one"]["state"] == "running"


def test_a_plugin_that_exits_at_once(home: Home) -> None:
    home.plugin("one", "#!/bin/sh\necho 'cannot find the stick' >&2\nexit 3\n")
    home.configure(extra="autorestart: false\n")
    home.up()
    result = home.launch("start", "one", check=1)
    assert "exit 3" in result.stderr
    assert "cannot find the stick" in result.stderr


def test_names_that_do_not_exist(home: Home) -> None:
    home.plugin("zwavejs")
    home.configure("zwavejs")
    home.up()
    result = home.launch("start", "zwavjs", check=4)
    assert "did you mean `zwavejs`?" in result.stderr
    assert home.launch("status", "nope", check=4).returncode == 4
    home.launch("stop", "zwavejs")
    assert home.launch("status", "zwavejs", check=3).returncode == 3


def test_nothing_runs(home: Home) -> None:
    home.configure()
    home.launch("generate")
    result = home.launch("list", check=7)
    assert "hiveot-launcher up" in result.stderr
    home.launch("start", "all", check=7)
    home.launch("down")


def test_up_twice(home: Home) -> None:
    home.configure()
    home.up()
    result = home.launch("up", check=1)
    assert "already running" in result.stderr
    home.launch("up", "-d")


def test_leftovers_of_a_power_cut(home: Home) -> None:
    home.plugin("one")
    home.configure("one")
    home.launch("generate")
    run = home.path / "run"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(run / "supervisor.sock"))
    (run / "supervisord.pid").write_text("1\n")
    home.up()
    assert home.views()["one"]["state"] == "running"


def test_a_full_disk_while_credentials_are_written(home: Home) -> None:
    """The certs folder is a tiny file system that is full: the plugin waits with a reason, and no half file is left."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    home.plugin("one")
    home.configure()
    home.up()
    home.down()
    certs = home.path / "certs"
    small = home.path / "small"
    small.mkdir()
    if os.system(f"mount -t tmpfs -o size=4m,mode=700 tmpfs {small}") != 0:
        pytest.skip("cannot mount a tmpfs here")
    try:
        os.system(f"cp -a {certs}/. {small}/")
        certs.rename(home.path / "certs.old")
        os.system(f"mkdir -m 700 {certs} && mount --bind {small} {certs}")
        fill(certs / "filler")
        home.configure("one")
        home.launch("up", "-d")
        until(lambda: "space" in home.views()["one"]["note"].lower(), what="the reason is shown")
        assert not [p for p in certs.iterdir() if p.name.startswith("one")]
        (certs / "filler").unlink()
        home.launch("start", "one")
        assert (certs / "one.token").stat().st_size > 0
    finally:
        home.launch("down", check=None)
        os.system(f"umount {certs}; umount {small}")


def fill(path: Path) -> None:
    """Write until there is no byte left."""
    with path.open("wb", buffering=0) as file:
        for size in (65536, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue


def test_an_agent_that_cannot_work_is_reported(home: Home) -> None:
    """Its state file is a folder: it ends at once, again and again; `up --wait` says so and does not wait for ever."""
    home.plugin("one")
    home.configure("one")
    home.launch("generate")
    (home.path / "stores/launcher/launcher.db").mkdir()
    for words in (("up", "--wait"), ("up",)):
        result = home.launch(*words, check=1)
        assert "agent does not stay up" in result.stderr
        assert "launcher.log" in result.stderr
        home.down()
