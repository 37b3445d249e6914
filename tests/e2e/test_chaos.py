"""Nothing is lost, nothing comes out of order, whoever is killed (short form; benchmarks/chaos.py has the long)."""

from __future__ import annotations

from fakes.chaos import run
from fakes.home import Home


def test_a_durable_consumer_sees_every_transition_once_in_order(home: Home) -> None:
    result = run(home, transitions=120, flappers=6, seed=7, pause=(0.8, 1.6))
    assert sum(result.kills.values()) >= 3, result
    assert not result.missing, result
    assert not result.wrong, result
