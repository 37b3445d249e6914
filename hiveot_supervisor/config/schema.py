"""The one description of launcher.yaml: every key with its type, default, other names and a sentence of documentation.

Decoding, messages, the JSON Schema and the test of the sample file all read these tables. Go's keys and defaults are
those of HiveOT's launcher (docs/hiveot-hub-protocol.md §6.2), the others are ours. Defaults that the model knows are
taken from there, so that they are written down once.
"""

from __future__ import annotations

from typing import Any, TypeVar

from hiveot_supervisor.config.addresses import Address, Url
from hiveot_supervisor.config.forms import (
    EXECUTABLE,
    NAME,
    Alive,
    Autostart,
    AutostartItem,
    Dependencies,
    DependsOn,
    Environment,
    Ready,
)
from hiveot_supervisor.config.kinds import Bool, Choice, Duration, Integer, Kind, Number, Percent, Size
from hiveot_supervisor.config.shapes import Key, ListOf, MapOf, Named, Section, Settings, register
from hiveot_supervisor.config.texts import PathText, Signal, Text, User
from hiveot_supervisor.model import (
    AliveProbe,
    CredentialChange,
    Driver,
    Hub,
    LimitAction,
    Limits,
    Logs,
    Policy,
    Probe,
    Restart,
    Stop,
)

T = TypeVar("T")
_EMPTY = Settings({})


def _words(kind: type[T]) -> dict[str, T]:
    return {str(getattr(item, "value", item)): item for item in kind}  # type: ignore[attr-defined]


def _key(model: object, field: str, name: str, kind: Kind[T], doc: str) -> Key[T]:
    """A key that sets `field` of a model's dataclass and has its default."""
    return Key(name, kind, getattr(model, field), doc, field=field)


_POLICY = Choice(
    _words(Policy),
    {
        "true": "on-failure",
        "unexpected": "on-failure",
        "onfailure": "on-failure",
        "onerror": "on-failure",
        "onabnormal": "on-failure",
        "unlessstopped": "always",
        "yes": "always",
        "false": "never",
        "no": "never",
        "none": "never",
    },
)
_POLICY_DOC = "When a plugin that ended is started again: never, on-failure or always. Never after a commanded stop."

RESTART = register(
    Section(
        "of `restart`",
        _key(Restart(), "policy", "policy", _POLICY, _POLICY_DOC),
        _key(Restart(), "delay", "delay", Duration(0.1), "Wait before the first restart."),
        _key(Restart(), "factor", "factor", Number(1, 100), "Each further wait is so many times longer."),
        _key(Restart(), "limit", "limit", Duration(0.1), "No wait is longer than this."),
        _key(Restart(), "reset_after", "resetAfter", Duration(0.1), "Failures are forgotten after so long a run."),
        _key(Restart(), "max_failures", "maxFailures", Integer(0), "Give up after so many failures; 0 = never."),
        _key(
            Restart(),
            "jitter",
            "jitter",
            Percent(0, 100, divisor=100),
            "Waits vary by this much, so that not all start at once.",
        ),
    ),
    "to `restart:`",
)

LIMITS = register(
    Section(
        "of `limits`",
        _key(Limits(), "memory", "memory", Size(1_000_000), "Resident memory of the plugin and its children."),
        _key(Limits(), "cpu", "cpu", Percent(0.1, 100_000), "CPU use; 100% is one core."),
        _key(Limits(), "for_", "for", Duration(), "A limit must be exceeded for so long before it acts."),
        _key(
            Limits(),
            "action",
            "action",
            Choice(_words(LimitAction), {"kill": "restart", "log": "event", "warn": "event"}),
            "What then happens: event (tell the hub) or restart.",
        ),
    ),
    "to `limits:`",
)

STOP = register(
    Section(
        "of `stop`",
        _key(Stop(), "signal", "signal", Signal(), "The signal that asks a plugin to end."),
        _key(Stop(), "timeout", "timeout", Duration(), "What runs longer after it is killed."),
    ),
    "to `stop:`",
)

LOGS = register(
    Section(
        "of `logs`",
        _key(Logs(), "max_size", "maxSize", Size(), "A log file that grows larger is rotated; 0 = never."),
        _key(Logs(), "backups", "backups", Integer(0, 1000), "So many rotated files are kept."),
    ),
    "to `logs:`",
)

