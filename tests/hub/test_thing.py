"""Thing Descriptions: the Go launcher's can be built, and the forms are those of the design."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hiveot_supervisor.hub.client import Right
from hiveot_supervisor.hub.thing import Action, DataType, Event, Property, Schema, Thing, with_mqtt_forms
from hiveot_supervisor.hub.topics import InvalidTopic

VECTOR = Path(__file__).parents[2].parent / "shared" / "vectors" / "hiveot-wss" / "launcher-startup.json"

STRING, INTEGER, BOOLEAN = DataType.STRING, DataType.INTEGER, DataType.BOOLEAN
ID = Schema(STRING, "Plugin ID")
INFO = Schema(DataType.OBJECT, "Plugin Status", ref="PluginInfo")
FUNCTION = "hiveot:function"
LAUNCHER = Thing(
    id="Admin",
    title="Administration of Plugins",
    description="Service for starting and stopping of plugins",
    at_type="Service",
    created="2025-04-01T17:00:00.000Z",
    modified="2025-04-01T17:00:00.000Z",
    properties={
        "nrPlugins": Property(Schema(INTEGER, "Number of plugins")),
        "nrRunning": Property(Schema(INTEGER, "Number of running plugins")),
    },
    events={
        "started": Event("Plugin Started", "A plugin was started", ID),
        "stopped": Event("Plugin Stopped", "A plugin has stopped", ID),
    },
    actions={
        "listPlugins": Action(
            "List Plugins",
            "List available plugins and their status",
            input=Schema(BOOLEAN, "Only running"),
            output=Schema(
                DataType.ARRAY, "Plugins", items=Schema(DataType.OBJECT, "Plugin running status", ref="PluginInfo")
            ),
            safe=True,
            idempotent=True,
            right=Right.READ,
            at_type=FUNCTION,
        ),
        "startPlugin": Action("Start A Plugin", "Start a plugin", ID, INFO, at_type=FUNCTION, right=Right.CONFIG),
        "stopPlugin": Action("Stop A Plugin", "Stop a plugin", ID, INFO, at_type=FUNCTION, right=Right.CONFIG),
        "startAllPlugins": Action("Start All", "Start all available plugins", at_type=FUNCTION, right=Right.CONFIG),
        "stopAllPlugins": Action(
            "Stop All",
            "Stop all running plugins",
            Schema(
                BOOLEAN,
                "Full Stop",
                "Stop the runtime if running and this launcher. Starting is no longer possible",
            ),
            at_type=FUNCTION,
            right=Right.ADMIN,
        ),
    },
)


def normalized(value: Any) -> Any:
    """Without what says nothing (readOnly false, null) and with the standard's `boolean`."""
    if isinstance(value, list):
        return [normalized(each) for each in value]
    if not isinstance(value, dict):
        return "boolean" if value == "bool" else value
    return {k: normalized(v) for k, v in value.items() if v is not None and (k, v) != ("readOnly", False)}


def test_the_go_launchers_description_can_be_built() -> None:
    if not VECTOR.exists():
        pytest.skip(f"the recorded frames are not there: {VECTOR}")
    recorded = normalized(json.loads(json.loads(VECTOR.read_text())[0]["frame"]["input"]))
    definitions = recorded.pop("schemaDefinitions")
    assert LAUNCHER.to_json() == recorded

    def schema(data: dict[str, Any]) -> Schema:
        texts = {key: data.get(key, "") for key in ("title", "description", "unit")}
        parts = {name: schema(part) for name, part in data.get("properties", {}).items()}
        return Schema(DataType(data["type"]), properties=parts, **texts)

    built = schema(definitions["PluginInfo"])
    assert {"PluginInfo": built.to_json()} == definitions


def test_a_description_without_forms() -> None:
    td = LAUNCHER.to_json()
    assert isinstance(td["@context"], list)
    assert td["properties"]["nrPlugins"] == {"title": "Number of plugins", "type": "integer", "readOnly": True}
    assert td["actions"]["listPlugins"]["input"]["type"] == "boolean"
    assert json.loads(json.dumps(td)) == td


def test_zero_and_false_are_values() -> None:
    schema = Schema(INTEGER, minimum=0, maximum=100.0, enum=[0, False], unit="%", required=["a"])
    assert schema.to_json() == {
        "type": "integer",
        "minimum": 0,
        "maximum": 100.0,
        "enum": [0, False],
        "unit": "%",
        "required": ["a"],
    }
    writable = Property(Schema(BOOLEAN), observable=True, write=Right.CONFIG, at_type="x")
    assert writable.to_json() == {"type": "boolean", "observable": True, "@type": "x"}


def test_mqtt_forms() -> None:
    thing = Thing(
        "plugin-a",
        "A",
        properties={"running": Property(Schema(BOOLEAN), write=Right.CONFIG), "cpu": Property(Schema(DataType.NUMBER))},
        events={"started": Event("Started")},
        actions={"restart": Action("Restart", right=Right.CONFIG)},
    )
    td = with_mqtt_forms(thing, agent_id="launcher", url="mqtts://localhost:8883")
    read, write = td["properties"]["running"]["forms"]
    assert read == {
        "href": "mqtts://localhost:8883",
        "op": ["readproperty", "observeproperty"],
        "contentType": "application/json",
        "mqv:filter": "hiveot/prop/launcher/plugin-a/running",
        "mqv:retain": True,
        "mqv:qos": "1",
    }
    assert write["mqv:topic"] == "hiveot/config/launcher/plugin-a/running/{sender}"
    assert "sender" in td["properties"]["running"]["uriVariables"]
    assert len(td["properties"]["cpu"]["forms"]) == 1
    assert td["events"]["started"]["forms"][0]["mqv:filter"] == "hiveot/event/launcher/plugin-a/started"
    action = td["actions"]["restart"]["forms"][0]
    assert (action["mqv:topic"], action["op"]) == ("hiveot/config/launcher/plugin-a/restart/{sender}", ["invokeaction"])
    assert any("mqv" in each for each in td["@context"] if isinstance(each, dict))
    assert "forms" not in thing.to_json()["properties"]["cpu"]
    with pytest.raises(InvalidTopic):
        with_mqtt_forms(Thing("a b", "x", events={"e": Event("E")}), agent_id="launcher", url="mqtts://x")
