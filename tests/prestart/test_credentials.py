"""Credentials on the way to the start, with the real embedded hub: made, kept, renewed, and never done without."""

from __future__ import annotations

import json
import os
import pwd
import re
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.launchers import SLEEPER, plugin_of, program
from fakes.runtimes import RuntimeHome

from hiveot_supervisor.credentials import expiry, keys, tokens
from hiveot_supervisor.generate import plan, write
from hiveot_supervisor.model import Hub, Launcher

READS = """#!/bin/sh
for file in {files}; do
    read -r line < "$file" || [ -n "$line" ] || exit 1
done
echo read as $(id -u)
"""
DAY = 86400


@pytest.fixture(scope="module")
def hub() -> Iterator[RuntimeHome]:
    home = RuntimeHome()
    try:
        home.start()
        home.path.chmod(0o755)
        yield home
    finally:
        home.close()


@pytest.fixture
def running(hub: RuntimeHome) -> RuntimeHome:
    if hub.process is None or hub.process.poll() is not None:
        hub.start()
    return hub


def generate(hub: RuntimeHome, name: str, **settings: Any) -> Launcher:
    paths = hub.paths
    script = READS.format(files=" ".join(str(p) for p in files_of(hub, name)))
    program(paths.plugins / name, settings.pop("script", script))
    plugin = plugin_of(paths.home, name, create_cred=True, **settings)
    made = Launcher(
        "launcher", paths, paths.key("launcher"), paths.token("launcher"), plugins=(plugin,),
        hub=Hub(url=f"mqtts://localhost:{hub.port}", embedded=True, listen_port=hub.port), source=paths.home / "l.yaml",
    )  # fmt: skip
    write.write(plan.make(made))
    return made


def files_of(hub: RuntimeHome, name: str) -> tuple[Path, Path, Path]:
    return hub.paths.key(name), hub.paths.token(name), hub.paths.certificate(name)


def run(hub: RuntimeHome, name: str) -> subprocess.CompletedProcess[str]:
    script = hub.paths.plugin_dir / f"{name}.sh"
    return subprocess.run(["/bin/sh", str(script)], capture_output=True, text=True, timeout=60, cwd="/")


def reason(hub: RuntimeHome, name: str) -> str:
    return str(json.loads((hub.paths.prestart_dir / f"{name}.json").read_text())["reason"])


def contents(hub: RuntimeHome, name: str) -> list[bytes]:
    return [path.read_bytes() for path in files_of(hub, name)]


