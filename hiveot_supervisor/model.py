"""The values that the parts exchange: what launcher.yaml resolved to, and the states of a plugin.

Frozen, slotted dataclasses and enums, no I/O. `to_json`/`from_json` give the plain form in which the model
travels in `generated/*.json`, so that the agent and the runtime need neither YAML nor the config package.
Durations are seconds (float), sizes bytes (int), CPU percent of one core (float), paths absolute.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from pathlib import Path
from typing import Any, TypeVar

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
"""What a plugin name (= account, section, topic level, file name) may be; `all` is refused besides."""

RUNTIME_NAME = "runtime"
"""Name of the supervisord program that runs the hub (whatever its executable is called)."""

_NAME = re.compile(NAME_PATTERN)


def valid_name(name: str) -> bool:
    """True when `name` may become a plugin ID, file name, topic level and section name."""
    return _NAME.fullmatch(name) is not None and name != "all" and not name.startswith(".")


def prestart_account(launcher_id: str) -> str:
    """The account at the embedded hub with which programs beside the agent ask for credentials: prestart and the
    command line. They cannot use the launcher's own, with which the agent is connected: a broker may close that then.
    """
    return f"{launcher_id[:55]}-prestart"


class PluginState(StrEnum):
    """What a plugin is doing, in the words people see."""

    STOPPED = "stopped"  # does not run and nobody wants it to
    WAITING = "waiting"  # shall run, but a gate (hub, device, dependency) is closed
    STARTING = "starting"  # being started: forked, credentials being made, or not yet judged to have stayed up
    RUNNING = "running"
    STOPPING = "stopping"
    BACKOFF = "backoff"  # failed, will be tried again at `next_try`
    EXITED = "exited"  # ended by itself with success and will not be restarted
    FAILED = "failed"  # failed and will not be tried again until something changes
    MISSING = "missing"  # its executable does not exist


class Cause(StrEnum):
    """Why a plugin changed state (design: cause of every transition)."""

    OPERATOR = "operator"
    CRASH = "crash"
    EXIT = "exit"
    LIMIT = "limit"
    PROBE = "probe"
    DEPENDENCY = "dependency"
    SHUTDOWN = "shutdown"
    LAUNCHER_LOST = "launcher-lost"
    AUTOSTART = "autostart"
    RESTART = "restart"
    CREDENTIALS = "credentials"


class Policy(StrEnum):
    """When an ended plugin is started again."""

    NEVER = "never"
    ON_FAILURE = "on-failure"
    ALWAYS = "always"


class LimitAction(StrEnum):
    """What happens when a limit is exceeded for long enough."""

    EVENT = "event"
    RESTART = "restart"


class Condition(StrEnum):
    """What a dependency must have reached before the dependent plugin starts."""

    STARTED = "started"
    READY = "ready"


class ProbeKind(StrEnum):
    """How readiness or liveness is found out."""

    LOG = "log"
    TCP = "tcp"
    HTTP = "http"
    COMMAND = "command"
    NOTIFY = "notify"
    HUB = "hub"


class CredentialChange(StrEnum):
    """What a running plugin gets when its credentials were renewed."""

    NONE = "none"
    RESTART = "restart"
    HUP = "HUP"


class Driver(StrEnum):
    """Which broker the embedded runtime drives."""

    NATS = "nats"
    MOSQUITTO = "mosquitto"
    EXTERNAL = "external"


@dataclass(frozen=True, slots=True)
class Paths:
    """The folders and files of one home; all absolute."""

    home: Path
    bin: Path
    plugins: Path
    config: Path
    certs: Path
    logs: Path
    stores: Path
    run: Path
    generated: Path
    supervisord_conf: Path

    @property
    def socket(self) -> Path:
        """supervisord's control socket."""
        return self.run / "supervisor.sock"

    @property
    def pidfile(self) -> Path:
        return self.run / "supervisord.pid"

    @property
    def supervisord_log(self) -> Path:
        return self.logs / "supervisord.log"

    @property
    def ca_cert(self) -> Path:
        return self.certs / "caCert.pem"

    @property
    def agent_json(self) -> Path:
        """The resolved model that the agent reads."""
        return self.generated / "launcher.json"

    @property
    def plugin_dir(self) -> Path:
        """Folder of the per-plugin `NAME.json` and `NAME.sh`."""
        return self.generated / "plugins"

    @property
    def prestart_dir(self) -> Path:
        """Where prestart leaves the reason of an exit 100/111, one `NAME.json` a plugin."""
        return self.run / "prestart"

    @property
    def state_db(self) -> Path:
        return self.stores / "launcher" / "launcher.db"

    def notify_socket(self, plugin_id: str) -> Path:
        """Where the agent listens for the sd_notify(3) messages of a plugin."""
        return self.run / "notify" / f"{plugin_id}.sock"

    def key(self, client_id: str) -> Path:
        return self.certs / f"{client_id}.key"

    def token(self, client_id: str) -> Path:
        return self.certs / f"{client_id}.token"

    def certificate(self, client_id: str) -> Path:
        return self.certs / f"{client_id}Cert.pem"


