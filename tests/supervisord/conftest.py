from __future__ import annotations

from collections.abc import Iterator

import pytest
from fakes.supervisords import Supervisord, supervisord


@pytest.fixture
def daemon() -> Iterator[Supervisord]:
    """A supervisord with our extension and a recording listener, not started yet."""
    with supervisord() as made:
        yield made