def test_made_at_the_first_start_and_kept_byte_for_byte(running: RuntimeHome) -> None:
    generate(running, "first")
    result = run(running, "first")
    assert (result.returncode, result.stdout) == (0, f"read as {os.geteuid()}\n"), result.stderr
    made = contents(running, "first")
    for path in files_of(running, "first"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert expiry.read_claims(made[1].decode()).client_id == "first"
    before = {p.name: p.stat().st_mtime_ns for p in running.paths.certs.iterdir()}
    running.stop()
    for slow in (False, True):  # neither path needs the hub again
        if slow:
            for marker in (running.paths.stores / "launcher/verified").glob("first.*"):
                marker.unlink()
        assert run(running, "first").returncode == 0
    assert contents(running, "first") == made
    assert {p.name: p.stat().st_mtime_ns for p in running.paths.certs.iterdir()} == before


def test_valid_credentials_need_no_third_party_module(running: RuntimeHome) -> None:
    generate(running, "plain")
    assert run(running, "plain").returncode == 0
    command = [sys.executable, "-P", "-X", "utf8", "-X", "importtime", "-m", "hiveot_supervisor.prestart", "plain"]
    folder = str(running.paths.generated)
    result = subprocess.run([*command, "--generated", folder], capture_output=True, text=True, timeout=30)
    assert result.stdout.startswith("read as")
    imported = set(re.findall(r"\| +([\w.]+)$", result.stderr, re.MULTILINE))
    assert "hiveot_supervisor.credentials.provision" in imported
    top = {name.split(".")[0] for name in imported}
    assert not top & {"cryptography", "paho", "psutil", "yaml", "jinja2", "nats", "supervisor", "ssl", "asyncio"}
    assert not any(name.startswith("hiveot_supervisor.hub") for name in imported)


def test_without_the_hub_nothing_starts_that_has_no_credentials(running: RuntimeHome) -> None:
    generate(running, "late", script="#!/bin/sh\ntouch ran\n")
    running.stop()
    result = run(running, "late")
    assert result.returncode == 111
    assert "hub at localhost" in reason(running, "late")
    assert "will be tried again" in result.stderr
    assert not (running.path / "ran").exists()
    assert not any(path.exists() for path in files_of(running, "late"))
    running.start()
    assert run(running, "late").returncode == 0
    assert (running.path / "ran").exists()


def test_a_hub_that_refuses_the_launcher_is_not_asked_again_and_again(running: RuntimeHome) -> None:
    generate(running, "refused", script="#!/bin/sh\ntouch ran-refused\n")
    token = running.paths.token("launcher-prestart")
    good = token.read_bytes()
    try:
        token.write_text(tokens.issue(keys.generate(), "launcher-prestart", now=time.time(), lifetime=DAY))
        result = run(running, "refused")
    finally:
        token.write_bytes(good)
    assert result.returncode == 100, result.stderr
    assert "refuse" in reason(running, "refused")
    assert not (running.path / "ran-refused").exists()


def test_a_replaced_or_expired_token_is_noticed_on_the_fast_path(running: RuntimeHome) -> None:
    generate(running, "swap")
    assert run(running, "swap").returncode == 0
    _, token, _ = files_of(running, "swap")
    stamp = token.stat().st_mtime_ns
    token.write_text(tokens.issue(keys.generate(), "swap", now=time.time() - 2 * DAY, lifetime=DAY))
    os.utime(token, ns=(stamp - 10**9, stamp - 10**9))  # restored from a backup, say: older than what was verified
    assert run(running, "swap").returncode == 0
    assert expiry.read_claims(token.read_text()).expires > time.time() + DAY


def test_a_renewal_that_is_due_is_put_off_while_the_hub_is_away(running: RuntimeHome) -> None:
    generate(running, "due")
    assert run(running, "due").returncode == 0
    _, token, _ = files_of(running, "due")
    signer = keys.load(running.paths.certs / "authn.key")
    old = tokens.issue(signer, "due", now=time.time() - 9 * DAY, lifetime=10 * DAY)
    token.write_text(old)
    running.stop()
    result = run(running, "due")
    assert (result.returncode, token.read_text()) == (0, old)
    assert "renewal of due's credentials put off" in result.stderr
    running.start()
    assert run(running, "due").returncode == 0
    assert token.read_text() != old


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_is_waited_for_and_leaves_nothing_half_written(running: RuntimeHome) -> None:
    generate(running, "full")
    certs = running.paths.certs
    saved = {p.name: p.read_bytes() for p in certs.iterdir()}
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=0700", "none", str(certs)], check=True)
    try:
        for name in saved:
            (certs / name).write_bytes(saved[name])
        with (certs / "filler").open("wb", buffering=0) as filler:
            try:
                while filler.write(b"x" * 512):
                    pass
            except OSError:
                pass
        assert run(running, "full").returncode == 111
        assert "no space left on device" in reason(running, "full")
        assert {p.name for p in certs.iterdir()} == {*saved, "filler"}
        (certs / "filler").unlink()
        assert run(running, "full").returncode == 0
    finally:
        subprocess.run(["umount", str(certs)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_credentials_of_a_plugin_with_its_own_user_belong_to_that_user_alone(running: RuntimeHome) -> None:
    running.paths.plugins.chmod(0o755)
    nobody = pwd.getpwnam("nobody").pw_uid
    generate(running, "other")
    assert run(running, "other").stdout == "read as 0\n"  # first without: the files are root's
    generate(running, "other", user="nobody")
    for _ in range(2):
        result = run(running, "other")
        assert result.stdout == f"read as {nobody}\n", result.stderr
    for path in files_of(running, "other"):
        assert (path.stat().st_uid, stat.S_IMODE(path.stat().st_mode)) == (nobody, 0o600)
    assert stat.S_IMODE(running.paths.certs.stat().st_mode) == 0o711
    assert running.paths.key("launcher").stat().st_uid == 0
    reads = subprocess.run(["cat", str(running.paths.token("launcher"))], user=nobody, group=nobody, extra_groups=[])
    assert reads.returncode != 0


def test_while_it_waits_for_credentials_the_process_can_be_told_from_the_plugin(running: RuntimeHome) -> None:
    """The agent counts a plugin as started when neither the script nor the hook is in its command line any more."""
    generate(running, "seen", script=SLEEPER)
    command = ["/bin/sh", str(running.paths.plugin_dir / "seen.sh")]
    process = subprocess.Popen(command)
    try:
        lines = []
        deadline = time.monotonic() + 30
        while not lines or lines[-1] != b"sleep\x00100000\x00":
            assert time.monotonic() < deadline, lines
            line = Path(f"/proc/{process.pid}/cmdline").read_bytes()
            if not lines or lines[-1] != line:
                lines.append(line)
        hooks = [
            line for line in lines if b"generated/plugins/seen.sh" in line or b"hiveot_supervisor.prestart" in line
        ]
        assert any(b"hiveot_supervisor.prestart" in line.split(b"\0") for line in hooks)
        assert set(lines) - set(hooks) <= {
            b"",  # in the middle of an exec
            b"sleep\x00100000\x00",
            b"/bin/sh\x00%b\x00" % bytes(running.paths.plugins / "seen"),
        }
    finally:
        process.kill()
        process.wait()
