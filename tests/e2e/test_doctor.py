"""`hiveot-launcher doctor` on a home that runs."""

from __future__ import annotations

import json

from fakes.home import Home


def test_what_runs_is_well_and_a_wrong_token_is_found(home: Home) -> None:
    home.plugin("one")
    home.configure("one")
    home.up()
    document = json.loads(home.launch("doctor", "--json").stdout)
    findings = {f["check"]: f["text"] for f in document["findings"] if f["level"] == "ok"}
    assert "takes the login of launcher" in findings["hub"]
    assert "supervisord answers" in findings["control socket"]
    assert findings["generated files"] == "up to date"
    assert not [f for f in document["findings"] if f["level"] == "error"]
    token = home.path / "certs/launcher.token"
    token.write_text((home.path / "certs/one.token").read_text())
    document = json.loads(home.launch("doctor", "--json", check=1).stdout)
    [hub] = [f for f in document["findings"] if f["check"] == "hub"]
    assert hub["level"] == "error"
    assert "refuse" in hub["text"]
