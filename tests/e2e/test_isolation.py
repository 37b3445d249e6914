"""Plugins that run as users of their own: what each of them can reach of the home, tried as that user.

Everything in the home is tried, so that a new file that is left open shows.
"""

from __future__ import annotations

import base64
import os
import pwd
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.home import SLEEPER, Home, until
from fakes.home import home as make_home
from fakes.others import as_user, everything_below, reachable

from hiveot_supervisor.credentials import keys

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can start plugins as other users"),
]

NOTIFIER = """#!/usr/bin/perl
# as systemd-notify: READY=1 as a datagram to $NOTIFY_SOCKET
use Socket;
socket(my $s, AF_UNIX, SOCK_DGRAM, 0) or die "socket: $!";
send($s, "READY=1", 0, pack_sockaddr_un($ENV{NOTIFY_SOCKET})) or die "send: $!";
print "groups $( uid $> secret $ENV{SECRET}\\n";
$| = 1;
sleep 100000;
"""
USERS = {"mine": "nobody", "theirs": "daemon"}


PLUGINS = "plugins:\n" + "".join(
    f"  {name}: {{user: {user}, ready: notify, environment: {{SECRET: of-{name}}}}}\n" for name, user in USERS.items()
)


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    """Two plugins of two users and one of ours run in a home that everybody may pass through."""
    with make_home() as made:
        made.path.chmod(0o755)
        for name in USERS:
            made.plugin(name, NOTIFIER)
        made.plugin("ours", SLEEPER)
        made.configure("mine", "theirs", "ours", extra=PLUGINS)
        made.up()
        yield made


def own(home: Home, name: str) -> set[str]:
    return {str(home.path / "certs" / f"{name}{end}") for end in (".key", ".token", "Cert.pem")}


@pytest.mark.parametrize("name", USERS)
def test_a_plugin_reaches_its_own_files_and_what_is_public_and_nothing_else(home: Home, name: str) -> None:
    paths = everything_below(home.path)
    assert {str(home.path / p) for p in ("certs/caKey.pem", "stores/launcher/launcher.db", "run/supervisor.sock")} <= {
        *paths
    }
    found = as_user(USERS[name], lambda: reachable(paths))
    public = {str(home.path / p) for p in ("certs/caCert.pem", "bin/runtime", "launcher.yaml", "config/launcher.yaml")}
    public |= {str(p) for p in (home.path / "plugins").iterdir()}
    assert set(found["read"]) - public == own(home, name)
    assert set(found["list"]) == {str(home.path / p) for p in ("", "bin", "plugins", "config", f"stores/{name}")}
    assert set(found["write"]) == own(home, name)
    assert found["make"] == [str(home.path / f"stores/{name}")]
    assert found["connect"] == [str(home.path / f"run/notify/{name}.sock")]


@pytest.mark.parametrize("name", USERS)
def test_what_must_not_be_read_is_named(home: Home, name: str) -> None:
    """The list of the promise, one by one, so that the test above cannot be wrong about what exists."""
    other = next(n for n in USERS if n != name)
    forbidden = [
        f"certs/{other}.key", f"certs/{other}.token", "certs/ours.key", "certs/ours.token", "certs/launcher.key",
        "certs/launcher.token", "certs/admin.key", "certs/admin.token", "certs/authn.key", "certs/authn.token",
        "certs/caKey.pem", "certs/hubKey.pem", "stores/launcher/launcher.db", "stores/runtime/accounts.db",
        f"generated/plugins/{other}.json", f"generated/plugins/{name}.json", "generated/launcher.json",
        "supervisord.conf", f"logs/{other}.log",
    ]  # fmt: skip
    paths = [str(home.path / p) for p in forbidden]
    assert all(Path(p).stat().st_size > 0 for p in paths)
    assert as_user(USERS[name], lambda: reachable(paths))["read"] == []


def test_they_run_as_their_users_with_nothing_of_ours(home: Home) -> None:
    views = home.views()
    for name, user in USERS.items():
        entry = pwd.getpwnam(user)
        pid = views[name]["pid"]
        status = Path(f"/proc/{pid}/status").read_text()
        assert f"Uid:\t{entry.pw_uid}\t{entry.pw_uid}\t{entry.pw_uid}\t{entry.pw_uid}\n" in status
        groups = next(line for line in status.splitlines() if line.startswith("Groups:")).split()[1:]
        assert {int(g) for g in groups} == set(os.getgrouplist(user, entry.pw_gid))
        assert "CapEff:\t0000000000000000" in status
        until(lambda log=home.path / f"logs/{name}.log": "secret" in log.read_text())
        assert f"uid {entry.pw_uid} secret of-{name}" in (home.path / f"logs/{name}.log").read_text()
        # stdin, stdout, stderr, and the socket that it has opened itself
        targets = [str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()]
        assert len(targets) <= 4
        assert not [t for t in targets if t.startswith(str(home.path))]


