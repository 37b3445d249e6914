"""Where a HiveOT hub's websocket is: its URL with the defaults of HiveOT's clients. Pure."""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass

from hiveot_supervisor.errors import HubError
from hiveot_supervisor.hub.link import Address

PORT = 8444
PATH = "/wot/wss"


@dataclass(frozen=True, slots=True)
class Url:
    """A hub's websocket address, complete."""

    text: str
    address: Address


def parse_url(url: str) -> Url:
    """`wss://host[:port][/path]`, port 8444 and path /wot/wss by default. Raises HubError for anything else."""
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port or PORT
    except ValueError as exc:
        raise HubError(f"{url!r} is not a hub URL", why=str(exc)) from exc
    if parts.scheme != "wss" or not parts.hostname or parts.username is not None:
        hint = "a websocket without TLS is not supported" if parts.scheme == "ws" else ""
        raise HubError(f"{url!r} is not a websocket hub URL", why="wss://host:port/path is expected", hint=hint)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    path = parts.path if parts.path not in ("", "/") else PATH
    query = f"?{parts.query}" if parts.query else ""
    return Url(f"wss://{host}:{port}{path}{query}", Address(parts.hostname, port))
