"""The kinds of values in launcher.yaml that name a place on the network: URLs and addresses.

Each checks only its own form; which hub is meant is the business of `hubs`.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any
from urllib.parse import urlsplit

from hiveot_supervisor.config.kinds import Refused, ScalarKind
from hiveot_supervisor.config.nodes import Scalar

_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_HOST_PORT = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^:\[\]/@\s]*)):(?P<port>[0-9]{1,5})")


class Url(ScalarKind[str]):
    """A URL with one of `schemes`, a host, and no password in it; `meant` maps other schemes to ours."""

    def __init__(self, *schemes: str, meant: dict[str, str] | None = None) -> None:
        self.schemes = schemes
        self.meant = meant or {}
        self.expects = "a URL beginning with " + " or ".join(f"`{scheme}://`" for scheme in schemes)

    def parse(self, scalar: Scalar) -> str:
        text = scalar.text
        if not text.isascii() or not text.isprintable() or " " in text:
            raise Refused("L206")
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise Refused(
                "L206", remedy="the port is a number up to 65535; an IPv6 address stands in brackets"
            ) from None
        if parts.scheme not in self.schemes:
            scheme = self.meant.get(parts.scheme)
            guess = f"{scheme}{text[len(parts.scheme) :]}" if scheme else None
            if "://" not in text:
                whole = f"localhost:{text}" if text.isdigit() else text
                guess = f"{self.schemes[0]}://{whole}" if _HOST_PORT.fullmatch(whole) else None
            raise Refused("L206", replacement=guess)
        if not parts.hostname or not _valid_host(parts.hostname) or port == 0:
            raise Refused("L206", wants="must be a URL with a host name")
        if parts.username is not None or parts.password is not None:
            raise Refused(
                "L206",
                wants="must not contain a user name or password",
                remedy="the launcher logs in with its token file",
            )
        return text

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "format": "uri", "pattern": f"^({'|'.join(self.schemes)})://"}


def _valid_host(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return len(host) <= 253 and _HOST.fullmatch(host.replace("_", "-")) is not None
    return True


class Address(ScalarKind[tuple[str, int]]):
    """`host:port`, `[v6]:port` or a bare port. `any_host` is what `:port` means; None refuses that form."""

    def __init__(self, any_host: str | None) -> None:
        self.any_host = any_host
        forms = "`host:port`, `:port` or a port" if any_host is not None else "a port or `host:port`"
        self.expects = f"an address: {forms}"

    def parse(self, scalar: Scalar) -> tuple[str, int]:
        text = scalar.text
        if text.isascii() and text.isdigit() and len(text) <= 5:
            return "127.0.0.1", self._port(int(text))
        match = _HOST_PORT.fullmatch(text)
        if match is None:
            meant = re.search(r"([\w.-]+:\d{1,5})/?$", text) if "://" in text else None
            raise Refused("L207", replacement=meant[1] if meant else None)
        host = match["v6"] or match["host"] or ""
        if match["v6"] is not None:
            _check_v6(match["v6"])
        elif not host:
            if self.any_host is None:
                raise Refused("L207", replacement=f"localhost{text}")
            host = self.any_host
        elif not _valid_host(host):
            raise Refused("L207")
        return host, self._port(int(match["port"]))

    def _port(self, port: int) -> int:
        if not 1 <= port <= 65535:
            raise Refused("L207", wants="must have a port from 1 to 65535")
        return port

    def schema(self) -> dict[str, Any]:
        return {"type": ["string", "integer"], "minimum": 1, "maximum": 65535}


def _check_v6(text: str) -> None:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        raise Refused("L207", wants="must have a valid IPv6 address in the brackets") from None
