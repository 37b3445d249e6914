"""Names that would be a path, a topic, a section or an option elsewhere: refused wherever they come in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.launchers import program, short_home
from fuzzing.hub_targets import ACCOUNT, AskedAgent, Wire

from hiveot_supervisor.agent.service import read_launcher
from hiveot_supervisor.cli.main import main
from hiveot_supervisor.config.load import inspect
from hiveot_supervisor.config.paths import locate
from hiveot_supervisor.errors import ConfigError, ExitCode, UsageError
from hiveot_supervisor.hub import topics
from hiveot_supervisor.hub.messages import ResponseMessage, decode
from hiveot_supervisor.hub.mqtt import MqttHubClient
from hiveot_supervisor.hub.mqtt_session import Incoming
from hiveot_supervisor.hub.wss import WssHubClient
from hiveot_supervisor.model import valid_name
from hiveot_supervisor.prestart.hook import arguments
from hiveot_supervisor.runtime.accounts import valid_client_id

HOSTILE = [
    "../evil",
    "a/../../evil",
    "/etc/passwd",
    "..",
    ".",
    ".hidden",
    "a/b",
    "+",
    "#",
    "a+b",
    "$SYS",
    "all",
    "a b",
    "a\nb",
    "a]\ncommand=sh",
    "a;b",
    "%(ENV_HOME)s",
    "a:b",
    "-rf",
    "--home",
    "a\0b",
    "a\x1b[2J",
    "é",
    "ａ",
    "x" * 65,
    "",
]


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with short_home() as made:
        program(made / "plugins/alpha")
        (made / "launcher.yaml").write_text("hub: {url: 'mqtts://localhost:1'}\nautostart: [alpha]\n")
        assert main(["generate", "--quiet", "--home", str(made)]) == ExitCode.OK
        yield made


def files(home: Path) -> set[Path]:
    return {*home.parent.glob("evil*"), *home.rglob("*")}


@pytest.mark.parametrize("name", HOSTILE)
def test_one_rule_for_all_names(name: str) -> None:
    assert not valid_name(name)
    assert name in ("-rf", "--home", ".", "..", ".hidden", "x" * 65, "all") or not topics.valid_id(name)
    if name != "all":
        assert not valid_client_id(name)


@pytest.mark.parametrize("name", HOSTILE)
def test_prestart_takes_none(name: str) -> None:
    if name != "all":  # an ordinary name to everybody but the command line
        with pytest.raises(UsageError):
            arguments([name])


@pytest.mark.parametrize("command", ["status", "logs", "start", "stop", "restart", "enable", "disable", "events"])
def test_the_command_line_touches_nothing(home: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(home)
    for name in HOSTILE:
        if name in ("all",) or name.startswith("-"):
            continue
        code = main([command, "--home", str(home), name])
        assert code in (ExitCode.UNKNOWN_PLUGIN, ExitCode.UNREACHABLE), (command, name)
        shown = "".join(capsys.readouterr())
        assert "\x1b" not in shown
    assert files(home) == before


@pytest.mark.parametrize("name", [name for name in HOSTILE if name.isprintable()])
@pytest.mark.parametrize(
    "place", ["autostart: [{n}]", "plugins: {{ {n}: {{}} }}", "id: {n}", "autostart: [{{ {n}: alpha }}]"]
)
def test_launcher_yaml_takes_none(name: str, place: str, tmp_path: Path) -> None:
    (tmp_path / "launcher.yaml").write_text(f"hub: {{url: 'mqtts://h:1'}}\n{place.format(n=json.dumps(name))}\n")
    found = inspect(locate(tmp_path))
    assert found.launcher is None or (not name and place.startswith("id"))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_changed_launcher_json_is_refused(home: Path, name: str, tmp_path: Path) -> None:
    """Names from there become paths of sockets, tokens and reasons."""
    data = json.loads((home / "generated/launcher.json").read_text())
    assert read_launcher(home / "generated").plugins[0].id == "alpha"
    for changed in ({"id": name}, {"plugins": [data["plugins"][0] | {"id": name}]}):
        (tmp_path / "launcher.json").write_text(json.dumps(data | changed))
        with pytest.raises(ConfigError):
            read_launcher(tmp_path)


@pytest.mark.parametrize("binding", ["mqtt", "wss"])
def test_the_hub_starts_and_stops_none(binding: str, tmp_path: Path) -> None:
    """As input, as name of a Thing, and as the sender, over MQTT and over a HiveOT hub's websocket."""
    client = MqttHubClient("mqtts://localhost:1", ACCOUNT) if binding == "mqtt" else WssHubClient("wss://h", ACCOUNT)
    wire = Wire()
    agent = AskedAgent(tmp_path, client, wire)
    before = agent.runs()
    for name in HOSTILE:
        wire.sent.clear()
        for thing, action, value in (
            ("Admin", "stopPlugin", name),
            (f"plugin-{name}", "stop", None),
            (name, "x", "zwave"),
        ):
            message = {"messageType": "request", "operation": "invokeaction", "correlationID": f"{name}{thing}{action}"}
            message |= {"replyTo": "hiveot/inbox/x/1/launcher", "thingID": thing, "name": action, "senderID": "x"}
            payload = json.dumps(message | {"input": value}).encode()
            if isinstance(client, WssHubClient):
                client.link_frame(payload)
            else:
                client.link_message(Incoming(f"hiveot/config/launcher/{thing}/{action}/x", payload, False))
        agent.work()
        agent.asked.clear()
        answers = [decode(answer) for _, answer in wire.sent]
        assert answers
        assert all(isinstance(answer, ResponseMessage) and answer.error is not None for answer in answers), name
        assert agent.runs() == before
    agent.close()


@pytest.mark.parametrize("name", HOSTILE)
def test_no_topic_can_be_built_with_one(name: str) -> None:
    if topics.valid_id(name):
        assert "/" not in name
        return
    for build in (
        topics.presence,
        lambda n: topics.td("a", n),
        lambda n: topics.inbox_filter(n, "1"),
        topics.request_filters,
    ):
        with pytest.raises(topics.InvalidTopic):
            build(name)
    with pytest.raises(topics.InvalidTopic):
        topics.parse(f"hiveot/presence/{name}")