_SCHEMES = {
    "mqtt": "mqtts",
    "tcp": "mqtts",
    "ssl": "mqtts",
    "tls": "mqtts",
    "nats": "mqtts",
    "ws": "wss",
    "https": "wss",
}
HUB_URL = Key[str | None](
    "url",
    Url("mqtts", "wss", meant=_SCHEMES),
    None,
    "Where the hub is: mqtts://HOST:PORT or wss://HOST:PORT/PATH. Default: where the runtime listens.",
)
HUB_DRIVER = _key(Hub(), "driver", "driver", Choice(_words(Driver)), "The broker that the embedded hub runs.")
HUB_LISTEN = Key[tuple[str, int] | None](
    "listen",
    Address("0.0.0.0"),
    None,
    "Where the embedded hub listens: HOST:PORT, :PORT (all addresses) or a port. Default: 127.0.0.1, port as in `url`.",
)
HUB_LISTEN_CERTIFICATES = Key[tuple[str, int] | None](
    "listenCertificates",
    Address("0.0.0.0"),
    None,
    "Where the embedded hub takes client certificates as login: HOST:PORT, :PORT or a port. Default: nowhere.",
)
HUB_BROKER = Key[str | None](
    "broker", PathText(None), None, "Another program for the embedded hub's broker. Default: the driver's own."
)
HUB_ADMIN_FILE = Key[str | None](
    "adminFile",
    PathText("certs"),
    None,
    "For `driver: external`: a file with USER:PASSWORD of an administrator of that Mosquitto's Dynamic Security.",
)
HUB = register(
    Section("of `hub`", HUB_URL, HUB_DRIVER, HUB_LISTEN, HUB_LISTEN_CERTIFICATES, HUB_BROKER, HUB_ADMIN_FILE),
    "to `hub:`",
)

# Keys that stand at the top and may be given for a single plugin too.
RESTART_KEY = Key("restart", RESTART, _EMPTY, "How an ended plugin is restarted.")
LIMITS_KEY = Key("limits", LIMITS, _EMPTY, "Limits of a plugin's use of the machine.")
STOP_KEY = Key("stop", STOP, _EMPTY, "How a plugin is stopped.")
LOGS_KEY = Key("logs", LOGS, _EMPTY, "Rotation of a plugin's log file.")
AUTORESTART = Key[bool | None](
    "autorestart", Bool(), None, "Go's word for restart.policy: true = on-failure, false = never. Default: on-failure."
)
CREATE_CRED = Key("createPluginCred", Bool(), True, "Make key, token and certificate of a plugin before it starts.")
PROVIDE_SERVER = Key("provideServerURL", Bool(), True, "Pass --serverURL=URL, the hub's address, to a plugin.")
PROVIDE_DIRECTORY = Key(
    "provideDirectoryURL",
    Bool(),
    True,
    "Pass --directoryURL=URL, when it is known, to a plugin.",
    ("provideDiscovery",),
)
PROVIDE_CLIENT = Key(
    "provideClientID",
    Bool(),
    True,
    "Pass --clientID=NAME to a plugin whose executable has another name than the plugin.",
)
ON_CREDENTIAL_CHANGE = Key(
    "onCredentialChange",
    Choice(
        _words(CredentialChange), {"sighup": "HUP", "reload": "HUP", "signal": "HUP", "no": "none", "never": "none"}
    ),
    CredentialChange.NONE,
    "What a running plugin gets when its credentials were renewed: none, restart or HUP.",
)
_SHARED: tuple[Key[Any], ...] = (
    AUTORESTART,
    CREATE_CRED,
    PROVIDE_SERVER,
    PROVIDE_DIRECTORY,
    PROVIDE_CLIENT,
    ON_CREDENTIAL_CHANGE,
    RESTART_KEY,
    LIMITS_KEY,
    STOP_KEY,
    LOGS_KEY,
)

COMMAND = Key[str | None](
    "command", EXECUTABLE, None, "The executable: absolute, or in the plugins folder. Default: the plugin's name."
)
ARGS = Key[tuple[str, ...]]("args", ListOf(Text(), "[--verbose]"), (), "Arguments, after those that the launcher adds.")
ENVIRONMENT = Key[tuple[Named[str], ...]]("environment", Environment(), (), "Environment variables.")
ENVIRONMENT_FILE = Key[str | None](
    "environmentFile",
    PathText("home"),
    None,
    "A file with NAME=value lines, read at each start; relative to the home folder.",
)
DEPENDS_ON = Key[tuple[DependsOn, ...]](
    "dependsOn",
    Dependencies(),
    (),
    "Plugins that start before this one: [NAME], or {NAME: ready} to wait until it is ready.",
)
READY_KEY = Key[Probe | None](
    "ready",
    Ready(),
    None,
    "How it is known that the plugin is ready: notify, hub, log, tcp, http or command. Default: startWait has passed.",
)
ALIVE_KEY = Key[AliveProbe | None](
    "alive", Alive(), None, "How it is known that the running plugin still works: one of tcp, http, command, hub."
)
REQUIRES = Key[tuple[str, ...]](
    "requires",
    ListOf(PathText(None), "[/dev/ttyACM0]"),
    (),
    "Files and devices that must be there; the plugin waits for them.",
)
USER = Key[str | None]("user", User(), None, "The system user that the plugin runs as. Default: the launcher's.")
PLUGIN_KEYS: tuple[Key[Any], ...] = (
    COMMAND,
    ARGS,
    ENVIRONMENT,
    ENVIRONMENT_FILE,
    DEPENDS_ON,
    READY_KEY,
    ALIVE_KEY,
    REQUIRES,
    USER,
    *_SHARED,
)
PLUGIN = register(Section("of a plugin", *PLUGIN_KEYS), "to a plugin, under `plugins:`")

