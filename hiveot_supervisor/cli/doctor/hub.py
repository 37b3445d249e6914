"""Does the hub answer, and does it take the launcher's token?"""

from __future__ import annotations

from collections.abc import Iterator

from hiveot_supervisor.cli.doctor.case import Case, Finding, error, good, warning
from hiveot_supervisor.errors import HiveotError, HubRefused

NAME = "hub"
TIMEOUT = 5.0


def look(case: Case) -> Iterator[Finding]:
    from hiveot_supervisor.hub.client import Account
    from hiveot_supervisor.hub.connect import make_client

    launcher = case.launcher
    if launcher is None:
        return
    signal = case.paths.run / "runtime.ready" if case.hub_is_ours else case.paths.socket
    if launcher.runtime is not None and not signal.exists():
        yield good("not running; it is started with the plugins")
        return
    if not launcher.token_file.exists():
        yield warning(f"{launcher.hub.url} was not tried: there is no {launcher.token_file.name}")
        return
    account = Account(launcher.id, launcher.token_file, case.paths.ca_cert)
    try:
        client = make_client(launcher.hub.url, account, agent=False)
        client.start()
        try:
            client.wait_connected(TIMEOUT)
        finally:
            client.close()
    except HubRefused as problem:
        yield error(f"{problem.what}: {problem.why}", "is the token this hub's, and the account not disabled?")
    except HiveotError as problem:
        text = f"{problem.what}: {problem.why}" if problem.why else problem.what
        yield error(text, problem.hint or "is it running, and is hub.url right?")
    else:
        yield good(f"{launcher.hub.url} takes the login of {launcher.id}")