@dataclass(frozen=True, slots=True)
class Restart:
    """Restart settings; delays in seconds, `jitter` as a fraction (0.1 = ±10 %), `max_failures` 0 = no limit."""

    policy: Policy = Policy.ON_FAILURE
    delay: float = 1.0
    factor: float = 2.0
    limit: float = 3600.0
    reset_after: float = 600.0
    max_failures: int = 0
    jitter: float = 0.1


@dataclass(frozen=True, slots=True)
class Limits:
    """Resource limits of the whole process tree; None = no limit. They must be exceeded for `for_` seconds."""

    memory: int | None = None
    cpu: float | None = None
    for_: float = 30.0
    action: LimitAction = LimitAction.EVENT


@dataclass(frozen=True, slots=True)
class Stop:
    """How a plugin is stopped: signal name without SIG, then KILL after `timeout` seconds."""

    signal: str = "TERM"
    timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class Logs:
    """Rotation of a plugin's log file."""

    max_size: int = 10_000_000
    backups: int = 5


@dataclass(frozen=True, slots=True)
class Probe:
    """One way to find out whether a plugin is ready.

    target: the log pattern (regular expression), `host:port`, URL, or shell-style command text, by `kind`;
    empty for notify and hub. `interval`/`timeout` in seconds; for readiness `timeout` is how long to wait in all.
    """

    kind: ProbeKind
    target: str = ""
    interval: float = 1.0
    timeout: float = 60.0


@dataclass(frozen=True, slots=True)
class AliveProbe:
    """A probe repeated every `interval` seconds while running; `failures` in a row mean a restart."""

    probe: Probe
    failures: int = 3


@dataclass(frozen=True, slots=True)
class Dependency:
    """A plugin that must have reached `condition` before this one starts."""

    plugin: str
    condition: Condition = Condition.STARTED


@dataclass(frozen=True, slots=True)
class Plugin:
    """One plugin (or the runtime), resolved: nothing left to look up.

    executable: absolute path; args: all arguments after it (already with --clientID/--serverURL where due);
    environment: what is set beside the inherited environment, later wins; order: position in `autostart`, None
    when not listed; log_file: None = output is dropped; exists: the executable was there when this was resolved.
    """

    id: str
    executable: Path
    args: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    environment_file: Path | None = None
    directory: Path = Path("/")
    order: int | None = None
    depends_on: tuple[Dependency, ...] = ()
    ready: Probe | None = None
    alive: AliveProbe | None = None
    requires: tuple[Path, ...] = ()
    user: str | None = None
    create_cred: bool = True
    restart: Restart = field(default_factory=Restart)
    limits: Limits = field(default_factory=Limits)
    stop: Stop = field(default_factory=Stop)
    logs: Logs = field(default_factory=Logs)
    log_file: Path | None = None
    on_credential_change: CredentialChange = CredentialChange.NONE
    exists: bool = True


@dataclass(frozen=True, slots=True)
class Hub:
    """The hub we talk to, and, when the embedded runtime is used, how it listens.

    url: `mqtts://host:port` or `wss://host:port/path`. embedded: the runtime of launcher.yaml is ours (not the
    Go one). listen_host/listen_port: of the embedded broker's TLS listener. broker_path: another broker binary.
    certificates_host/certificates_port: where it takes client certificates as login; port 0 = nowhere.
    admin_file: `user:password` of an administrator of an external broker.
    """

    url: str = "mqtts://localhost:8883"
    embedded: bool = True
    driver: Driver = Driver.NATS
    listen_host: str = "127.0.0.1"
    listen_port: int = 8883
    broker_path: Path | None = None
    certificates_host: str = "127.0.0.1"
    certificates_port: int = 0
    admin_file: Path | None = None

    @property
    def certificates(self) -> tuple[str, int] | None:
        """Host and port where client certificates are taken as login."""
        return (self.certificates_host, self.certificates_port) if self.certificates_port else None


