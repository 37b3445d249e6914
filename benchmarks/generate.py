"""What `hiveot-launcher generate` costs for many plugins, as a whole command and by step.

    python benchmarks/generate.py [--plugins 1000] [--rounds 5]

Each round uses a new home. On ext4 the kernel searches long for inodes that were not freed within the last minute:
after something has removed thousands of files, writing takes a second more.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests")]

from fakes.launchers import launcher_of, plugin_of, program  # noqa: E402

from hiveot_supervisor.generate import plan, write  # noqa: E402

TARGET_S = 1.0


def command(home: Path) -> tuple[float, float]:
    """Seconds of the whole command in a process of its own: by the clock, and of processor time."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    launcher = [sys.executable, "-m", "hiveot_supervisor.cli.main", "--home", str(home), "-q", "generate"]
    subprocess.run(launcher, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - began, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def make_home(folder: Path, names: list[str]) -> Path:
    home = folder / "h"
    for name in names:
        program(home / "plugins" / name)
    listed = "".join(f"- {name}\n" for name in names)
    (home / "launcher.yaml").write_text(f"hub: {{url: 'mqtts://localhost:1'}}\nautostart:\n{listed}")
    return home


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plugins", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", default="/tmp", help="where the homes are made; try a tmpfs such as /dev/shm")
    args = parser.parse_args()
    names = [f"plugin{n}" for n in range(args.plugins)]
    steps: dict[str, list[float]] = {}
    folders = []
    for _ in range(args.rounds):
        folders.append(Path(tempfile.mkdtemp(prefix="hs", dir=args.folder)))
        home = make_home(folders[-1], names)
        for name in ("first", "unchanged"):
            taken = command(home)
            steps.setdefault(name, []).append(taken[0])
            steps.setdefault(f"{name}, processor", []).append(taken[1])
        other = folders[-1] / "steps"
        launcher = launcher_of(other, *(plugin_of(other, name) for name in names))
        began = time.perf_counter()
        made = plan.make(launcher)
        planned = time.perf_counter()
        write.write(made)
        steps.setdefault("of it plan", []).append(planned - began)
        steps.setdefault("of it write", []).append(time.perf_counter() - planned)
    for folder in folders:
        shutil.rmtree(folder)
    print(f"generate, {args.plugins} plugins, {args.rounds} rounds: median (min) in seconds")
    for name, taken in steps.items():
        print(f"  {name:<20} {statistics.median(taken):.2f} ({min(taken):.2f})")
    met = statistics.median(steps["first"]) < TARGET_S
    print(f"target: whole command < {TARGET_S:g} s: {'met' if met else 'MISSED'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
