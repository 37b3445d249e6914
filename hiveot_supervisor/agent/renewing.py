"""Keeps the credentials of what runs good: looks when it is time, has them renewed, and sees to what follows.

Used by the main loop only; `RenewalWorker` does what may block in a thread of its own. Order of a renewal: new files,
then restart or signal as `onCredentialChange` says, then the hub forgets the old token (and hangs up on its users, who
come back with the new one). What is to be forgotten is stored, so that neither a crash nor an absent hub loses it.
"""

from __future__ import annotations

import json
import logging
import random
import signal
from dataclasses import dataclass, field, replace
from typing import Any

from hiveot_supervisor.agent import provisioning, renewal, things
from hiveot_supervisor.agent.core import Agent
from hiveot_supervisor.agent.inbox import Renewed, Retired
from hiveot_supervisor.agent.outcomes import RenewalOutcome, valid_request, write_outcome
from hiveot_supervisor.agent.provisioning import Provisioner
from hiveot_supervisor.agent.renewal import NOTHING_VALID, Validity, Watch
from hiveot_supervisor.agent.renewal_worker import RenewalWorker, in_one_line
from hiveot_supervisor.agent.table import Entry, Now
from hiveot_supervisor.clock import iso8601
from hiveot_supervisor.credentials.provision import Renew
from hiveot_supervisor.errors import HiveotError
from hiveot_supervisor.model import Cause, CredentialChange, PluginState

log = logging.getLogger(__name__)

JUMP = 5.0
"""Seconds by which wall and monotonic time may drift apart before everything is looked at again."""

RETIRE_AGAIN = 30.0
"""Seconds until the hub is asked again to forget old tokens."""

_RETIRING = "retiring"


