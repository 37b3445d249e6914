"""Which foreign processes are copies of a plugin."""

from __future__ import annotations

from pathlib import Path

import pytest

from hiveot_supervisor.agent.strays import Foreign, find
from hiveot_supervisor.model import Plugin

PLUGINS = [
    Plugin("history", Path("/home/h/plugins/history")),
    Plugin("zwavejs", Path("/home/h/plugins/zwavejs")),
    Plugin("zwave2", Path("/home/h/plugins/zwavejs")),
]


def found(*argv: str, home: str = "") -> str | None:
    strays = find(PLUGINS, [Foreign(7, 1.0, argv, home)], "/home/h")
    assert len(strays) <= 1
    return next(iter(strays), None)


@pytest.mark.parametrize(
    ("argv", "plugin"),
    [
        (("/home/h/plugins/history",), "history"),
        (("/bin/sh", "/home/h/plugins/history"), "history"),
        (("python3", "-u", "/home/h/plugins/history", "--verbose"), "history"),
        (("/home/h/plugins/zwavejs", "--clientID=zwave2"), "zwave2"),
        (("./zwavejs", "--clientID", "zwave2"), "zwave2"),
        (("./zwavejs", "-clientID", "zwave2"), "zwave2"),
        (("vi", "notes", "about", "/home/h/plugins/history"), None),
        (("/usr/bin/history",), None),
        (("mqttclient", "--clientID=history"), None),
        (("/home/h/plugins/zwavejs", "--clientID=other"), None),
        ((), None),
    ],
)
def test_what_is_a_copy(argv: tuple[str, ...], plugin: str | None) -> None:
    assert found(*argv) == plugin


def test_a_copy_of_another_home_is_not_ours() -> None:
    assert found("./history", "--clientID=history", home="/home/other") is None
    assert found("./history", "--clientID=history", home="/home/h") == "history"


def test_the_oldest_copy_is_named() -> None:
    argv = ("/home/h/plugins/history",)
    strays = find(PLUGINS, [Foreign(9, 5.0, argv), Foreign(8, 2.0, argv)], "/home/h")
    assert strays["history"].pid == 8
