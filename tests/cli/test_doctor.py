"""`hiveot-launcher doctor` over homes in which something is wrong: each check finds it, and says what to do."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest
from fakes.home import LAUNCHER
from fakes.launchers import program, short_home
from fakes.ports import free_port

from hiveot_supervisor.cli import cmd_doctor
from hiveot_supervisor.cli.doctor import disk, hub
from hiveot_supervisor.cli.main import main
from hiveot_supervisor.credentials import certificates, keys, tokens
from hiveot_supervisor.errors import ExitCode

DAY = 86400.0


@pytest.fixture
def home() -> Iterator[Path]:
    """A home as it is after its first start: generated, with credentials; nothing runs."""
    with short_home() as made:
        assert main(["init", "--quiet", str(made)]) == ExitCode.OK
        for name in ("alpha", "beta"):
            program(made / "plugins" / name)
        (made / "launcher.yaml").write_text("runtime: runtime\nautostart: [alpha]\nplugins: {beta: {args: [x]}}\n")
        assert main(["generate", "--quiet", "--home", str(made)]) == ExitCode.OK
        certs = made / "certs"
        certs.mkdir(mode=0o700, exist_ok=True)
        ca_key, signer = certificates.new_server_key(), keys.generate()
        write(certs / "caCert.pem", certificates.create_ca(ca_key, now=time.time()))
        write(certs / "caKey.pem", keys.private_pem(ca_key))
        for name in ("launcher", "alpha"):
            write(certs / f"{name}.key", keys.private_pem(keys.generate()))
            write(certs / f"{name}.token", tokens.issue(signer, name, now=time.time(), lifetime=30 * DAY).encode())
        yield made


def write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    path.chmod(0o600)


def old_token(days: float) -> bytes:
    return tokens.issue(keys.generate(), "alpha", now=time.time() - days * DAY, lifetime=30 * DAY).encode()


@pytest.fixture
def doctor(home: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[], tuple[int, list[dict[str, str]]]]:
    def examine() -> tuple[int, list[dict[str, str]]]:
        capsys.readouterr()
        code = main(["doctor", "--json", "--home", str(home)])
        document = json.loads(capsys.readouterr().out)
        assert document["format_version"] == 1
        return code, document["findings"]

    return examine


def test_a_home_in_order(home: Path, doctor: Callable[[], tuple[int, list[dict[str, str]]]]) -> None:
    code, findings = doctor()
    assert code == ExitCode.OK, findings
    assert {f["level"] for f in findings if f["check"] != "supervisord"} == {"ok"}, findings
    assert len({f["check"] for f in findings}) == len(cmd_doctor.CHECKS)


def stale_socket(home: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(home / "run/supervisor.sock"))


def in_the_future(home: Path) -> None:
    later = time.time() + DAY
    os.utime(home / "generated/launcher.json", (later, later))


def remote(home: Path) -> None:
    (home / "launcher.yaml").write_text(f"hub: {{url: 'mqtts://localhost:{free_port()}'}}\nautostart: [alpha]\n")


def remote_without_credentials(home: Path) -> None:
    remote(home)
    for file in (home / "certs").iterdir():
        file.unlink()


def with_hub(home: Path, hub: str) -> None:
    (home / "launcher.yaml").write_text(f"runtime: runtime\nhub: {hub}\nautostart: [alpha]\n")


Break = Callable[[Path], object]
BROKEN: list[tuple[str, Break, str, str, str]] = [
    ("yaml", lambda h: (h / "launcher.yaml").write_text("autostrat: []"), "generated files", "error", "has errors"),
    ("outdated", lambda h: (h / "launcher.yaml").write_text("runtime: runtime"), "generated files", "warning", "diffe"),
    ("missing", lambda h: (h / "plugins/alpha").unlink(), "programs", "error", "does not exist"),
    ("no-x", lambda h: (h / "plugins/alpha").chmod(0o644), "programs", "error", "not executable"),
    ("not-wanted", lambda h: (h / "plugins/beta").chmod(0o644), "programs", "warning", "not executable"),
    ("open-program", lambda h: (h / "plugins/alpha").chmod(0o757), "programs", "error", "everybody"),
    ("open-run", lambda h: (h / "run").chmod(0o777), "control socket", "error", "others may write"),
    ("stale", stale_socket, "control socket", "ok", "left behind"),
    ("no-broker", lambda h: with_hub(h, "{driver: mosquitto, broker: /no/such}"), "broker", "error", "cannot be run"),
    ("external", lambda h: with_hub(h, "{driver: external, adminFile: adm}"), "broker", "error", "adm does not exist"),
    ("open-certs", lambda h: (h / "certs").chmod(0o770), "credentials", "error", "others may write"),
    ("open-key", lambda h: (h / "certs/alpha.key").chmod(0o640), "credentials", "error", "alpha.key: open to others"),
    ("open-ca", lambda h: (h / "certs/caKey.pem").chmod(0o604), "credentials", "error", "caKey.pem: open to others"),
    ("due", lambda h: write(h / "certs/alpha.token", old_token(25)), "credentials", "warning", "due for renewal"),
    ("old", lambda h: write(h / "certs/alpha.token", old_token(31)), "credentials", "error", "expired"),
    ("own", lambda h: write(h / "certs/launcher.token", b"x"), "credentials", "error", "launcher.token: "),
    ("ca", lambda h: write(h / "certs/caCert.pem", b"x"), "credentials", "error", "caCert.pem: "),
    ("strange", remote_without_credentials, "credentials", "error", "there is no"),
    ("hub-away", remote, "hub", "error", "cannot be reached"),
    ("clock", in_the_future, "clock", "error", "there are files of"),
]  # fmt: skip


@pytest.mark.parametrize(("break_", "check", "level", "text"), [b[1:] for b in BROKEN], ids=[b[0] for b in BROKEN])
def test_what_is_wrong_is_found(
    home: Path,
    doctor: Callable[[], tuple[int, list[dict[str, str]]]],
    monkeypatch: pytest.MonkeyPatch,
    break_: Break,
    check: str,
    level: str,
    text: str,
) -> None:
    monkeypatch.setattr(hub, "TIMEOUT", 0.3)
    modules = [
        name for name in cmd_doctor.CHECKS if check == import_module(f"hiveot_supervisor.cli.doctor.{name}").NAME
    ]
    monkeypatch.setattr(cmd_doctor, "CHECKS", modules)
    break_(home)
    code, findings = doctor()
    found = [f for f in findings if f["check"] == check and text in f["text"]]
    assert {f["level"] for f in found} == {level}, findings
    assert found[0]["remedy"] or level == "ok"
    assert code == (ExitCode.FAILED if any(f["level"] == "error" for f in findings) else ExitCode.OK)
    if level == "error":
        assert code == ExitCode.FAILED


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
def test_a_certs_folder_of_another_user(home: Path, doctor: Callable[[], tuple[int, list[dict[str, str]]]]) -> None:
    os.chown(home / "certs", 65534, -1)
    texts = [f["text"] for f in doctor()[1] if f["level"] == "error"]
    assert any("belongs to nobody" in text for text in texts), texts


def test_a_full_disk(doctor: Callable[[], tuple[int, list[dict[str, str]]]], monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, level in (("LITTLE", "warning"), ("TOO_LITTLE", "error")):
        monkeypatch.setattr(disk, limit, 1 << 62)
        assert {f["level"] for f in doctor()[1] if f["check"] == "disk"} == {level}


def test_a_copy_that_was_started_by_hand(home: Path) -> None:
    program(home / "plugins/alpha", "#!/bin/sh\nwhile :; do sleep 1; done\n")
    environment = {"PATH": os.environ["PATH"]}
    with subprocess.Popen([home / "plugins/alpha"], env=environment, start_new_session=True) as copy:
        try:
            shown = subprocess.run([*LAUNCHER, "doctor", "--json", "--home", home], capture_output=True, text=True)
            [found] = [f for f in json.loads(shown.stdout)["findings"] if f["check"] == "copies"]
        finally:
            os.killpg(copy.pid, 9)
    assert found["level"] == "warning"
    assert f"alpha runs outside of the launcher (pid {copy.pid})" in found["text"]


def test_a_check_that_fails_is_a_finding_and_the_others_are_made(
    doctor: Callable[[], tuple[int, list[dict[str, str]]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(case: object) -> Iterator[object]:
        raise RuntimeError("broken")

    monkeypatch.setattr(disk, "look", broken)
    code, findings = doctor()
    assert code == ExitCode.FAILED
    assert [f["text"] for f in findings if f["check"] == "disk"] == ["this check failed: RuntimeError: broken"]
    assert {f["check"] for f in findings} >= {"clock", "copies"}


def test_the_table(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "plugins/alpha").unlink()
    assert main(["doctor", "--home", str(home), "--quiet"]) == ExitCode.FAILED
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["CHECK", "RESULT", "WHAT"]
    [at] = [n for n, line in enumerate(lines) if "programs" in line]
    assert lines[at].split()[:2] == ["programs", "error"]
    assert lines[at + 1].strip().startswith("→ put it there")
    assert " ok " not in "\n".join(lines)


def test_where_there_is_no_home(tmp_path: Path) -> None:
    assert main(["doctor", "--home", str(tmp_path)]) == ExitCode.CONFIG