@dataclass(slots=True)
class Renewals:
    """See the module. due: monotonic time of the next `tick` at the latest."""

    agent: Agent
    plugins: Provisioner
    worker: RenewalWorker
    chance: random.Random = field(default_factory=random.Random)
    due: float = 0.0
    _watches: dict[str, Watch] = field(default_factory=dict)
    _running: dict[str, int] = field(default_factory=dict)
    _problems: dict[str, str] = field(default_factory=dict)
    _retiring: dict[str, float] = field(default_factory=dict)
    _unanswered: dict[str, RenewalOutcome] = field(default_factory=dict)
    _offset: float | None = None
    _hub: bool = False
    _certificates: bool = True

    def tick(self) -> None:
        """Look at what is due, and have done what follows."""
        now = self.agent.now()
        if self.agent.shutting_down:
            self.due = now.mono + renewal.LOOK_EVERY
            return
        self._follow_the_table(now)
        self._notice_changes(now)
        for account, watch in list(self._watches.items()):
            if watch.look_at <= now.mono:
                self._look(account, watch, now)
        self._retire_due(now)
        times = [w.look_at for w in self._watches.values()]
        times += list(self._retiring.values()) if self.agent.hub_ready else []
        self.due = max(now.mono + 0.1, min(times, default=now.mono + renewal.LOOK_EVERY))

    def _follow_the_table(self, now: Now) -> None:
        """A new process has new credentials; one that is gone needs none. The launcher itself always does."""
        entries = self.agent.table.plugins
        running = {e.plugin.id: e.pid for e in entries if e.running and e.plugin.create_cred}
        running[self.agent.launcher.id] = 0
        if running == self._running:
            return
        for account in [a for a in self._watches if a not in running]:
            del self._watches[account]
        for account, pid in running.items():
            if self._running.get(account) != pid:
                self._watches[account] = Watch(now.mono + renewal.FIRST_LOOK)
        self._running = running

    def _notice_changes(self, now: Now) -> None:
        """The clock was set, or the hub came back: what was planned does not hold any more."""
        offset = now.wall - now.mono
        jumped = self._offset is not None and abs(offset - self._offset) > JUMP
        if self._offset is None or jumped:
            self._offset = offset
        came, self._hub = self.agent.hub_ready and not self._hub, self.agent.hub_ready
        if came:
            self._certificates = True
            stored = json.loads(self.agent.state.meta(_RETIRING) or "[]")
            self._retiring = dict.fromkeys(stored, now.mono)
        if jumped:
            log.warning("the clock was set; looking at all credentials")
        for account, watch in self._watches.items():
            overdue = came and watch.overdue_since is not None
            if (jumped or overdue) and watch.validity is not None:
                self._watches[account] = replace(watch, look_at=now.mono)

    def _look(self, account: str, watch: Watch, now: Now) -> None:
        found = self._found(account)
        launcher = self.agent.launcher
        renewable = account != launcher.id or not launcher.hub.embedded  # our runtime renews the launcher's itself
        decision = renewal.decide(watch, found, now, hub=self.agent.hub_ready, renewable=renewable)
        self._watches[account] = decision.watch
        if decision.renew:
            log.info("the credentials of %s are due", account)
            self.worker.renew(account, Renew.DUE, "")
        if decision.warn:
            silent = "the hub does not answer" if renewable else "the hub's runtime has not renewed them"
            problem = self._problems.get(account) or silent
            log.error("the credentials of %s end soon: %s", account, problem)
            expires = iso8601(found.end) if found.end else None
            self.agent.teller.event(things.CREDENTIAL_EXPIRING, account, expires=expires, problem=problem)

    def _found(self, account: str) -> Validity:
        try:
            if account == self.agent.launcher.id:
                return renewal.validity(provisioning.own_status(self.agent.launcher), certificate=False)
            status, certificate = self.plugins.status(account)
            return renewal.validity(status, certificate=certificate and self._certificates)
        except (HiveotError, OSError) as error:
            self._problems[account] = in_one_line(error)
            return NOTHING_VALID

    # -- renewals

    def notice(self, account: str, message: dict[str, Any]) -> None:
        """The command line wants everything of an account renewed now, and waits for the outcome.

        message: {"request": ID of the outcome file, "keys": also a new key}.
        """
        request, keys = message.get("request"), message.get("keys") is True
        if not valid_request(request):
            log.warning("a renewal without a request ID: %.200r", message)
            return
        self.ask(account, keys=keys, request=str(request))

    def ask(self, account: str, *, keys: bool, request: str) -> None:
        """Renew everything of an account, whatever its age."""
        entry = self.agent.table.get(account)
        known = entry is not None and entry.managed and entry.plugin.create_cred
        if not known and account != self.agent.launcher.id:
            self._answer(request, RenewalOutcome(False, "the launcher makes no credentials for it"))
        elif not self.agent.hub_ready:
            self._answer(request, RenewalOutcome(False, "the hub does not answer"))
        else:
            self.worker.renew(account, Renew.KEYS if keys else Renew.ALL, request)

    def renewed(self, item: Renewed) -> None:
        """A renewal is over: act on what was written, and see that the old token goes."""
        now = self.agent.now()
        self._certificates = self._certificates and item.certificates
        self._plan_on(item, now)
        action = self._spread(item) if item.written else CredentialChange.NONE
        outcome = RenewalOutcome(not item.error, item.error, item.written, action.value)
        if not item.superseded:
            self._answer(item.request, outcome)
            return
        self._retiring[item.account] = now.mono + RETIRE_AGAIN
        self._remember()
        self._unanswered[item.request] = outcome
        self.worker.retire(item.account, item.request)

    def _plan_on(self, item: Renewed, now: Now) -> None:
        """When to look again; what did not help is not repeated at once."""
        problem = item.error
        if not problem and self._found(item.account).due(now.wall):
            problem = "what the hub gave is due again at once; are the clocks right?"
        self._problems.pop(item.account, None)
        if problem:
            self._problems[item.account] = problem
            log.warning("renewal of the credentials of %s: %s", item.account, problem)
        watch = self._watches.get(item.account)
        if watch is not None:
            failing = renewal.failed(watch, now, self.chance.random())
            self._watches[item.account] = failing if problem else Watch(now.mono)

    def _spread(self, item: Renewed) -> CredentialChange:
        """Tell that there is something new, and have the plugin take it up as configured."""
        entry = self.agent.table.get(item.account)
        action = CredentialChange.NONE
        if entry is not None and entry.running and entry.state is PluginState.RUNNING:
            action = entry.plugin.on_credential_change
        log.info("renewed %s of %s (%s)", ", ".join(item.written), item.account, action.value)
        found = self._found(item.account)
        self.agent.teller.event(
            things.CREDENTIAL_RENEWED,
            item.account,
            renewed=list(item.written),
            expires=iso8601(found.end) if found.end else None,
            action=action.value,
        )
        if entry is not None:
            self.agent.teller.credentials_changed(item.account)
            self._act(entry, action)
        return action

    def _act(self, entry: Entry, action: CredentialChange) -> None:
        if action is CredentialChange.HUP:
            self.agent.processes.signal(entry.pid, signal.SIGHUP)
        elif action is CredentialChange.RESTART:
            entry.again = Cause.CREDENTIALS
            self.agent.stop(entry, Cause.CREDENTIALS)

    # -- old tokens

    def _retire_due(self, now: Now) -> None:
        if not self.agent.hub_ready:
            return
        for account, at in self._retiring.items():
            if at <= now.mono:
                self._retiring[account] = now.mono + RETIRE_AGAIN
                self.worker.retire(account, "")

    def retired(self, item: Retired) -> None:
        """The hub has forgotten the old tokens of an account, or why not."""
        if not item.again and self._retiring.pop(item.account, None) is not None:
            self._remember()
        if item.note:
            log.warning("old token of %s: %s", item.account, item.note)
        outcome = self._unanswered.pop(item.request, None)
        if outcome is not None:
            self._answer(item.request, replace(outcome, message=item.note))

    def _remember(self) -> None:
        self.agent.state.set_meta(_RETIRING, json.dumps(sorted(self._retiring)))

    def _answer(self, request: str, outcome: RenewalOutcome) -> None:
        if not request:
            return
        try:
            write_outcome(self.agent.launcher.paths, request, outcome)
        except HiveotError as error:
            log.error("%s", error)
