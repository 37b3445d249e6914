"""Whose the credential files are, who may read them, and until when they are good."""

from __future__ import annotations

import os
import pwd
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from hiveot_supervisor.cli.doctor.case import Case, Finding, error, good, warning
from hiveot_supervisor.cli.output import human_time
from hiveot_supervisor.credentials import expiry, store
from hiveot_supervisor.credentials.expiry import Period
from hiveot_supervisor.errors import CredentialError
from hiveot_supervisor.model import Plugin

NAME = "credentials"
SECRET = ("*.key", "*Key.pem", "*.token")


def look(case: Case) -> Iterator[Finding]:
    folder = case.paths.certs
    if not folder.exists():
        if case.hub_is_ours:
            yield good("none yet: they are made at the first start")
        else:
            yield error(f"there is no {folder}", "copy caCert.pem and the launcher's token from the hub there")
        return
    yield from _folder(folder)
    users = {program.id: program.user for program in case.programs if program.user}
    yield from _files(folder, users)
    yield from _ca(case)
    yield from _expiry(case)


def _folder(folder: Path) -> Iterator[Finding]:
    status = folder.stat()
    if status.st_uid not in (os.geteuid(), 0):
        yield error(f"{folder} belongs to {_name(status.st_uid)}", "run as that user, or give the folder to yourself")
    if status.st_mode & 0o022:
        yield error(f"others may write to {folder}", f"chmod 0700 {folder}")


def _files(folder: Path, users: dict[str, str]) -> Iterator[Finding]:
    """Secrets that others may read, and files of the wrong owner."""
    count = 0
    for pattern in SECRET:
        for path in sorted(folder.glob(pattern)):
            status = path.lstat()
            count += 1
            owners = {_name(os.geteuid()), "root", users.get(path.stem, "root")}
            if stat.S_ISLNK(status.st_mode):
                yield warning(f"{path.name} is a link", "it is replaced by a file at the next renewal")
            elif status.st_mode & 0o077:
                yield error(f"others may read {path.name} ({stat.S_IMODE(status.st_mode):04o})", f"chmod 0600 {path}")
            elif _name(status.st_uid) not in owners:
                yield error(f"{path.name} belongs to {_name(status.st_uid)}", f"chown {_name(os.geteuid())} {path}")
    yield good(f"{count} keys and tokens in {folder}")


def _ca(case: Case) -> Iterator[Finding]:
    ca = case.paths.ca_cert
    if not ca.exists() and not case.hub_is_ours:
        yield error(f"there is no {ca}", "copy it from the hub: without it nobody knows whether it is the hub")
    elif ca.exists():
        yield from _dated(ca.name, _certificate(ca), "remove it with caKey.pem to have a new CA made")


def _expiry(case: Case) -> Iterator[Finding]:
    if case.launcher is None:
        return
    token = case.launcher.token_file
    if token.exists():
        yield from _dated(token.name, _token(token), "it is made anew when the hub starts, or copied from the hub")
    elif not case.hub_is_ours:
        yield error(f"there is no {token}", "copy the launcher's token from the hub there")
    for plugin in case.launcher.plugins:
        yield from _of_plugin(case, plugin)


def _of_plugin(case: Case, plugin: Plugin) -> Iterator[Finding]:
    if not plugin.create_cred:
        return
    renewed = "it is made anew at the next start"
    for path, read in ((case.paths.token(plugin.id), _token), (case.paths.certificate(plugin.id), _certificate)):
        if path.exists():
            yield from _dated(path.name, read(path), renewed)


def _dated(name: str, period: Period | str, remedy: str) -> Iterator[Finding]:
    """What is to be said about a validity, or about why there is none."""
    now = time.time()
    if isinstance(period, str):
        yield error(f"{name}: {period}", remedy)
    elif period.expired(now):
        yield error(f"{name} expired {human_time(now - period.end)} ago", remedy)
    elif period.start > now + 300:
        yield error(
            f"{name} is not valid before {time.strftime('%Y-%m-%d', time.gmtime(period.start))}", "set the clock"
        )
    elif now >= period.renewal():
        yield warning(f"{name} expires in {human_time(period.end - now)}", remedy)


def _token(path: Path) -> Period | str:
    try:
        return expiry.read_claims(store.read_text(path)).period
    except (CredentialError, OSError) as problem:
        return _why(problem)


def _certificate(path: Path) -> Period | str:
    try:
        return expiry.certificate_period(store.read_file(path))
    except (CredentialError, OSError) as problem:
        return _why(problem)


def _why(problem: CredentialError | OSError) -> str:
    return str(problem).splitlines()[0]


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
