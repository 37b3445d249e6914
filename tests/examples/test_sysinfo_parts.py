"""sysinfo's decisions: where it takes its settings from, when the alarm rings, what its Thing Description says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from fakes.examples import PLUGINS

from hiveot_supervisor.hub import thing


def test_everything_follows_from_its_own_path(sysinfo: ModuleType) -> None:
    settings = sysinfo.read_settings(["/srv/hub/plugins/weather"], {})
    assert (settings.client_id, settings.certs) == ("weather", Path("/srv/hub/certs"))
    assert settings.url == "mqtts://localhost:8883"


def test_the_environment_is_stronger(sysinfo: ModuleType) -> None:
    environment = {
        "HIVEOT_HOME": "/a",
        "HIVEOT_CERTS": "/b",
        "HIVEOT_CLIENTID": "other",
        "HIVEOT_SERVERURL": "mqtts://hub:1883",
    }
    settings = sysinfo.read_settings(["/srv/hub/plugins/weather"], environment)
    assert (settings.client_id, settings.certs, settings.url) == ("other", Path("/b"), "mqtts://hub:1883")
    assert sysinfo.read_settings(["/srv/hub/plugins/weather"], {"HIVEOT_HOME": "/a"}).certs == Path("/a/certs")


def test_arguments_are_the_strongest(sysinfo: ModuleType) -> None:
    words = ["/srv/hub/plugins/weather", "--clientID=mine", "--home", "/c", "--serverURL=mqtts://[::1]:5"]
    environment = {"HIVEOT_CERTS": "/b", "HIVEOT_CLIENTID": "other", "HIVEOT_SERVERURL": "mqtts://hub"}
    settings = sysinfo.read_settings(words, environment)
    assert (settings.client_id, settings.certs) == ("mine", Path("/c/certs"))
    assert (settings.host, settings.port) == ("::1", 5)


@pytest.mark.parametrize("home", ["/opt/hiveot", "/usr/lib/hiveot"])
def test_an_installed_home_has_its_credentials_in_etc(sysinfo: ModuleType, home: str) -> None:
    assert sysinfo.read_settings([f"{home}/plugins/weather"], {}).certs == Path("/etc/hiveot/certs")


@pytest.mark.parametrize("words", [["--nonsense"], ["--serverURL=wss://hub/wot/wss"], ["--serverURL=nonsense"]])
def test_misuse_ends_with_2(words: list[str]) -> None:
    made = subprocess.run([sys.executable, str(PLUGINS / "sysinfo"), *words], capture_output=True, text=True)
    assert made.returncode == 2
    assert words[0].split("=")[0] in made.stderr


def test_a_python_without_paho_is_told_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['paho'] = None\n")
    command = [sys.executable, str(PLUGINS / "sysinfo")]
    made = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(tmp_path)})
    assert made.returncode == 1
    assert "pip install" in made.stderr
    assert "Traceback" not in made.stderr


def test_the_alarm_rings_once_and_again_after_it_was_quiet(sysinfo: ModuleType) -> None:
    alarm = sysinfo.Alarm(2.0)
    loads = [1.9, 2.0, 5.0, 1.7, 2.1, 1.5, 1.9, 2.0]
    assert [alarm.update(load) for load in loads] == [False, True, False, False, False, False, False, True]


def test_the_forms_are_those_that_the_hub_port_makes(sysinfo: ModuleType) -> None:
    settings = sysinfo.read_settings(["/srv/hub/plugins/weather"], {})
    td = sysinfo.thing_description(settings, sysinfo.quantities(Path("/")))
    number, nothing = thing.Schema(thing.DataType.NUMBER), thing.Schema(thing.DataType.OBJECT)
    model = thing.Thing(
        id="host",
        title="",
        properties={name: thing.Property(number) for name in td["properties"]},
        events={"highLoad": thing.Event("", data=nothing)},
        actions={"identify": thing.Action("")},
    )
    made = thing.with_mqtt_forms(model, agent_id="weather", url=settings.url)
    for kind in ("properties", "events", "actions"):
        assert {name: each["forms"] for name, each in td[kind].items()} == {
            name: each["forms"] for name, each in made[kind].items()
        }
    assert td["@context"] == made["@context"]
    assert td["securityDefinitions"] == made["securityDefinitions"]
    json.dumps(td)


def test_only_what_can_be_measured_here_is_promised(sysinfo: ModuleType, tmp_path: Path) -> None:
    measured = sysinfo.quantities(tmp_path)
    assert {"load", "cpu", "memory", "disk", "uptime"} <= {each.name for each in measured}
    assert all(each.name == "cpu" or isinstance(each.read(), (int, float)) for each in measured)
    assert ("temperature" in {each.name for each in measured}) == (sysinfo.temperature() is not None)
