"""What consumers of the hub see of the plugins: property values in step with events, logs on request, no leftovers."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from fakes.home import Home, Subscriber, until

from hiveot_supervisor.errors import HubError
from hiveot_supervisor.hub.client import Account, HubClient, Right
from hiveot_supervisor.hub.connect import make_client


@contextlib.contextmanager
def admin_of(home: Home) -> Iterator[HubClient]:
    account = Account("admin", home.path / "certs/admin.token", home.path / "certs/caCert.pem")
    client = make_client(f"mqtts://localhost:{home.port}", account, agent=False)
    client.start()
    try:
        client.wait_connected(10)
        yield client
    finally:
        client.close()


def values(subscriber: Subscriber, thing: str, name: str) -> list[Any]:
    topic = f"hiveot/prop/launcher/{thing}/{name}"
    return [json.loads(p) if p else None for _, t, p, _ in list(subscriber.messages) if t == topic]


def test_the_last_lines_of_a_log_on_request(home: Home) -> None:
    lines = "for n in 1 2 3 4 5; do printf 'line %d \\033[31mred\\n' $n; done"
    home.plugin("one", f"#!/bin/sh\n{lines}\nexec sleep 1000\n")
    home.plugin("quiet")
    home.configure("one")
    home.up()

    with admin_of(home) as admin:

        def ask(value: Any, thing: str = "Admin", name: str = "getPluginLog") -> Any:
            return admin.invoke_action("launcher", thing, name, value, right=Right.READ, timeout=10)

        until(lambda: len(ask("one")) == 5)
        assert ask({"pluginID": "one", "lines": 2}) == ["line 4 \ufffd[31mred", "line 5 \ufffd[31mred"]
        assert ask(1, "plugin-one", "getLog") == ["line 5 \ufffd[31mred"]
        assert len(ask(None, "plugin-one", "getLog")) == 5
        assert ask("quiet") == []
        for bad in ({"pluginID": "one", "lines": 0}, {"pluginID": "one", "lines": "many"}, {"lines": 3}, 17, [], None):
            with pytest.raises(HubError, match="expects"):
                ask(bad)
        with pytest.raises(HubError, match="'nope' not found"):
            ask("nope")


def test_a_huge_log_is_cut_to_what_a_message_takes(home: Home) -> None:
    home.plugin("one", "#!/bin/sh\nyes \"$(printf 'ä%.0s' $(seq 500))\" | head -n 3000\necho end\nexec sleep 1000\n")
    home.configure("one")
    home.up()
    with admin_of(home) as admin:

        def log() -> Any:
            asked = {"pluginID": "one", "lines": 100_000}
            return admin.invoke_action("launcher", "Admin", "getPluginLog", asked, right=Right.READ, timeout=10)

        lines = until(lambda: (found := log())[-1:] == ["end"] and found)
        assert 100 < len(lines) <= 1000
        assert set(lines[1:-1]) == {"ä" * 500}


def test_values_follow_their_events_and_tell_which(home: Home) -> None:
    """Also those of the time in which the hub was away. (In which order they are sent is tested without a broker: that
    one delivers each subscription by itself.)"""
    home.plugin("one", "#!/bin/sh\necho hello\nexec sleep 1000\n")
    home.configure("one", extra="restart: {delay: 100ms, jitter: 0%}\n")
    home.up()
    subscriber = home.subscribe()
    until(lambda: values(subscriber, "plugin-one", "status")[-1:] == ["running"])
    home.ctl("stop", "runtime")
    until(lambda: "note: no connection to the hub" in home.launch("list").stderr)
    os.kill(home.views()["one"]["pid"], signal.SIGKILL)
    until(lambda: home.views()["one"]["restarts"] == 1)
    home.launch("stop", "one")
    until(lambda: home.views()["one"]["state"] == "stopped")
    shown = [line.split()[1:3] for line in home.launch("events", "-n", "3").stdout.splitlines()]
    assert shown == [["stopped", "one"], ["started", "one"], ["stopped", "one"]], "three lines, not three rows"
    last = home.journal()[-1]["seq"]
    before = len(subscriber.messages)
    home.launch("start", "runtime")
    until(lambda: values(subscriber, "plugin-one", "status")[-1:] == ["stopped"])
    until(lambda: (values(subscriber, "plugin-one", "state")[-1] or {}).get("seq") == last)
    until(lambda: len(subscriber.events("stopped")) == 2)
    until(lambda: "note:" not in home.launch("list").stderr)
    missed = subscriber.messages[before:]
    changes = [json.loads(p) for _, t, p, _ in missed if t.endswith("/pluginStateChanged")]
    assert {"crash", "operator"} <= {c["value"]["cause"] for c in changes}
    assert subscriber.events("stopped") == ["one", "one"]
    assert [d["ready"] for d in values(subscriber, "plugin-one", "state") if d["running"]][-1] is True
    change = changes[-1]
    assert change["value"]["lastLog"] == ["hello", "hello"], "its last words, also when it was told to stop"
    document = values(subscriber, "plugin-one", "state")[-1]
    assert change["value"]["seq"] == change["seq"] <= document["seq"]
    assert change["value"]["epoch"] == change["epoch"] == document["epoch"]


@pytest.mark.parametrize("agent_runs", [True, False], ids=["agent runs", "agent away"])
def test_a_plugin_that_is_taken_out_leaves_no_thing_behind(home: Home, agent_runs: bool) -> None:
    home.plugin("one")
    home.plugin("two")
    home.configure("one", "two")
    home.up()
    subscriber = home.subscribe()
    until(lambda: values(subscriber, "plugin-two", "tokenExpires"))
    if not agent_runs:
        home.down()
    (home.path / "plugins/two").unlink()
    home.configure("one")
    if agent_runs:
        home.launch("apply")
    else:
        home.up()

    def remaining() -> set[str]:
        late = home.subscribe(topics=("hiveot/prop/launcher/+/running", "hiveot/prop/#", "hiveot/td/#"))
        until(lambda: any(t.endswith("plugin-one/running") for _, t, _, _ in late.messages))
        late.close()
        return {t for _, t, p, _ in late.messages if "plugin-two" in t and p}

    until(lambda: not remaining(), what="no retained message about plugin-two")
    assert "two" not in home.views()


def test_use_of_resources_is_shown_and_told(home: Home) -> None:
    script = "#!/usr/bin/env python3\nimport threading, time\nx = bytearray(20_000_000)\n"
    home.plugin("one", script + "threading.Thread(target=time.sleep, args=(1000,)).start()\n")
    home.configure("one", extra="logPlugins: false\n")
    home.up()
    subscriber = home.subscribe()
    until(lambda: values(subscriber, "plugin-one", "rss")[-1:] > [20_000_000])
    until(lambda: values(subscriber, "plugin-one", "threads")[-1:] == [2])
    until(lambda: values(subscriber, "plugin-one", "files")[-1] >= 3)
    view = until(lambda: (v := home.views()["one"])["threads"] and v)
    assert (view["threads"], view["processes"]) == (2, 1)
    assert view["open_files"] >= 3
    text = home.launch("status", "one").stdout
    assert re.search(r"process: +\d+, \d+ MB, \d+% CPU, 2 threads, \d+ open files", text)
    document = json.loads(home.launch("status", "one", "--json", "--history").stdout)["plugins"][0]
    assert document["history"] == []  # the first row comes after a minute
    assert document["peak_rss_bytes"] is None
    with admin_of(home) as admin, pytest.raises(HubError, match="one has no log file; logPlugins is off"):
        admin.invoke_action("launcher", "Admin", "getPluginLog", "one", right=Right.READ, timeout=10)
