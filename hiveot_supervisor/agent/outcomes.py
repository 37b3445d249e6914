"""How the command line learns what became of a renewal that it asked the agent for: one small file a request.

The agent writes `run/credentials/REQUEST.outcome`, the command line reads and removes it. Never a secret in it.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from hiveot_supervisor.credentials import store
from hiveot_supervisor.errors import CredentialError
from hiveot_supervisor.model import Paths

_REQUEST = re.compile(r"[0-9a-f]{1,32}")
_FORGOTTEN = 3600.0


@dataclass(frozen=True, slots=True)
class RenewalOutcome:
    """What became of one account's renewal: a sentence for people, which files are new, what the plugin got."""

    ok: bool
    message: str
    renewed: tuple[str, ...] = ()
    action: str = "none"


def valid_request(request: object) -> bool:
    """A request ID becomes a file name."""
    return isinstance(request, str) and _REQUEST.fullmatch(request) is not None


def write_outcome(paths: Paths, request: str, outcome: RenewalOutcome) -> None:
    """Leave the outcome for whoever asked. Raises CredentialError."""
    folder = paths.run / "credentials"
    store.ensure_folder(folder)
    for old in folder.glob("*.outcome"):  # nobody waits for these any more
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > _FORGOTTEN:
                old.unlink()
    store.write_file(_path(paths, request), json.dumps(asdict(outcome)).encode())


def take_outcome(paths: Paths, request: str) -> RenewalOutcome | None:
    """Read and remove an outcome; None while there is none. Raises CredentialError."""
    path = _path(paths, request)
    try:
        data = json.loads(store.read_file(path))
        outcome = RenewalOutcome(bool(data["ok"]), str(data["message"]), tuple(data["renewed"]), str(data["action"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise CredentialError(f"{path} is damaged", why=str(error)) from error
    path.unlink(missing_ok=True)
    return outcome


def _path(paths: Paths, request: str) -> Path:
    return paths.run / "credentials" / f"{request}.outcome"
