"""The 18 defects of HiveOT's Go launcher (docs/hiveot-hub-protocol.md §6.6), each as a test that ours does not have it.

One installation with the test hub as its runtime serves all tests that do not stop it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.hiveot_home import PLUGINS, GoHome, Watch, go_home, journal
from fakes.home import until

from hiveot_supervisor.errors import HubError
from hiveot_supervisor.hub.wss import WssHubClient

# a plugin whose child keeps stderr open, and ignores TERM; and one with a name that ends like the runtime's
HOLDER = "#!/bin/sh\n(trap '' TERM; exec sleep 99999) &\necho $! > '{home}/grandchild'\nexec sleep 100000\n"
MORE = {"holder": HOLDER, "xruntime": PLUGINS["sleeper"], "slow": PLUGINS["sleeper"], "zombie-not": PLUGINS["sleeper"]}


class Place:
    """A running installation, a consumer, and what it has seen."""

    def __init__(self, home: GoHome) -> None:
        self.home = home
        holder = home.path / "plugins/holder"
        holder.write_text(HOLDER.format(home=home.path))
        home.configure("sleeper", extra="startWait: 300\nstop: {timeout: 1s}\n")
        home.start()
        self.consumer: WssHubClient = home.client()
        self.watch = Watch(self.consumer)
        home.settled(self.consumer, "sleeper")

    def ask(self, name: str, given: Any = None) -> Any:
        return self.home.ask(self.consumer, name, given)

    def info(self, plugin: str) -> dict[str, Any]:
        return self.home.infos(self.consumer)[plugin]

    def events_of(self, plugin: str) -> list[str]:
        return [name for name, value in self.watch.events("started", "stopped") if value == plugin]


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with go_home(plugins=PLUGINS | MORE) as home:
        yield Place(home)


def test_01_started_is_told_of_success_and_of_success_only(place: Place) -> None:
    place.ask("startPlugin", "sleeper2")
    until(lambda: place.events_of("sleeper2") == ["started"])
    with pytest.raises(HubError):
        place.ask("startPlugin", "nope")
    assert place.events_of("nope") == []
    # autostart as well: the very first event of the journal
    assert next(e["value"] for e in journal(place.home.path) if e["name"] == "started") == "sleeper"


def test_02_stopped_is_told_whoever_stops_it_and_not_of_what_did_not_run(place: Place) -> None:
    place.ask("startPlugin", "crasher")
    until(lambda: place.events_of("crasher") == ["started", "stopped"])
    place.ask("stopPlugin", "done")  # never ran
    assert place.events_of("done") == []


def test_03_properties_uptime_size_and_time_are_filled(place: Place) -> None:
    running = sum(1 for i in place.home.infos(place.consumer).values() if i.get("running")) - 1  # without the runtime
    read = place.consumer._calls.ask("readproperty", "dtw:launcher:Admin", "nrRunning")
    assert read.result(5) == running
    read = place.consumer._calls.ask("readproperty", "dtw:launcher:Admin", "nrPlugins")
    assert read.result(5) == len(PLUGINS | MORE)
    until(lambda: place.info("sleeper").get("Uptime", 0) >= 1)
    assert {"size", "modifiedTime"} <= set(place.info("sleeper"))


def test_04_a_remembered_pid_is_never_killed(place: Place) -> None:
    """`done` has ended; its PID may be anybody's now. Stopping it again must signal nobody."""
    place.ask("startPlugin", "done")
    pid = place.info("done")["pid"]
    until(lambda: "running" not in place.info("done"))
    watched = subprocess.Popen(["sleep", "100"])
    try:
        assert place.ask("stopPlugin", "done")["pid"] == pid
        log = (place.home.path / "logs/supervisord.log").read_text()
        assert watched.poll() is None
        assert f"({pid}) with SIG" not in log
    finally:
        watched.kill()
        watched.wait()


