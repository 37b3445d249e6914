"""When a new secret takes effect at a broker that knows one secret an account, and when the old one has had its time.

Setting it disconnects the client, which then reads its token file: so it is set once the file holds the new token,
or, for clients whose files are not here, a moment after the answer was sent. Owns one thread; what is done then is
handed in.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from hiveot_supervisor.errors import HiveotError

log = logging.getLogger("hiveot.runtime")

GRACE = 1.0
"""Seconds after which a secret takes effect although no token file here holds it."""
_LOOK = 0.02
_AFTER_FAILURE = 10.0
_LONGEST = 30.0  # the wall clock may jump


@dataclass(frozen=True, slots=True)
class Pending:
    """A secret that waits. `deadline`: monotonic seconds."""

    secret: str
    deadline: float


def is_due(pending: Pending, file_text: str, now: float) -> bool:
    """Whether a waiting secret takes effect at monotonic time `now`. file_text: what the account's token file says."""
    return file_text == pending.secret or now >= pending.deadline


class Rotation:
    """The secrets that wait. file_text: content of an account's token file; apply: set a secret at the broker;
    next_expiry: seconds until a secret ends, None when none does; expire: end those whose time has come.
    """

    def __init__(
        self,
        *,
        file_text: Callable[[str], str],
        apply: Callable[[str, str], None],
        next_expiry: Callable[[], float | None],
        expire: Callable[[], None],
    ) -> None:
        self._file_text = file_text
        self._apply = apply
        self._next_expiry = next_expiry
        self._expire = expire
        self._changed = threading.Condition()
        self._pending: dict[str, Pending] = {}  # guarded by _changed, as is _stopped
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="rotation", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, client_id: str, secret: str) -> None:
        """Have a secret take effect soon; one that waited before for that account never does."""
        with self._changed:
            self._pending[client_id] = Pending(secret, time.monotonic() + GRACE)
            self._changed.notify_all()

    def drop(self, client_id: str) -> None:
        """Nothing waits for that account any more."""
        with self._changed:
            self._pending.pop(client_id, None)

    def waits(self, client_id: str) -> bool:
        return client_id in self._pending

    def wake(self) -> None:
        """Look again when the next secret expires."""
        with self._changed:
            self._changed.notify_all()

    def stop(self) -> None:
        """Idempotent."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(5)

    def _run(self) -> None:
        while not self._stopped:
            try:
                self._turn()
                continue
            except HiveotError as err:
                log.warning("a secret could not be set at the broker: %s", err)
            except Exception:
                log.exception("a secret could not be set at the broker")
            with self._changed:
                if not self._stopped:
                    self._changed.wait(_AFTER_FAILURE)

    def _turn(self) -> None:
        for client_id, pending in list(self._pending.items()):
            if is_due(pending, self._file_text(client_id), time.monotonic()):
                with self._changed:
                    current = self._pending.get(client_id) == pending
                    if current:
                        del self._pending[client_id]
                if current:
                    self._apply(client_id, pending.secret)
        self._expire()
        expiry = self._next_expiry()
        with self._changed:
            rest = _LOOK if self._pending else _LONGEST if expiry is None else min(_LONGEST, max(_LOOK, expiry))
            if not self._stopped:
                self._changed.wait(rest)
