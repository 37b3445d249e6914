"""Our agent's answers beside those of HiveOT's Go launcher: every recorded request to it is asked again.

The recordings' plugins run under our launcher, on the test hub. Answers are compared member by member: what the Go
launcher says, ours says too, with the same types; where it differs on purpose stands in `docs/hiveot.md` and below.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from fakes import hiveot_vectors as vectors
from fakes.hiveot_home import GoHome, go_home
from fakes.hiveot_router import Account
from fakes.home import until

pytestmark = pytest.mark.skipif(not vectors.FOLDER.is_dir(), reason=vectors.MISSING)

INFO_MORE = {"size", "modifiedTime", "Uptime", "state", "enabled", "status", "cpu", "rss"}
"""Members of PluginInfo that we fill and Go leaves out, or that depend on the moment."""

PAST = {"pid", "startCount", "startedTime", "stoppedTime", "running"}
"""Members that depend on what was done with the plugin before; in the recordings other things had been done."""

OTHERWISE = {
    ("agent-not-reachable", "listPlugins"): "unknown Thing 'Nothing'",  # Go looks at the name only
    ("unknown-action", "restartPlugin"): None,  # an action that only we have
    ("bad-input-type", "startPlugin"): "expects a plugin ID as text",
    ("bad-input-type", "listPlugins"): "expects true or false",
    ("hubcli-start-fails-at-once", "startPlugin"): "failer: exit 3",
    ("hubcli-start-all", "startAllPlugins"): "failer: exit 3",  # Go says nothing of those that failed
    ("hubcli-stop-unknown", "stopPlugin"): "plugin ID 'nope' not found",  # Go: without `ID`, unlike for a start
}
"""Answers whose success or text differs from Go's: the text that ours begins with or has in it; None = a result."""


def requests() -> list[tuple[str, int]]:
    """(recording, position) of each request that was sent to the Go launcher."""
    found = []
    for name in vectors.names():
        for n, entry in enumerate(vectors.load(name)):
            to_launcher = entry["dir"] == "hub->client" and entry["conn"].startswith("launcher")
            if to_launcher and entry["frame"]["messageType"] == "request":
                found.append((name, n))
    return found


@pytest.fixture(scope="module")
def home() -> Iterator[GoHome]:
    with go_home(runtime=False) as made:
        made.hub.start()
        shutil.copytree(made.hub.certs, made.path / "certs", dirs_exist_ok=True)
        made.configure(extra="stop: {timeout: 1s}\n")
        made.start()
        until(lambda: "dtw:launcher:Admin" in made.hub.router.permissions)
        made.hub.router.accounts["vera"] = Account("vera", "consumer", "manager")
        yield made


def ask(home: GoHome, recorded: dict[str, Any]) -> dict[str, Any]:
    """Send the request as its consumer did; the agent's answer as the hub got it."""
    correlation = secrets.token_hex(8) if "correlationID" in recorded else ""
    frame = {k: v for k, v in recorded.items() if k not in ("senderID", "actionID", "correlationID")}
    frame["thingID"] = f"dtw:launcher:{recorded['thingID']}"
    if correlation:
        frame["correlationID"] = correlation
    seen = len(home.hub.frames)

    def send() -> None:
        home.hub.router.receive(home.hub.router.connect(recorded["senderID"], lambda _: None), json.dumps(frame))

    home.hub.call(send)

    def answer() -> Any:
        frames = [f for who, way, f in home.hub.frames[seen:] if (who, way) == ("launcher", "in")]
        hits = (f for f in frames if f["messageType"] == "response" and f.get("correlationID", "") == correlation)
        return next((f for f in hits if f["name"] == recorded["name"]), None)

    return dict(until(answer, 15, str(frame)))


@pytest.mark.parametrize(("name", "position"), requests())
def test_answer(home: GoHome, name: str, position: int) -> None:
    entries = vectors.load(name)
    request = entries[position]["frame"]
    go = next(
        e["frame"]
        for e in entries
        if e["dir"] == "client->hub"
        and e["conn"].startswith("launcher")
        and e["frame"]["messageType"] == "response"
        and e["frame"].get("correlationID") == request.get("correlationID")
    )
    if request["name"] == "stopPlugin" and "startCount" in (go.get("output") or {}):
        ask(home, request | {"name": "startPlugin"})  # as in the recording, it has run before
    ours = ask(home, request)
    otherwise = OTHERWISE.get((name, request["name"]), "")
    if otherwise is None:
        assert ours["error"] is None
        return
    if otherwise:
        assert otherwise in ours["error"]["title"]
        assert ours["error"]["status"] == 400
        return
    compare_envelopes(go, ours)
    if go["error"] is None:
        compare_outputs(go.get("output"), ours.get("output"))
        assert ours["value"].get("output") == ours.get("output")


