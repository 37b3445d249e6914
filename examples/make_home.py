"""Makes the home of `make run`: `hiveot-launcher init`, the example plugins, and examples/launcher.yaml.

Run it with the Python in which hiveot-supervisor is installed. Does nothing when the home has a launcher.yaml already;
never replaces a file. The plugins written in Python get that Python as their interpreter.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent
PYTHON_LINE = "#!/usr/bin/env python3\n"
INTERPRETER_LIMIT = 120
"""Bytes of a path that every system takes in a script's first line."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Make a home with the example plugins.")
    parser.add_argument("home", type=Path)
    parser.add_argument("--port", type=int, help="port of the hub (8883)")
    args = parser.parse_args()
    home: Path = args.home
    config = home / "launcher.yaml"
    if config.exists() or (home / "config/launcher.yaml").exists():
        return 0
    launcher = [sys.executable, "-m", "hiveot_supervisor.cli.main"]
    made = subprocess.run([*launcher, "--quiet", "init", str(home)], check=False)
    if made.returncode != 0:
        return made.returncode
    try:
        for plugin in sorted((EXAMPLES / "plugins").iterdir()):
            install(plugin, home / "plugins" / plugin.name)
        text = (EXAMPLES / "launcher.yaml").read_text(encoding="utf-8")
        config.write_text(text.replace(":8883", f":{args.port}") if args.port else text, encoding="utf-8")
    except BaseException:
        config.unlink(missing_ok=True)  # without it the next run begins anew
        raise
    print(f"made {home} with the example plugins; {config} says what runs")
    return 0


def install(source: Path, target: Path) -> None:
    """Copy an executable, with this very Python in the first line when it is a Python program. Keeps what is there."""
    if target.exists():
        return
    text = source.read_text(encoding="utf-8")
    if text.startswith(PYTHON_LINE):
        text = first_line(sys.executable) + text.removeprefix(PYTHON_LINE)
    target.write_text(text, encoding="utf-8")
    target.chmod(0o755)


def first_line(python: str) -> str:
    """The first line of a script for an interpreter; for a path that cannot stand there, one that `sh` understands."""
    if " " not in python and len(python) <= INTERPRETER_LIMIT:
        return f"#!{python}\n"
    return f"#!/bin/sh\n'''exec' {shlex.quote(python)} \"$0\" \"$@\"\n' '''\n"


if __name__ == "__main__":
    sys.exit(main())
