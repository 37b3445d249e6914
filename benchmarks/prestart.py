"""What the pre-start hook costs: time from spawn to the plugin's first instruction, over a direct exec.

    python benchmarks/prestart.py [--rounds 60]

Variants take turns in random order on one machine, so that load hits all alike; medians are the figure to trust.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests")]

from fakes.launchers import launcher_of, plugin_of  # noqa: E402

from hiveot_supervisor.generate import plan, write  # noqa: E402
from hiveot_supervisor.generate.hooks import Tools, specify  # noqa: E402
from hiveot_supervisor.model import Launcher, Plugin  # noqa: E402
from hiveot_supervisor.prestart import verified  # noqa: E402

TARGET_MS = 3.0


def spawn(command: list[str]) -> float:
    """Milliseconds from fork to the end of a program that ends at once."""
    began = time.perf_counter_ns()
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null", 1, 0)])
    _, status = os.waitpid(pid, 0)
    taken = (time.perf_counter_ns() - began) / 1e6
    assert status == 0, f"{command} ended with {status}"
    return taken


def prepare(home: Path, name: str, *, tools: Tools | None = None, **settings: object) -> tuple[Launcher, Plugin]:
    """A home of its own with one plugin, /bin/true, all its files in place and verified."""
    extension = bool(settings.pop("extension", True))
    launcher = launcher_of(home / name, plugin_of(home / name, "p", executable=Path("/bin/true"), **settings))
    launcher = replace(launcher, extension=extension)
    write.write(plan.make(launcher, tools=tools))
    plugin = launcher.plugins[0]
    spec = specify(launcher, plugin)
    if spec.credentials is not None:
        provision(launcher)
    verified.mark(spec, verified.look(spec), time.time() + 86400)
    return launcher, plugin


def provision(launcher: Launcher) -> None:
    """Real credentials, signed by a hub in memory."""
    from hiveot_supervisor.credentials import certificates, keys, store, tokens
    from hiveot_supervisor.credentials.provision import Files, ensure

    signer, authority = keys.generate(), certificates.new_server_key()
    ca = certificates.create_ca(authority, now=time.time())
    store.ensure_folder(launcher.paths.certs)
    store.write_file(launcher.paths.ca_cert, ca)

    def ask(name: str, given: object) -> str:
        arguments = dict(given)  # type: ignore[call-overload]
        if name == "addService":
            return tokens.issue(signer, arguments["clientID"], now=time.time(), lifetime=86400 * 365)
        made = certificates.create_client(ca, authority, arguments["csr"], arguments["clientID"], now=time.time())
        return made.decode()

    ensure(Files.of(launcher.paths, "p"), ask, now=time.time)


def script(launcher: Launcher) -> list[str]:
    return ["/bin/sh", str(launcher.paths.plugin_dir / "p.sh")]


def variants(home: Path) -> dict[str, Callable[[], list[str]]]:
    environment = tuple((f"NAME_{n}", f"value {n}") for n in range(10))
    common = {"create_cred": True, "environment": environment, "requires": (Path("/dev/null"),)}
    fast, _ = prepare(home, "fast", **common)
    bare, _ = prepare(home, "bare")
    slow, _ = prepare(home, "slow", **common, environment_file=Path("/dev/null"))
    plain, _ = prepare(home, "plain", environment_file=Path("/dev/null"))
    found: dict[str, Callable[[], list[str]]] = {
        "direct exec": lambda: ["/bin/true"],
        "shell fast path, with credentials": lambda: script(fast),
        "shell fast path, without": lambda: script(bare),
        "Python slow path, valid credentials": lambda: script(slow),
        "Python slow path, without": lambda: script(plain),
        "python -c pass": lambda: [sys.executable, "-P", "-c", "pass"],
    }
    tools = Tools.find()
    if tools.parent_death:
        with_setpriv, _ = prepare(home, "setpriv", tools=Tools(tools.parent_death), extension=False, **common)
        found["fast path + setpriv (extension off)"] = lambda: script(with_setpriv)
    if tools.parent_death and tools.signals:
        with_both, _ = prepare(home, "both", tools=tools, extension=False, **common)
        found["fast path + setpriv + env (extension off)"] = lambda: script(with_both)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    rounds = parser.parse_args().rounds
    home = Path(tempfile.mkdtemp(prefix="hs", dir="/tmp"))
    try:
        commands = variants(home)
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name in random.sample(list(commands), len(commands)):
                times[name].append(spawn(commands[name]()))
    finally:
        shutil.rmtree(home)
    direct = statistics.median(times["direct exec"])
    print(f"{'variant':<44} {'median ms':>9} {'over direct':>11} {'p90 ms':>8}   ({rounds} rounds)")
    for name, taken in times.items():
        median, p90 = statistics.median(taken), statistics.quantiles(taken, n=10)[-1]
        print(f"{name:<44} {median:>9.2f} {median - direct:>+11.2f} {p90:>8.2f}")
    over = statistics.median(times["shell fast path, with credentials"]) - direct
    print(f"target: fast path < {TARGET_MS:g} ms over direct exec: {'met' if over < TARGET_MS else 'MISSED'}")
    return 0 if over < TARGET_MS else 1


if __name__ == "__main__":
    sys.exit(main())
