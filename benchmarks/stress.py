"""The long form of the stress test: 200 children exit, are killed and restarted for a minute, with five reloads.

Usage: python benchmarks/stress.py [CHILDREN] [SECONDS] [SEED]
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[1] / "tests")]

from fakes.stress import run  # noqa: E402
from fakes.supervisords import supervisord  # noqa: E402


def main() -> int:
    given = [float(word) for word in sys.argv[1:]]
    children, seconds, seed = [*given, *(200, 60, 1)[len(given) :]]
    with supervisord() as daemon:
        result = run(daemon, children=int(children), seconds=seconds, reloads=5, seed=int(seed))
    print(
        f"{int(children)} children, {seconds:.0f} s, seed {int(seed)}: {result.starts} starts, {result.kills} killed, "
    )
    print(f"{result.reloads} reloads; descriptors after each {result.descriptors}")
    print("\n".join(result.complaints[:20]) or "nothing missed, nothing left")
    return 1 if result.complaints else 0


if __name__ == "__main__":
    sys.exit(main())
