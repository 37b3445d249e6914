"""Is the program of the embedded hub's broker there, with all that it needs?"""

from __future__ import annotations

from collections.abc import Iterator

from hiveot_supervisor.cli.doctor.case import Case, Finding, error, good
from hiveot_supervisor.errors import HiveotError
from hiveot_supervisor.model import Driver, Hub

NAME = "broker"


def look(case: Case) -> Iterator[Finding]:
    if case.launcher is None or not case.hub_is_ours:
        yield good("runs elsewhere")
        return
    try:
        yield good(_found(case.launcher.hub))
    except HiveotError as problem:
        yield error(f"{problem.what}: {problem.why}" if problem.why else problem.what, problem.hint)


def _found(hub: Hub) -> str:
    """What was found. Raises HiveotError for what is missing."""
    from hiveot_supervisor.runtime import mosquitto_process, nats_process

    match hub.driver:
        case Driver.NATS:
            return str(nats_process.find_binary(hub.broker_path))
        case Driver.MOSQUITTO:
            binary = mosquitto_process.find_binary(hub.broker_path)
            return f"{binary} with {mosquitto_process.find_plugin(binary)}"
        case Driver.EXTERNAL:
            from hiveot_supervisor.runtime.broker_external import read_admin

            if hub.admin_file is not None:
                read_admin(hub.admin_file)
            return f"{hub.url}, run by somebody else"
