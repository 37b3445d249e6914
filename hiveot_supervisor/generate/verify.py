"""Proof before use: reads a rendered supervisord.conf with Supervisor's own classes and compares it with the values.

Only this module of the package imports `supervisor`. It changes nothing, and imports neither the extension nor the
main RPC interface (only their names are compared), which keeps it fast.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import supervisor.datatypes
import supervisor.options
from supervisor.datatypes import RestartUnconditionally
from supervisor.events import EventTypes

from hiveot_supervisor.errors import HiveotError
from hiveot_supervisor.generate import programs
from hiveot_supervisor.generate.programs import Conf, Listener, Program
from hiveot_supervisor.generate.render import EXTENSION, MAIN_INTERFACE

_SECTIONS = ("rpcinterface:hiveot", "rpcinterface:supervisor", "supervisorctl", "supervisord", "unix_http_server")

_PLAIN_COMMAND = re.compile(r"[A-Za-z0-9_./-]+(?: [A-Za-z0-9_./-]+)*")
"""Commands that shlex splits at the blanks and leaves as they are otherwise."""

_REQUIRED = supervisor.options._marker

Facts = dict[str, object]
"""What was read, or meant, by a readable key such as `program x: command`."""


class RoundTripError(HiveotError):
    """Supervisor would read something else than what was meant: a fault of ours, or of a Supervisor we do not know."""


def check(text: str, conf: Conf, location: Path) -> None:
    """Raise RoundTripError unless Supervisor reads `text`, as the file `location`, to be exactly `conf`."""
    try:
        options = _read(text, location)
    except ValueError as error:
        raise RoundTripError("Supervisor does not accept the generated configuration", why=str(error)) from error
    found, meant = _found(options), _meant(conf)
    for key in [*meant, *(k for k in found if k not in meant)]:
        if found.get(key) != meant.get(key):
            raise RoundTripError(
                "Supervisor does not read the generated configuration as it was meant",
                why=f"{key}: {found.get(key)!r} instead of {meant.get(key)!r}",
                hint="nothing was changed; please report this, with launcher.yaml",
            )


class _Options(supervisor.options.ServerOptions):  # type: ignore[misc]
    """Supervisor's reader, without the ability to import what the file names."""

    parser: Any = None

    def import_spec(self, spec: str) -> str:
        return spec

    def process_groups_from_parser(self, parser: Any) -> Any:
        self.parser = parser
        return super().process_groups_from_parser(parser)


class _Parser(supervisor.options.UnhosedConfigParser):  # type: ignore[misc]
    """Supervisor's parser with a short cut that changes no result, but saves most of the time for many programs."""

    def saneget(self, section: str, option: str, default: Any = _REQUIRED, *arguments: Any, **settings: Any) -> Any:
        found = self._sections.get(section, {}).get(option, default)
        # a text without `%` is expanded to itself
        plain = found is not _REQUIRED and not (isinstance(found, str) and "%" in found) and not self._defaults
        return found if plain else super().saneget(section, option, default, *arguments, **settings)


def _read(text: str, location: Path) -> _Options:
    options = _Options()
    options.environ_expansions = {}  # the file must not depend on anybody's environment
    options.here = str(location.parent)
    with _prepared():
        options.read_config(io.StringIO(text))
    return options


@contextlib.contextmanager
def _prepared() -> Iterator[None]:
    """Have Supervisor use our parser, and let paths in folders pass that are only created before it really starts."""
    existing, parser = supervisor.datatypes.existing_dirpath, supervisor.options.UnhosedConfigParser
    modules = (supervisor.datatypes, supervisor.options)
    try:
        supervisor.options.UnhosedConfigParser = _Parser
        for module in modules:
            module.existing_dirpath = str
        yield
    finally:
        supervisor.options.UnhosedConfigParser = parser
        for module in modules:
            module.existing_dirpath = existing


def _found(options: _Options) -> Facts:
    section = options.configroot.supervisord
    facts: Facts = {
        "supervisord: identifier": section.identifier,
        "supervisord: nodaemon": section.nodaemon,
        "supervisord: nocleanup": section.nocleanup,
        "supervisord: strip_ansi": section.strip_ansi,
        "supervisord: minfds": section.minfds,
        "supervisord: pidfile": section.pidfile,
        "supervisord: logfile": section.logfile,
        "supervisord: log size": (section.logfile_maxbytes, section.logfile_backups),
        "supervisord: user": section.user,
        "supervisord: directory": section.directory,
        "supervisord: environment": section.environment,
        "sections": sorted(s for s in options.parser.sections() if not s.startswith("program:")),
        "servers": [(c.get("file"), c.get("chmod"), c.get("port")) for c in section.server_configs],
        "interfaces": {name: (factory, extras) for name, factory, extras in section.rpcinterface_factories},
        "supervisorctl: serverurl": options.parser.saneget(
            "supervisorctl", "serverurl", expansions={"here": options.here}
        ),
        "order": [group.name for group in section.process_group_configs],
    }
    for group in section.process_group_configs:
        kind = "listener" if hasattr(group, "buffer_size") else "program"
        facts[f"{kind} {group.name}: processes"] = [process.name for process in group.process_configs]
        if kind == "listener":
            facts[f"listener {group.name}: buffer_size"] = group.buffer_size
            facts[f"listener {group.name}: events"] = set(group.pool_events)
        for process in group.process_configs:
            facts |= {f"{kind} {group.name}: {k}": v for k, v in _process(process).items()}
    return facts


