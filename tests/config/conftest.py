"""A home for each test, and a way to inspect a text as its launcher.yaml."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes.configs import config_home

from hiveot_supervisor.config.load import Inspection, inspect
from hiveot_supervisor.config.paths import locate

Check = Callable[[str | bytes], Inspection]


@pytest.fixture
def home() -> Iterator[Path]:
    with config_home() as folder:
        yield folder


@pytest.fixture
def check(home: Path) -> Check:
    """Inspect a text as the launcher.yaml of `home`."""

    def run(text: str | bytes) -> Inspection:
        (home / "launcher.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
        return inspect(locate(home), cwd=home)

    return run
