"""Can the clock be right? Machines without a battery begin in the past, and certificates are not valid there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from hiveot_supervisor.cli.doctor.case import Case, Finding, error, good

NAME = "clock"
SLACK = 60.0
"""Seconds by which files may seem to be of the future."""


def look(case: Case) -> Iterator[Finding]:
    now = time.time()
    files = (Path(__file__), case.paths.agent_json, case.paths.state_db, case.paths.ca_cert)
    newest = max((stamp(file) for file in files), default=0.0)
    shown = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(now))
    if newest > now + SLACK:
        yield error(
            f"it says {shown}, but there are files of {time.ctime(newest)}", "set it, or wait for NTP: timedatectl"
        )
    else:
        yield good(shown)


def stamp(file: Path) -> float:
    """When it was last written; 0 when it is not there."""
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0
