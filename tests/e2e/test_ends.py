"""All the ways in which a plugin can end or misbehave: right cause and code, nothing left behind, memory bounded."""

from __future__ import annotations

from pathlib import Path

import psutil
from fakes.home import EXTENSION, Home, told_signal, until

CRASH_AT_ONCE = "#!/bin/sh\nexit 9\n"
CRASH_LATER = "#!/bin/sh\nsleep 1.5\nexit 7\n"
EXIT_WELL = "#!/bin/sh\nsleep 0.2\nexit 0\n"
SEGFAULT = "#!/bin/sh\nkill -SEGV $$\n"
KILLED = "#!/bin/sh\nkill -KILL $$\n"
CLOSES_OUTPUT = "#!/bin/sh\nexec >&- 2>&-\nsleep 0.3\nexit 4\n"
BURST = '#!/bin/sh\ni=0\nwhile [ $i -lt 10000 ]; do echo "line $i"; i=$((i+1)); done\nexit 5\n'


def ending(home: Home, name: str) -> dict[str, object]:
    """The state change with which its run ended."""

    def find() -> dict[str, object] | None:
        for event in home.journal("pluginStateChanged"):
            change = event["value"]
            if event["plugin"] == name and change["state"] in ("failed", "exited"):
                return dict(change)
        return None

    return dict(until(find, what=f"the end of {name}"))


def test_each_end_has_its_cause_and_code(home: Home) -> None:
    scripts = {
        "atonce": (CRASH_AT_ONCE, "failed", "crash", 9, None),
        "later": (CRASH_LATER, "failed", "crash", 7, None),
        "well": (EXIT_WELL, "exited", "exit", 0, None),
        "segv": (SEGFAULT, "failed", "crash", None, "SIGSEGV"),
        "kill": (KILLED, "failed", "crash", None, "SIGKILL"),
        "mute": (CLOSES_OUTPUT, "failed", "crash", 4, None),
        "burst": (BURST, "failed", "crash", 5, None),
    }
    for name, (script, *_) in scripts.items():
        home.plugin(name, script)
    home.configure(*scripts, extra="autorestart: false\n")
    home.up(wait=False)
    until(lambda: (home.path / "stores/launcher/launcher.db").exists())
    for name, (_, state, cause, code, signal_name) in scripts.items():
        change = ending(home, name)
        assert (change["state"], change["cause"]) == (state, cause), name
        assert (change.get("exitCode"), change.get("signal")) == (code, signal_name and told_signal(signal_name)), name
    counts = {n: [e["name"] for e in home.journal() if e["value"] == n] for n in scripts}
    assert counts == {n: ["started", "stopped"] for n in scripts}
    assert ending(home, "burst")["lastLog"][-1] == "line 9999"
    assert len(ending(home, "burst")["lastLog"]) == 20


def test_children_left_behind_are_ended(home: Home) -> None:
    """One that goes on TERM, and one that ignores it."""
    children = (
        f"sh -c 'echo $$ > {home.path}/child1; exec sleep 1000' &\n"
        f"sh -c \"trap '' TERM; echo \\$\\$ > {home.path}/child2; while :; do sleep 1; done\" &\n"
    )
    home.plugin("forker", f"#!/bin/sh\n{children}sleep 0.5\nexit 0\n")
    home.configure("forker", extra="stop: {timeout: 1s}\n")
    home.up(wait=False)
    pids = [int(until(lambda n=n: text(home.path / n), what=n)) for n in ("child1", "child2")]
    assert all(psutil.pid_exists(pid) for pid in pids)
    until(lambda: not any(psutil.pid_exists(pid) for pid in pids), 10, "children ended")
    assert ending(home, "forker")["exitCode"] == 0


