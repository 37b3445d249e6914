"""`hiveot-launcher schema` prints what an editor can use."""

from __future__ import annotations

import json

import jsonschema
import pytest

from hiveot_supervisor.cli.main import main


def test_prints_a_json_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    document = json.loads(out)
    jsonschema.Draft202012Validator.check_schema(document)
    validator = jsonschema.Draft202012Validator(document)
    assert validator.is_valid({"runtime": "runtime", "autostart": ["history", {"zwavejs": "zwavejs-cb"}]})
    assert not validator.is_valid({"autostrat": []})
    assert all(value["description"] for value in document["properties"].values())
