"""The whole launcher with N sleeping plugins: start, latencies, list, stop, memory and idle CPU, on this machine.

Usage: python benchmarks/bench_whole.py [N…]    (default 50; PARTS=1 in the environment: processor time by part)
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import psutil
from fakes.home import Home, home, until

from hiveot_supervisor.hub.client import Account, Right
from hiveot_supervisor.hub.connect import make_client

EVENT = "hiveot/event/launcher/Admin/"


def quantiles(samples: list[float]) -> str:
    """Median and 99th percentile in ms."""
    ordered = sorted(samples)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"p50 {1000 * statistics.median(ordered):6.1f} ms   p99 {1000 * p99:6.1f} ms   (n={len(ordered)})"


def row(what: str, figure: str) -> None:
    print(f"{what:<68} {figure}", flush=True)


def start(made: Home, names: list[str]) -> None:
    """First start with credential creation, then a second one with everything there, timed at a subscriber."""
    made.configure()
    made.up()
    subscriber = made.subscribe(topics=(EVENT + "started",))
    made.down()
    made.configure(*names)
    for what in ("first start, credentials made", "second start, credentials there"):
        seen = len(subscriber.messages)
        begin = time.monotonic()
        made.up(wait=False)
        # counted without a look into them: what measures must not take the processor from what is measured
        until(lambda n=seen: len(subscriber.messages) >= n + len(names), 60)
        assert set(subscriber.events("started")) == set(names)
        row(f"{what}: up -> {len(names)}th `started`", f"{subscriber.messages[-1][0] - begin:6.2f} s")
        if os.environ.get("PARTS"):
            parts(made)
        if what.startswith("first"):
            made.down()
    subscriber.close()


def exits(made: Home, names: list[str], count: int = 60) -> None:
    """kill -9 of a plugin -> `stopped` at a subscriber, and -> `started` again at once (delay 100 ms is in it)."""
    subscriber = made.subscribe(topics=("hiveot/event/#",))
    samples = []
    views = made.views()
    for index in range(count):
        name = names[index % len(names)]
        pid = views[name]["pid"]
        before = len(subscriber.messages)
        begin = time.monotonic()
        os.kill(pid, signal.SIGKILL)

        def stopped(since: int = before) -> float | None:
            for stamp, topic, _, _ in subscriber.messages[since:]:
                if topic == EVENT + "stopped":
                    return stamp
            return None

        samples.append(until(stopped) - begin)
        until(lambda since=before: any(t == EVENT + "started" for _, t, _, _ in subscriber.messages[since:]))
        views = made.views() if index % len(names) == len(names) - 1 else views
    logs = "no logs" if "logPlugins: false" in made.settings else "logs captured"
    row(f"kill -9 of a plugin -> `stopped` at an MQTT subscriber, {logs}", quantiles(samples))
    subscriber.close()


def requests(made: Home, name: str, count: int = 30) -> None:
    """startPlugin and listPlugins over the hub."""
    certs = made.path / "certs"
    admin = make_client(
        f"mqtts://localhost:{made.port}", Account("admin", certs / "admin.token", certs / "caCert.pem"), agent=False
    )
    admin.start()
    admin.wait_connected(10)
    starts, stops, lists = [], [], []
    for _ in range(count):
        begin = time.monotonic()
        admin.invoke_action("launcher", "Admin", "stopPlugin", name, right=Right.CONFIG)
        stops.append(time.monotonic() - begin)
        begin = time.monotonic()
        admin.invoke_action("launcher", "Admin", "startPlugin", name, right=Right.CONFIG)
        starts.append(time.monotonic() - begin)
        begin = time.monotonic()
        admin.invoke_action("launcher", "Admin", "listPlugins", False, right=Right.READ)
        lists.append(time.monotonic() - begin)
    row("startPlugin over the hub -> answer with a running PID", quantiles(starts))
    row("stopPlugin over the hub -> answer", quantiles(stops))
    row("listPlugins over the hub", quantiles(lists))
    admin.close()


def commands(made: Home) -> None:
    samples = []
    for _ in range(11):
        begin = time.monotonic()
        made.launch("list")
        samples.append(time.monotonic() - begin)
    row("hiveot-launcher list, whole command", quantiles(samples))
    begin = time.monotonic()
    made.ctl("status")
    row("supervisorctl status, whole command", f"    {1000 * (time.monotonic() - begin):6.1f} ms")


def running(made: Home) -> dict[str, psutil.Process]:
    """Agent, supervisord, hub and broker."""
    words = {"agent": "hiveot_supervisor.agent", "supervisord": "supervisor.supervisord", "runtime": ".runtime"}
    words["broker"] = "nats-server"
    found = {}
    for pid, line in made.processes().items():
        for name, word in words.items():
            if word in line:
                found[name] = psutil.Process(pid)
    found["supervisord"] = psutil.Process(made.supervisord_pid)
    return found


def parts(made: Home) -> None:
    """What the start took of the processor, by part."""
    for name, process in running(made).items():
        user, system = process.cpu_times()[:2]
        row(f"  {name}: processor time", f"{user:6.2f} s user {system:6.2f} s system")


def load(made: Home) -> None:
    """RSS and idle CPU of agent, supervisord, hub and broker."""
    found = running(made)
    before = {n: sum(p.cpu_times()[:2]) for n, p in found.items()}
    begin = time.monotonic()
    time.sleep(20)
    elapsed = time.monotonic() - begin
    for name, process in found.items():
        used = 100 * (sum(process.cpu_times()[:2]) - before[name]) / elapsed
        row(f"{name}: RSS, idle CPU of one core", f"{process.memory_info().rss / 1e6:6.1f} MB   {used:5.2f} %")


def stop(made: Home) -> None:
    begin = time.monotonic()
    os.kill(made.supervisord_pid, signal.SIGTERM)
    until(lambda: not made.processes(), 60)
    row("SIGTERM of supervisord -> everything gone", f"{time.monotonic() - begin:6.2f} s")


SETTINGS = "startWait: 0\nrestart: {delay: 100ms, limit: 100ms, jitter: 0%}\n"


def measure(count: int) -> None:
    names = [f"plugin{n:04d}" for n in range(count)]
    with home(settings=SETTINGS) as made:
        for name in names:
            made.plugin(name)
        row(f"{count} sleeping plugins, Python {sys.version.split()[0]}, {os.cpu_count()} cores", "")
        start(made, names)
        commands(made)
        exits(made, names)
        requests(made, names[0])
        load(made)
        events = made.journal("started")
        row("events journalled as started", f"{len(events)}")
        json.dumps(events[-1])
        stop(made)
        made.settings = f"{SETTINGS}logPlugins: false\n"
        made.configure(*names)
        made.up()
        exits(made, names)


def main() -> int:
    for count in [int(word) for word in sys.argv[1:]] or [50]:
        measure(count)
    return 0


if __name__ == "__main__":
    sys.exit(main())
