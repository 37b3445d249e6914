"""What supervisord.conf shall say, as values: pure mapping from the model to programs and settings.

`render` writes these values and `verify` compares what Supervisor reads with them; neither looks at the model.
Reasons for the settings: docs/supervisord-facts.md §5, §7, §9, §10.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from hiveot_supervisor.errors import ConfigError
from hiveot_supervisor.model import RUNTIME_NAME, Launcher, Logs, Plugin, valid_name

LISTENER_NAME = "launcher"
"""Name of the event listener that is the agent."""

LISTENER_EVENTS = ("PROCESS_STATE", "PROCESS_GROUP", "SUPERVISOR_STATE_CHANGE", "REMOTE_COMMUNICATION", "TICK_5")
LISTENER_STOP_WAIT = 10
"""Seconds in which the agent can tell the hub what has stopped."""

RUNTIME_STOP_WAIT = 30
"""Seconds at least for the hub: its broker needs some 10 ms for every client."""

RUNTIME_START_SECONDS = 1
RETRIES = 1_000_000
"""The runtime and the agent are tried for ever; Supervisor waits a second longer after each failed start."""

FIRST_PRIORITY = 100
SUPERVISORD_LOG = Logs(max_size=10_000_000, backups=3)
SOCKET_LIMIT = 107 - len(".4194304")
"""Bytes of the socket's path: sockaddr_un holds 107, and supervisord first binds `path.PID`."""


@dataclass(frozen=True, slots=True)
class Program:
    """One `[program:NAME]`; times in whole seconds, `log_file` None = output is dropped."""

    name: str
    command: tuple[str, ...]
    priority: int
    stop_signal: str
    stop_wait: int
    log_file: Path | None
    log: Logs
    autostart: bool = False
    autorestart: bool = False
    start_seconds: int = 0
    start_retries: int = 0


@dataclass(frozen=True, slots=True)
class Listener:
    """`[eventlistener:launcher]`: the agent. stdout is its protocol, so only stderr has a log file."""

    command: tuple[str, ...]
    buffer_size: int
    log_file: Path | None
    log: Logs


@dataclass(frozen=True, slots=True)
class Conf:
    """All of supervisord.conf.

    log_file None = supervisord logs to its stdout only; model: launcher.json, from the folder of supervisord.conf.
    """

    source: Path
    source_hash: str
    identifier: str
    socket: Path
    pid_file: Path
    log_file: Path | None
    min_fds: int
    extension: bool
    model: str
    listener: Listener
    programs: tuple[Program, ...]


def configure(launcher: Launcher, python: Path) -> Conf:
    """The settings for a launcher whose agent and hooks run with the interpreter `python`.

    Raises ConfigError for names that cannot be sections and a socket path that is too long.
    """
    _check_names(launcher)
    _check_socket(launcher.paths.socket)
    plugins = [_plugin(launcher, p, FIRST_PRIORITY + n) for n, p in enumerate(launcher.plugins)]
    runtime = [_runtime(launcher, launcher.runtime)] if launcher.runtime is not None else []
    programs = (*runtime, *plugins)
    count = len(programs) + 1
    return Conf(
        source=launcher.source,
        source_hash=launcher.source_hash,
        identifier=launcher.id,
        socket=launcher.paths.socket,
        pid_file=launcher.paths.pidfile,
        log_file=launcher.paths.supervisord_log if launcher.log_to_file else None,
        min_fds=max(256, 3 * count + 64),
        extension=launcher.extension,
        model=os.path.relpath(launcher.paths.agent_json, launcher.paths.supervisord_conf.parent),
        listener=Listener(
            command=(str(python), "-P", "-m", "hiveot_supervisor.agent", str(launcher.paths.generated)),
            buffer_size=max(1000, 20 * count),
            log_file=launcher.paths.logs / "launcher.log" if launcher.log_to_file else None,
            log=launcher.defaults.logs if launcher.defaults is not None else Logs(),
        ),
        programs=programs,
    )


def script_path(launcher: Launcher, name: str) -> Path:
    """The shell script that starts a program."""
    return launcher.paths.plugin_dir / f"{name}.sh"


def _plugin(launcher: Launcher, plugin: Plugin, priority: int) -> Program:
    return Program(
        name=plugin.id,
        command=("/bin/sh", str(script_path(launcher, plugin.id))),
        priority=priority,
        stop_signal=plugin.stop.signal,
        stop_wait=math.ceil(plugin.stop.timeout),
        log_file=plugin.log_file,
        log=plugin.logs,
    )


def _runtime(launcher: Launcher, plugin: Plugin) -> Program:
    return Program(
        name=RUNTIME_NAME,
        command=("/bin/sh", str(script_path(launcher, RUNTIME_NAME))),
        priority=-2,
        stop_signal=plugin.stop.signal,
        stop_wait=max(RUNTIME_STOP_WAIT, math.ceil(plugin.stop.timeout)),
        log_file=plugin.log_file,
        log=plugin.logs,
        autostart=True,
        autorestart=True,
        start_seconds=RUNTIME_START_SECONDS,
        start_retries=RETRIES,
    )


def _check_names(launcher: Launcher) -> None:
    seen = {LISTENER_NAME, RUNTIME_NAME}
    for plugin in launcher.plugins:
        if not valid_name(plugin.id):
            raise ConfigError(
                f"{plugin.id!r} cannot be the name of a plugin",
                why="a name consists of up to 64 letters, digits, `_`, `.`, `-`, begins with a letter or digit, "
                "and is not `all`",
            )
        if plugin.id in seen:
            raise ConfigError(f"there are two programs with the name {plugin.id}", hint="rename the plugin")
        seen.add(plugin.id)


def _check_socket(path: Path) -> None:
    length = len(os.fsencode(path))
    if length > SOCKET_LIMIT:
        raise ConfigError(
            f"the path of supervisord's control socket is too long: {path}",
            why=f"it has {length} bytes, the system allows {SOCKET_LIMIT}",
            hint="use a home folder with a shorter path, or reach it through a symbolic link with --home",
        )