@dataclass(frozen=True, slots=True)
class Launcher:
    """launcher.yaml, resolved.

    plugins: in start order, that is the autostart list, then the other known ones by name, except that each stands
    after the plugins it depends on. defaults: what a plugin without settings of its own gets (executables that appear
    later); ID, executable, log file, --clientID and HIVEOT_CLIENTID are missing in it.
    """

    id: str
    paths: Paths
    key_file: Path
    token_file: Path
    log_level: str = "warning"
    log_to_file: bool = True
    runtime: Plugin | None = None
    runtime_wait: float = 0.1
    runtime_timeout: float = 60.0
    start_wait: float = 0.1
    stop_wait: float = 0.1
    log_plugins: bool = True
    attach_stderr: bool = True
    attach_stdout: bool = False
    create_plugin_cred: bool = True
    hub: Hub = field(default_factory=Hub)
    plugins: tuple[Plugin, ...] = ()
    defaults: Plugin | None = None
    extension: bool = True
    source: Path = Path("/")
    source_hash: str = ""

    @property
    def prestart_login(self) -> tuple[str, Path]:
        """Account and token file with which prestart and the command line ask for credentials."""
        if not self.hub.embedded:
            return self.id, self.token_file
        account = prestart_account(self.id)
        return account, self.paths.token(account)

    def plugin(self, plugin_id: str) -> Plugin | None:
        """The plugin of that ID, or None."""
        return next((p for p in self.plugins if p.id == plugin_id), None)


def checked(launcher: Launcher) -> Launcher:
    """`launcher` itself, when all its names may become files, sections and topics. Raises ValueError."""
    programs = [*launcher.plugins, *([launcher.runtime] if launcher.runtime else [])]
    for name in (launcher.id, *(program.id for program in programs)):
        if not valid_name(name):
            raise ValueError(f"{name[:80]!r} cannot be a name")
    return launcher


def to_json(value: Any) -> Any:
    """The plain JSON form of a model value: dataclasses become objects, paths and enums strings."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(v) for v in value]
    return value


T = TypeVar("T")


def from_json(cls: type[T], data: Any) -> T:
    """Inverse of `to_json` for a dataclass of this module. Unknown members are ignored, so that newer files load.

    Raises TypeError or ValueError when the data does not have the shape of `cls`.
    """
    return typing.cast(T, _decoder(typing.cast(Any, cls))(data))


_Decode = Callable[[Any], Any]


@functools.cache
def _decoder(kind: Any) -> _Decode:
    """What makes a value of the type `kind` of JSON; worked out once for each type, as there may be 1,000 plugins."""
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        options = [k for k in typing.get_args(kind) if k is not type(None)]
        inner = _decoder(options[0])
        return lambda data: None if data is None else inner(data)
    if origin is tuple:
        return _tuple_decoder(typing.get_args(kind))
    if dataclasses.is_dataclass(kind):
        return _object_decoder(kind)
    if isinstance(kind, type) and issubclass(kind, (Enum, Path)):
        return kind
    if isinstance(kind, type):
        return lambda data: _plain(kind, data)
    return lambda data: data


def _tuple_decoder(items: tuple[Any, ...]) -> _Decode:
    if len(items) == 2 and items[1] is Ellipsis:
        inner = _decoder(items[0])
        return lambda data: tuple(map(inner, data))
    each = [_decoder(k) for k in items]
    return lambda data: tuple(decode(d) for decode, d in zip(each, data, strict=True))


def _object_decoder(kind: Any) -> _Decode:
    members = {name: _decoder(hint) for name, hint in typing.get_type_hints(kind).items()}

    def decode(data: Any) -> Any:
        if not isinstance(data, Mapping):
            raise TypeError(f"{kind.__name__}: an object is expected, not {type(data).__name__}")
        return kind(**{name: member(data[name]) for name, member in members.items() if name in data})

    return decode


def _plain(kind: type, data: Any) -> Any:
    if kind is float and type(data) is int:
        try:
            return float(data)
        except OverflowError as error:
            raise ValueError(f"a number is too large: {error}") from error
    if not isinstance(data, kind):
        raise TypeError(f"{kind.__name__} is expected, not {data!r}")
    return data