def test_the_environment_of_another_users_plugin_stays_its_own(home: Home) -> None:
    pid = home.views()["theirs"]["pid"]
    paths = [f"/proc/{pid}/environ", f"/proc/{pid}/mem"]
    assert as_user("nobody", lambda: reachable(paths))["read"] == []
    assert as_user("daemon", lambda: reachable(paths[:1]))["read"] == paths[:1]


def test_files_stay_their_users_when_they_are_renewed_and_made_anew(home: Home) -> None:
    def owners() -> dict[str, tuple[int, int]]:
        files = [Path(p) for name in USERS for p in own(home, name)]
        return {f.name: (f.stat().st_uid, stat.S_IMODE(f.stat().st_mode)) for f in files}

    expected = {
        Path(p).name: (pwd.getpwnam(user).pw_uid, 0o600) for name, user in USERS.items() for p in own(home, name)
    }
    assert owners() == expected
    home.launch("creds", "renew", "mine", "theirs", "--keys")
    assert owners() == expected
    home.launch("creds", "revoke", "mine")
    home.launch("start", "mine")
    assert owners() == expected
    assert stat.S_IMODE((home.path / "certs").stat().st_mode) == 0o711
    listed = home.launch("creds", "list", "mine").stdout
    assert listed.count("nobody") == 3
    assert all(len(line.split()) in (5, 6) for line in listed.splitlines()[1:]), "no problems"


def test_no_secret_is_where_others_look(home: Home) -> None:
    """Arguments, environment, logs, generated files, journal: after a start, a renewal and a revocation."""
    home.launch("creds", "renew", "all")
    home.launch("creds", "revoke", "ours")
    home.launch("start", "ours")
    secrets = {f.read_text().strip() for f in (home.path / "certs").glob("*.token")}
    for file in [*(home.path / "certs").glob("*.key"), home.path / "certs/caKey.pem", home.path / "certs/hubKey.pem"]:
        secrets.add(max(file.read_text().splitlines(), key=len))
        secrets.add(base64.b64encode(keys.private_pem(keys.load(file))).decode())
    found: dict[str, str] = {}
    for pid in home.processes():
        for part in ("cmdline", "environ"):
            found[f"/proc/{pid}/{part}"] = Path(f"/proc/{pid}/{part}").read_text(errors="replace")
    places = [home.path / p for p in ("logs", "generated", "run", "supervisord.conf")]
    for place in places:
        for path in [place, *place.rglob("*")]:
            if path.is_file():
                found[str(path)] = path.read_text(errors="replace")
    with sqlite3.connect(f"file:{home.path}/stores/launcher/launcher.db?mode=ro", uri=True) as db:
        found["journal"] = "\n".join(db.iterdump())
    assert len(found) > 20
    for name in ("runtime", "launcher"):
        limits = Path(f"/proc/{pid_of(home, name)}/limits").read_text()
        assert next(line.split()[4] for line in limits.splitlines() if line.startswith("Max core")) in ("0", "1")
    assert [place for place, text in found.items() for secret in secrets if secret in text] == []
    assert [place for place, text in found.items() if "v4.public.ey" in text or "PRIVATE KEY" in text] == []


def pid_of(home: Home, name: str) -> int:
    return int(home.ctl("pid", name).stdout)


def test_a_check_by_command_has_the_rights_of_the_plugin(home: Home) -> None:
    """Its program may be one that the plugin's user can change."""
    script = home.path / "plugins/probe"
    script.write_text(f"#!/bin/sh\nid -u > /dev/null; [ $(id -u) != 0 ] || touch {home.path}/as-root\n")
    script.chmod(0o755)
    home.plugin("probed", SLEEPER)
    probed = f"  probed: {{user: nobody, ready: {{command: {script}, every: 50ms}}}}\n"
    home.configure("mine", "theirs", "ours", extra=PLUGINS + probed)
    home.launch("apply")
    home.launch("start", "probed")
    until(lambda: home.views()["probed"]["ready"])
    assert not (home.path / "as-root").exists()
