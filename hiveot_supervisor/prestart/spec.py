"""`generated/plugins/NAME.json`: all that the pre-start hook has to know about one program.

`generate` writes it, the hook reads it; nobody else does. Paths are absolute texts, so that what was meant arrives
byte for byte. Imports little: this is on the way of every first start.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any

from hiveot_supervisor.errors import NeverWorks

FORMAT = 2
"""Version of the file; another one means that files of two versions were mixed."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Which credentials the plugin must have, and with which account they are asked for.

    issuer: public key of the hub's token signer (may not exist); lock: held while they are made; certificate_wanted:
    the hub takes client certificates.
    """

    client_id: str
    key: str
    token: str
    certificate: str
    ca: str
    issuer: str
    lock: str
    certificate_wanted: bool
    hub_url: str
    launcher_id: str
    launcher_token: str


@dataclass(frozen=True, slots=True)
class Spec:
    """One program, as the hook starts it.

    argv: absolute executable and arguments; environment: added to the inherited one, later wins; environment_file:
    more of it, read at each start; requires: paths that must exist; credentials None = none are needed; reason_file:
    where an exit 100/111 is explained; verified: prefix of the marker files (see `verified`); extension: supervisord
    runs our extension, which sets the parent-death signal; store: folder for its data, made for another user than ours.
    """

    name: str
    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    environment_file: str | None
    directory: str
    requires: tuple[str, ...]
    user: str | None
    credentials: Credentials | None
    reason_file: str
    verified: str
    extension: bool
    store: str


def dump(spec: Spec) -> str:
    """The text of the file; the same spec always gives the same text."""
    members = {"format": FORMAT, **_members(spec)}
    if spec.credentials is not None:
        members["credentials"] = _members(spec.credentials)
    return json.dumps(members, ensure_ascii=False, separators=(",\n ", ": ")) + "\n"


def _members(value: Spec | Credentials) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def load(path: str) -> Spec:
    """Read a file written by `dump`. Raises NeverWorks when it is missing, damaged, or of another version."""
    hint = "hiveot-launcher generate"
    try:
        with open(path, encoding="utf-8") as file:
            data: dict[str, Any] = json.load(file)
        if data.pop("format") != FORMAT:
            raise NeverWorks(f"{path} was made by another version", hint=hint)
        credentials = data.pop("credentials")
        made = Spec(
            argv=tuple(data.pop("argv")),
            environment=tuple((name, value) for name, value in data.pop("environment")),
            requires=tuple(data.pop("requires")),
            credentials=None if credentials is None else Credentials(**credentials),
            **data,
        )
        texts = (made.name, made.directory, made.reason_file, made.verified, made.store, *made.argv, *made.requires)
        if not made.argv or not all(isinstance(text, str) for text in texts):
            raise TypeError("text is expected")
        return made
    except OSError as error:
        raise NeverWorks(f"cannot read {path}", why=error.strerror or str(error), hint=hint) from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise NeverWorks(f"{path} is damaged", why=f"{type(error).__name__}: {error}", hint=hint) from error