def test_05_a_plugin_that_fails_at_once_or_was_killed_is_not_running(place: Place) -> None:
    with pytest.raises(HubError, match="failer: exit 3"):
        place.ask("startPlugin", "failer")
    assert "running" not in place.info("failer")
    place.ask("startPlugin", "stubborn")
    stopped = place.ask("stopPlugin", "stubborn")
    assert "running" not in stopped
    assert stopped["stoppedTime"] > stopped["startedTime"]
    assert stopped["state"] == "stopped"


def test_06_stop_all_skips_nobody_and_hits_nobody_twice(place: Place) -> None:
    names = ["sleeper", "sleeper2", "slow", "xruntime", "zombie-not"]
    for name in names:
        place.ask("startPlugin", name)
    until(lambda: all(place.events_of(name)[-1:] == ["started"] for name in names[1:]))
    before = {name: place.events_of(name).count("stopped") for name in names}
    place.ask("stopAllPlugins", False)
    infos = place.home.infos(place.consumer)
    assert [n for n, i in infos.items() if i.get("running")] == ["runtime"]
    until(lambda: all(place.events_of(name)[-1:] == ["stopped"] for name in names))
    assert {name: place.events_of(name).count("stopped") - before[name] for name in names} == dict.fromkeys(names, 1)
    place.ask("startPlugin", "sleeper")


def test_07_lists_are_answered_while_plugins_start(place: Place) -> None:
    starting = threading.Thread(target=place.ask, args=("startPlugin", "slow"))
    starting.start()  # takes startWait = 300 ms at least
    begin = time.monotonic()
    for _ in range(5):
        place.ask("listPlugins", False)
    assert time.monotonic() - begin < 0.25
    assert starting.is_alive()
    starting.join()


def test_08_a_hub_that_takes_long_to_come_is_waited_for() -> None:
    with go_home(plugins={"sleeper": PLUGINS["sleeper"]}) as home:
        slow = (home.path / "bin/runtime").read_text().replace("PYTHONPATH", "sleep 2\nPYTHONPATH", 1)
        (home.path / "bin/runtime").write_text(slow)
        home.configure("sleeper")
        home.start()
        begin = time.monotonic()
        until(lambda: (home.path / "certs/admin.token").exists())
        assert time.monotonic() - begin > 1.5
        home.settled(home.client(), "sleeper")


def test_09_description_and_permissions_are_sent_again(place: Place) -> None:
    """A new runtime knows neither; more in test_drop_in."""
    os.kill(place.info("runtime")["pid"], signal.SIGKILL)
    until(lambda: not place.consumer.connected)
    until(lambda: place.consumer.connected)
    directory = ("digitwin", "ThingDirectory", "retrieveThing", "dtw:launcher:Admin")

    def described() -> bool:
        try:
            return "PluginInfo" in place.consumer.invoke_action(*directory)
        except HubError:
            return False

    until(described)
    place.home.settled(place.consumer, "sleeper")


def test_10_a_child_that_keeps_stderr_open_hides_no_end(place: Place) -> None:
    place.ask("startPlugin", "holder")
    os.kill(place.info("holder")["pid"], signal.SIGKILL)
    until(lambda: "running" not in place.info("holder"), 3)
    os.kill(int((place.home.path / "grandchild").read_text()), signal.SIGKILL)


def test_11_logs_are_kept_over_restarts_and_files_are_closed(place: Place) -> None:
    speaker = place.home.path / "plugins/done"
    speaker.write_text("#!/bin/sh\necho said by $$\nsleep 0.5\n")
    log = place.home.path / "logs/done.log"
    supervisord = int((place.home.path / "run/supervisord.pid").read_text())
    for _ in range(4):
        place.ask("startPlugin", "done")
        until(lambda: "running" not in place.info("done"))
    until(lambda: log.read_text().count("said by") == 4)
    opened = [os.path.realpath(each) for each in Path(f"/proc/{supervisord}/fd").iterdir()]
    assert opened.count(str(log)) <= 1


def test_12_grandchildren_are_stopped_too(place: Place) -> None:
    place.ask("startPlugin", "holder")
    grandchild = until(lambda: (place.home.path / "grandchild").read_text().strip())
    until(lambda: Path(f"/proc/{grandchild}").exists())
    place.ask("stopPlugin", "holder")
    until(lambda: not alive(int(grandchild)), 5)


