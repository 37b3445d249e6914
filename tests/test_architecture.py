"""The dependency rules of docs/architecture.md, read from the imports; and that start-up paths stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "hiveot_supervisor"
NAME = "hiveot_supervisor"

STANDALONE = {"model", "errors", "clock", "foreign", "supervisord.states"}
"""Modules that import nothing of ours."""

FORBIDDEN: dict[str, set[str]] = {
    "agent": {"config", "generate", "cli", "runtime"},
    "hub": {"agent", "config", "generate", "cli", "runtime", "prestart", "supervisord"},
    "runtime": {"agent", "config", "generate", "cli", "prestart", "supervisord"},
    "config": {"agent", "cli", "generate", "hub", "prestart", "runtime", "supervisord"},
    "generate": {"agent", "cli", "config", "hub", "runtime"},
    "prestart": {"agent", "cli", "config", "generate", "runtime"},
    "credentials": {"agent", "cli", "config", "generate", "prestart", "runtime", "supervisord"},
    "supervisord": {"agent", "cli", "config", "credentials", "generate", "hub", "prestart", "runtime"},
}

HOMES: dict[str, tuple[str, ...]] = {
    "yaml": ("config.reader",),
    "jinja2": ("generate.render",),
    "psutil": ("agent.monitor",),
    "paho": ("hub.mqtt",),
    "websockets": ("hub.wss_session",),
    "zeroconf": ("hub.discovery",),
    "cryptography": ("credentials.",),
    "nats": ("runtime.broker_nats",),
    "supervisor": ("supervisord.", "generate.verify"),
}
"""Third-party library -> prefixes of the modules that may import it."""


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(p for p in parts if p != "__init__") or "__init__"] = path
    return found


def imported(path: Path) -> set[str]:
    """Full names of everything a file imports, also inside functions (annotations-only imports too)."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


MODULES = modules()


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_keep_the_rules(module: str) -> None:
    names = imported(MODULES[module])
    ours = {n.removeprefix(f"{NAME}.") for n in names if n.startswith(f"{NAME}.")}
    package = module.split(".")[0]
    if module in STANDALONE:
        assert not ours, f"{module} must not import anything of ours"
    if package != "cli":
        assert not {n for n in ours if n.split(".")[0] == "cli"}, "nothing imports cli"
    crossing = {n for n in ours if n.split(".")[0] in FORBIDDEN.get(package, set())}
    assert not crossing, f"{module} must not import {crossing}"
    for library, homes in HOMES.items():
        if any(n == library or n.startswith(f"{library}.") for n in names):
            assert any(module == h or module.startswith(h) for h in homes), f"{library} is at home in {homes}"


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return {name.split(".")[0] for name in output.split()}


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import hiveot_supervisor.cli.main", {"yaml", "jinja2", "psutil", "paho", "cryptography", "xmlrpc", "ssl"}),
        (
            "import hiveot_supervisor.cli.cmd_list, hiveot_supervisor.cli.context",
            {"yaml", "jinja2", "paho", "cryptography", "supervisor", "psutil"},
        ),
        ("import hiveot_supervisor.agent.service", {"yaml", "jinja2", "supervisor", "websockets"}),
        ("import hiveot_supervisor.prestart.hook", {"yaml", "jinja2", "paho", "cryptography", "supervisor", "psutil"}),
        ("import hiveot_supervisor.supervisord.extension", {"yaml", "jinja2", "paho", "cryptography", "psutil"}),
    ],
)
def test_what_starts_often_loads_little(statement: str, unwanted: set[str]) -> None:
    assert not loaded_by(statement) & unwanted
