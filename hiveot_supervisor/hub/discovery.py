"""Finding a HiveOT hub on the local network by DNS-SD (docs/hiveot-hub-protocol.md §7). Only on request.

Needs the library zeroconf (extra `discovery`), imported when it is used. An answer is only a hint: other directories
announce themselves in the same way, and anybody can. What counts is that the hub's certificate is signed by the CA that
we have already, so an answer is taken only when a TLS connection to it proves that.
"""

from __future__ import annotations

import queue
import socket
import ssl
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from hiveot_supervisor.errors import HubError, HubUnavailable
from hiveot_supervisor.hub.client import Account
from hiveot_supervisor.hub.login import client_tls, describe
from hiveot_supervisor.hub.wss_url import parse_url

if TYPE_CHECKING:
    from zeroconf import Zeroconf

SERVICE = "_wot._tcp.local."
TIMEOUT = 3.0
"""Seconds to wait for answers."""

_CONNECT = 2.0  # seconds for the TLS connection that proves an answer


def find(account: Account, *, timeout: float = TIMEOUT) -> str:
    """The `wss:` URL of the first hub that answers and that `account.ca_file` vouches for.

    Raises HubUnavailable when there is none, with what was wrong with those that answered; HubError without zeroconf.
    """
    try:
        from zeroconf import ServiceBrowser, Zeroconf
    except ImportError:
        hint = (
            "say where it is: hub.url in launcher.yaml or --serverURL; or: pip install 'hiveot-supervisor[discovery]'"
        )
        raise HubError(
            "no hub is configured, and none can be looked for", why="zeroconf is missing", hint=hint
        ) from None
    names: queue.SimpleQueue[str] = queue.SimpleQueue()
    refused: list[str] = []
    network = Zeroconf()
    try:
        ServiceBrowser(network, SERVICE, handlers=[lambda zeroconf, service_type, name, state_change: names.put(name)])
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            try:
                name = names.get(timeout=left)
            except queue.Empty:
                break
            url = hub_url(_records(network, name))
            if not url:
                continue
            if not (problem := _problem(url, account)):
                return url
            refused.append(f"{url}: {problem}")
    finally:
        network.close()
    why = "; ".join(dict.fromkeys(refused)) or f"none has answered within {timeout:g} s"
    raise HubUnavailable("no hub was found on the network", why=why, hint="say where it is: hub.url in launcher.yaml")


def hub_url(records: Mapping[str, str]) -> str:
    """The websocket URL that a directory's TXT records give; empty when it is no HiveOT hub's."""
    url = records.get("wss", "")
    if records.get("type") != "Directory" or not url:
        return ""
    try:
        return parse_url(url).text
    except HubError:
        return ""


def _records(network: Zeroconf, name: str) -> dict[str, str]:
    info = network.get_service_info(SERVICE, name, timeout=1000)
    if info is None:
        return {}
    return {k.decode("utf-8", "replace"): (v or b"").decode("utf-8", "replace") for k, v in info.properties.items()}


def _problem(url: str, account: Account) -> str:
    """Why the hub at `url` is not ours; empty when its certificate is good for its name and signed by our CA."""
    address = parse_url(url).address
    try:
        context = client_tls(account)
        with socket.create_connection((address.host, address.port), timeout=_CONNECT) as plain:
            context.wrap_socket(plain, server_hostname=address.host).close()
    except (OSError, ssl.SSLError, ValueError) as exc:
        return describe(exc, address.host, address.port, account)
    return ""
