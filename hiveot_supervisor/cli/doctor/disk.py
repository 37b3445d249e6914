"""Is there room for state, credentials and logs, and may the launcher write there?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from hiveot_supervisor.cli.doctor.case import Case, Finding, error, good, warning
from hiveot_supervisor.cli.output import human_size

NAME = "disk"
LITTLE, TOO_LITTLE = 500_000_000, 50_000_000
"""Free bytes below which it is a warning, and an error."""
MIN_FILES = 1000


def look(case: Case) -> Iterator[Finding]:
    seen: set[int] = set()
    for folder in (case.paths.home, case.paths.stores, case.paths.logs, case.paths.run, case.paths.certs):
        if not folder.exists():
            continue
        if not os.access(folder, os.W_OK | os.X_OK):
            yield error(f"{folder} is not writable for you", "use the account that the launcher runs as, or chown it")
        device = folder.stat().st_dev
        if device not in seen:
            seen.add(device)
            yield _room(folder)


def _room(folder: Path) -> Finding:
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    text = f"{human_size(free)} free at {folder}"
    remedy = "remove what is not needed; logs: logs.maxSize and logs.backups in launcher.yaml"
    if free < TOO_LITTLE:
        return error(text, remedy)
    if found.f_files and found.f_favail < MIN_FILES:
        return error(f"only {found.f_favail} more files fit at {folder}", remedy)
    return warning(text, remedy) if free < LITTLE else good(text)
