"""Real brokers for the tests of the MQTT binding; each test that asks for one runs on every kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import brokers
from fakes.hubs import Recorder

from hiveot_supervisor.hub.mqtt import MqttHubClient


@pytest.fixture(scope="session", params=list(brokers.KINDS))
def broker_kind(request: pytest.FixtureRequest) -> str:
    if not brokers.available(request.param):
        pytest.skip(f"the broker {request.param} is not installed")
    return str(request.param)


@pytest.fixture(scope="session")
def broker(broker_kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[brokers.Broker]:
    """A running broker shared by many tests: leave it running, use your own thing IDs."""
    yield from _running(broker_kind, tmp_path_factory.mktemp(broker_kind))


@pytest.fixture
def own_broker(broker_kind: str, tmp_path: Path) -> Iterator[brokers.Broker]:
    """A running broker that the test may kill and whose files it may change."""
    yield from _running(broker_kind, tmp_path / "broker")


def _running(kind: str, folder: Path) -> Iterator[brokers.Broker]:
    broker = brokers.make_broker(kind, folder)
    broker.start()
    yield broker
    broker.stop()


Connect = Callable[..., tuple[MqttHubClient, Recorder]]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """`connect(broker, user, wait=True, **options)` -> (client, its recording listener); closed after the test."""
    clients: list[MqttHubClient] = []

    def make(broker: brokers.Broker, user: str, *, wait: bool = True, **options: Any) -> tuple[MqttHubClient, Recorder]:
        client = MqttHubClient(broker.url, broker.account(user), **options)
        clients.append(client)
        recorder = Recorder(client)
        client.start(recorder)
        if wait:
            client.wait_connected(10)
        return client, recorder

    yield make
    for client in clients:
        client.close()
