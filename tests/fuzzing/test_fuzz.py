"""The short form of fuzzing: some hundred hostile inputs to each target. The long form: benchmarks/fuzz.py."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from fuzzing.mutate import mutate
from fuzzing.targets import TARGETS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Handlers that targets put on the root logger are gone after the test."""
    yield
    root = logging.getLogger()
    for handler in list(root.handlers):
        if getattr(handler, "fuzzing", False):
            root.removeHandler(handler)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: the homes in it have sockets."""
    with tempfile.TemporaryDirectory(prefix="hs", dir="/tmp") as made:
        yield Path(made)


@pytest.mark.parametrize("name", TARGETS)
def test_hostile_inputs_do_no_harm(name: str, folder: Path) -> None:
    target = TARGETS[name](folder)
    for seed in target.seeds:
        target.check(seed)

    @settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.randoms(use_true_random=False))
    def attack(random: Random) -> None:
        target.check(mutate(random, target.seeds, target.tokens))

    attack()
