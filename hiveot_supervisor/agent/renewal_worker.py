"""Does what may block of a renewal: in one thread, one account after another, over the agent's hub connection.

Decides nothing; every job ends in an item for the main loop.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

from hiveot_supervisor.agent.inbox import Renewed, Retired
from hiveot_supervisor.agent.provisioning import Provisioner
from hiveot_supervisor.credentials import provision
from hiveot_supervisor.credentials.provision import Renew
from hiveot_supervisor.errors import HiveotError, HubUnavailable, RequestTimeout

log = logging.getLogger(__name__)


class RenewalWorker:
    """See the module. refresh: renews the token of `launcher_id`; put: takes the items."""

    def __init__(
        self, plugins: Provisioner, launcher_id: str, refresh: Callable[[], None], put: Callable[[Any], None]
    ) -> None:
        self._plugins = plugins
        self._launcher_id = launcher_id
        self._refresh = refresh
        self._put = put
        self._jobs: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def renew(self, account: str, mode: Renew, request: str) -> None:
        """Queue a renewal; a `Renewed` item tells the outcome."""
        self._queue(lambda: self._put(self._renewed(account, mode, request)))

    def retire(self, account: str, request: str) -> None:
        """Queue that the hub forgets old tokens; a `Retired` item tells the outcome."""
        self._queue(lambda: self._put(self._retired(account, request)))

    def _queue(self, job: Callable[[], object]) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="renewal", daemon=True)
            self._thread.start()
        self._jobs.put(job)

    def _work(self) -> None:
        while True:
            self._jobs.get()()

    def _renewed(self, account: str, mode: Renew, request: str) -> Renewed:
        try:
            if account == self._launcher_id:
                self._refresh()
                return Renewed(account, request, written=("token",))
            if mode is Renew.DUE and not self._plugins.any(account):
                return Renewed(account, request, error="they were revoked meanwhile")
            outcome = self._plugins.ensure(account, mode)
        except (HiveotError, OSError) as error:
            return Renewed(account, request, error=in_one_line(error))
        except Exception as error:  # the thread must live on, and whoever waits must get an answer
            log.exception("renewal of the credentials of %s", account)
            return Renewed(account, request, error=f"internal error: {type(error).__name__}")
        return Renewed(
            account,
            request,
            provision.kinds(outcome.written),
            outcome.superseded,
            outcome.certificates_offered,
            outcome.note,
        )

    def _retired(self, account: str, request: str) -> Retired:
        try:
            return Retired(account, request, self._plugins.retire(account))
        except (HubUnavailable, RequestTimeout) as error:
            return Retired(account, request, in_one_line(error), again=True)
        except (HiveotError, OSError) as error:
            return Retired(account, request, in_one_line(error))
        except Exception as error:
            log.exception("retiring the tokens of %s", account)
            return Retired(account, request, f"internal error: {type(error).__name__}")


def in_one_line(error: Exception) -> str:
    """What went wrong and why, without the advice."""
    if isinstance(error, HiveotError):
        return f"{error.what}: {error.why}" if error.why else error.what
    return str(error)
