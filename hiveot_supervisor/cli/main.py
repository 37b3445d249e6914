"""Entry point of `hiveot-launcher`: finds the command, loads only its module, turns errors into exit codes.

It owns no command; each lives in `cmd_*.py` with two functions:
`configure(parser)` adds arguments to an argparse parser, `run(args)` does the work and returns the exit code.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hiveot_supervisor import __version__
from hiveot_supervisor.cli.output import fail
from hiveot_supervisor.errors import ExitCode, HiveotError


@dataclass(frozen=True, slots=True)
class Command:
    """A command: the module that implements it, its line in the help, and its group there."""

    module: str
    help: str
    group: str


COMMANDS: dict[str, Command] = {
    "init": Command("cmd_init", "write a commented launcher.yaml and the folders of a home", "Set up"),
    "check": Command("cmd_check", "validate launcher.yaml; all problems at once", "Set up"),
    "generate": Command("cmd_generate", "launcher.yaml -> supervisord.conf", "Set up"),
    "doctor": Command("cmd_doctor", "look at everything outside of launcher.yaml", "Look"),
    "schema": Command("cmd_schema", "print the JSON Schema of launcher.yaml", "Set up"),
    "up": Command("cmd_up", "generate, start supervisord, show what happens; Ctrl-C stops all", "Run"),
    "apply": Command("cmd_apply", "take launcher.yaml over; only what changed is restarted", "Run"),
    "down": Command("cmd_down", "stop all plugins in reverse order, then supervisord", "Run"),
    "list": Command("cmd_list", "all plugins with state, resources and notes", "Look"),
    "status": Command("cmd_status", "one plugin on one screen", "Look"),
    "events": Command("cmd_events", "the last events; -f follows", "Look"),
    "logs": Command("cmd_logs", "plugin logs; -f follows", "Look"),
    "start": Command("cmd_start", "start plugins and wait until they run", "Control"),
    "stop": Command("cmd_stop", "stop plugins and wait until they are gone", "Control"),
    "restart": Command("cmd_restart", "stop, then start", "Control"),
    "enable": Command("cmd_enable", "start it by itself at every start", "Control"),
    "disable": Command("cmd_disable", "do not start it by itself", "Control"),
    "creds": Command("cmd_creds", "keys, tokens, certificates: list, renew, revoke", "Control"),
    "version": Command("cmd_version", "versions of everything involved", "Other"),
}
ALIASES = {"ps": "list", "ls": "list", "run": "up"}


def global_options() -> argparse.ArgumentParser:
    """Options that every command takes, before or after its name."""
    parser = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS, allow_abbrev=False)
    parser.add_argument("--home", type=Path, metavar="DIR", help="home folder (default: where launcher.yaml is found)")
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help="launcher.yaml to use")
    parser.add_argument("-q", "--quiet", action="store_true", help="only errors")
    parser.add_argument("-v", "--verbose", action="store_true", help="more detail")
    parser.add_argument("--json", action="store_true", help="machine-readable output on stdout")
    parser.add_argument("--color", choices=("auto", "always", "never"), help="colour (default: on a terminal)")
    return parser


DEFAULTS = {"home": None, "config": None, "quiet": False, "verbose": False, "json": False, "color": "auto"}
_WITH_VALUE = {"--home", "-c", "--config", "--color"}


def find_command(argv: Sequence[str]) -> int | None:
    """Index of the command word in argv, past the global options; None when there is none."""
    index = 0
    while index < len(argv):
        word = argv[index]
        if not word.startswith("-"):
            return index
        index += 2 if word in _WITH_VALUE else 1
    return None


def overview() -> str:
    """The help page: what this is and the commands by group."""
    lines = ["usage: hiveot-launcher [--home DIR] [-c FILE] [-q|-v] [--json] COMMAND [...]", ""]
    lines.append("Runs a hub and its plugins as launcher.yaml says, on top of supervisord.")
    for group in dict.fromkeys(c.group for c in COMMANDS.values()):
        lines += ["", f"{group}:"]
        lines += [f"  {name:<10} {c.help}" for name, c in COMMANDS.items() if c.group == group]
    lines += ["", "hiveot-launcher COMMAND --help tells more; `supervisorctl` works beside it at any time."]
    return "\n".join(lines)


def parse(argv: Sequence[str]) -> tuple[str, argparse.Namespace]:
    """Parse argv into the command's name and its arguments. Exits 2 on wrong usage, as argparse does."""
    at = find_command(argv)
    if at is None:
        top = argparse.ArgumentParser(prog="hiveot-launcher", parents=[global_options()], add_help=False)
        top.add_argument("-h", "--help", action="store_true")
        top.add_argument("--version", action="store_true")
        args = top.parse_args(list(argv))
        return ("version-line" if args.version else "help"), args
    name = ALIASES.get(argv[at], argv[at])
    if name == "help":
        return "help", argparse.Namespace()
    if name not in COMMANDS:
        import difflib

        near = difflib.get_close_matches(name, [*COMMANDS, *ALIASES], n=1)
        hint = f"did you mean `{near[0]}`?" if near else "hiveot-launcher --help lists the commands"
        raise_usage(f"no command `{argv[at]}`", hint)
    module = importlib.import_module(f"hiveot_supervisor.cli.{COMMANDS[name].module}")
    parser = argparse.ArgumentParser(
        prog=f"hiveot-launcher {name}",
        description=COMMANDS[name].help,
        parents=[global_options()],
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.configure(parser)
    rest = [*argv[:at], *argv[at + 1 :]]
    args = parser.parse_args(rest)
    for key, value in DEFAULTS.items():
        if not hasattr(args, key):
            setattr(args, key, value)
    args.run = module.run
    return name, args


def raise_usage(what: str, hint: str) -> None:
    from hiveot_supervisor.errors import UsageError

    raise UsageError(what, hint=hint)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code. `argv` without the program's name, default sys.argv."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        name, args = parse(words)
        if name == "help":
            print(overview())
            return ExitCode.OK
        if name == "version-line":
            print(f"hiveot-launcher {__version__}")
            return ExitCode.OK
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except HiveotError as error:
        return fail(error)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