def _process(config: Any) -> Facts:
    return {
        "command": _words(config.command),
        "priority": config.priority,
        "start": (config.autostart, config.autorestart, config.startsecs, config.startretries),
        "stop": (config.stopsignal, config.stopwaitsecs, config.stopasgroup, config.killasgroup),
        "stdout": _log(config, "stdout"),
        "stderr": _log(config, "stderr"),
        "redirect_stderr": config.redirect_stderr,
        "inherited": (config.directory, config.umask, config.uid, config.serverurl, config.environment),
    }


def _words(command: str) -> object:
    """What Supervisor makes of a command when it starts it."""
    if _PLAIN_COMMAND.fullmatch(command):
        return tuple(command.split(" "))
    try:
        return tuple(shlex.split(command))
    except ValueError as error:
        return f"{command} ({error})"


def _log(config: Any, channel: str) -> object:
    file = getattr(config, f"{channel}_logfile")
    sizes = (getattr(config, f"{channel}_logfile_maxbytes"), getattr(config, f"{channel}_logfile_backups"))
    return None if file is None else (file, *sizes)


def _meant(conf: Conf) -> Facts:
    extension = {"enabled": "true" if conf.extension else "false", "launcher": conf.model}
    log = programs.SUPERVISORD_LOG
    running = [p for p in conf.programs if p.priority < -1]
    rest = [p for p in conf.programs if p.priority >= -1]
    facts: Facts = {
        "supervisord: identifier": conf.identifier,
        "supervisord: nodaemon": True,
        "supervisord: nocleanup": True,
        "supervisord: strip_ansi": False,
        "supervisord: minfds": conf.min_fds,
        "supervisord: pidfile": str(conf.pid_file),
        "supervisord: logfile": str(conf.log_file) if conf.log_file else "/dev/null",
        "supervisord: log size": (log.max_size, log.backups) if conf.log_file else (0, 0),
        "supervisord: user": None,
        "supervisord: directory": None,
        "supervisord: environment": {},
        "sections": sorted([f"eventlistener:{programs.LISTENER_NAME}", *_SECTIONS]),
        "servers": [(str(conf.socket), 0o700, None)],
        "interfaces": {"supervisor": (MAIN_INTERFACE, {}), "hiveot": (EXTENSION, extension)},
        "supervisorctl: serverurl": f"unix://{conf.socket}",
        "order": [*(p.name for p in running), programs.LISTENER_NAME, *(p.name for p in rest)],
    }
    for program in conf.programs:
        facts |= {f"program {program.name}: {k}": v for k, v in _program(program).items()}
    return facts | {f"listener {programs.LISTENER_NAME}: {k}": v for k, v in _listener(conf.listener).items()}


def _program(program: Program) -> Facts:
    log = (str(program.log_file), program.log.max_size, program.log.backups) if program.log_file else None
    restart = RestartUnconditionally if program.autorestart else False
    return {
        "processes": [program.name],
        "command": program.command,
        "priority": program.priority,
        "start": (program.autostart, restart, program.start_seconds, program.start_retries),
        "stop": (signal.Signals[f"SIG{program.stop_signal}"], program.stop_wait, True, True),
        "stdout": log,
        "stderr": None,
        "redirect_stderr": True,
        "inherited": (None, None, None, None, {}),
    }


def _listener(listener: Listener) -> Facts:
    log = (str(listener.log_file), listener.log.max_size, listener.log.backups) if listener.log_file else None
    return {
        "processes": [programs.LISTENER_NAME],
        "buffer_size": listener.buffer_size,
        "events": {getattr(EventTypes, name) for name in programs.LISTENER_EVENTS},
        "command": listener.command,
        "priority": -1,
        "start": (True, RestartUnconditionally, 0, programs.RETRIES),
        "stop": (signal.SIGTERM, programs.LISTENER_STOP_WAIT, False, True),
        "stdout": None,
        "stderr": log,
        "redirect_stderr": False,
        "inherited": (None, None, None, None, {}),
    }
