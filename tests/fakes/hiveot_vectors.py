"""Frames recorded from HiveOT's real hub (../shared/vectors/hiveot-wss), where they are there: CI and maintainers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[3] / "shared/vectors/hiveot-wss"
MISSING = f"the recorded frames are not there: {FOLDER}"
HTTP = "http-handshake-and-auth"
VOLATILE = {"messageID", "timestamp", "created", "timeRequested", "timeUpdated", "timeEnded"}
_TOKEN = re.compile(r"^(v4\.public\.\S+|<PASETO-TOKEN:.*>)$")


def names() -> list[str]:
    """All files with frames; empty when the folder is missing."""
    return sorted(path.stem for path in FOLDER.glob("*.json") if path.stem != HTTP)


def load(name: str) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads((FOLDER / f"{name}.json").read_text())
    return loaded


def normal(value: Any) -> Any:
    """A frame without what differs from run to run: times, message IDs, tokens; JSON in JSON as JSON."""
    if isinstance(value, dict):
        return {k: ("…" if k in VOLATILE else normal(v)) for k, v in value.items()}
    if isinstance(value, list):
        return [normal(v) for v in value]
    if isinstance(value, str):
        if _TOKEN.match(value):
            return "<token>"
        if value.startswith("{") and '"@context"' in value:
            return described(json.loads(value))
    return value


def described(td: dict[str, Any]) -> dict[str, Any]:
    """What of a Thing Description is the agent's: without the hub's forms and security, Go's nulls and defaults."""
    hubs = {"forms", "base", "security", "securityDefinitions"}

    def clean(part: Any) -> Any:
        if isinstance(part, dict):
            kept = {k: clean(v) for k, v in part.items() if k not in hubs}
            return {k: v for k, v in kept.items() if v not in (None, {}) and not (k == "readOnly" and v is False)}
        return [clean(v) for v in part] if isinstance(part, list) else part

    result = clean(td)
    assert isinstance(result, dict)
    return result
