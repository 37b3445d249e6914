"""Do the programs exist, and may they be executed?"""

from __future__ import annotations

import os
from collections.abc import Iterator

from hiveot_supervisor.cli.doctor.case import Case, Finding, error, good, warning

NAME = "programs"


def look(case: Case) -> Iterator[Finding]:
    fine = 0
    for program in case.programs:
        path = program.executable
        wanted = program.order is not None or (case.launcher is not None and program is case.launcher.runtime)
        say = error if wanted else warning
        if not path.exists():
            yield say(
                f"{program.id}: {path} does not exist", f"put it there, or take {program.id} out of launcher.yaml"
            )
        elif not path.is_file():
            yield say(f"{program.id}: {path} is not a file")
        elif not os.access(path, os.X_OK):
            yield say(f"{program.id}: {path} is not executable", f"chmod +x {path}")
        elif path.stat().st_mode & 0o002:
            yield error(f"{program.id}: everybody may change {path}", f"chmod o-w {path}")
        else:
            fine += 1
    yield good(f"{fine} of {len(case.programs)} can be started")
