"""The JSON Schema accepts what `check` accepts, and refuses the mistakes that a schema can see."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hiveot_supervisor.config import schema
from hiveot_supervisor.config.forms import ALIVE, READY
from hiveot_supervisor.config.jsonschema import document
from hiveot_supervisor.config.load import Inspection
from hiveot_supervisor.resources import template_path

Check = Callable[[str], Inspection]
GOLDEN = Path(__file__).parent / "golden"
VALIDATOR = jsonschema.Draft202012Validator(document())


def problems(text: str) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(yaml.safe_load(text))]


def test_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(document())
    json.dumps(document())


def test_sample_and_empty_file_are_accepted() -> None:
    assert problems(template_path("launcher.yaml").read_text()) == []
    assert problems("") == []


@pytest.mark.parametrize(
    "name", ["unknown-keys", "types", "plugin-types", "values", "hub-values", "probes", "shorthands"]
)
def test_mistakes_are_refused(name: str) -> None:
    assert problems((GOLDEN / f"{name}.yaml").read_text()) != []


def test_defaults_are_accepted_and_are_the_defaults(check: Check) -> None:
    """Every default that the schema shows is a value that `check` takes for the same."""
    texts = {key: value["default"] for key, value in document()["properties"].items() if "default" in value}
    del texts["provideDiscovery"]  # the other name of provideDirectoryURL
    assert texts["startWait"] == "100ms"
    assert texts["logLevel"] == "warning"
    for section in ("restart", "limits", "stop", "logs"):
        inner = document()["properties"][section]["properties"]
        texts[section] = {key: value["default"] for key, value in inner.items() if "default" in value}
    assert texts["restart"]["jitter"] == "10%"
    found = check(json.dumps({"runtime": "runtime", **texts}))
    plain = check(json.dumps({"runtime": "runtime"}))
    assert found.launcher is not None
    assert plain.launcher is not None
    assert found.launcher.plugins == plain.launcher.plugins
    assert found.launcher.defaults == plain.launcher.defaults


WORDS = ["history", "zwavejs", "A", "started", "ready", "tcp", "http", "runtime"]
VALUES = [
    "1s",
    "200MB",
    "80%",
    "always",
    "mqtts://localhost:8883",
    "http://localhost:1/",
    ":8883",
    "hub",
    "TERM",
    "/bin/sh",
    "x",
]
LEAVES = st.sampled_from([*WORDS, *VALUES]) | st.integers(0, 5000) | st.booleans() | st.floats(0, 9, width=16)
INNER = [
    *schema.RESTART.names,
    *schema.LIMITS.names,
    *schema.STOP.names,
    *schema.LOGS.names,
    *schema.HUB.names,
    *READY.names,
]
values = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*WORDS, *INNER, *ALIVE.names]), inner, min_size=1, max_size=2)
    ),
    max_leaves=4,
)
plugins = st.dictionaries(
    st.sampled_from(WORDS[:2]), st.dictionaries(st.sampled_from(schema.PLUGIN.names), values, max_size=2)
)


@given(st.dictionaries(st.sampled_from(schema.TOP.names), values, max_size=3), plugins)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_check_accepts_the_schema_accepts(check: Check, top: dict[str, object], own: dict[str, object]) -> None:
    text = json.dumps({**top, "plugins": own})
    found = check(text)
    wrong = {d.code for d in found.diagnostics if d.code < "L4" and d.severity == "error"}
    if not wrong:
        assert problems(text) == []
