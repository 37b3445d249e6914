"""The long form of fuzzing: 100,000 hostile inputs to each target, with their cost in time and memory.

Usage: python benchmarks/fuzz.py [--inputs N] [--seed N] [--keep DIR] [TARGET...]
       python benchmarks/fuzz.py --atheris TARGET [options of libFuzzer]     (pip install atheris)

Each target runs in a process of its own with at most 1 GB more address space than it began with. What is found is
written to DIR (default: findings/) and repeated with: python benchmarks/fuzz.py --repeat FILE TARGET
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import multiprocessing
import resource
import sys
import tempfile
import time
import traceback
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

if "--atheris" in sys.argv:  # it has to see the modules when they are imported
    import atheris

    with atheris.instrument_imports(include=["hiveot_supervisor"]):
        importlib.import_module("fuzzing.targets")

from fuzzing.mutate import mutate
from fuzzing.target import Target
from fuzzing.targets import TARGETS

MEMORY = 1 << 30
MAX_FINDINGS = 20


def scratch() -> str | None:
    """A folder in memory where there is one: the state files are written synchronously."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def run(name: str, inputs: int, seed: int, keep: Path) -> None:
    """One target: prints a line, ends with 1 when something was found."""
    with tempfile.TemporaryDirectory(dir=scratch()) as folder:
        target = TARGETS[name](Path(folder))
        for one in target.seeds:
            target.check(one)
        limit_memory()
        before = rss()
        found, slowest, begin = attack(target, inputs, Random(f"{seed} {name}"), keep / name)
    growth = (rss() - before) / 1e6
    cpu = time.process_time() - begin
    print(
        f"{name:<18} {inputs:>8} inputs {cpu:>7.0f} s CPU, slowest {slowest * 1000:>6.0f} ms, "
        f"peak memory +{growth:>4.0f} MB, {found} findings",
        flush=True,
    )
    sys.exit(1 if found else 0)


def attack(target: Target, inputs: int, random: Random, keep: Path) -> tuple[int, float, float]:
    """Findings of different kinds, CPU seconds of the slowest input, and the CPU time at the begin."""
    kinds: set[str] = set()
    slowest, begin = 0.0, time.process_time()
    for _ in range(inputs):
        data = mutate(random, target.seeds, target.tokens)
        at = time.process_time()
        try:
            target.check(data)
            kind, report = "", ""
        except Exception as error:  # noqa: BLE001  (whatever it is, it is a finding)
            where = traceback.extract_tb(error.__traceback__)[-1]
            kind, report = f"{type(error).__name__} {where.filename}:{where.lineno}", traceback.format_exc()
        spent = time.process_time() - at
        slowest = max(slowest, spent)
        if spent > target.limit:
            kind, report = kind or f"slow {int(spent)}", report or f"{spent:.1f} s CPU\n"
        if kind and kind not in kinds and len(kinds) < MAX_FINDINGS:
            kinds.add(kind)
            save(keep, data, report)
    return len(kinds), slowest, begin


def save(keep: Path, data: bytes, report: str) -> None:
    keep.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(data).hexdigest()[:12]
    (keep / name).write_bytes(data)
    (keep / f"{name}.txt").write_text(report, errors="backslashreplace")


def limit_memory() -> None:
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))


def rss() -> float:
    """Peak resident memory so far, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def with_atheris(name: str, options: list[str]) -> None:
    """Guided by coverage, until it is stopped (or -runs=N): the corpus begins with the seeds."""
    with tempfile.TemporaryDirectory(dir=scratch()) as folder:
        work, corpus = Path(folder) / "work", Path(folder) / "corpus"
        work.mkdir()
        corpus.mkdir()
        target = TARGETS[name](work)
        for number, seed in enumerate(target.seeds):
            (corpus / str(number)).write_bytes(seed)
        atheris.Setup([sys.argv[0], str(corpus), *options], target.check)
        atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path("findings"))
    parser.add_argument("--repeat", type=Path)
    parser.add_argument("--atheris", metavar="TARGET")
    args, rest = parser.parse_known_args()
    if args.atheris:
        with_atheris(args.atheris, rest)
        return 0
    if unknown := set(args.targets) - set(TARGETS):
        parser.error(f"no target {', '.join(sorted(unknown))}")
    if args.repeat:
        with tempfile.TemporaryDirectory(dir=scratch()) as folder:
            TARGETS[args.targets[0]](Path(folder)).check(args.repeat.read_bytes())
        return 0
    failed = False
    for name in args.targets or TARGETS:
        process = multiprocessing.Process(target=run, args=(name, args.inputs, args.seed, args.keep))
        process.start()
        process.join()
        if process.exitcode not in (0, 1):
            print(f"{name:<18} died with {process.exitcode}")
        failed |= process.exitcode != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