def compare_envelopes(go: dict[str, Any], ours: dict[str, Any]) -> None:
    assert set(ours) == set(go), f"{set(ours) ^ set(go)} in {ours}"
    for key in ("messageType", "operation", "thingID", "name", "senderID", "error"):
        assert ours[key] == go[key], key
    lacking = set(go["value"]) - set(ours["value"])
    # beside an error Go sends the plugin's state of before, or nothing in {}
    assert lacking <= ({"output"} if go["error"] else set()), lacking
    for key in ("input", "name", "senderID", "state", "thingID"):
        assert ours["value"].get(key) == go["value"].get(key), key
    assert set(ours["value"]) <= set(go["value"])


def compare_outputs(go: Any, ours: Any) -> None:
    assert type(go) is type(ours)
    if isinstance(go, list):
        by_id = {info["pluginID"]: info for info in ours}
        for info in go:
            if info["pluginID"] != "runtime" and info["pluginID"] in by_id:
                compare_infos(info, by_id[info["pluginID"]], settled=False)
        assert list(by_id) == sorted(by_id)
    elif isinstance(go, dict):
        compare_infos(go, ours, settled=True)


def compare_infos(go: dict[str, Any], ours: dict[str, Any], *, settled: bool) -> None:
    allowed = {"status", "cpu", "stoppedTime"} | (set() if settled else PAST | {"rss"})
    if go["pluginID"] == "stubborn":
        allowed |= {"running", "rss"}  # Go still says `running` of a plugin that it has killed
    lacking = set(go) - set(ours) - allowed
    assert not lacking, f"{go['pluginID']}: {lacking}"
    added = set(ours) - set(go) - INFO_MORE - PAST
    assert not added, added
    for key in set(go) & set(ours):
        assert type(go[key]) is type(ours[key]), key
    assert ours["execPath"].endswith(go["execPath"].removeprefix("{home}"))
    if settled:
        assert ours.get("running") == go.get("running") or go["pluginID"] == "stubborn"


def test_our_description_has_all_of_gos(home: GoHome) -> None:
    """Names and types are Go's; titles and descriptions are our own words; `boolean` is said for its `bool`."""
    entry = vectors.load("launcher-startup")[0]["frame"]
    go = vectors.described(json.loads(entry["input"]))
    ours = vectors.described(home.hub.router.things["dtw:launcher:Admin"])
    skeleton = {"title", "description", "created", "modified"}

    def compare(wanted: Any, found: Any, path: str) -> None:
        if isinstance(wanted, dict):
            for key, value in wanted.items():
                if key in skeleton and not isinstance(value, dict):
                    assert isinstance(found.get(key), str), f"{path}/{key}"
                else:
                    assert key in found, f"{path}/{key}"
                    compare(value, found[key], f"{path}/{key}")
        else:
            assert {"bool": "boolean"}.get(wanted, wanted) == found if isinstance(wanted, str) else wanted == found, (
                path
            )

    compare({k: v for k, v in go.items() if k != "id"}, ours, "")
    assert ours["id"] == "dtw:launcher:Admin"


def test_requests_of_the_start_are_gos(home: GoHome) -> None:
    """updateThing and setPermissions as recorded, member by member; addService with our public key besides."""
    for name in ("launcher-startup", "launcher-startup-autostart", "launcher-restart-autostart"):
        for entry in vectors.load(name):
            if entry["dir"] != "client->hub":
                continue
            go = entry["frame"]
            if go["name"] == "addService":
                continue
            frames = [f for who, way, f in home.hub.frames if (who, way) == ("launcher", "in")]
            about = [f for f in frames if f["name"] == go["name"] and f["messageType"] == "request"]
            ours = next(f for f in about if '"Admin"' in json.dumps(f["input"]).replace("\\", ""))
            assert set(ours) == set(go)
            assert ours["thingID"] == go["thingID"]
            assert ours["actionID"] == ours["correlationID"]
            if go["name"] == "setPermissions":
                assert ours["input"] == go["input"]


def test_add_service_is_gos_with_our_key(home: GoHome) -> None:
    ask(home, {"messageType": "request", "operation": "invokeaction", "thingID": "Admin", "name": "startPlugin",
               "input": "sleeper2", "senderID": "admin", "correlationID": "x"})  # fmt: skip
    frames = [f for who, way, f in home.hub.frames if (who, way) == ("launcher", "in")]
    ours = next(f for f in frames if f["name"] == "addService" and f["input"]["clientID"] == "sleeper2")
    go = next(
        e["frame"]
        for e in vectors.load("launcher-startup-autostart")
        if e["dir"] == "client->hub" and e["frame"]["name"] == "addService"
    )
    assert set(ours) == set(go)
    assert set(ours["input"]) == {*go["input"], "pubKey"}
    assert ours["input"]["displayName"] == ours["input"]["clientID"]


def test_nothing_was_dropped_by_the_hub(home: GoHome) -> None:
    """Last of this file: whatever was asked, no frame of ours was of a kind that the hub drops."""
    assert [why for who, why in home.hub.router.dropped if who == "launcher"] == []
