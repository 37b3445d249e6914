from __future__ import annotations

from collections.abc import Iterator

import pytest
from fakes.home import Home
from fakes.home import home as make_home


@pytest.fixture
def home() -> Iterator[Home]:
    """A fresh home; whatever runs from it is gone afterwards."""
    with make_home() as made:
        yield made
