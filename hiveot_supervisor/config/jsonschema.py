"""The JSON Schema of launcher.yaml, made from the tables of `schema`: completion and checking in editors.

It says what JSON Schema can say about one file; what depends on other keys or on the machine is left to `check`.
"""

from __future__ import annotations

from typing import Any

from hiveot_supervisor.config.schema import TOP

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def document() -> dict[str, Any]:
    """The schema as a JSON document; the file as a whole may also be empty."""
    return {
        "$schema": DIALECT,
        "title": "launcher.yaml",
        "description": "Configuration of hiveot-launcher: a hub and its plugins.",
        **TOP.schema(),
        "type": ["object", "null"],
    }
