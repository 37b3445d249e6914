"""Where the path to the credentials may lead: every folder and link on the way can redirect it."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hiveot_supervisor.credentials import store
from hiveot_supervisor.credentials.folders import open_folder
from hiveot_supervisor.errors import CredentialError

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give folders and links away")
NOBODY = pwd.getpwnam("nobody")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A path of three folders, all ours."""
    store.ensure_folder(tmp_path / "home" / "sub" / "certs")
    return tmp_path / "home"


def opens(path: Path) -> bool:
    """The folder opened is the one that the path names."""
    fd = open_folder(path)
    try:
        return os.fstat(fd).st_ino == path.stat().st_ino
    finally:
        os.close(fd)


def test_missing_folders_are_made_for_us_alone(home: Path) -> None:
    path = home / "a" / "b"
    os.close(open_folder(path, create=True))
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    with pytest.raises(CredentialError, match="cannot use the folder"):
        open_folder(home / "missing")
    assert not (home / "missing").exists()


def test_our_own_links_and_dots_are_followed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "absolute").symlink_to(home / "sub")
    (home / "relative").symlink_to("sub/../absolute")
    for name in ("sub/certs", "absolute/certs", "relative/certs", "sub/certs/../certs"):
        assert opens(home / name)
    monkeypatch.chdir(home)
    assert opens(Path("sub/certs"))
    (home / "loop").symlink_to("loop")
    with pytest.raises(CredentialError, match="too many symbolic links"):
        open_folder(home / "loop")
    (home / "file").write_bytes(b"")
    with pytest.raises(CredentialError, match="not a directory"):
        open_folder(home / "file" / "certs", create=True)


@pytest.mark.parametrize("mode", [0o777, 0o707, 0o770])
def test_a_folder_on_the_way_that_others_may_write(home: Path, mode: int) -> None:
    if mode == 0o770:
        if os.geteuid() != 0:
            pytest.skip("needs root to choose a group that is not our own")
        os.chown(home / "sub", -1, NOBODY.pw_gid)
    (home / "sub").chmod(mode)
    with pytest.raises(CredentialError, match="others may write to it") as caught:
        store.write_file(home / "sub" / "certs" / "x.key", b"secret")
    assert caught.value.hint == f"chmod go-w {home / 'sub'}"
    assert not list((home / "sub" / "certs").iterdir())
    (home / "sub").chmod(mode | stat.S_ISVTX)  # as /tmp: nobody can rename what is not theirs
    assert opens(home / "sub" / "certs")
    (home / "sub" / "certs").chmod(mode | stat.S_ISVTX)  # but in the folder itself nobody may write at all
    with pytest.raises(CredentialError, match="others may write to it"):
        open_folder(home / "sub" / "certs")


@as_root
def test_a_folder_on_the_way_of_somebody_else(home: Path) -> None:
    os.chown(home / "sub", NOBODY.pw_uid, NOBODY.pw_gid)
    with pytest.raises(CredentialError, match="will not keep credentials below") as caught:
        store.ensure_folder(home / "sub" / "certs")
    assert "it belongs to nobody, who can replace all that is in it" in caught.value.why
    with pytest.raises(CredentialError, match="below"):
        store.ensure_folder(home / "sub" / "new")
    assert not (home / "sub" / "new").exists()


@as_root
def test_a_link_of_somebody_else_is_not_followed(home: Path) -> None:
    """Also not in a folder like /tmp, where anybody may make one before we come."""
    home.chmod(0o1777)
    (home / "link").symlink_to("sub")
    assert opens(home / "link" / "certs")
    os.chown(home / "link", NOBODY.pw_uid, NOBODY.pw_gid, follow_symlinks=False)
    with pytest.raises(CredentialError, match="will not follow a link"):
        store.write_file(home / "link" / "certs" / "x.key", b"secret")
    assert not list((home / "sub" / "certs").iterdir())


@as_root
def test_the_private_group_of_a_user_is_that_user(home: Path) -> None:
    """With umask 002 many systems give everybody a group of his own; whether it is one is asked for."""
    script = (
        "import os, pwd, sys; from pathlib import Path; from hiveot_supervisor.credentials import folders\n"
        "os.setgroups([]); os.setgid(int(sys.argv[3])); os.setuid(int(sys.argv[4]))\n"
        "folders._of_one_user = lambda gid, uid: (gid, uid) == (os.getgid(), os.getuid()) and sys.argv[2] == 'alone'\n"
        "os.close(folders.open_folder(Path(sys.argv[1])))"
    )
    for path in (home, home / "sub", home / "sub" / "certs"):
        os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
    (home / "sub").chmod(0o775)
    for parent in [home, *home.parents]:
        if parent.stat().st_mode & 0o011 != 0o011:
            parent.chmod(parent.stat().st_mode | 0o011)
    for word, code in (("alone", 0), ("shared", 1)):
        ids = [str(NOBODY.pw_gid), str(NOBODY.pw_uid)]
        command = [sys.executable, "-c", script, str(home / "sub" / "certs"), word, *ids]
        result = subprocess.run(command, capture_output=True)
        assert result.returncode == code, result.stderr
        assert code == 0 or b"others may write to it (mode 0775)" in result.stderr
