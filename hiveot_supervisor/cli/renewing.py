"""`creds renew` and `creds revoke`: through the running agent where there is one, else directly at the hub.

Prints nothing; what became of each account comes back as an `Outcome`.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from hiveot_supervisor.agent.outcomes import RenewalOutcome, take_outcome
from hiveot_supervisor.agent.provisioning import Provisioner, refresh_own
from hiveot_supervisor.cli.control import POLL, Control, Outcome
from hiveot_supervisor.cli.enabling import write_enabled
from hiveot_supervisor.cli.home import Home
from hiveot_supervisor.clock import iso8601
from hiveot_supervisor.credentials import expiry, provision, store
from hiveot_supervisor.credentials.memory import forbid_core_dumps
from hiveot_supervisor.credentials.provision import Files, Renew
from hiveot_supervisor.errors import CredentialError, HiveotError, HubError, SupervisordUnreachable
from hiveot_supervisor.hub.client import HubClient, Right
from hiveot_supervisor.model import Plugin
from hiveot_supervisor.prestart import spec, verified
from hiveot_supervisor.prestart.provide import AccountService, hub_lock

_ACTIONS = {"none": "", "restart": "; it is being restarted", "HUP": "; it got SIGHUP"}


def find_control(home: Home) -> Control | None:
    """supervisord of the home, None when it does not run."""
    try:
        return Control(home)
    except SupervisordUnreachable:
        return None


def renew(home: Home, accounts: Sequence[str], *, keys: bool, timeout: float) -> list[Outcome]:
    """Have new credentials made now, and the old tokens refused. Accounts: plugin IDs, and the launcher's own ID."""
    control = find_control(home)
    if control is not None and control.agent:
        return _renew_by_agent(home, control, accounts, keys, timeout)
    return _renew_directly(home, accounts, keys, running=control is not None)


def _renew_by_agent(home: Home, control: Control, accounts: Sequence[str], keys: bool, timeout: float) -> list[Outcome]:
    requests = {}
    for account in accounts:
        requests[account] = secrets.token_hex(8)
        message = {"op": "renew", "plugin": account, "keys": keys, "request": requests[account]}
        control.rpc.send_remote_event("hiveot", json.dumps(message))
    done: dict[str, Outcome] = {}
    deadline = time.monotonic() + timeout
    while len(done) < len(accounts) and time.monotonic() < deadline:
        for account in accounts:
            if account not in done and (found := take_outcome(home.paths, requests[account])) is not None:
                done[account] = _told(home, account, found)
        if len(done) < len(accounts):
            time.sleep(POLL)
    late = f"no result after {timeout:.0f} s; hiveot-launcher logs launcher may tell why"
    return [done.get(a) or Outcome(a, False, f"{a}: {late}", timed_out=True) for a in accounts]


def _told(home: Home, account: str, outcome: RenewalOutcome) -> Outcome:
    if not outcome.ok:
        return Outcome(account, False, f"{account}: {outcome.message}")
    if not outcome.renewed:
        return Outcome(account, False, f"{account}: nothing was renewed")
    remark = f"; {outcome.message}" if outcome.message else _ACTIONS.get(outcome.action, "")
    return Outcome(account, True, f"renewed {account} ({', '.join(outcome.renewed)}){_until(home, account)}{remark}")


def _until(home: Home, account: str) -> str:
    launcher = home.launcher
    path = launcher.token_file if account == launcher.id else home.paths.token(account)
    try:
        expires = expiry.read_claims(store.read_text(path)).expires
    except (OSError, CredentialError):
        return ""
    return f", token valid until {iso8601(expires)[:10]}"


def _renew_directly(home: Home, accounts: Sequence[str], keys: bool, *, running: bool) -> list[Outcome]:
    mode = Renew.KEYS if keys else Renew.ALL
    found = []
    with _hub(home, own=True) as service:  # the agent, whose account that is, does not run
        plugins = Provisioner(home.paths, service)
        for account in accounts:
            try:
                written, note = _renew_one(home, service, plugins, account, mode)
            except (HiveotError, OSError) as error:
                found.append(_failed(account, error))
                continue
            outcome = _told(home, account, RenewalOutcome(True, note, written))
            if running and not note:
                outcome = replace(outcome, text=f"{outcome.text}; the agent is down: nobody signals or restarts it")
            found.append(outcome)
    return found


def _renew_one(
    home: Home, service: AccountService, plugins: Provisioner, account: str, mode: Renew
) -> tuple[tuple[str, ...], str]:
    if account == home.launcher.id:
        refresh_own(home.launcher, service.hub())
        return ("token",), ""
    outcome = plugins.ensure(account, mode)
    note = plugins.retire(account) if outcome.superseded else ""
    return provision.kinds(outcome.written), note


def revoke(home: Home, plugins: Sequence[Plugin], *, timeout: float) -> list[Outcome]:
    """Stop and disable, have the hub remove the account and hang up on its clients, then remove the files."""
    control = find_control(home)
    if control is None or not control.agent:
        write_enabled(home, [p.id for p in plugins], enabled=False)
    stopped = [] if control is None else control.stop(plugins, timeout=timeout)
    found = {o.name: o for o in stopped if not o.ok}
    with _hub(home) as service:
        for plugin in plugins:
            if plugin.id in found:
                continue
            try:
                _remove(home, service.hub(), plugin.id)
            except (HiveotError, OSError) as error:
                found[plugin.id] = _failed(plugin.id, error)
            else:
                text = f"revoked {plugin.id}: stopped, disabled, account and files removed"
                found[plugin.id] = Outcome(plugin.id, True, text)
    return [found[p.id] for p in plugins]


def _remove(home: Home, hub: HubClient, plugin_id: str) -> None:
    def forget() -> None:
        hub.invoke_action("authn", "Admin", "removeClient", plugin_id, right=Right.ADMIN)

    provision.remove(Files.of(home.paths, plugin_id), forget)
    verified.forget(spec.load(str(home.paths.plugin_dir / f"{plugin_id}.json")))


def _failed(account: str, error: Exception) -> Outcome:
    reason = str(error)
    if isinstance(error, HiveotError):
        reason = f"{error.what}: {error.why}" if error.why else error.what
    rest = "; its account and files are as they were" if isinstance(error, HubError) else ""
    return Outcome(account, False, f"{account}: {reason}{rest}")


@contextlib.contextmanager
def _hub(home: Home, *, own: bool = False) -> Iterator[AccountService]:
    """The hub's account service; connects when it is first asked.

    own: with the launcher's own account, else with the one that can be used beside the agent.
    """
    launcher = home.launcher
    forbid_core_dumps()
    account, token = (launcher.id, launcher.token_file) if own else launcher.prestart_login
    lock = hub_lock(home.paths.run / "credentials")
    service = AccountService(launcher.hub.url, account, token, home.paths.ca_cert, lock=lock)
    try:
        yield service
    finally:
        service.close()
