"""Atomic, owner-only files: what a reader, a full disk, a hostile link or a kill may never see."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hiveot_supervisor.credentials import store
from hiveot_supervisor.errors import CredentialError, TimedOut


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "certs"
    store.ensure_folder(made)
    return made


def test_files_are_0600_in_folders_0700_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        store.ensure_folder(tmp_path / "a" / "b")
        store.write_file(tmp_path / "a" / "b" / "x.key", b"secret")
    finally:
        os.umask(old)
    assert mode(tmp_path / "a" / "b") == 0o700
    assert mode(tmp_path / "a" / "b" / "x.key") == 0o600
    assert store.read_file(tmp_path / "a" / "b" / "x.key") == b"secret"


def test_replaces_a_read_only_file_of_a_go_installation(folder: Path) -> None:
    target = folder / "x.token"
    target.write_bytes(b"old")
    target.chmod(0o400)
    store.write_file(target, b"new")
    assert target.read_bytes() == b"new"
    assert list(folder.iterdir()) == [target]


def test_a_link_in_our_way_is_replaced_not_followed(folder: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"untouched")
    (folder / "x.token").symlink_to(victim)
    store.write_file(folder / "x.token", b"new")
    assert victim.read_bytes() == b"untouched"
    assert not (folder / "x.token").is_symlink()
    assert (folder / "x.token").read_bytes() == b"new"


def test_a_full_disk_leaves_the_old_file_and_no_litter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = folder / "x.key"
    store.write_file(target, b"old")

    def full(fd: int, data: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(CredentialError) as caught:
        store.write_file(target, b"new")
    assert "no space left" in caught.value.why
    assert target.read_bytes() == b"old"
    assert list(folder.iterdir()) == [target]


def test_a_really_full_file_system(tmp_path: Path) -> None:
    """RLIMIT_FSIZE makes the kernel itself refuse the write, in a process of its own."""
    script = (
        "import resource, signal, sys; from pathlib import Path;"
        "from hiveot_supervisor.credentials import store; from hiveot_supervisor.errors import CredentialError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); p = Path(sys.argv[1]) / 'x.key'\n"
        "store.write_file(p, b'old'); resource.setrlimit(resource.RLIMIT_FSIZE, (2, 2))\n"
        "try:\n    store.write_file(p, b'new and longer')\nexcept CredentialError as err:\n    print(err.why)\n"
        "print(p.read_bytes(), len(list(p.parent.iterdir())))"
    )
    result = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == ["file too large", "b'old' 1"]


def test_refuses_a_folder_that_others_may_write(folder: Path) -> None:
    folder.chmod(0o770)
    with pytest.raises(CredentialError, match="others may write to it") as caught:
        store.write_file(folder / "x.key", b"secret")
    assert f"chmod 0700 {folder}" in str(caught.value)
    assert not (folder / "x.key").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a folder away")
def test_refuses_a_folder_of_another_user(folder: Path) -> None:
    os.chown(folder, 65534, 65534)
    with pytest.raises(CredentialError, match="belongs to nobody"):
        store.write_file(folder / "x.key", b"secret")
    with pytest.raises(CredentialError, match="belongs to nobody"):
        store.ensure_folder(folder)


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")


@as_root
def test_a_file_is_given_away_as_a_whole(folder: Path) -> None:
    target = folder / "x.key"
    store.write_file(target, b"secret")
    target.chmod(0o644)
    assert store.give(target, (65534, 65534))
    assert (target.stat().st_uid, mode(target)) == (65534, 0o600)
    assert not store.give(target, (65534, 65534))
    with pytest.raises(FileNotFoundError):
        store.give(folder / "missing", (65534, 65534))


@as_root
def test_what_may_be_somebody_elses_is_not_given_away(folder: Path, tmp_path: Path) -> None:
    """A link, a second name of a system file, a folder, and what a third user had, and may hold open."""
    victim = tmp_path / "shadow"
    victim.write_bytes(b"root:x")
    (folder / "link.key").symlink_to(victim)
    (folder / "hard.key").hardlink_to(victim)
    (folder / "folder.key").mkdir()
    (folder / "foreign.key").write_bytes(b"x")
    os.chown(folder / "foreign.key", 12345, 12345)
    for name in ("link", "hard", "folder", "foreign"):
        with pytest.raises(CredentialError, match="hand over"):
            store.give(folder / f"{name}.key", (65534, 65534))
    assert victim.stat().st_uid == 0
    assert (folder / "foreign.key").stat().st_uid == 12345


@as_root
def test_nothing_is_given_away_in_a_folder_where_the_user_can_rename(folder: Path) -> None:
    store.write_file(folder / "x.key", b"secret")
    os.chown(folder, 65534, 65534)
    with pytest.raises(CredentialError, match="belongs to nobody"):
        store.give(folder / "x.key", (65534, 65534))
    with pytest.raises(CredentialError, match="belongs to nobody"):
        store.write_file(folder / "y.key", b"secret", owner=(65534, 65534))
    assert [p.name for p in folder.iterdir()] == ["x.key"]
    assert (folder / "x.key").stat().st_uid == 0


@as_root
def test_a_folder_for_somebody_else(folder: Path) -> None:
    made = folder / "stores" / "x"
    for _ in range(2):
        store.make_folder_for(made, (65534, 65534))
        assert (made.stat().st_uid, mode(made), mode(made.parent)) == (65534, 0o700, 0o711)
    (folder / "stores" / "mine").mkdir()
    (folder / "stores" / "link").symlink_to("mine")
    for name in ("mine", "link"):
        store.make_folder_for(folder / "stores" / name, (65534, 65534))
        assert (folder / "stores" / name).lstat().st_uid == 0


def test_opening_up_follows_no_link(folder: Path, tmp_path: Path) -> None:
    victim, own = tmp_path / "victim", folder / "caCert.pem"
    for path in (victim, own):
        path.write_bytes(b"x")
        path.chmod(0o600)
    (folder / "link.pem").symlink_to(victim)
    for name in ("caCert.pem", "link.pem", "missing"):
        store.open_up(folder / name, 0o044)
    assert (mode(own), mode(victim)) == (0o644, 0o600)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CredentialError, match="cannot create the folder"):
        store.ensure_folder(tmp_path / "file" / "certs")


def test_reading_is_bounded_and_never_hangs(folder: Path) -> None:
    (folder / "big").write_bytes(b"x" * 101)
    os.mkfifo(folder / "pipe")
    with pytest.raises(CredentialError, match="too large"):
        store.read_file(folder / "big", limit=100)
    with pytest.raises(CredentialError, match="not a regular file"):
        store.read_file(folder / "pipe")
    with pytest.raises(FileNotFoundError):
        store.read_file(folder / "missing")


def test_tighten(folder: Path) -> None:
    loose, ro, link = folder / "a.key", folder / "b.key", folder / "c.key"
    loose.write_bytes(b"x")
    loose.chmod(0o644)
    ro.write_bytes(b"x")
    ro.chmod(0o400)
    link.symlink_to("a.key")
    assert store.tighten(loose)
    assert mode(loose) == 0o600
    assert not store.tighten(ro)
    assert mode(ro) == 0o400
    assert not store.tighten(link)


def test_sweep_removes_only_old_leftovers(folder: Path) -> None:
    old, new, kept = folder / ".x.key.aa.tmp", folder / ".y.key.bb.tmp", folder / "x.key"
    for path in (old, new, kept):
        path.write_bytes(b"")
    os.utime(old, (0, 0))
    os.utime(kept, (0, 0))
    assert store.sweep(folder, now=time.time()) == [old]
    assert new.exists()
    assert kept.exists()


def test_the_lock_is_exclusive_between_processes_and_freed_by_death(tmp_path: Path) -> None:
    lock = tmp_path / "run" / "x.lock"
    script = (
        "import sys, time; from pathlib import Path; from hiveot_supervisor.credentials import store\n"
        "with store.locked(Path(sys.argv[1]), timeout=5):\n    print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", script, str(lock)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(TimedOut, match="another process holds"), store.locked(lock, timeout=0.1):
            pass
        holder.kill()
        holder.wait()
        with store.locked(lock, timeout=2):
            pass
    finally:
        holder.kill()
        holder.wait()
    assert mode(lock) == 0o600
