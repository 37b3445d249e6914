"""The runtime's own logins at its broker: waiting for stored messages, dropping sessions, and the negative
probe.

The probe is what makes the roles more than a hope: at every start a role-less login must see nothing and
reach nobody, while the same attempts by an entitled login succeed (so that the probe itself can be trusted).
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from hiveot_supervisor.credentials.trust import trust
from hiveot_supervisor.errors import HiveotError, HubError
from hiveot_supervisor.runtime.logins import PROBE_USER, RUNTIME_USER
from hiveot_supervisor.runtime.rawmqtt import REFUSED, RawMqtt

log = logging.getLogger("hiveot.runtime")

_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
_SETTLE_TIMEOUT = 10.0
_POSITIVE_TIMEOUT = 5.0

FORBIDDEN_FILTERS = (
    "#",
    "hiveot/#",
    "hiveot/td/#",
    "hiveot/prop/#",
    "hiveot/event/#",
    "hiveot/presence/#",
    "hiveot/admin/authn/#",
    "hiveot/inbox/admin/#",
    "hiveot/inbox/#",
    "homeassistant/#",
    "$SYS/#",
    "$MQTT/#",
    "+/+",
)
FORBIDDEN_TOPICS = (
    "hiveot/td/authn/Admin",
    "hiveot/event/authn/Admin/probe",
    "hiveot/prop/{u}/probe/value",
    "hiveot/presence/{u}",
    "hiveot/inbox/admin/probe/authn",
    "hiveot/read/authn/Admin/getProfiles/{u}",
    "hiveot/admin/authn/Admin/addService/{u}",
    "hiveot/action/authn/User/getProfile/admin",
    "homeassistant/status",
    "probe",
)


def reachable(host: str) -> str:
    """The address at which we reach a listener of our own."""
    return _WILDCARDS.get(host, host)


class ProbeFailed(HiveotError):
    """The broker lets a role-less account do what it must not."""


class LocalLogins:
    """Connects to our own broker as one of the runtime's internal users.

    secret: their password; socket: of a broker that has one for the runtime alone, where it may use any client ID.
    """

    def __init__(
        self,
        host: str,
        port: int,
        ca_file: Path,
        secret: str,
        *,
        socket: Path | None = None,
        server_name: str = "localhost",
    ) -> None:
        self._host = reachable(host)
        self._port = port
        self._ca_file = ca_file
        self._secret = secret
        self._socket = socket
        self._server_name = server_name

    def connect(self, user: str = RUNTIME_USER, client_id: str = "", *, keep_alive: int = 60) -> RawMqtt:
        """A fresh connection; without `client_id` under a random one. Raises HubError."""
        if self._socket is not None and user == RUNTIME_USER:
            connection = RawMqtt(self._socket)
        else:
            context = trust(self._ca_file)
            connection = RawMqtt(self._host, self._port, context, server_name=self._server_name)
        try:
            name = client_id or f"{user}-{secrets.token_hex(4)}"
            connection.login(name, user, self._secret, keep_alive=keep_alive)
        except HubError:
            connection.close()
            raise
        return connection

    def drop_session(self, mqtt_id: str) -> None:
        """Have the broker forget the stored session (subscriptions, queue) of a client ID. Raises
        HubError.
        """
        self.connect(client_id=mqtt_id).close()


def settle(logins: LocalLogins, stored: Callable[[], int]) -> int:
    """Wait until the broker hands out all its retained messages; it loads them after the first login.

    stored: how many there are. Returns the number seen. After 10 s only a warning is logged: the hub is of
    use without.
    """
    deadline = time.monotonic() + _SETTLE_TIMEOUT
    with logins.connect() as reader:
        while True:
            expected = stored()
            seen = _count_retained(reader) if expected else 0
            if seen >= expected:
                return seen
            if time.monotonic() >= deadline:
                log.warning("the broker hands out %d of %d retained messages so far", seen, expected)
                return seen
            time.sleep(0.05)


def probe(logins: LocalLogins) -> None:
    """Check that a role-less account can neither read nor write what is not its own.

    Raises ProbeFailed with what was possible, HubError when the broker does not answer.
    """
    nonce = secrets.token_hex(8)
    marker = f"probe/{nonce}"
    with logins.connect() as entitled, logins.connect(PROBE_USER) as roleless:
        entitled.publish(marker, b"retained", retain=True)
        try:
            _await_retained(entitled, marker)
            _must_not_read(roleless, entitled, nonce)
            _must_not_write(roleless, entitled, nonce)
        finally:
            entitled.publish(marker, b"", retain=True)


def _must_not_read(roleless: RawMqtt, entitled: RawMqtt, nonce: str) -> None:
    granted = [each for each in FORBIDDEN_FILTERS if roleless.subscribe(each) != REFUSED]
    topic = f"probe/live/{nonce}"
    entitled.publish(topic, b"live")
    _expect(entitled, topic, "a message")
    received = [each.topic for each in roleless.settle()]
    if granted or received:
        seen = ", ".join([*granted, *received])
        raise ProbeFailed("the broker lets an account without a role read", why=f"it got {seen}", hint=_HINT)


def _must_not_write(roleless: RawMqtt, entitled: RawMqtt, nonce: str) -> None:
    entitled.settle()
    for topic in FORBIDDEN_TOPICS:
        roleless.publish(topic.replace("{u}", PROBE_USER), nonce.encode())
    # What it may publish comes last: when this has arrived, everything before it has, too.
    allowed = f"hiveot/action/authn/User/{nonce}/{PROBE_USER}"
    roleless.publish(allowed, b"")
    arrived = []
    deadline = time.monotonic() + _POSITIVE_TIMEOUT
    while (rest := deadline - time.monotonic()) > 0:
        delivery = entitled.receive(rest)
        if delivery is not None and delivery.topic == allowed:
            break
        if delivery is not None and delivery.payload == nonce.encode():
            arrived.append(delivery.topic)
    else:
        raise ProbeFailed("the broker does not deliver what an account may publish", hint=_HINT)
    if arrived:
        why = f"it published {', '.join(arrived)}"
        raise ProbeFailed("the broker lets an account without a role publish", why=why, hint=_HINT)


_HINT = "the hub stays closed; please report this together with the broker's version"


def _expect(reader: RawMqtt, topic: str, what: str) -> None:
    deadline = time.monotonic() + _POSITIVE_TIMEOUT
    while (rest := deadline - time.monotonic()) > 0:
        delivery = reader.receive(rest)
        if delivery is not None and delivery.topic == topic:
            return
    raise ProbeFailed(f"the broker does not deliver {what} to an entitled account", hint=_HINT)


def _await_retained(reader: RawMqtt, topic: str) -> None:
    """Subscribe to everything until the retained message comes; the server stores it a moment after its PUBACK."""
    deadline = time.monotonic() + _POSITIVE_TIMEOUT
    while time.monotonic() < deadline:
        reader.subscribe("#")
        if any(each.topic == topic for each in reader.settle()):
            return
        time.sleep(0.01)
    raise ProbeFailed("the broker does not deliver a retained message to an entitled account", hint=_HINT)


def _count_retained(reader: RawMqtt) -> int:
    reader.subscribe("#")
    return len({each.topic for each in reader.settle() if each.retained})
