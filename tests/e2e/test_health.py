"""Readiness, liveness, limits, strays and restarts on real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import time

from fakes.home import SLEEPER, Home, told_signal, until


def changes(home: Home, plugin: str) -> list[dict[str, object]]:
    return [e["value"] for e in home.journal("pluginStateChanged") if e["plugin"] == plugin]


def test_the_next_starts_when_the_log_says_ready(home: Home) -> None:
    home.plugin("db", "#!/bin/sh\nsleep 0.5\necho 'driver ready now'\nexec sleep 1000\n")
    home.plugin("app")
    home.configure("db", "app", extra="plugins:\n  db: {ready: {log: 'driver re.dy'}}\n")
    home.up()
    started = {e["value"]: e for e in home.journal("started")}
    ready = next(e for e in home.journal("pluginStateChanged") if e["plugin"] == "db" and e["value"].get("ready"))
    assert started["db"]["seq"] < ready["seq"] < started["app"]["seq"]


def test_a_dependency_that_fails_is_named_in_the_waiting_plugin(home: Home) -> None:
    home.plugin("db", "#!/bin/sh\nexit 3\n")
    home.plugin("app")
    plugins = "  db: {ready: {log: 'driver ready'}}\n  app: {dependsOn: {db: ready}}\n"
    home.configure("db", "app", extra=f"restart: {{delay: 60s}}\nplugins:\n{plugins}")
    home.up_failing()
    until(lambda: home.views()["app"]["state"] == "waiting")
    assert "waits for db (backoff: exit 3)" in home.views()["app"]["note"]
    # and it starts as soon as the dependency is there
    home.plugin("db", "#!/bin/sh\necho 'driver ready'\nexec sleep 1000\n")
    home.launch("start", "db")
    until(lambda: home.views()["app"]["state"] == "running")


def test_tcp_http_and_command_readiness(home: Home) -> None:
    server = "#!/usr/bin/env python3\nimport http.server, time\ntime.sleep(0.3)\n"
    server += "http.server.HTTPServer(('127.0.0.1', PORT), http.server.SimpleHTTPRequestHandler).serve_forever()\n"
    from fakes.home import free_port

    ports = [free_port(), free_port()]
    home.plugin("tcp", server.replace("PORT", str(ports[0])))
    home.plugin("web", server.replace("PORT", str(ports[1])))
    home.plugin("flag", f"#!/bin/sh\nsleep 0.3\ntouch {home.path}/flag\nexec sleep 1000\n")
    extra = (
        "plugins:\n"
        f"  tcp: {{ready: {{tcp: {ports[0]}, every: 100ms}}}}\n"
        f"  web: {{ready: {{http: 'http://127.0.0.1:{ports[1]}/', every: 100ms}}}}\n"
        f"  flag: {{ready: {{command: 'test -e {home.path}/flag', every: 100ms}}}}\n"
    )
    home.configure("tcp", "web", "flag", extra=extra)
    home.up()
    assert all(home.views()[n]["ready"] for n in ("tcp", "web", "flag"))


def test_sd_notify_readiness(home: Home) -> None:
    script = (
        "#!/usr/bin/env python3\nimport os, socket, time\ntime.sleep(0.3)\n"
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
        "s.sendto(b'READY=1', os.environ['NOTIFY_SOCKET'])\ntime.sleep(1000)\n"
    )
    home.plugin("one", script)
    home.configure("one", extra="plugins:\n  one: {ready: notify}\n")
    home.up()
    assert home.views()["one"]["ready"] is True


def test_a_plugin_that_says_ready_before_we_see_it_run(home: Home) -> None:
    home.plugin(
        "one",
        "#!/usr/bin/perl\nuse Socket;\nsocket(my $s, AF_UNIX, SOCK_DGRAM, 0);\n"
        "send($s, 'READY=1', 0, pack_sockaddr_un($ENV{NOTIFY_SOCKET})) or die;\nsleep 1000;\n",
    )
    home.configure("one", extra="plugins:\n  one: {ready: notify}\n")
    home.up()
    assert home.views()["one"]["ready"] is True
    for _ in range(3):
        home.launch("restart", "one")
        assert home.views()["one"]["ready"] is True


def test_what_is_alive_but_does_not_work_is_restarted(home: Home) -> None:
    home.plugin("one", f"#!/bin/sh\ntouch {home.path}/good\nexec sleep 1000\n")
    extra = (
        "restart: {delay: 100ms, jitter: 0%}\nplugins:\n  one:\n"
        f"    alive: {{command: 'test -e {home.path}/good', every: 100ms, failures: 3}}\n"
    )
    home.configure("one", extra=extra)
    home.up()
    pid = home.views()["one"]["pid"]
    (home.path / "good").unlink()
    until(lambda: home.views()["one"]["pid"] not in (pid, None), what="restarted")
    assert "probe" in [c["cause"] for c in changes(home, "one")]


def test_a_memory_limit_is_told_first_and_then_acts(home: Home) -> None:
    home.plugin("hog", "#!/usr/bin/env python3\nimport time\nx = bytearray(80_000_000)\ntime.sleep(1000)\n")
    extra = "plugins:\n  hog: {limits: {memory: 50MB, for: 1s, action: restart}}\n"
    home.configure("hog", extra=extra)
    home.up()
    exceeded = until(lambda: home.journal("limitExceeded"), 25, "limitExceeded")[0]
    assert exceeded["value"]["resource"] == "memory"
    assert exceeded["value"]["value"] > exceeded["value"]["limit"] == 50_000_000
    stopped = until(lambda: home.journal("stopped"))[0]
    assert exceeded["seq"] < stopped["seq"]
    assert [c["cause"] for c in changes(home, "hog") if c["state"] == "backoff"] == ["limit"]


def test_a_copy_that_was_started_by_hand_is_found_and_blocks_the_start(home: Home) -> None:
    path = home.plugin("one", "#!/bin/sh\nwhile :; do sleep 0.2; done\n")
    home.configure()
    copy = subprocess.Popen([str(path)], env={"PATH": os.environ["PATH"]})
    try:
        home.up()
        until(lambda: home.journal("strayDetected"))
        assert f"pid {copy.pid}" in home.views()["one"]["note"]
        result = home.launch("start", "one", check=1)
        assert str(copy.pid) in result.stderr
        assert "--replace" in result.stderr
        assert copy.poll() is None
        home.launch("start", "--replace", "one")
        assert copy.wait(10) == -signal.SIGTERM
        assert home.views()["one"]["state"] == "running"
    finally:
        copy.kill()
        copy.wait()


def test_the_delay_grows_and_a_stop_ends_it(home: Home) -> None:
    home.plugin("one", "#!/bin/sh\nexit 1\n")
    home.configure("one", extra="restart: {delay: 100ms, jitter: 0%}\n")
    home.up(wait=False)
    until(lambda: (home.path / "stores/launcher/launcher.db").exists())
    until(lambda: len([c for c in changes(home, "one") if c["state"] == "backoff"]) >= 3)
    times = [e["time"] for e in home.journal("stopped")][:3]
    assert times == sorted(times)
    home.launch("stop", "one")
    until(lambda: home.views()["one"]["state"] == "stopped")
    count = len(home.journal("started"))
    deadline = time.monotonic() + 2.0  # longer than the next delay would be
    while time.monotonic() < deadline:
        assert len(home.journal("started")) == count
        time.sleep(0.2)


def test_the_last_words_of_a_crash_travel_with_the_event(home: Home) -> None:
    home.plugin("one", "#!/bin/sh\necho 'cannot open the stick \x1b[31m'\nkill -SEGV $$\n")
    home.configure("one", extra="autorestart: false\n")
    home.up(wait=False)
    until(lambda: (home.path / "stores/launcher/launcher.db").exists())
    crash = until(lambda: [c for c in changes(home, "one") if c["state"] == "failed"])[0]
    assert crash.get("signal") == told_signal("SIGSEGV")
    assert crash["cause"] == "crash"
    assert "cannot open the stick" in crash["lastLog"][-1]
    assert "\x1b" not in crash["lastLog"][-1]


def test_enable_and_disable_are_remembered(home: Home) -> None:
    home.plugin("one", SLEEPER)
    home.plugin("two", SLEEPER)
    home.configure("one", "two")
    home.launch("generate")
    home.launch("disable", "two")
    home.up()
    assert {n: v["state"] for n, v in home.views().items() if n != "runtime"} == {"one": "running", "two": "stopped"}
    home.launch("enable", "two")
    home.launch("disable", "one")
    assert home.views()["one"]["state"] == "running"
    home.down()
    home.up()
    assert {n: v["state"] for n, v in home.views().items() if n != "runtime"} == {"one": "stopped", "two": "running"}


def test_readiness_by_presence_on_the_hub(home: Home) -> None:
    """The example plugin connects to the hub and announces itself; that makes it ready."""
    import sys

    from fakes.home import ROOT

    source = (ROOT / "examples/plugins/sysinfo").read_text().splitlines()
    home.plugin("sysinfo", "\n".join([f"#!{sys.executable}", *source[1:]]) + "\n")
    home.plugin("after")
    home.configure("sysinfo", "after", extra="plugins:\n  sysinfo: {ready: hub}\n")
    home.up()
    changes_of = changes(home, "sysinfo")
    assert any(c.get("ready") for c in changes_of)
    presence = home.subscribe(topics=("hiveot/presence/sysinfo",))
    until(lambda: any(b'"online"' in payload for _, _, payload, _ in presence.messages))
