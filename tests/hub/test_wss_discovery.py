"""Discovery on a real multicast network (loopback is enough), with the test hub; and what an answer has to prove."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.hiveot_home import GoHome, go_home
from fakes.hiveot_hub import Hub
from fakes.home import ROOT

from hiveot_supervisor.errors import HubError, HubUnavailable
from hiveot_supervisor.hub import discovery
from hiveot_supervisor.hub.discovery import find, hub_url

zeroconf = pytest.importorskip("zeroconf")

TXT = {"td": "/.well-known/wot", "type": "Directory", "scheme": "https", "wss": "wss://127.0.0.1:8444/wot/wss"}


@pytest.mark.parametrize(
    ("records", "url"),
    [
        (TXT, "wss://127.0.0.1:8444/wot/wss"),
        (TXT | {"wss": "wss://h/wot/wss"}, "wss://h:8444/wot/wss"),
        (TXT | {"type": "Thing"}, ""),
        ({k: v for k, v in TXT.items() if k != "wss"}, ""),  # another WoT directory
        (TXT | {"wss": "ws://h"}, ""),
        (TXT | {"wss": "wss://["}, ""),
        ({}, ""),
    ],
)
def test_what_is_a_hubs_answer(records: dict[str, str], url: str) -> None:
    assert hub_url(records) == url


class Network:
    """Announces services as hubs do, until closed."""

    def __init__(self) -> None:
        try:
            self._zeroconf = zeroconf.Zeroconf(interfaces=["127.0.0.1"])
        except OSError as error:
            pytest.skip(f"no multicast here: {error}")

    def announce(self, name: str, **records: str) -> None:
        info = zeroconf.ServiceInfo(
            discovery.SERVICE, f"{name}.{discovery.SERVICE}", port=8444, properties=records, server=f"{name}.local.",
            addresses=[socket.inet_aton("127.0.0.1")],
        )  # fmt: skip
        self._zeroconf.register_service(info, cooperating_responders=True)  # without probing for other names

    def close(self) -> None:
        self._zeroconf.close()


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    made = Network()
    original = zeroconf.Zeroconf
    monkeypatch.setattr(zeroconf, "Zeroconf", lambda: original(interfaces=["127.0.0.1"]))
    yield made
    made.close()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    made = Hub(tmp_path)
    made.start()
    yield made
    made.stop()


def test_the_hub_that_our_ca_vouches_for_is_found(network: Network, hub: Hub, tmp_path: Path) -> None:
    stranger = Hub(tmp_path / "stranger")
    stranger.start()
    network.announce("directory", type="Directory", td="/d")  # some other directory
    network.announce("stranger", **TXT | {"wss": f"wss://127.0.0.1:{stranger.port}/wot/wss"})
    try:
        account = hub.account("launcher")
        with pytest.raises(HubUnavailable, match="is not trusted by"):
            find(account, timeout=1.0)
        network.announce("hub", **TXT | {"wss": f"wss://127.0.0.1:{hub.port}/wot/wss"})
        assert find(account) == f"wss://127.0.0.1:{hub.port}/wot/wss"
        missing = replace(account, ca_file=tmp_path / "none.pem")
        with pytest.raises(HubUnavailable, match="does not exist yet"):
            find(missing, timeout=1.0)
    finally:
        stranger.stop()


def test_nobody_answers(network: Network, hub: Hub) -> None:
    with pytest.raises(HubUnavailable, match=r"none has answered within 0\.2 s"):
        find(hub.account("launcher"), timeout=0.2)


def test_without_the_library(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zeroconf", None)
    with pytest.raises(HubError, match="no hub is configured"):
        find(hub.account("launcher"))


@pytest.fixture
def home() -> Iterator[GoHome]:
    with go_home(runtime=False) as made:
        yield made


def test_the_launcher_looks_for_a_hub_only_when_none_is_named(home: GoHome) -> None:
    home.configure(url=False)
    code = (
        "import sys; from hiveot_supervisor.hub import discovery; from hiveot_supervisor.errors import HubUnavailable\n"
        "def find(account): print('looked for', account.client_id); raise HubUnavailable('none')\n"
        "discovery.find = find\n"
        f"from hiveot_supervisor.cli import launcher; sys.exit(launcher.main(['--home', {str(home.path)!r}]))"
    )
    environment = home.env() | {"HIVEOT_LAUNCHER": str(home.path / "bin/launcher")}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert (result.returncode, "looked for" in result.stdout) == (1, True)
    assert not (home.path / "supervisord.conf").exists()
