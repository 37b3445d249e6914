"""`launcher`: the command line of HiveOT's Go launcher, so that its unit file and its users' habits go on working.

Derives home and ID from its own name as the Go programs do, brings supervisord.conf up to date, and becomes supervisord
in the foreground: SIGTERM stops everything in order. All else is `hiveot-launcher`'s.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from hiveot_supervisor.cli.output import fail, say
from hiveot_supervisor.config.paths import Location
from hiveot_supervisor.errors import ConfigError, ExitCode, HiveotError, UsageError
from hiveot_supervisor.model import Launcher

USAGE = """usage: launcher [flags]      (one dash or two, `--flag value` or `--flag=value`)

  --home DIR          home folder (default: the parent of the folder of this program)
  --config DIR        folder of the configuration (default: HOME/config)
  --configFile FILE   configuration (default: CONFIG/ID.yaml)
  --clientID ID       account on the hub (default: the name of this program)
  --logLevel LEVEL    debug, info, warn or error (default: the file's, else $LOGLEVEL, else info)
  --serverURL URL     the hub (default: the file's, else the local runtime's, else discovery)
  --directoryURL URL  passed to plugins (default: the file's, else none)

The same and more: hiveot-launcher --help"""

NO_HUB = "L309"
"""Code of the diagnostic that there is neither a runtime nor a hub's URL."""

FLAGS = ("home", "config", "configFile", "clientID", "logLevel", "serverURL", "directoryURL")


@dataclass(frozen=True, slots=True)
class Place:
    """What the program's own path says: home folder and ID."""

    home: Path
    client_id: str


def parse(words: Sequence[str]) -> dict[str, str]:
    """Flags in the syntax of Go's flag package; names are case sensitive. Raises UsageError (exit code 2)."""
    found: dict[str, str] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, given, value = word.lstrip("-").partition("=")
        dashes = len(word) - len(word.lstrip("-"))
        if dashes in (1, 2) and name in ("h", "help"):
            found["help"] = "true"
        elif dashes == 0 or dashes > 2 or word in ("-", "--"):
            raise UsageError(f"`{word}` is not understood", hint="launcher --help")
        elif name not in FLAGS:
            near = next((f for f in FLAGS if f.lower() == name.lower()), "")
            hint = f"did you mean --{near}?" if near else "launcher --help"
            raise UsageError(f"flag provided but not defined: -{name}", hint=hint)
        elif given:
            found[name] = value
        elif rest:
            found[name] = rest.pop(0)
        else:
            raise UsageError(f"flag needs an argument: -{name}", hint="launcher --help")
    return found


def place_of(program: str, cwd: Path) -> Place:
    """Home and ID as Go programs derive them from argv[0]: neither $PATH nor symbolic links are looked at."""
    path = Path(os.path.normpath(cwd / program))
    return Place(path.parent.parent, path.name)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns only when supervisord cannot be started. $HIVEOT_LAUNCHER: the path it was called by."""
    try:
        given = parse(sys.argv[1:] if argv is None else argv)
        if "help" in given:
            print(USAGE)
            return ExitCode.OK
        run(given, place_of(os.environ.pop("HIVEOT_LAUNCHER", sys.argv[0]), Path.cwd()))
    except HiveotError as error:
        return fail(error)


def run(given: dict[str, str], place: Place) -> NoReturn:
    """Generate and become supervisord. Raises HiveotError."""
    from hiveot_supervisor.cli import daemon
    from hiveot_supervisor.cli.context import invalid, print_diagnostics
    from hiveot_supervisor.cli.home import Home
    from hiveot_supervisor.config.diagnostics import Severity
    from hiveot_supervisor.config.flags import Flags
    from hiveot_supervisor.config.load import inspect
    from hiveot_supervisor.generate import plan, write
    from hiveot_supervisor.supervisord.rpc import clear_stale

    client_id = given.get("clientID") or place.client_id
    flags = Flags(
        client_id=given.get("clientID", ""),
        default_id=place.client_id,
        server_url=given.get("serverURL", ""),
        directory_url=given.get("directoryURL", ""),
        log_level=given.get("logLevel", ""),
        default_level=os.environ.get("LOGLEVEL") or "info",
    )
    location = locate(given, place, client_id)
    found = inspect(location, flags=flags)
    if found.launcher is not None and any(d.code == NO_HUB for d in found.diagnostics):
        found = inspect(location, flags=replace(flags, server_url=discover(found.launcher)))
    print_diagnostics([d for d in found.diagnostics if d.severity is Severity.ERROR or found.launcher], "never")
    if found.launcher is None:
        raise invalid(found)
    launcher = found.launcher
    home = Home(launcher.paths)
    if daemon.is_running(home):
        raise HiveotError(f"{launcher.paths.home} is already running", hint="see it: hiveot-launcher list")
    write.write(plan.make(launcher))
    clear_stale(launcher.paths.socket, launcher.paths.pidfile)
    say(f"{launcher.paths.home}: hub {launcher.hub.url}, {len(launcher.plugins)} plugins")
    _become(daemon.command(launcher.paths), launcher.paths.home)


def discover(launcher: Launcher) -> str:
    """URL of a hub on the network. Raises HubError."""
    from hiveot_supervisor.hub import discovery
    from hiveot_supervisor.hub.client import Account

    return discovery.find(Account(launcher.id, launcher.token_file, launcher.paths.ca_cert))


def locate(given: dict[str, str], place: Place, client_id: str) -> Location:
    """Configuration file and folders. In the system layout (home in /usr or /opt) `--config` does not count."""
    from hiveot_supervisor.config.paths import is_system, paths_of
    from hiveot_supervisor.config.paths import locate as search

    cwd = Path.cwd()
    home = _absolute(given["home"], cwd) if given.get("home") else place.home
    if home in (Path("/"), Path("/etc"), Path("/tmp"), Path("/home")):
        raise ConfigError(f"{home} cannot be a home", hint="launcher --home DIR")
    system = Path("/etc/hiveot/conf.d") if is_system(home) else None
    folder = system or (_absolute(given["config"], cwd) if given.get("config") else home / "config")
    if given.get("configFile"):
        file = _absolute(given["configFile"], cwd)
    else:
        file = folder / f"{client_id}.yaml"
        if not file.exists() and not given.get("config"):
            found = search(home)
            file = found.file if found.found else file
    return Location(file, paths_of(home, folder), file.is_file(), (file,))


def _absolute(text: str, cwd: Path) -> Path:
    return Path(os.path.normpath(cwd / Path(text).expanduser()))


def _become(command: Sequence[str], home: Path) -> NoReturn:
    os.chdir(home)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SUPERVISOR_")}
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(command[0], list(command), environment)


if __name__ == "__main__":
    sys.exit(main())
