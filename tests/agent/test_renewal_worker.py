"""The thread that renews: whatever goes wrong in it ends in an answer, and the next account has its turn."""

from __future__ import annotations

import queue
from pathlib import Path
from typing import Any

import pytest

from hiveot_supervisor.agent.inbox import Renewed, Retired
from hiveot_supervisor.agent.renewal_worker import RenewalWorker
from hiveot_supervisor.credentials.provision import Outcome, Renew
from hiveot_supervisor.errors import CredentialError, HubError, HubUnavailable


class Plugins:
    """In place of `Provisioner`: does, or raises, what the test has put down for an account."""

    def __init__(self) -> None:
        self.results: dict[str, Any] = {}
        self.known = True

    def any(self, plugin_id: str) -> bool:
        return self.known

    def ensure(self, plugin_id: str, mode: Renew) -> Any:
        return self._result(plugin_id)

    def retire(self, plugin_id: str) -> Any:
        return self._result(plugin_id)

    def _result(self, plugin_id: str) -> Any:
        result = self.results[plugin_id]
        if isinstance(result, Exception):
            raise result
        return result


@pytest.fixture
def plugins() -> Plugins:
    return Plugins()


@pytest.fixture
def items() -> queue.SimpleQueue[Any]:
    return queue.SimpleQueue()


@pytest.fixture
def worker(plugins: Any, items: queue.SimpleQueue[Any]) -> RenewalWorker:
    return RenewalWorker(plugins, "launcher", lambda: None, items.put)


def test_every_renewal_is_answered(worker: RenewalWorker, plugins: Plugins, items: queue.SimpleQueue[Any]) -> None:
    certs = Path("/certs")
    plugins.results = {
        "good": Outcome((certs / "good.token", certs / "goodCert.pem"), 1.0, superseded=True),
        "later": Outcome((), 1.0, note="put off: the hub is away"),
        "disk": CredentialError("cannot write it", why="no space left"),
        "fault": ZeroDivisionError("x"),
    }
    for name in [*plugins.results, "launcher"]:
        worker.renew(name, Renew.ALL, name)
    assert [items.get(timeout=5) for _ in range(5)] == [
        Renewed("good", "good", ("token", "certificate"), superseded=True),
        Renewed("later", "later", error="put off: the hub is away"),
        Renewed("disk", "disk", error="cannot write it: no space left"),
        Renewed("fault", "fault", error="internal error: ZeroDivisionError"),
        Renewed("launcher", "launcher", ("token",)),
    ]


def test_what_was_revoked_is_not_renewed_by_itself(
    worker: RenewalWorker, plugins: Plugins, items: queue.SimpleQueue[Any]
) -> None:
    plugins.known = False
    plugins.results = {"a": Outcome((Path("/certs/a.key"),), 1.0)}
    worker.renew("a", Renew.DUE, "")
    worker.renew("a", Renew.ALL, "")
    assert items.get(timeout=5).error == "they were revoked meanwhile"
    assert items.get(timeout=5) == Renewed("a", "", ("key",))


def test_every_retirement_is_answered(worker: RenewalWorker, plugins: Plugins, items: queue.SimpleQueue[Any]) -> None:
    plugins.results = {
        "good": "",
        "away": HubUnavailable("the hub is away"),
        "refused": HubError("no such action"),
        "fault": ZeroDivisionError("x"),
    }
    for name in plugins.results:
        worker.retire(name, "")
    assert [items.get(timeout=5) for _ in range(4)] == [
        Retired("good", ""),
        Retired("away", "", "the hub is away", again=True),
        Retired("refused", "", "no such action"),
        Retired("fault", "", "internal error: ZeroDivisionError"),
    ]
