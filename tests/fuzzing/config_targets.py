"""Fuzzing of what operators and `generate` write: launcher.yaml, environment files, the generated JSON files."""

from __future__ import annotations

import json
from pathlib import Path

from fuzzing.target import SECRET, Target, printable

from hiveot_supervisor.agent.service import read_launcher
from hiveot_supervisor.config import render
from hiveot_supervisor.config.diagnostics import Severity
from hiveot_supervisor.config.load import inspect
from hiveot_supervisor.config.paths import locate
from hiveot_supervisor.errors import ConfigError, NeverWorks
from hiveot_supervisor.generate import plan
from hiveot_supervisor.model import Launcher, from_json, to_json, valid_name
from hiveot_supervisor.prestart import environment, spec

ROOT = Path(__file__).parents[2]

YAML = f"""
id: launcher
runtime: runtime
hub: {{listen: ":8884"}}
restart: {{policy: always, delay: 500ms, limit: 5m, jitter: 5%}}
autostart:
  - history
  - zwave: zwavejs-cb
plugins:
  history:
    args: [--verbose, "a b", 'it''s %d']
    environment: {{TZ: UTC, PASSWORD: {SECRET}}}
    ready: {{log: "ready.*now"}}
    alive: {{tcp: 8091, every: 30s, failures: 3}}
    requires: [/dev/null]
    limits: {{memory: 200MB, cpu: 80%, action: restart}}
    stop: {{signal: INT, timeout: 2s}}
  zwave: &x
    dependsOn: {{history: ready}}
    restart: {{limit: 10m}}
"""

_WORDS = """&x *x <<: !!str !secret --- ... | > ? : - autostart: plugins: id: runtime: command: user: dependsOn:
environmentFile: requires: ready: notify hub http://localhost 10s 1h30m 5% 64MiB 1e9s -1s mqtts://h:1 wss://h/x"""
YAML_TOKENS = tuple(_WORDS.encode().split())


def launcher_yaml(folder: Path) -> Target:
    """From text to generated files: no exception, diagnostics harmless, models round trip, no secret in the INI."""
    home = folder / "yaml"
    for name in ("bin/runtime", "plugins/history", "plugins/zwavejs-cb", "plugins/other"):
        file = home / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("#!/bin/sh\n")
        file.chmod(0o755)
    file = home / "launcher.yaml"
    file.touch()
    location = locate(home)

    def check(data: bytes) -> None:
        file.write_bytes(data)
        found = inspect(location)
        for one in found.diagnostics[:50]:
            printable(render.full(one) + render.concise(one))
            json.dumps(render.as_json(one))
        if found.launcher is None:
            assert any(one.severity is Severity.ERROR for one in found.diagnostics), "nothing is wrong, but no model"
            return
        _model(found.launcher)
        if len(data) % 8 == 0 or data == YAML.encode():
            try:
                made = plan.make(found.launcher)
            except ConfigError:
                return
            assert SECRET not in made.text(found.launcher.paths.supervisord_conf)

    return Target("launcher.yaml", (YAML.encode(), (ROOT / "launcher.yaml").read_bytes()), check, YAML_TOKENS)


def _model(launcher: Launcher) -> None:
    names = [plugin.id for plugin in launcher.plugins]
    assert all(map(valid_name, names)), names
    assert len(set(names)) == len(names)
    for name in names:
        assert launcher.paths.token(name).parent == launcher.paths.certs
    assert from_json(Launcher, json.loads(json.dumps(to_json(launcher)))) == launcher


def generated_json(folder: Path) -> Target:
    """launcher.json as agent and command line read it, NAME.json as prestart does."""
    home = folder / "generated"
    launcher_yaml(home)  # its home
    (home / "yaml" / "launcher.yaml").write_text(YAML)
    launcher = inspect(locate(home / "yaml")).launcher
    assert launcher is not None
    (home / "plugins").mkdir(parents=True, exist_ok=True)
    seeds = tuple(file.content for file in plan.make(launcher).files if file.path.suffix == ".json")

    def check(data: bytes) -> None:
        (home / "launcher.json").write_bytes(data)
        try:
            read = read_launcher(home)
            assert from_json(Launcher, json.loads(json.dumps(to_json(read)))) == read
        except ConfigError:
            pass
        try:
            assert spec.load(str(home / "launcher.json")).name is not None
        except NeverWorks as error:
            assert SECRET not in str(error)

    return Target("generated JSON", seeds, check)


def environment_file(folder: Path) -> Target:
    """Variables of an environment file; complaints show nothing of it."""
    good = f'# comment\nexport A=1\nB=\'two words\' # why\nTOKEN="{SECRET}\\"x"\nC="a\nb"\n'.encode()

    def check(data: bytes) -> None:
        try:
            found = environment.parse_file(data.decode("utf-8", "replace"), "plugin.env")
        except NeverWorks as error:
            assert SECRET not in str(error)
            return
        for name, value in found:
            assert name.isidentifier()
            assert "\0" not in value

    return Target("environment file", (good, b"X=1\n"), check)
