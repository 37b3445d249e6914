"""What only Mosquitto has: its program and plugin, configuration, state file, log, and that it is closed at first."""

from __future__ import annotations

import json
import os
import ssl
import stat
from pathlib import Path

import pytest
from fakes.brokers import Mosquitto
from fakes.ports import free_port
from fakes.runtimes import LocalBroker, RuntimeHome, gone, require_driver
from fakes.wait import wait_until

from hiveot_supervisor.errors import HubUnavailable
from hiveot_supervisor.model import Driver
from hiveot_supervisor.runtime import dynsec, service
from hiveot_supervisor.runtime.child import BrokerError
from hiveot_supervisor.runtime.dynsec import DynsecClient
from hiveot_supervisor.runtime.mosquitto_process import (
    MosquittoProcess,
    MosquittoSettings,
    find_binary,
    find_plugin,
    render_config,
)
from hiveot_supervisor.runtime.pbkdf2 import check_secret, hash_secret
from hiveot_supervisor.runtime.rawmqtt import RawMqtt
from hiveot_supervisor.runtime.roles import COMMON, Role, grants

SETTINGS = MosquittoSettings("127.0.0.1", 8883, Path("/x"))


@pytest.fixture
def own() -> LocalBroker:
    require_driver(Driver.MOSQUITTO)
    made = LocalBroker(Driver.MOSQUITTO)
    made.broker.stop()
    return made


def test_closed_to_all_but_the_runtime_until_it_opens(own: LocalBroker) -> None:
    token = own.add_before_start("early", Role.VIEWER)
    try:
        own.start(opened=False)
        with pytest.raises(HubUnavailable, match=r"(?i)certificate verify failed"):  # so that it tries again
            own.raw("early", token)
        with own.logins.connect() as runtime:
            assert runtime.subscribe("#") == 1
            trusting = ssl.create_default_context(cafile=str(own.broker.ca_file))
            with RawMqtt("127.0.0.1", own.port, trusting) as service:
                service.login("early", "early", token)
                own.broker.open()
                service.settle()  # who was let in stays
        own.raw("early", token).close()
    finally:
        own.close()


def test_configuration_text() -> None:
    text = render_config(MosquittoSettings("::1", 8883, Path("/x"), certificates=("0.0.0.0", 8884)), Path("/p.so"))
    head, socket, tokens, certificates = text.split("\nlistener ")
    for line in ("per_listener_settings false", "allow_anonymous false", "set_tcp_nodelay true", "plugin /p.so"):
        assert line in head.splitlines()
    for line in ("max_packet_size 1048576", "max_queued_messages 100000", "persistence true", "autosave_interval 5"):
        assert line in head.splitlines()
    assert socket.splitlines()[0] == "0 control.sock"
    assert tokens.splitlines()[:2] == ["8883 ::1", "use_username_as_clientid true"]
    assert "require_certificate" not in tokens
    lines = certificates.splitlines()
    assert lines[0] == "8884 0.0.0.0"
    for line in ("use_username_as_clientid true", "require_certificate true", "use_identity_as_username true"):
        assert line in lines
    assert {"cafile ca.pem", "crlfile crl.pem"} <= set(lines)
    assert "listener 8884" not in render_config(SETTINGS, Path("/p.so"))
    without = MosquittoSettings("::1", 1, Path("/x"), certificates=("::", 2), revocation=False)
    assert "crlfile" not in render_config(without, Path("/p.so"))


def test_the_state_file_denies_what_it_does_not_grant() -> None:
    hashed = hash_secret("token", 101)
    viewer = DynsecClient("vera", grants(Role.VIEWER, "vera"), hashed)
    off = DynsecClient("off", grants(Role.NONE, "off"), disabled=True)
    state = json.loads(dynsec.render([viewer, off]))
    assert set(state["defaultACLAccess"].values()) == {False}
    vera, other = state["clients"]
    assert [role["rolename"] for role in vera["roles"]] == ["client-vera", dynsec.COMMON_ROLE]
    assert check_secret("token", f"pbkdf2-sha512:{vera['iterations']}:{vera['salt']}:{vera['password']}")
    assert other == {"username": "off", "roles": [{"rolename": "client-off"}], "disabled": True}
    acls = {role["rolename"]: role["acls"] for role in state["roles"]}
    assert {each["topic"] for each in acls[dynsec.COMMON_ROLE]} == {*COMMON.subscribe, "#"}
    assert all(each["allow"] for role in acls.values() for each in role)
    assert {each["topic"] for each in acls["client-vera"] if each["acltype"] == "subscribePattern"} == {
        "hiveot/inbox/vera/#"
    }


def test_no_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("shutil.which", lambda name, path=None: None)
    with pytest.raises(BrokerError, match="mosquitto is not installed") as caught:
        find_binary(None)
    assert "apt install mosquitto" in caught.value.hint
    with pytest.raises(BrokerError, match="cannot be run"):
        find_binary(tmp_path / "missing")


def test_the_plugin_beside_the_program_comes_first(tmp_path: Path) -> None:
    binary = tmp_path / "sbin/mosquitto"
    plugin = tmp_path / "lib/mosquitto_dynamic_security.so"
    for file in (binary, plugin):
        file.parent.mkdir()
        file.touch()
    assert find_plugin(binary) == plugin
    require_driver(Driver.MOSQUITTO)
    assert find_plugin(Path(str(Mosquitto.executable()))).name == plugin.name


