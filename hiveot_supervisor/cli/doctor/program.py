"""Which supervisord would run, and which file it would read."""

from __future__ import annotations

from collections.abc import Iterator

from hiveot_supervisor.cli.doctor.case import Case, Finding, error, good, warning

NAME = "supervisord"


def look(case: Case) -> Iterator[Finding]:
    from hiveot_supervisor.generate import surroundings

    around = surroundings.Surroundings.look()
    if not around.own.exists():
        yield error(f"it is not installed beside {around.prefix}", "install hiveot-supervisor there again")
        return
    for text in surroundings.warnings(case.paths.supervisord_conf, around):
        yield warning(text)
    command = surroundings.next_command(case.paths.supervisord_conf, around)
    yield good(f"{around.own}; from here: {command}")
