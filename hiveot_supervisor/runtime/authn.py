"""The account service on the hub: takes requests to `authn`, has them carried out, and answers.

Owns the queue between the hub's dispatch thread and the one thread that does the work (which may block). What the
actions mean is in `authn_actions`.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from hiveot_supervisor.clock import iso8601
from hiveot_supervisor.errors import HiveotError, HubError
from hiveot_supervisor.foreign import clean
from hiveot_supervisor.hub.client import HubClient, Request
from hiveot_supervisor.hub.limitlog import LimitedLog
from hiveot_supervisor.runtime.authn_actions import AccountActions, Call
from hiveot_supervisor.runtime.authn_things import thing_descriptions

log = logging.getLogger("hiveot.runtime")

_QUEUE = 1000
_QUIET = frozenset({"getProfile", "getProfiles", "getClientProfile", "getClientRole", "refreshToken"})


class AuthnService:
    """Serves the Things `Admin` and `User` over one hub client, which it starts and closes.

    on_refused: the hub does not let us in (our token or our rights are wrong).
    """

    def __init__(self, hub: HubClient, actions: AccountActions, on_refused: Callable[[str], None]) -> None:
        self._hub = hub
        self._actions = actions
        self._on_refused = on_refused
        self._created = iso8601(time.time())
        self._requests: queue.Queue[Request | None] = queue.Queue(_QUEUE)
        self._limited = LimitedLog(log, time.monotonic)
        self._worker = threading.Thread(target=self._work, name="authn", daemon=True)

    def start(self, timeout: float) -> None:
        """Connect, publish the TDs, and begin to answer. Raises HubError when that does not succeed in time (s)."""
        self._hub.start(self)
        self._hub.wait_connected(timeout)
        for td in thing_descriptions(self._created):
            try:
                self._hub.publish_td(td).result(timeout)
            except FutureTimeout:
                raise HubError("the broker does not acknowledge messages", why=f"waited {timeout:g} s") from None
        self._worker.start()

    def close(self) -> None:
        """Stop answering and disconnect. Idempotent."""
        if self._worker.is_alive():
            self._requests.put(None)
            self._worker.join(5)
        self._hub.close(reason="stopped")

    # HubListener

    def on_connected(self) -> None:
        if not self._worker.is_alive():
            return  # the first time `start` does it, and waits for it
        for td in thing_descriptions(self._created):
            self._hub.publish_td(td)

    def on_disconnected(self, reason: str) -> None:
        log.warning("the account service lost its connection: %s", reason)

    def on_refused(self, reason: str) -> None:
        self._on_refused(reason)

    def on_request(self, request: Request) -> None:
        try:
            self._requests.put_nowait(request)
        except queue.Full:
            self._hub.respond_error(request, "the account service is busy", status=503)

    def _work(self) -> None:
        while (request := self._requests.get()) is not None:
            try:
                self._serve(request)
            except Exception:
                log.exception("request %s of %s failed", request.name, request.sender)
                self._hub.respond_error(request, "internal error", status=500)

    def _serve(self, request: Request) -> None:
        if request.operation != "invokeaction":
            self._hub.respond_error(request, f"{request.operation} is not supported", status=405)
            return
        call = Call(request.thing_id, request.name, request.input, request.sender, request.right)
        try:
            output = self._actions.perform(call)
        except HiveotError as err:
            self._limited.warning(
                f"refused {request.name[:32]}",
                "%s of %s refused: %s",
                request.name,
                request.sender,
                clean(str(err), 300),
            )
            status = getattr(err, "status", 500)
            self._hub.respond_error(
                request, clean(err.what, 300), detail=clean(err.why or err.hint, 300), status=status
            )
            return
        if request.name not in _QUIET:
            log.info("%s by %s: %s", request.name, request.sender, _about(request.input))
        self._hub.respond(request, output)


def _about(value: Any) -> str:
    """The account an action was about, for the log; never anything else of the input."""
    client_id = value.get("clientID") if isinstance(value, dict) else None
    return clean(str(client_id), 64) if client_id else "done"
