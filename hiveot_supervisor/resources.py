"""Finds the files that are shipped beside the code: templates and the commented sample launcher.yaml.

In a wheel they lie in `hiveot_supervisor/templates/`; in a checkout templates are in `templates/` and
launcher.yaml is at the top. Nothing here reads or renders them.
"""

from __future__ import annotations

from pathlib import Path

from hiveot_supervisor.errors import HiveotError

_PACKAGE = Path(__file__).resolve().parent


def template_path(name: str) -> Path:
    """Absolute path of the shipped file `name`, e.g. `supervisord.conf.j2` or `launcher.yaml`.

    Raises HiveotError when the installation lacks it.
    """
    checkout = _PACKAGE.parent
    candidates = [_PACKAGE / "templates" / name, checkout / "templates" / name]
    if name == "launcher.yaml":
        candidates.append(checkout / name)
    for path in candidates:
        if path.is_file():
            return path
    raise HiveotError(
        f"the file {name} of hiveot-supervisor is missing",
        why=f"it is neither {candidates[0]} nor {candidates[-1]}",
        hint="the installation is incomplete; install hiveot-supervisor again",
    )