ID = Key("id", NAME, "launcher", "The launcher's ID: its account on the hub.")
KEY_FILE = Key[str | None](
    "keyFile", PathText("certs"), None, "The launcher's private key. Default: ID.key in the certs folder."
)
TOKEN_FILE = Key[str | None](
    "tokenFile", PathText("certs"), None, "The launcher's token. Default: ID.token in the certs folder."
)
_LEVELS = {"error": "error", "warning": "warning", "warn": "warning", "info": "info", "debug": "debug"}
LOG_LEVEL = Key(
    "logLevel",
    Choice(_LEVELS, {"critical": "error", "fatal": "error", "trace": "debug", "verbose": "debug", "notice": "info"}),
    "warning",
    "How much is logged: error, warning, info or debug. Plugins get it as LOGLEVEL.",
)
LOG_TO_FILE = Key("logtofile", Bool(), True, "Write the launcher's own log to logs/launcher.log.")
LOGS_DIR = Key[str | None](
    "logsDir", PathText("home"), None, "Folder of the log files. Default: logs in the home folder."
)
RUNTIME = Key[str | None](
    "runtime",
    PathText("bin"),
    None,
    "The hub's executable in the bin folder, started first. Default: none, the hub runs elsewhere.",
)
RUNTIME_WAIT = Key(
    "runtimeWait", Duration(bare="ms"), 0.1, "Extra wait after the runtime answered; a number is milliseconds."
)
RUNTIME_TIMEOUT = Key(
    "runtimeTimeout", Duration(0.1), 60.0, "How long to wait for the runtime to answer before saying so."
)
START_WAIT = Key(
    "startWait", Duration(bare="ms"), 0.1, "Wait after starting a plugin without `ready`; a number is milliseconds."
)
STOP_WAIT = Key(
    "stopWait",
    Duration(bare="ms"),
    0.1,
    "At a shutdown, how long one that ends slowly holds up the one before it.",
)
LOG_PLUGINS = Key("logPlugins", Bool(), True, "Write the output of plugins to logs/NAME.log.")
ATTACH_STDERR = Key("attachstderr", Bool(), True, "Show stderr of plugins in the launcher's own output.")
ATTACH_STDOUT = Key("attachstdout", Bool(), False, "Show stdout of plugins in the launcher's own output.")
DIRECTORY_URL = Key[str | None](
    "directoryURL",
    Url("https", "http"),
    None,
    "URL of the hub's directory for --directoryURL. Default: none is passed.",
)
AUTOSTART = Key[tuple[AutostartItem, ...]](
    "autostart", Autostart(), (), "Plugins that start by themselves, in order: NAME, or NAME: EXECUTABLE."
)
HUB_KEY = Key("hub", HUB, _EMPTY, "The hub, and how the embedded one listens.")
EXTENSION = Key("extension", Bool(), True, "Use our extension inside supervisord: events in milliseconds, exit codes.")
PLUGINS = Key[tuple[Named[Settings], ...]](
    "plugins",
    MapOf(NAME, PLUGIN, "plugin names to their settings"),
    (),
    "Settings of single plugins; they override those above.",
)

TOP = register(
    Section(
        "of launcher.yaml",
        ID,
        KEY_FILE,
        TOKEN_FILE,
        LOG_LEVEL,
        LOG_TO_FILE,
        LOGS_DIR,
        RUNTIME,
        RUNTIME_WAIT,
        RUNTIME_TIMEOUT,
        HUB_KEY,
        START_WAIT,
        STOP_WAIT,
        LOG_PLUGINS,
        ATTACH_STDERR,
        ATTACH_STDOUT,
        DIRECTORY_URL,
        EXTENSION,
        *_SHARED,
        AUTOSTART,
        PLUGINS,
    ),
    "at the top of the file",
)

RESERVED = {
    "runtime": "the hub itself is called so",
    "launcher": "the launcher's own program is called so",
    "admin": "it is the hub administrator's account",
    "authn": "it is the account of the hub's account service",
}
"""Names that no plugin may have, with the reason."""
