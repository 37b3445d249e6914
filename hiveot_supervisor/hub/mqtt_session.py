"""One MQTT connection from login to loss: the only place that touches a paho client.

`run` does everything in the calling (network) thread: TLS connect, login, the subscriptions without which the
connection is useless, then the loop. Its callbacks only hand over to a `Sink`, which must not block. A session is used
once; connecting again makes a new one, so nothing of an old connection (queued messages, message IDs) lives on.
docs/mqtt-hub.md §5 lists the pitfalls of paho that shape this.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from hiveot_supervisor.errors import HubUnavailable
from hiveot_supervisor.hub.client import Account
from hiveot_supervisor.hub.login import client_tls, describe, read_token
from hiveot_supervisor.hub.reconnect import MQTT5, Ending
from hiveot_supervisor.hub.wire import MAX_MESSAGE

log = logging.getLogger("hiveot.hub")

KEEP_ALIVE = 20  # seconds
CONNECT_TIMEOUT = 5.0  # of TCP and of TLS, seconds
LOGIN_TIMEOUT = 10.0  # from TLS to the last subscription, seconds
_POLL = 5.0  # longest sleep in the loop, seconds: a quarter of KEEP_ALIVE
_HEADERS = 4096  # bytes that a packet may have besides its payload

# CONNACK codes of MQTT 3.1.1 arrive as those of MQTT 5 (paho maps them)
_UNSUPPORTED = {0x84}
_NOT_NOW = {0x80, 0x83, 0x88, 0x89, 0x97, 0x9C, 0x9D, 0x9F}  # unspecified, server busy, moved, quota
_TAKEN_OVER = 0x8E
_UNSPECIFIED = 0x80  # paho's word for a connection that just ended


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message as it came: `retained` = from the broker's store."""

    topic: str
    payload: bytes
    retained: bool


@dataclass(frozen=True, slots=True)
class Login:
    """What a session needs to know: where, who, what to subscribe, and the last will (topic, payload) or None."""

    host: str
    port: int
    account: Account
    client_id: str
    protocol: int
    subscriptions: Sequence[str]
    will: tuple[str, bytes] | None


class Sink(Protocol):
    """Receives what happens, in the network thread and partly under paho's locks: enqueue, never block."""

    def ready(self, session: Session) -> None: ...

    def message(self, incoming: Incoming) -> None: ...

    def published(self, session: Session, mid: int, code: int, text: str) -> None: ...

    def subscribed(self, session: Session, mid: int, codes: Sequence[int], text: str) -> None: ...


