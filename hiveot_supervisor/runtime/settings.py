"""What the runtime is told: generated/runtime.json, or defaults. Reads that one file and decides nothing else."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hiveot_supervisor.errors import ConfigError
from hiveot_supervisor.model import Hub, Paths, from_json


@dataclass(frozen=True, slots=True)
class Settings:
    """What generated/runtime.json says."""

    hub: Hub
    paths: Paths
    launcher_id: str

    @property
    def folder(self) -> Path:
        """Where accounts and broker keep their data."""
        return self.paths.stores / "runtime"

    @property
    def ready_file(self) -> Path:
        return self.paths.run / "runtime.ready"


def load_settings(home: Path | None, generated: Path | None) -> Settings:
    """Read generated/runtime.json; without it the defaults for `home` hold. Raises ConfigError."""
    if generated is None:
        generated = Path(os.environ.get("HIVEOT_GENERATED") or (home or Path.cwd()) / "generated")
    generated = generated.absolute()
    file = generated / "runtime.json"
    try:
        data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return Settings(
            hub=from_json(Hub, data.get("hub", {})),
            paths=from_json(Paths, data["paths"]),
            launcher_id=str(data.get("launcher_id", "launcher")),
        )
    except FileNotFoundError:
        return Settings(Hub(), _default_paths((home or generated.parent).absolute(), generated), "launcher")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as err:
        hint = "write it anew with: hiveot-launcher generate"
        raise ConfigError(f"cannot read {file}", why=f"{type(err).__name__}: {err}", hint=hint) from err


def _default_paths(home: Path, generated: Path) -> Paths:
    folders = {name: home / name for name in ("bin", "plugins", "config", "certs", "logs", "stores", "run")}
    return Paths(home=home, generated=generated, supervisord_conf=home / "supervisord.conf", **folders)
