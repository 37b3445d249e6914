"""A HiveOT installation for each test, or a running one shared by those that only ask."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fakes.hiveot_home import GoHome, go_home


@pytest.fixture
def home() -> Iterator[GoHome]:
    with go_home() as made:
        yield made