class Session:
    """One connection. `publish`, `subscribe` and `close` may be called from any thread."""

    def __init__(self, login: Login, sink: Sink) -> None:
        self._login = login
        self._sink = sink
        self._client: paho.Client | None = None
        self._lock = threading.Lock()
        self._closing = False
        self._ready = False
        self._ending: tuple[Ending, str] | None = None
        self._essential_mid: int | None = None

    def run(self) -> tuple[Ending, str]:
        """Connect, serve until the connection ends, return how it ended and why, for people."""
        try:
            client = self._open()
        except (OSError, ValueError) as exc:  # includes ssl.SSLError and UnicodeDecodeError
            return Ending.UNREACHABLE, describe(exc, self._login.host, self._login.port, self._login.account)
        deadline = time.monotonic() + LOGIN_TIMEOUT
        try:
            while self._ending is None:
                self._step(client, deadline)
        except Exception as exc:  # a fault in here must not end the thread that reconnects
            log.exception("the connection to the hub is dropped after an internal error")
            self._end(Ending.LOST if self._ready else Ending.NOT_READY, f"internal error: {exc}")
        finally:
            self._client = None
            _shut(client)
        return self._ending or (Ending.CLOSED, "")

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> int:
        """Hand a QoS 1 message to the connection; returns its message ID. Raises HubUnavailable."""
        client = self._client
        if client is None or not self._ready or self._ending is not None:
            raise HubUnavailable("not connected to the hub")
        info = client.publish(topic, payload, qos=1, retain=retain)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise HubUnavailable("the message could not be handed over", why=paho.error_string(info.rc))
        return info.mid

    def subscribe(self, filters: Sequence[str]) -> int:
        """Ask for topics; returns the message ID that `Sink.subscribed` will name. Raises HubUnavailable."""
        client = self._client
        if client is None:
            raise HubUnavailable("not connected to the hub")
        code, mid = client.subscribe([(topic, 1) for topic in filters])
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS or mid is None:
            raise HubUnavailable("the subscription could not be handed over", why=paho.error_string(code))
        return mid

    def close(self) -> None:
        """Disconnect in good order (no last will); `run` returns soon after."""
        with self._lock:
            self._closing = True
            client = self._client
        if client is not None:
            client.disconnect()

    def _open(self) -> paho.Client:
        client = self._make_client()
        properties = None
        if self._login.protocol == MQTT5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.MaximumPacketSize = MAX_MESSAGE + _HEADERS
        client.connect(self._login.host, self._login.port, keepalive=KEEP_ALIVE, properties=properties)
        with self._lock:
            self._client = client
            closing = self._closing
        if closing:
            client.disconnect()
        return client

    def _make_client(self) -> paho.Client:
        login = self._login
        version5 = login.protocol == MQTT5
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=login.client_id,
            clean_session=None if version5 else True,
            protocol=paho.MQTTv5 if version5 else paho.MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_TIMEOUT
        if login.account.certificate is None:
            client.username_pw_set(login.account.client_id, read_token(login.account))
        client.tls_set_context(client_tls(login.account))
        if login.will is not None:
            client.will_set(login.will[0], login.will[1], qos=1, retain=True)
        client.on_socket_open = _no_delay
        # tells paho that this thread does all the writing: publish() from another thread only wakes it
        client.on_socket_register_write = _nothing
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        return client

    def _step(self, client: paho.Client, deadline: float) -> None:
        wait = _POLL if self._ready else max(0.0, min(1.0, deadline - time.monotonic()))
        code = client.loop(timeout=wait)
        if self._ending is None and code != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._dropped("")
        if not self._ready and self._ending is None and time.monotonic() >= deadline:
            self._end(Ending.NOT_READY, f"no answer to the login within {LOGIN_TIMEOUT:.0f} s")

    def _dropped(self, why: str) -> None:
        if self._closing:
            self._end(Ending.CLOSED, "")
        elif self._ready:
            self._end(Ending.LOST, f"it was closed by the hub: {why}" if why else "the hub or the network went away")
        elif self._essential_mid is None:
            self._end(Ending.CLOSED_EARLY, "the hub closed the connection without answering the login")
        else:
            self._end(Ending.NOT_READY, "the hub closed the connection right after the login")

    def _end(self, ending: Ending, why: str) -> None:
        if self._ending is None:
            self._ending = (ending, why)

    # callbacks of paho, in the network thread

    def _on_connect(self, client: paho.Client, userdata: Any, flags: Any, code: ReasonCode, properties: Any) -> None:
        if not code.is_failure:
            filters = list(self._login.subscriptions)
            self._essential_mid = self.subscribe(filters)
        elif code.value in _UNSUPPORTED:
            self._end(Ending.UNSUPPORTED, "the hub does not speak this version of MQTT")
        elif code.value in _NOT_NOW:
            self._end(Ending.NOT_READY, f"the hub takes no logins now: {code}")
        else:
            account = self._login.account
            self._end(
                Ending.REFUSED,
                f"the hub refuses the login of {account.client_id!r} with {_shown(account)} ({code})",
            )

    def _on_disconnect(self, client: paho.Client, userdata: Any, flags: Any, code: ReasonCode, properties: Any) -> None:
        if code.value == _TAKEN_OVER and self._ready:
            self._end(Ending.TAKEN_OVER, "another client logged in with the same ID")
        else:
            self._dropped("" if code.value == _UNSPECIFIED else str(code))

    def _on_subscribe(
        self, client: paho.Client, userdata: Any, mid: int, codes: list[ReasonCode], properties: Any
    ) -> None:
        failed = next((code for code in codes if code.is_failure), None)
        if mid != self._essential_mid or self._ready:
            self._sink.subscribed(self, mid, [code.value for code in codes], str(failed or ""))
        elif failed is not None:
            account = self._login.account.client_id
            self._end(Ending.REFUSED, f"the hub does not let {account!r} receive its messages ({failed})")
        else:
            self._ready = True
            self._sink.ready(self)

    def _on_publish(self, client: paho.Client, userdata: Any, mid: int, code: ReasonCode, properties: Any) -> None:
        self._sink.published(self, mid, code.value, str(code))

    def _on_message(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return
        self._sink.message(Incoming(topic, bytes(message.payload), bool(message.retain)))


def _shown(account: Account) -> str:
    """With what it logs in, for people."""
    if account.certificate is not None:
        return f"the certificate {account.certificate}"
    return f"the token of {account.token_file}"


def _no_delay(client: paho.Client, userdata: Any, sock: Any) -> None:
    """Without this a request costs 44 to 88 ms (Nagle and delayed acknowledgement)."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _nothing(client: paho.Client, userdata: Any, sock: Any) -> None:
    """Callback that is only set to choose paho's behaviour."""


def _shut(client: paho.Client) -> None:
    """Close the socket of a connection that has ended, whatever state it is in."""
    sock = client.socket()
    if sock is not None:
        with contextlib.suppress(OSError, ValueError):
            sock.close()
