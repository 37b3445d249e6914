"""The command line of HiveOT's Go launcher as settings: flags that win over launcher.yaml.

Facts: docs/hiveot-hub-protocol.md §1.2. Pure; the command line itself is read in cli.launcher.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from hiveot_supervisor.config import schema
from hiveot_supervisor.config.shapes import Key, Settings
from hiveot_supervisor.errors import UsageError
from hiveot_supervisor.model import valid_name

LEVELS = {"error": "error", "warn": "warning", "warning": "warning", "info": "info", "debug": "debug"}


@dataclass(frozen=True, slots=True)
class Flags:
    """What was given; empty = not given. The defaults count only when the file gives no `id` or `logLevel`."""

    client_id: str = ""
    default_id: str = "launcher"
    server_url: str = ""
    directory_url: str = ""
    log_level: str = ""
    default_level: str = "info"

    def __post_init__(self) -> None:
        """Raises UsageError for values that cannot be."""
        client_id = self.client_id or self.default_id
        if not valid_name(client_id):
            raise UsageError(f"{client_id!r} cannot be the ID of a launcher", hint="use letters, digits, _ . -")
        for name, url, schemes in (
            ("serverURL", self.server_url, ("wss", "mqtts")),
            ("directoryURL", self.directory_url, ("https", "http")),
        ):
            if url and (urlsplit(url).scheme not in schemes or not urlsplit(url).hostname):
                raise UsageError(f"--{name} {url!r} is not usable", hint=f"{schemes[0]}://HOST:PORT/PATH is expected")

    def over(self, top: Settings) -> Settings:
        """`top` with what the flags say. Go takes any level that it does not know for info."""
        values: dict[Key[Any], Any] = {}
        if self.client_id or not top.has(schema.ID):
            values[schema.ID] = self.client_id or self.default_id
        if self.server_url:
            values[schema.HUB_KEY] = top[schema.HUB_KEY].replaced({schema.HUB_URL: self.server_url})
        if self.directory_url:
            values[schema.DIRECTORY_URL] = self.directory_url
        if self.log_level or not top.has(schema.LOG_LEVEL):
            values[schema.LOG_LEVEL] = LEVELS.get((self.log_level or self.default_level).lower(), "info")
        return top.replaced(values)
