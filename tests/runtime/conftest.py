from __future__ import annotations

from collections.abc import Iterator

import pytest
from fakes.ports import free_port
from fakes.runtimes import DRIVERS, LocalBroker, RuntimeHome


@pytest.fixture
def home() -> Iterator[RuntimeHome]:
    """A fresh home without anything running; whatever was started in it is gone afterwards."""
    made = RuntimeHome()
    yield made
    made.close()


@pytest.fixture(params=DRIVERS, ids=lambda driver: driver.value)
def each_home(request: pytest.FixtureRequest) -> Iterator[RuntimeHome]:
    """As `home`, once for each kind of broker."""
    made = RuntimeHome(request.param)
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


@pytest.fixture(scope="module", params=DRIVERS, ids=lambda driver: driver.value)
def either(request: pytest.FixtureRequest) -> Iterator[LocalBroker]:
    """Each kind of broker alone, shared by the tests of a module; with a listener for certificates."""
    made = LocalBroker(request.param, certificates=True)
    yield made
    made.close()


@pytest.fixture(scope="module", params=DRIVERS, ids=lambda driver: driver.value)
def any_hub(request: pytest.FixtureRequest) -> Iterator[RuntimeHome]:
    """A running hub of each kind, shared by the tests of a module."""
    made = RuntimeHome(request.param, certificates_port=free_port())
    made.start()
    yield made
    made.close()