def test_13_a_plugin_named_like_the_runtime_is_a_plugin(place: Place) -> None:
    place.ask("startPlugin", "xruntime")
    place.ask("stopAllPlugins", False)
    assert "running" not in place.info("xruntime")
    assert place.info("runtime")["running"]
    assert (place.home.path / "certs/xruntime.token").exists()
    place.ask("startPlugin", "sleeper")


def test_14_a_full_stop_is_answered_and_the_launcher_lives_on() -> None:
    with go_home(plugins={"sleeper": PLUGINS["sleeper"]}) as home:
        home.configure("sleeper")
        home.start()
        consumer = home.client()
        home.settled(consumer, "sleeper")
        assert home.ask(consumer, "stopAllPlugins", True) is None
        until(lambda: not consumer.connected)
        assert home.process is not None
        assert home.process.poll() is None


def test_15_restart_variants_own_log_and_vanished_plugins() -> None:
    with go_home(plugins={"sleeper": PLUGINS["sleeper"], "gone": PLUGINS["sleeper"]}) as home:
        text = "autostart:\n  - sleeper\n  - second: sleeper\nrestart: {delay: 100ms, jitter: 0%}\n"
        home.configure(extra=text.replace("autostart", "plugins: {}\nautostart"))
        config = home.path / "config/launcher.yaml"
        config.write_text(config.read_text().replace("autorestart: false\n", "autorestart: true\n"))
        home.start()
        consumer = home.client()
        home.settled(consumer, "sleeper", "second")
        first = home.infos(consumer)["second"]
        os.kill(first["pid"], signal.SIGKILL)
        until(lambda: home.infos(consumer)["second"].get("pid") != first["pid"])
        assert (home.path / "logs/launcher.log").stat().st_size > 0
        (home.path / "plugins/gone").unlink()
        with pytest.raises(HubError, match="does not exist"):
            home.ask(consumer, "startPlugin", "gone")
        assert home.infos(consumer)["gone"]["state"] == "missing"


def test_16_files_that_come_and_go_in_the_folders_disturb_nothing(place: Place) -> None:
    """There is no watcher that could fail or scan at each event: what is run is what was generated."""
    begin = place.info("sleeper")["pid"]
    for n in range(200):
        path = place.home.path / "plugins" / f"new{n}"
        path.touch()
        path.unlink()
    (place.home.path / "plugins/folder").mkdir()
    (place.home.path / "plugins/link").symlink_to(place.home.path / "plugins/folder")
    assert place.info("sleeper")["pid"] == begin
    assert "link" not in place.home.infos(place.consumer)


def test_17_memory_of_a_dead_process_is_nobodys(place: Place) -> None:
    place.ask("startPlugin", "zombie-not")
    assert place.info("zombie-not")["rss"] > 0
    place.ask("stopPlugin", "zombie-not")
    stopped = place.info("zombie-not")
    assert stopped["pid"] > 0
    assert not {"rss", "cpu", "Uptime"} & set(stopped)


def test_18_relative_configuration_is_looked_for_where_it_was_named(tmp_path: Path) -> None:
    with go_home(plugins={"sleeper": PLUGINS["sleeper"]}) as home:
        home.configure("sleeper")
        (home.path / "conf").mkdir()
        (home.path / "config/launcher.yaml").rename(home.path / "conf/own.yaml")
        link = home.path / "bin/launcher"
        link.symlink_to(Path(__file__).parents[2] / "bin/launcher")
        words = ["bin/launcher", "--configFile", "conf/own.yaml"]
        with (tmp_path / "out").open("wb") as out:
            home.process = subprocess.Popen(words, cwd=home.path, env=home.env(), stdout=out, stderr=out)
        home.settled(home.client(), "sleeper")
        assert json.loads((home.path / "generated/launcher.json").read_text())["source"].endswith("conf/own.yaml")


def alive(pid: int) -> bool:
    """It runs: neither gone nor a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
