"""Which hub is meant: its URL, whether it is the embedded one, and where that listens.

Combines `runtime` and `hub:`; reports what contradicts each other or has no effect.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hiveot_supervisor.config import schema
from hiveot_supervisor.config.diagnostics import Collector
from hiveot_supervisor.config.inventory import is_embedded
from hiveot_supervisor.config.nodes import show
from hiveot_supervisor.config.shapes import Key, Settings
from hiveot_supervisor.model import Driver, Hub, Paths

MQTTS_PORT = 8883
GO_URL = "wss://localhost:8444/wot/wss"
_LOCAL = frozenset(("localhost", "127.0.0.1", "::1"))


def resolve_hub(top: Settings, paths: Paths, sink: Collector) -> Hub:
    """The hub of the configuration. Errors and warnings go to `sink`."""
    runtime, settings = top[schema.RUNTIME], top[schema.HUB_KEY]
    embedded = runtime is not None and is_embedded(paths.bin / runtime)
    url = _url(settings, sink)
    listen = settings[schema.HUB_LISTEN] or ("127.0.0.1", _port(url) or MQTTS_PORT)
    broker = settings[schema.HUB_BROKER]
    admin = settings[schema.HUB_ADMIN_FILE]
    certificates = settings[schema.HUB_LISTEN_CERTIFICATES] or (Hub().certificates_host, 0)
    hub = Hub(
        url=url or _default_url(runtime, embedded, listen[1]),
        embedded=embedded,
        driver=settings[schema.HUB_DRIVER],
        listen_host=listen[0],
        listen_port=listen[1],
        broker_path=Path(broker) if broker is not None else None,
        admin_file=paths.certs / admin if admin is not None else None,
        certificates_host=certificates[0],
        certificates_port=certificates[1],
    )
    _check(top, hub, sink)
    return hub


def _default_url(runtime: str | None, embedded: bool, port: int) -> str:
    return GO_URL if runtime is not None and not embedded else f"mqtts://localhost:{port}"


def _url(settings: Settings, sink: Collector) -> str | None:
    """hub.url with the port written out; mqtts has no path."""
    given = settings.given(schema.HUB_URL)
    if given is None or given.value is None:
        return None
    parts = urlsplit(given.value)
    if parts.scheme != "mqtts":
        return given.value
    plain = f"mqtts://{parts.netloc.rstrip(':')}"
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        text = f"`hub.url` has a path, which mqtts does not have: {show(given.value)}"
        sink.error("L206", text, given.span, suggestion=f"did you mean `{plain}`?", replacement=plain)
    return plain if parts.port is not None else f"{plain}:{MQTTS_PORT}"


def _port(url: str | None) -> int | None:
    return urlsplit(url).port if url is not None and url.startswith("mqtts:") else None


def _check(top: Settings, hub: Hub, sink: Collector) -> None:
    runtime, settings = top[schema.RUNTIME], top[schema.HUB_KEY]
    given = settings.given(schema.HUB_URL)
    if not (settings.mentions(schema.HUB_URL) or top.mentions(schema.RUNTIME)):
        text = f"neither `runtime` nor `hub.url` is given; the hub is expected at {hub.url}"
        sink.warning("L309", text, help="`runtime: runtime` runs the embedded hub; hub.url says where another one is")
    if hub.embedded and hub.driver is Driver.EXTERNAL and not settings.mentions(schema.HUB_URL):
        text = f"`hub.url` does not say where the external broker is; it is expected at {hub.url}"
        driver = settings.given(schema.HUB_DRIVER)
        sink.warning("L309", text, driver.span if driver else None)
    if hub.embedded and hub.driver is Driver.EXTERNAL and hub.admin_file is None:
        text = "`driver: external` needs `hub.adminFile`: without it the runtime cannot manage accounts"
        remedy = (
            "or remove `runtime`: the launcher then only uses the broker at hub.url, with accounts that its "
            "administrator made, and their passwords in certs/NAME.token (createPluginCred: false)"
        )
        driver = settings.given(schema.HUB_DRIVER)
        sink.error("L308", text, driver.span if driver else None, help=remedy)
    if given is not None and hub.embedded:
        host = urlsplit(hub.url).hostname or ""
        if not hub.url.startswith("mqtts:"):
            text = "the embedded hub speaks only mqtts, `hub.url` says otherwise"
            sink.error("L308", text, given.span, help="remove `hub.url`: the embedded hub's own address is the default")
        elif host in _LOCAL and _port(hub.url) != hub.listen_port and hub.driver is not Driver.EXTERNAL:
            text = f"`hub.url` has port {_port(hub.url)}, but the embedded hub listens on port {hub.listen_port}"
            listen = settings.given(schema.HUB_LISTEN)
            related = (("the other port is given here", listen.span),) if listen is not None else ()
            sink.warning("L310", text, given.span, related=related, help="the default of each is the port of the other")
    certificates = settings.given(schema.HUB_LISTEN_CERTIFICATES)
    if certificates is not None and hub.embedded and hub.certificates_port == hub.listen_port:
        text = f"`hub.listenCertificates` has the port on which the hub listens for tokens: {hub.listen_port}"
        sink.error("L308", text, certificates.span, help=f"take another one, for instance {hub.listen_port + 1}")
    _check_unused(settings, runtime, hub, sink)


def _check_unused(settings: Settings, runtime: str | None, hub: Hub, sink: Collector) -> None:
    """Settings of the embedded hub where there is none, and of its broker where somebody else runs it."""
    of_embedded: tuple[Key[Any], ...] = (
        schema.HUB_DRIVER,
        schema.HUB_LISTEN,
        schema.HUB_LISTEN_CERTIFICATES,
        schema.HUB_BROKER,
        schema.HUB_ADMIN_FILE,
    )
    if not hub.embedded:
        why = "no runtime is given" if runtime is None else f"the runtime `{runtime}` is not the embedded hub"
    elif hub.driver is Driver.EXTERNAL:
        of_embedded, why = of_embedded[1:-1], "somebody else runs the broker (driver: external)"
    else:
        of_embedded, why = of_embedded[-1:], "only `driver: external` needs it"
    for key in of_embedded:
        given = settings.given(key)
        if given is not None and given.value is not Driver.EXTERNAL:
            sink.warning("L110", f"`hub.{key.name}` has no effect: {why}", given.key, help="remove the line")