def test_a_daemon_that_a_plugin_left_behind_is_ended(home: Home) -> None:
    """It has left the process group and the session; what it inherited tells where it comes from."""
    script = (
        "#!/usr/bin/env python3\nimport os, sys, time\n"
        "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
        f"        open('{home.path}/daemon', 'w').write(str(os.getpid()))\n        time.sleep(1000)\n    os._exit(0)\n"
        "time.sleep(0.5)\nsys.exit(0)\n"
    )
    home.plugin("forker", script)
    home.plugin("other")
    home.configure("forker", "other")
    home.up(wait=False)
    daemon = int(until(lambda: text(home.path / "daemon")))
    until(lambda: not psutil.pid_exists(daemon), 20, "the daemon ended")
    assert home.views()["other"]["state"] == "running"


def text(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""


def test_a_flood_of_output_harms_nobody(home: Home) -> None:
    """As fast as it can: rotation keeps the disk, the agent's memory stays, the others can be controlled."""
    home.plugin("flood", "#!/bin/sh\nexec yes 'a line of output that is neither short nor long'\n")
    home.plugin("calm")
    home.configure("calm", "flood", extra="logs: {maxSize: 1MB, backups: 1}\n")
    home.up()
    agent = next(psutil.Process(p) for p, line in home.processes().items() if "hiveot_supervisor.agent" in line)
    before = agent.memory_info().rss
    log = home.path / "logs/flood.log"
    until(lambda: Path(f"{log}.1").exists(), what="rotated")
    home.launch("stop", "calm")
    home.launch("start", "calm")
    home.launch("stop", "flood")
    assert agent.memory_info().rss < before + 10_000_000
    assert sum(p.stat().st_size for p in log.parent.glob("flood.log*")) < 4_000_000


def test_a_stop_while_the_agent_is_away_holds(home: Home) -> None:
    """Of a plugin that waits for its next start there is nothing to stop, but it must not be started again."""
    home.plugin("one", "#!/bin/sh\nexit 3\n")
    home.configure("one", extra="restart: {delay: 1s, jitter: 0%}\n")
    home.up_failing()
    until(lambda: home.views()["one"]["state"] == "backoff")
    home.ctl("stop", "launcher")
    home.launch("stop", "one")
    home.ctl("start", "launcher")
    until(lambda: home.views()["one"]["state"] == "stopped")
    assert home.views()["one"]["enabled"] is False
    starts = len(home.journal("started"))
    home.plugin("one")
    home.launch("start", "one")
    assert home.views()["one"]["enabled"] is True
    assert len(home.journal("started")) == starts + 1


def test_without_a_hub_plugins_that_have_credentials_run_after_the_timeout(home: Home) -> None:
    """The hub stays away: those with credentials run after runtimeTimeout, the rest as soon as the hub is there."""
    home.plugin("old")
    home.plugin("new")
    home.configure("old")
    home.up()
    home.down()
    runtime = home.path / "bin/runtime"
    real = runtime.read_text()
    runtime.write_text("#!/bin/sh\n# stands for hiveot_supervisor.runtime, but never answers\nexec sleep 1000\n")
    home.configure("old", "new", extra="runtimeTimeout: 2s\n")
    home.launch("up", "-d")
    until(lambda: home.views()["old"]["state"] == "running")
    assert "hub" in home.views()["new"]["note"]
    assert home.views()["new"]["state"] == "waiting"
    runtime.write_text(real)
    home.launch("restart", "runtime")
    until(lambda: home.views()["new"]["state"] == "running")
    subscriber = home.subscribe()
    home.launch("stop", "old")
    until(lambda: subscriber.events("stopped") == ["old"])


def test_everything_works_without_the_extension(home: Home) -> None:
    """`make stock` runs all these tests like this."""
    home.plugin("one")
    home.plugin("two")
    home.configure("one", "two", extra="extension: false\n" if EXTENSION else "")
    home.up()
    home.launch("stop", "one")
    assert home.views()["one"]["state"] == "stopped"
    home.launch("start", "one")
    home.launch("restart", "two")
    assert {v["state"] for v in home.views().values()} == {"running"}
    home.down()
    assert not home.processes()
    stopped = [e["value"] for e in home.journal("stopped")]
    assert sorted(stopped[-2:]) == ["one", "two"]
