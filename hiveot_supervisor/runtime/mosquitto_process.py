"""Mosquitto: finding program and plugin, its configuration file, and what its log says.

Nothing secret is in the configuration. Its paths are relative to the broker's own folder, in which it runs, so that no
home folder can contain a character that matters. The process itself is `child`'s.
"""

from __future__ import annotations

import logging
import os
import pwd
import re
import shutil
import signal
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hiveot_supervisor.credentials import store
from hiveot_supervisor.hub.limitlog import LimitedLog
from hiveot_supervisor.runtime.child import BrokerError, BrokerProcess, Child

log = logging.getLogger("hiveot.runtime.mosquitto")

MIN_VERSION = (2, 0)
RELOAD_TIMEOUT = 5.0

CONFIG, STATE, SOCKET = "mosquitto.conf", "dynamic-security.json", "control.sock"
SERVER, SERVER_KEY, CA, CRL = "server.pem", "server.key", "ca.pem", "crl.pem"
"""Names of files in the broker's folder."""

_PLUGIN = "mosquitto_dynamic_security.so"
_CONNECTED = re.compile(r"New client connected from .* as (?P<id>\S+) \(p\d, c\d, k\d+, u'(?P<user>[^']*)'\)\.")
_GONE = re.compile(r"Client (?P<id>\S+) (?!already connected)")
_VARIABLE = re.compile(r"'[^']*'|\d+|\S+:\d+")
_EXPECTED = (
    "OpenSSL Error",  # anybody can cause these, and while the broker is closed everybody does
    "should not be run as root",  # said better by us
    "TCP_NODELAY",  # the unix socket has none
)
_REFUSED = "not authorised"


@dataclass(frozen=True, slots=True)
class MosquittoSettings:
    """What the broker needs to know; docs/mqtt-hub.md §1 gives the reasons for the values in `render_config`.

    certificates: where clients log in with their certificate, None = nowhere; revocation: there is a list of revoked
    certificates.
    """

    host: str
    port: int
    folder: Path
    binary: Path | None = None
    certificates: tuple[str, int] | None = None
    revocation: bool = True


def find_binary(configured: Path | None) -> Path:
    """Mosquitto: as configured, else from the PATH or /usr/sbin, where Debian has it. Raises BrokerError."""
    if configured is not None:
        if os.access(configured, os.X_OK):
            return configured
        raise BrokerError(f"the broker {configured} cannot be run", why="not an executable file", hint="see hub.broker")
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/sbin")
    if found is None:
        hint = "install it, on Debian with: apt install mosquitto; or remove `driver: mosquitto` from launcher.yaml"
        raise BrokerError("the broker mosquitto is not installed", hint=hint)
    return Path(found)


def find_plugin(binary: Path) -> Path:
    """The Dynamic Security plugin that belongs to a Mosquitto; where it lies differs by system and architecture.

    Raises BrokerError.
    """
    places = list(_plugin_folders(binary))
    for place in places:
        if (place / _PLUGIN).is_file():
            return place / _PLUGIN
    hint = "it is part of Mosquitto from version 2.0 on; looked in " + ", ".join(str(place) for place in places)
    raise BrokerError(f"Mosquitto's plugin {_PLUGIN} is not installed", hint=hint)


def _plugin_folders(binary: Path) -> Iterator[Path]:
    prefix = binary.resolve().parent.parent
    multiarch = sysconfig.get_config_var("MULTIARCH") or f"{os.uname().machine}-linux-gnu"
    for base in dict.fromkeys((prefix, Path("/usr"), Path("/usr/local"))):
        for name in (f"lib/{multiarch}", "lib64", "lib", "lib/mosquitto"):
            yield base / name


