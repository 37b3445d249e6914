"""Whose the credential files are, who may read them, until when they are good. `hiveot-launcher creds` shows all."""

from __future__ import annotations

from collections.abc import Iterator

from hiveot_supervisor.cli import credfiles
from hiveot_supervisor.cli.credfiles import Item
from hiveot_supervisor.cli.doctor.case import Case, Finding, error, good, warning
from hiveot_supervisor.cli.home import Home

NAME = "credentials"


def look(case: Case) -> Iterator[Finding]:
    if case.launcher is None:
        return
    home = Home(case.paths, case.launcher)
    if problem := credfiles.folder_problem(home):
        yield error(f"{problem.what}: {problem.why}", problem.hint)
    found = credfiles.items(home, case.launcher.plugins)
    for item in found:
        if item.mode is None:
            yield from _missing(case, item)
        elif item.problem:
            yield _wrong(case, item)
    ca = case.paths.ca_cert
    if not case.hub_is_ours and not ca.exists():
        yield error(f"there is no {ca}", "copy it from the hub: without it nobody knows whether it is the hub")
    yield good(f"{sum(item.mode is not None for item in found)} of {len(found)} files are there")


def _missing(case: Case, item: Item) -> Iterator[Finding]:
    """Only what nobody will make is wrong."""
    if case.launcher is not None and item.path == case.launcher.token_file and not case.hub_is_ours:
        yield error(f"there is no {item.path}", "copy the launcher's token from the hub there")


def _wrong(case: Case, item: Item) -> Finding:
    text = f"{item.path.name}: {item.problem}"
    if item.problem == credfiles.DUE:
        return warning(text, "it is renewed by itself while hub and launcher run")
    own = case.launcher is not None and item.id in [plugin.id for plugin in case.launcher.plugins]
    if item.expires is None and not own:
        return error(text, "restore it from a backup, or remove it and start again")
    return error(text, f"hiveot-launcher creds renew {item.id}" if own else "it is made anew when the hub starts")
