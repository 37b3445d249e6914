"""Marker files that let the shell fast path see that nothing has changed since everything was verified.

`PREFIX.exe`, `.key`, `.token`, `.certificate`, `.ca`, `.issuer` are empty files with the very modification time of the
file that they stand for: a replaced, edited or restored file differs, whatever the clock did meanwhile. The
modification time of `PREFIX.until` is when the first credential is due for renewal. A shell can compare all this
without a fork (`[ a -nt b ]`). They are hints, never authority: without them the slow path verifies everything again
(as it does always where two file systems store times with different precision).
"""

from __future__ import annotations

import os
from pathlib import Path

from hiveot_supervisor.prestart.gates import is_plain
from hiveot_supervisor.prestart.spec import Spec

UNTIL = "until"
PROGRAM = "exe"
MUST_EXIST = ("key", "token")
MAY_EXIST = ("certificate", "ca", "issuer")
"""Suffixes of files that a hub may do without; what counts is that they are as they were."""

_LATEST = 2**31 - 1.0
"""Wall time (2038) that every file system can store."""

Stamps = dict[str, int | None]
"""Modification time in nanoseconds by marker suffix; None = the file does not exist."""


def tracked(spec: Spec) -> dict[str, str]:
    """Marker suffix -> path of the file that it stands for."""
    given = spec.credentials
    wanted = () if given is None else (*MUST_EXIST, *MAY_EXIST)
    return {PROGRAM: spec.argv[0], **{suffix: getattr(given, suffix) for suffix in wanted}}


def look(spec: Spec) -> Stamps:
    """The present modification times; to be taken before verifying, so that a later change shows."""
    return {suffix: _stamp(Path(path)) for suffix, path in tracked(spec).items()}


def mark(spec: Spec, stamps: Stamps, until: float) -> None:
    """Leave the markers for what was verified. `until`: wall time. Raises OSError; then no marker is trusted.

    Nothing is marked when a shell could not execute the program as execve(2) would.
    """
    Path(spec.verified).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    forget(spec)
    if not is_plain(spec.argv[0]):
        return
    for suffix, stamp in stamps.items():
        if stamp is not None:
            _touch(Path(f"{spec.verified}.{suffix}"), stamp)
    _touch(Path(f"{spec.verified}.{UNTIL}"), int(min(until, _LATEST)) * 10**9)


def forget(spec: Spec) -> None:
    """Remove the markers, `until` first: the next start takes the slow path. Raises OSError."""
    for suffix in (UNTIL, PROGRAM, *MUST_EXIST, *MAY_EXIST):
        Path(f"{spec.verified}.{suffix}").unlink(missing_ok=True)


def _stamp(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def _touch(path: Path, stamp: int) -> None:
    temporary = f"{path}.{os.getpid()}.tmp"
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
    os.utime(temporary, ns=(stamp, stamp))
    Path(temporary).replace(path)
