"""docs/plugin-authors.md says what the code does: names, arguments, files, topics, messages, figures."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from hiveot_supervisor.agent.restart import series
from hiveot_supervisor.config import schema
from hiveot_supervisor.config.load import inspect
from hiveot_supervisor.config.paths import locate
from hiveot_supervisor.hub.messages import NotificationMessage, RequestMessage, ResponseMessage, from_json
from hiveot_supervisor.model import Plugin, Policy, Restart, Stop
from hiveot_supervisor.runtime.roles import Role, grants

TEXT = (Path(__file__).parents[2] / "docs/plugin-authors.md").read_text(encoding="utf-8")
FILE = """
runtime: runtime
directoryURL: https://localhost:8444/things
autostart:
  - weather-2: weather
plugins:
  weather-2: {ready: notify, args: [--mine]}
"""


def table(header: str) -> list[list[str]]:
    """The rows of the table whose first header cell is that."""
    lines = TEXT.splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith(f"| {header} |"))
    rows = []
    for line in lines[at + 2 :]:
        if not line.startswith("|"):
            return rows
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Plugin:
    """A plugin that gets everything there is to get."""
    home = tmp_path_factory.mktemp("home")
    for name in ("bin/runtime", "plugins/weather"):
        (home / name).parent.mkdir()
        (home / name).write_text("#!/bin/sh\n")
        (home / name).chmod(0o755)
    (home / "launcher.yaml").write_text(FILE)
    found = inspect(locate(home))
    assert found.launcher is not None, found.diagnostics
    made = found.launcher.plugin("weather-2")
    assert made is not None
    return made


def test_the_environment_is_complete(plugin: Plugin) -> None:
    assert [row[0].strip("`") for row in table("variable")] == sorted(
        dict(plugin.environment), key=lambda name: [row[0].strip("`") for row in table("variable")].index(name)
    )
    environment = dict(plugin.environment)
    assert environment["HIVEOT_CLIENTID"] == "weather-2"
    assert Path(environment["HIVEOT_CERTS"]) == Path(environment["HIVEOT_HOME"]) / "certs"
    assert f"--serverURL={environment['HIVEOT_SERVERURL']}" in plugin.args


def test_the_arguments_come_in_that_order(plugin: Plugin) -> None:
    documented = [row[0].strip("`").split("=")[0] for row in table("argument")]
    assert [word.split("=")[0] for word in plugin.args] == [*documented[:-1], "--mine"]


def test_the_files_have_these_names(plugin: Plugin) -> None:
    from hiveot_supervisor.config.paths import paths_of

    paths = paths_of(Path("/h"), Path("/h"))
    made = {paths.token("ID"), paths.key("ID"), paths.certificate("ID"), paths.ca_cert}
    assert {row[0].strip("`") for row in table("file")} == {path.name for path in made}


def test_reserved_names_are_all_told() -> None:
    for name in schema.RESERVED:
        assert f"`{name}`" in TEXT
    assert "up to 64" in TEXT


def test_the_figures_are_the_defaults() -> None:
    defaults = Restart()
    assert series(defaults, 3) == [1, 2, 4]
    assert (defaults.limit, defaults.reset_after, Stop().timeout) == (3600, 600, 10)
    assert defaults.policy is Policy.ON_FAILURE
    assert {row[0].split("`")[1] for row in table("`restart.policy`")} == {policy.value for policy in Policy}


def granted(topic: str, filters: tuple[str, ...]) -> bool:
    """True when one of the filters covers the topic or filter."""
    for filter_ in filters:
        pattern = re.escape(filter_).replace(r"\+", r"[^/]+").replace(r"/\#", "(/.*)?").replace("/#", "(/.*)?")
        if re.fullmatch(pattern, topic):
            return True
    return False


def topics_of(cell: str) -> list[str]:
    """The topics in a cell; a lone word stands for another second level of the first one."""
    first, *others = re.findall(r"`([^`]+)`", cell)
    levels = first.split("/")
    return [first, *("/".join([levels[0], other, *levels[2:]]) for other in others)]


def test_a_service_may_use_these_topics() -> None:
    rows = table("topic")
    assert len(rows) == 8
    rights = grants(Role.SERVICE, "ID")
    for cell, use, _ in rows:
        filters = rights.publish if use.startswith("publish") else rights.subscribe
        for topic in topics_of(cell):
            assert granted(topic, filters), topic
    assert granted("hiveot/inbox/ID/#", rights.subscribe)
    assert not granted("hiveot/prop/OTHER/THING/NAME", rights.publish)


def test_the_messages_can_be_read() -> None:
    block = re.search(r"^```json\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    assert block is not None
    messages = [from_json(json.loads(text)) for text in block[1].split("\n\n")]
    assert [type(message) for message in messages] == [NotificationMessage, RequestMessage, ResponseMessage]
    request, response = messages[1], messages[2]
    assert isinstance(request, RequestMessage)
    assert isinstance(response, ResponseMessage)
    assert request.correlation_id == response.correlation_id
    assert response.result() == {"host": "pi"}