def test_no_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pathlib.Path.is_file", lambda self: False)
    with pytest.raises(BrokerError, match=r"plugin mosquitto_dynamic_security\.so is not installed") as caught:
        find_plugin(tmp_path / "mosquitto")
    assert "from version 2.0 on" in caught.value.hint


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("echo 'Error: Address already in use' >&2; exit 1", "Address already in use"),
        ("echo 'mosquitto version 1.6.10 starting' >&2; echo 'Error: Unknown option' >&2; exit 3", "needed is 2.0"),
        ("exit 1", "it says nothing"),
    ],
)
def test_a_program_that_does_not_serve(tmp_path: Path, script: str, text: str) -> None:
    require_driver(Driver.MOSQUITTO)  # for the plugin
    binary = tmp_path / "mosquitto"
    binary.write_text(f"#!/bin/sh\n{script}\n")
    binary.chmod(0o755)
    tmp_path.chmod(0o700)
    process = MosquittoProcess(MosquittoSettings("127.0.0.1", 1, tmp_path, binary), lambda: None, lambda: None)
    with pytest.raises(BrokerError) as caught:
        process.start()
    assert text in str(caught.value)


def test_who_is_connected_is_read_from_the_log(tmp_path: Path) -> None:
    refused: list[int] = []
    process = MosquittoProcess(SETTINGS, lambda: None, lambda: refused.append(1))
    lines = [
        ("New client connected from 127.0.0.1:46490 as bob (p2, c1, k60, u'bob').", True),
        ("Client bob already connected, closing old connection.", True),
        ("New client connected from 127.0.0.1:46498 as bob (p5, c1, k60, u'bob').", True),
        ("Client <unknown> disconnected, not authorised.", True),
        ("Client bobby closed its connection.", True),
        ("Client bob been disconnected by administrative action.", False),
        ("New client connected from m.sock:0 as any (p2, c1, k0, u'~runtime').", False),
    ]
    for line, connected in lines:
        process._take(line)
        assert process.connected("bob") is connected, line
    assert refused == [1]
    assert process.connected("~runtime")


def test_commands_that_are_refused_say_why(own: LocalBroker) -> None:
    try:
        own.start()
        with pytest.raises(BrokerError, match=r"refused createClient: Role not found"):
            own.broker._dynsec.run([{"command": "createClient", "username": "x", "roles": [{"rolename": "nothing"}]}])
        with pytest.raises(BrokerError, match="Client not found"):
            own.broker._dynsec.run(dynsec.remove("nobody"))
        own.broker._dynsec.run(dynsec.remove("nobody"), missing_is_fine=True)
        # a connection that the broker has closed is made anew
        own.broker._dynsec._connection._socket.shutdown(2)
        assert own.broker._dynsec.run([{"command": "listRoles"}])
        pid = own.broker.pid
        own.broker.process.stop()
        assert gone(pid)
        with pytest.raises(BrokerError, match="does not take commands"):
            own.broker._dynsec.run([{"command": "listRoles"}])
    finally:
        own.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user; as another user every test shows it")
def test_it_runs_as_an_ordinary_user() -> None:
    """The whole runtime as `nobody`, in a home of its own."""
    import hiveot_supervisor.hub.mqtt
    import hiveot_supervisor.runtime.authn

    assert hiveot_supervisor.hub.mqtt  # what that user may not be able to read must be imported by now
    warm = LocalBroker(Driver.MOSQUITTO, certificates=True)
    token = warm.add("x", Role.VIEWER)
    warm.raw("x", token).close()
    warm.close()
    "x".encode("idna")
    home = RuntimeHome(Driver.MOSQUITTO, certificates_port=free_port())
    try:
        for path in (home.path, home.paths.generated):
            os.chown(path, 65534, 65534)
        (home.paths.generated / "runtime.json").chmod(0o644)
        child = os.fork()  # an interpreter of its own might not be readable for that user
        if child == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            try:
                with (home.path / "log").open("w") as log:
                    os.dup2(log.fileno(), 2)
                    os._exit(service.main(["--home", str(home.path)]))
            finally:
                os._exit(99)
        try:
            wait_until(lambda: home.ready_pid() == child, 15, "ready")
            home.raw("admin", home.token("admin"), "admin").close()
            broker = int(Path(f"/proc/{child}/task/{child}/children").read_text().split()[0])
            assert Path(f"/proc/{broker}").stat().st_uid == 65534
            state = home.paths.stores / "runtime/mosquitto/dynamic-security.json"
            assert (state.stat().st_uid, stat.S_IMODE(state.stat().st_mode)) == (65534, 0o600)
        finally:
            os.kill(child, 15)
            assert os.waitpid(child, 0)[1] == 0, (home.path / "log").read_text()
        assert gone(broker)
    finally:
        home.close()


def test_a_deep_home_folder(tmp_path: Path) -> None:
    """The path of a unix socket is limited to 107 bytes, a home's is not; and it may hold any character."""
    require_driver(Driver.MOSQUITTO)
    deep = tmp_path / ("a home; #1 " * 8) / ("x" * 60)
    deep.mkdir(parents=True)
    made = LocalBroker(Driver.MOSQUITTO, path=deep)
    try:
        token = made.add("deep", Role.VIEWER)
        made.raw("deep", token).close()
    finally:
        made.close()
