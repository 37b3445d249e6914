#!/usr/bin/env python3
"""The launcher beside other process managers: the same work, on this machine, in one run.

    python benchmarks/versus.py [--quick] [--peers ours,supervisord,…] [--docs docs/benchmarks.md]

Managers that are missing are fetched below --cache (circus by pip, pm2 by npm) or left out with the reason (s6, runit:
apt-get install s6 runit; systemd needs root). They take turns in random order, so that other load hits all alike.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]

import report  # noqa: E402
import works  # noqa: E402
from peers import Missing, Peer, bare, circus, ours, pm2, runit, s6, systemd  # noqa: E402
from report import Results  # noqa: E402

PEERS: tuple[Callable[[], Peer], ...] = (
    ours.Ours, bare.Bare, circus.Circus, pm2.Pm2, s6.S6, runit.Runit, systemd.Systemd
)  # fmt: skip
GROWING = ("ours", "supervisord")
SLOW_TO_STOP = "supervisord"
"""Half a second for each program: measured once, with the middle number of workers."""


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


class Comparison:
    """One run. Everything measured goes into `results`; a peer that fails at something is named in `failures`."""

    def __init__(self, peers: list[Peer], *, quick: bool) -> None:
        self.peers = peers
        self.results = Results()
        self.failures: list[str] = []
        self.counts = (10, 50) if quick else (10, 50, 200)
        self.growth = (10, 50) if quick else (10, 100, 300, 1000)
        self.rounds = 1 if quick else 3
        self.samples = 5 if quick else 30
        self.idle = 3.0 if quick else 10.0
        self.budget = 8.0 if quick else 25.0

    def run(self) -> None:
        for number in range(self.rounds):
            for count in self.counts:
                for peer in random.sample(self.peers, len(self.peers)):
                    if count < 200 or number:
                        self._guarded(peer, f"{count} workers", lambda p=peer, c=count, n=number: self._round(p, c, n))
        for peer in self.peers:
            self._guarded(peer, "being told", lambda p=peer: self._told(p, 50, "told"))
        for count in self.growth:
            for peer in self.peers:
                if peer.name in GROWING:
                    self._guarded(peer, f"growth to {count}", lambda p=peer, c=count: self._grow(p, c))

    def _guarded(self, peer: Peer, what: str, work: Callable[[], None]) -> None:
        """A manager that fails must not cost the figures of the others."""
        say(f"{peer.name}: {what}")
        try:
            work()
        except Exception as error:  # noqa: BLE001
            self.failures.append(f"{peer.name}, {what}: {error!r:.200}")
            say(self.failures[-1])

    def _round(self, peer: Peer, count: int, number: int) -> None:
        last = number == self.rounds - 1
        with works.running(peer, count) as cold:
            self.results.add("cold", count, peer.name, cold)
            if last and count >= 50:
                self._at_rest(peer, count)
            if last and count == 50:
                self.results.add("restart", count, peer.name, *works.restarts(peer, self.samples, self.budget))
            if peer.name != SLOW_TO_STOP or (last and count == 50):
                self.results.add("stop", count, peer.name, works.stop(peer))

    def _at_rest(self, peer: Peer, count: int) -> None:
        self.results.add("status", count, peer.name, *works.status(peer, 3 if self.rounds == 1 else 9))
        time.sleep(1.0)
        own = works.managers(peer)
        rss, pss = works.memory(own)
        self.results.add("rss", count, peer.name, rss)
        self.results.add("pss", count, peer.name, pss)
        self.results.add("idle", count, peer.name, works.idle(own, self.idle))

    def _told(self, peer: Peer, count: int, row: str) -> None:
        with works.running(peer, count, notify=True):
            time.sleep(1.5)  # a worker that dies younger is not started again at once, by some
            self.results.add(row, count, peer.name, *works.notifications(peer, self.samples, self.budget))

    def _grow(self, peer: Peer, count: int) -> None:
        with works.running(peer, count, notify=True) as cold:
            self.results.add("growth cold", count, peer.name, cold)
            time.sleep(3.0)
            self.results.add("growth status", count, peer.name, *works.status(peer, 5))
            own = works.managers(peer)
            self.results.add("growth pss", count, peer.name, works.memory(own)[1])
            self.results.add("growth idle", count, peer.name, works.idle(own, self.idle))
            told = works.notifications(peer, self.samples // 2, self.budget)
            self.results.add("growth told", count, peer.name, *told)
            if peer.name != SLOW_TO_STOP:
                self.results.add("growth stop", count, peer.name, works.stop(peer))


def whole(quick: bool) -> str:
    """What bench_whole.py prints: the figures that must hold."""
    command = [sys.executable, str(ROOT / "benchmarks/bench_whole.py"), *(["50"] if quick else ["50", "200"])]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600).stdout


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer workers, samples and rounds: to try it out")
    parser.add_argument("--peers", default="", help="only these, comma-separated")
    parser.add_argument("--docs", type=Path, help="write figures and plot into this page")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / f"hiveot-bench-{os.getuid()}")
    args = parser.parse_args()
    args.cache.mkdir(mode=0o700, exist_ok=True)
    present, versions, absent = [], {}, {}
    for kind in PEERS:
        peer = kind()
        if args.peers and peer.name not in args.peers.split(","):
            continue
        try:
            versions[peer.name] = peer.install(args.cache)
            present.append(peer)
        except (Missing, subprocess.TimeoutExpired, OSError) as reason:
            absent[peer.name] = str(reason)
    comparison = Comparison(present, quick=args.quick)
    begun = time.monotonic()
    comparison.run()
    say("the whole launcher")
    text = report.render(
        comparison.results, present, versions, absent, comparison.failures,
        whole=whole(args.quick), minutes=(time.monotonic() - begun) / 60, quick=args.quick,
    )  # fmt: skip
    print(text)
    if args.docs:
        report.insert(args.docs, text, comparison.results)
    return 1 if comparison.failures else 0


if __name__ == "__main__":
    sys.exit(main())
