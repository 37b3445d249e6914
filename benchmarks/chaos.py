"""The long form of the chaos test: 2,500 transitions with random `kill -9` of broker, runtime and agent.

Usage: python benchmarks/chaos.py [TRANSITIONS] [SEED]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from fakes.chaos import run
from fakes.home import home


def main() -> int:
    transitions = int(sys.argv[1]) if len(sys.argv) > 1 else 2500
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    begin = time.monotonic()
    with home() as made:
        result = run(made, transitions=transitions, flappers=8, seed=seed, pause=(0.5, 4.0))
    print(f"{result.events} events, {transitions} transitions, seed {seed}, {time.monotonic() - begin:.0f} s")
    print(f"kill -9: {result.kills}; duplicates {result.duplicates}, early {result.early}")
    print(f"lost {len(result.missing)}, wrong {len(result.wrong)}")
    for text in [*result.lacking[:10], *result.wrong[:10]]:
        print(" ", text)
    return 1 if result.missing or result.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
