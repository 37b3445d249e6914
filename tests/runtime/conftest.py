from __future__ import annotations

from collections.abc import Iterator

import pytest
from fakes.runtimes import LocalBroker, RuntimeHome


@pytest.fixture
def home() -> Iterator[RuntimeHome]:
    """A fresh home without anything running; whatever was started in it is gone afterwards."""
    made = RuntimeHome()
    yield made
    made.close()


@pytest.fixture(scope="module")
def hub() -> Iterator[RuntimeHome]:
    """A running hub, shared by the tests of a module."""
    made = RuntimeHome()
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def broker() -> Iterator[LocalBroker]:
    """The broker alone, shared by the tests of a module."""
    made = LocalBroker()
    yield made
    made.close()
