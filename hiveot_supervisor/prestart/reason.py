"""Why the hook gave up: `run/prestart/NAME.json`, which the agent reads when it sees an exit 100 or 111.

Without a file that names the very PID, such an exit code is the plugin's own.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path

from hiveot_supervisor.errors import HiveotError


class ReasonFile:
    """The file of one start. Never raises: not being able to explain must not change what happens."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: int | None = None

    def clear(self) -> None:
        """Forget the reason of an earlier start."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def keep_open(self) -> None:
        """Prepare for writing as another user, who cannot create a file here. Until then the file is empty."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._open = os.open(self._path, flags, 0o600)

    def write(self, code: int, error: HiveotError) -> None:
        """Leave code and reason, complete or not at all."""
        line = " ".join((f"{error.what}: {error.why}" if error.why else error.what).split())
        content = {"pid": os.getpid(), "code": code, "reason": line, "time": time.time()}
        data = json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")
        with contextlib.suppress(OSError):
            if self._open is not None:
                os.write(self._open, data)
                return
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, data)
            finally:
                os.close(fd)
            temporary.replace(self._path)


def fallback_path(generated: Path, name: str) -> Path:
    """Where the reason goes when NAME.json cannot tell: as the agent's own model says, else the user layout's place."""
    try:
        run = json.loads((generated / "launcher.json").read_text(encoding="utf-8"))["paths"]["run"]
    except (OSError, ValueError, KeyError, TypeError):
        run = generated.parent / "run"
    return Path(run) / "prestart" / f"{name}.json"
