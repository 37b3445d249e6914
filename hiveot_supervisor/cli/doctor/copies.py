"""Do copies of plugins run that were started by hand?"""

from __future__ import annotations

from collections.abc import Iterator

from hiveot_supervisor.cli.doctor.case import Case, Finding, good, warning

NAME = "copies"


def look(case: Case) -> Iterator[Finding]:
    from hiveot_supervisor.agent.monitor import Monitor
    from hiveot_supervisor.agent.strays import find

    if case.launcher is None:
        return
    try:
        supervisord = int(case.paths.pidfile.read_text())
    except (OSError, ValueError):
        supervisord = -1
    _, foreign = Monitor().look({}, supervisord)
    strays = find(case.launcher.plugins, foreign, str(case.paths.home))
    for stray in strays.values():
        remedy = f"end it: kill {stray.pid}, or replace it: hiveot-launcher start {stray.plugin} --replace"
        yield warning(f"{stray.plugin} runs outside of the launcher (pid {stray.pid})", remedy)
    if not strays:
        yield good("none runs outside of the launcher")
