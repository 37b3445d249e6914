"""The benchmarks against other managers: what they measure is there, and the page takes the figures."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "benchmarks"))

import report  # noqa: E402
import works  # noqa: E402
from peers import Missing, bare, runit, s6  # noqa: E402


@pytest.mark.parametrize("kind", [bare.Bare, s6.S6, runit.Runit])
def test_a_peer_starts_tells_shows_and_stops(kind: Callable[[], Any], tmp_path: Path) -> None:
    peer = kind()
    try:
        assert peer.install(tmp_path)
    except Missing as reason:
        pytest.skip(str(reason))
    with works.running(peer, 3, notify=True) as cold:
        assert 0 < cold < 15
        assert sorted(peer.workers()) == ["w0000", "w0001", "w0002"]
        assert works.managers(peer).isdisjoint(peer.workers().values())
        rss, pss = works.memory(works.managers(peer))
        assert rss > pss > 0
        assert 0 < statistics.median(works.status(peer, 1)) < 5
        assert all(0 < told < 5 for told in works.notifications(peer, 1, 10))
        assert works.stop(peer) < 20


def results() -> report.Results:
    made = report.Results()
    made.add("cold", 50, "ours", 1.5, 0.9, 1.1)
    made.add("cold", 50, "s6", 0.055)
    made.add("idle", 50, "ours", 0.5)
    return made


def test_the_best_is_marked_and_the_others_have_their_ratio() -> None:
    lines = report.main_table(results(), ["ours", "s6"])
    assert lines[2] == "| cold start of N = 50: command → all run | 1.10 s (20.0) | **55.0 ms** |"
    assert lines[3] == "| processor time at rest, of one core (N = 50) | **0.50 %** | – |"


def test_the_page_takes_the_figures_and_keeps_its_text(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text((ROOT / "docs/benchmarks.md").read_text())
    before = page.read_text().partition(report.BEGIN)[0]
    for figures in ("first", "second"):
        report.insert(page, figures, results())
        assert page.read_text().startswith(before)
        assert "## The parts alone" in page.read_text()
    assert "second" in page.read_text()
    assert "first" not in page.read_text().removeprefix(before)