def render_config(settings: MosquittoSettings, plugin: Path) -> str:
    """The text of the broker's configuration file. `user`: it runs as we do, also when that is root."""
    text = f"""# written by hiveot-supervisor at every start
user {pwd.getpwuid(os.geteuid()).pw_name}
per_listener_settings false
plugin {plugin}
plugin_opt_config_file {STATE}
allow_anonymous false
set_tcp_nodelay true
max_packet_size 1048576
max_queued_messages 100000
max_queued_bytes 67108864
persistence true
persistence_location ./
autosave_interval 5
log_dest stderr
log_timestamp false
log_type error
log_type warning
log_type notice
log_type information
connection_messages true

# for the runtime itself: any client ID, so that it can drop what is stored for a removed one
listener 0 {SOCKET}

listener {settings.port} {settings.host}
{_TLS}"""
    if settings.certificates is not None:
        host, port = settings.certificates
        text += f"""
listener {port} {host}
{_TLS}require_certificate true
use_identity_as_username true
cafile {CA}
{f"crlfile {CRL}" if settings.revocation else ""}
"""
    return text


_TLS = f"""use_username_as_clientid true
certfile {SERVER}
keyfile {SERVER_KEY}
"""


class MosquittoProcess(BrokerProcess):
    """One run of the broker. `connected`: the users who are connected now, as far as its log tells.

    on_refused: called (from another thread) when a login was refused; Mosquitto does not say whose.
    """

    def __init__(
        self, settings: MosquittoSettings, on_exit: Callable[[], None], on_refused: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._on_exit = on_exit
        self._on_refused = on_refused
        self._child = Child(self._take, self._exited)
        self._reloaded = threading.Event()
        self._limited = LimitedLog(log, time.monotonic)
        self._users: dict[str, str] = {}  # by MQTT client ID

    def start(self) -> None:
        """Start it and wait until it listens. Raises BrokerError, CredentialError."""
        binary = find_binary(self._settings.binary)
        config = render_config(self._settings, find_plugin(binary))
        store.write_file(self._settings.folder / CONFIG, config.encode())
        (self._settings.folder / SOCKET).unlink(missing_ok=True)
        self._child.start([binary, "-c", CONFIG], folder=self._settings.folder)
        try:
            self._child.wait_ready()
        except BrokerError as err:
            self._child.stop()
            raise BrokerError(err.what, why=err.why, hint=err.hint or self._version_hint()) from None
        (self._settings.folder / SOCKET).chmod(store.PRIVATE_MODE)

    def connected(self, user: str) -> bool:
        """Whether a client is logged in as `user`."""
        return user in list(self._users.values())

    def reload(self) -> None:
        """Have it read certificates and the list of revoked ones again; clients stay. Raises BrokerError."""
        self._reloaded.clear()
        self._child.signal(signal.SIGHUP)
        if not self._reloaded.wait(RELOAD_TIMEOUT) or not self.running:
            raise BrokerError("the broker did not take its new certificate", why=self._child.words())

    def _exited(self) -> None:
        self._reloaded.set()
        self._on_exit()

    def _take(self, line: str) -> None:
        if line.startswith("Error:") or (line.startswith("Warning:") and not _expected(line)):
            self._child.complain(line.split(":", 1)[1].strip())
            self._limited.warning(_VARIABLE.sub("", line)[:60], "broker: %s", line)
            return
        log.debug("broker: %s", line)
        if found := _CONNECTED.fullmatch(line):
            self._users[found["id"]] = found["user"]
        elif found := _GONE.match(line):
            self._users.pop(found["id"], None)
            if _REFUSED in line:
                self._limited.warning("refused", "a login was refused (the broker does not say whose)")
                self._on_refused()
        elif line.startswith("mosquitto version "):
            self.version = line.split()[2]
            if line.endswith(" running"):
                self._child.ready.set()
        elif line.startswith("Reloading config"):
            self._reloaded.set()

    def _version_hint(self) -> str:
        found = re.match(r"(\d+)\.(\d+)", self.version)
        if found and (int(found[1]), int(found[2])) < MIN_VERSION:
            return f"this is version {self.version}, needed is 2.0 or newer"
        return ""


def _expected(line: str) -> bool:
    return any(words in line for words in _EXPECTED)
