"""Notices new executables in the plugins folder and has them added to supervisord, without touching anything else.

A look at the folder's modification time once a second costs nothing and works on every file system. Adding is the
command line's work (`hiveot-launcher apply --new-plugins`), run as a process of its own: the agent knows no YAML.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

from hiveot_supervisor.model import Launcher

log = logging.getLogger(__name__)

INTERVAL = 1.0
SHARE = 0.001
"""Seconds between two looks, and the share of a core that they may take."""


class FolderWatch:
    """Looks once a second (at a folder of many hundred files less often).

    Acts when the folder has been quiet for one look: a copy in progress is waited for.
    """

    def __init__(self, launcher: Launcher, generated: Path) -> None:
        self._launcher = launcher
        self._generated = generated
        self._seen = self._stamp()
        self._moving = False
        self._adding: subprocess.Popen[bytes] | None = None
        self.due = 0.0

    def changed(self, mono: float) -> bool:
        """True once after the folder has changed and come to rest. `mono`: monotonic seconds."""
        if mono < self.due:
            return False
        begun = time.thread_time()
        stamp = self._stamp()
        self.due = mono + max(INTERVAL, (time.thread_time() - begun) / SHARE)
        if self._adding is not None and self._adding.poll() is not None:
            self._adding = None
        if stamp != self._seen:
            self._seen, self._moving = stamp, True
            return False
        if not self._moving or self._adding is not None:
            return False
        self._moving = False
        self._add()
        return True

    def _stamp(self) -> tuple[object, ...]:
        """Changes when an entry comes, goes, is made executable, or replaced."""
        try:
            with os.scandir(self._launcher.paths.plugins) as entries:
                found = [(e.name, s.st_mode, s.st_mtime_ns, s.st_size) for e in entries if (s := e.stat())]
            return tuple(sorted(found))
        except OSError:
            return ()

    def _add(self) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SUPERVISOR_")}
        words = [
            "--home",
            str(self._launcher.paths.home),
            "-c",
            str(self._launcher.source),
            "-q",
            "apply",
            "--new-plugins",
        ]
        try:
            self._adding = subprocess.Popen(
                [sys.executable, "-P", "-m", "hiveot_supervisor.cli.main", *words],
                cwd=self._launcher.paths.home,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        except OSError as error:
            log.error("cannot look for new plugins: %s", error)
