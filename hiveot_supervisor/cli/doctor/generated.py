"""Are the generated files those of launcher.yaml as it is now?"""

from __future__ import annotations

from collections.abc import Iterator

from hiveot_supervisor.cli.doctor.case import Case, Finding, error, good, warning
from hiveot_supervisor.errors import HiveotError

NAME = "generated files"


def look(case: Case) -> Iterator[Finding]:
    from hiveot_supervisor.generate import plan, write

    if case.launcher is None:
        yield error("launcher.yaml is missing or has errors", "hiveot-launcher check")
        return
    try:
        changes = write.compare(plan.make(case.launcher))
    except HiveotError as problem:
        yield error(problem.what + (f": {problem.why}" if problem.why else ""), problem.hint)
        return
    if not changes:
        yield good("up to date")
    elif not case.paths.supervisord_conf.exists():
        yield warning("nothing has been generated yet", "hiveot-launcher up, or: hiveot-launcher generate")
    else:
        names = ", ".join(change.path.name for change in changes[:3]) + (" …" if len(changes) > 3 else "")
        yield warning(f"{len(changes)} differ from launcher.yaml: {names}", "hiveot-launcher apply")
