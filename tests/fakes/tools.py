"""Programs of other projects that some tests use when they are there."""

from __future__ import annotations

import shutil

import pytest

PACKAGES = {"mosquitto_pub": "mosquitto-clients", "mosquitto_sub": "mosquitto-clients", "mosquitto": "mosquitto"}
"""Where Debian has them."""


def require(program: str) -> None:
    """Skip the test, with the reason, when the program is not installed."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} (Debian: {PACKAGES.get(program, program)}) is not installed")
