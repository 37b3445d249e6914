"""Runs the example plugins as programs, against real brokers; `watch` is somebody who sees everything."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from fakes import brokers
from fakes.examples import PLUGINS, Home, Watcher


@pytest.fixture(scope="session", params=list(brokers.KINDS))
def broker_kind(request: pytest.FixtureRequest) -> str:
    if not brokers.available(request.param):
        pytest.skip(f"the broker {request.param} is not installed")
    return str(request.param)


@pytest.fixture
def broker(broker_kind: str, tmp_path: Path) -> Iterator[brokers.Broker]:
    broker = brokers.make_broker(broker_kind, tmp_path / "broker")
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def home(broker: brokers.Broker, tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path, broker)
    yield home
    home.close()


@pytest.fixture
def watch(broker: brokers.Broker) -> Iterator[Watcher]:
    watcher = Watcher(broker)
    yield watcher
    watcher.close()


@pytest.fixture(scope="session")
def sysinfo() -> ModuleType:
    """The program as a module, for what can be judged without a hub."""
    loader = importlib.machinery.SourceFileLoader("sysinfo_example", str(PLUGINS / "sysinfo"))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[loader.name] = module  # dataclasses look their module up
    write, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    loader.exec_module(module)
    sys.dont_write_bytecode = write
    return module
