"""supervisord's control socket: can it be made, and who listens there."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from hiveot_supervisor.cli.doctor.case import Case, Finding, error, good, warning
from hiveot_supervisor.errors import HiveotError, SupervisordUnreachable
from hiveot_supervisor.generate.programs import SOCKET_LIMIT
from hiveot_supervisor.supervisord.rpc import ForeignSocket, SupervisordClient

NAME = "control socket"
TIMEOUT = 3.0


def look(case: Case) -> Iterator[Finding]:
    path = case.paths.socket
    length = len(os.fsencode(path))
    if length > SOCKET_LIMIT:
        yield error(
            f"its path has {length} bytes, {SOCKET_LIMIT} are possible: {path}", "use a home with a shorter path"
        )
        return
    yield from _folder(path.parent)
    if not path.exists():
        yield good("nobody listens: nothing runs")
        return
    try:
        mood = SupervisordClient(path, timeout=TIMEOUT).state()
    except ForeignSocket as problem:
        yield error(f"{problem.what}: {problem.why}", problem.hint)
    except SupervisordUnreachable as problem:
        if isinstance(problem.__cause__, ConnectionRefusedError):
            yield good("left behind by a supervisord that was killed; the next start removes it")
        else:
            yield error(f"{problem.what}: {problem.why}", problem.hint)
    except HiveotError as problem:
        yield error(problem.what)
    else:
        yield good(f"supervisord answers ({mood.name.lower()})")
        yield from _mode(path)


def _folder(folder: Path) -> Iterator[Finding]:
    try:
        status = folder.stat()
    except FileNotFoundError:
        return  # made by the next generate
    if status.st_mode & 0o022:
        yield error(f"others may write to {folder}, and so take the socket away", f"chmod go-w {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        yield error(f"{folder} is not writable for you", "use the account that the launcher runs as")


def _mode(path: Path) -> Iterator[Finding]:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        yield warning(f"{path} is open to others ({mode:04o})", "chmod in [unix_http_server] must be 0700")
