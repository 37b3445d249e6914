"""Helpers around hub clients: a listener that records and answers, and a bare MQTT client that sends anything."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho
from fakes.brokers import Broker
from fakes.wait import wait_until

from hiveot_supervisor.hub.client import HubClient, Request


class Recorder:
    """A HubListener. Answers requests with `answer(request)`; HubError-like pairs become errors."""

    def __init__(self, client: HubClient, answer: Callable[[Request], Any] | None = None) -> None:
        self.client = client
        self.answer = answer or (lambda request: {"name": request.name, "input": request.input})
        self.connected = 0
        self.disconnected: list[str] = []
        self.refused: list[str] = []
        self.requests: list[Request] = []
        self.threads: set[str] = set()

    def on_connected(self) -> None:
        self.threads.add(threading.current_thread().name)
        self.connected += 1

    def on_disconnected(self, reason: str) -> None:
        self.threads.add(threading.current_thread().name)
        self.disconnected.append(reason)

    def on_refused(self, reason: str) -> None:
        self.threads.add(threading.current_thread().name)
        self.refused.append(reason)

    def on_request(self, request: Request) -> None:
        self.threads.add(threading.current_thread().name)
        self.requests.append(request)
        self.client.respond(request, self.answer(request))


class RawClient:
    """A stranger's MQTT 3.1.1 client, plain paho: publishes any bytes, records what it gets."""

    def __init__(self, broker: Broker, user: str, *, client_id: str = "", filters: list[str] | None = None) -> None:
        account = broker.account(user)
        self.messages: list[tuple[str, bytes, bool]] = []
        self._subscribed = threading.Event()
        self._filters = [(topic, 1) for topic in filters or []]
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=client_id, reconnect_on_failure=False)
        self._client.username_pw_set(user, account.token_file.read_text().strip())
        self._client.tls_set_context(ssl.create_default_context(cafile=str(account.ca_file)))
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message
        self._client.connect(broker.host, broker.port, keepalive=20)
        self._client.loop_start()
        wait_until(self._subscribed.is_set, what="login of the raw client")

    def publish(self, topic: str, payload: Any, *, retain: bool = False) -> None:
        """Bytes are sent as they are, anything else as JSON; returns when acknowledged."""
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self._client.publish(topic, data, qos=1, retain=retain).wait_for_publish(5)

    def on(self, topic: str) -> list[Any]:
        """The decoded payloads received on a topic; empty ones as None."""
        return [json.loads(data) if data else None for name, data, _ in list(self.messages) if name == topic]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _on_connect(self, client: paho.Client, _userdata: Any, _flags: Any, code: Any, _properties: Any) -> None:
        assert not code.is_failure, code
        if self._filters:
            client.subscribe(self._filters)
        else:
            self._subscribed.set()

    def _on_message(self, _client: paho.Client, _userdata: Any, message: paho.MQTTMessage) -> None:
        self.messages.append((message.topic, bytes(message.payload), bool(message.retain)))
