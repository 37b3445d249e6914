"""Choosing the binding, the URL, what is imported, and lines that outsiders provoke."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from hiveot_supervisor.errors import HubError
from hiveot_supervisor.hub.client import Account
from hiveot_supervisor.hub.connect import make_client
from hiveot_supervisor.hub.limitlog import LimitedLog
from hiveot_supervisor.hub.link import Address
from hiveot_supervisor.hub.mqtt import MqttHubClient
from hiveot_supervisor.hub.mqtt_link import parse_url
from hiveot_supervisor.hub.wss import WssHubClient

ACCOUNT = Account("launcher", Path("/nowhere/launcher.token"), Path("/nowhere/ca.pem"))


def test_scheme_chooses_the_binding() -> None:
    assert isinstance(make_client("mqtts://localhost:8883", ACCOUNT), MqttHubClient)
    assert isinstance(make_client("wss://localhost:8444/wot/wss", ACCOUNT), WssHubClient)


@pytest.mark.parametrize(
    ("url", "address", "loopback"),
    [
        ("mqtts://localhost", Address("localhost", 8883), True),
        ("mqtts://127.0.0.1:1", Address("127.0.0.1", 1), True),
        ("mqtts://[::1]:5", Address("::1", 5), True),
        ("mqtts://hub.lan:8883/", Address("hub.lan", 8883), False),
        ("mqtts://192.168.1.5:99", Address("192.168.1.5", 99), False),
    ],
)
def test_good_urls(url: str, address: Address, loopback: bool) -> None:
    assert parse_url(url) == address
    assert address.loopback == loopback


@pytest.mark.parametrize(
    "url",
    ["", "localhost:8883", "mqtt://localhost", "https://x", "mqtts://", "mqtts://x:y", "mqtts://x:99999", "mqtts://["],
)
def test_bad_urls_are_refused(url: str) -> None:
    with pytest.raises(HubError):
        make_client(url, ACCOUNT)


def test_bad_account_ids_are_refused() -> None:
    with pytest.raises(HubError, match="cannot be used as an ID"):
        make_client("mqtts://localhost", Account("a/#", ACCOUNT.token_file, ACCOUNT.ca_file))


def imported(module: str) -> set[str]:
    """Top-level names of everything that importing `module` loads."""
    code = (
        f"import sys, json; before = set(sys.modules); import {module};"
        "print(json.dumps(sorted({n.split('.')[0] for n in set(sys.modules) - before})))"
    )
    return set(json.loads(subprocess.check_output([sys.executable, "-c", code])))


def test_imports_are_few() -> None:
    outside = {
        m: {n for n in imported(f"hiveot_supervisor.hub.{m}") if n not in sys.stdlib_module_names} for m in MODULES
    }
    mine = {"hiveot_supervisor"}
    library = {"mqtt": {"paho"}, "wss": {"websockets"}}
    assert outside == {m: mine | library.get(m, set()) for m in MODULES}


MODULES = ("client", "messages", "topics", "thing", "requests", "reconnect", "connect", "mqtt", "wss")


def test_provoked_log_lines_are_limited(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    limited = LimitedLog(logging.getLogger("hiveot.test"), lambda: now[0], period=10)
    written = [limited.warning("a", "bad %s", n) for n in range(100)]
    assert (written[0], sum(written)) == (True, 1)
    assert limited.warning("b", "other")
    now[0] = 10.0
    assert limited.warning("a", "bad %s", "again")
    assert caplog.messages == ["bad 0", "other", "bad again (99 similar messages were not logged)"]
