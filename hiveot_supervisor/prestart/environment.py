"""The environment that a plugin gets, and the environment file that may add to it.

Pure: texts in, texts out. The file has the form that shells, systemd and docker agree on: `NAME=value` lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from hiveot_supervisor.errors import NeverWorks

CONTROL = ("SUPERVISOR_SERVER_URL", "SUPERVISOR_USERNAME", "SUPERVISOR_PASSWORD")
"""Inherited variables with which a plugin could control supervisord; they are taken away."""

NAME_IN_SHELL = "[A-Za-z_][A-Za-z0-9_]*"

_SPECIAL = (
    "_ ATTY BASHOPTS BASHPID BASH_ALIASES BASH_ARGC BASH_ARGV BASH_CMDS BASH_COMMAND BASH_ENV "
    "BASH_EXECUTION_STRING BASH_LINENO BASH_SOURCE BASH_SUBSHELL BASH_VERSINFO BASH_VERSION COLUMNS "
    "COMP_WORDBREAKS DIRSTACK ENV EPOCHREALTIME EPOCHSECONDS EUID FCEDIT FUNCNAME FUNCNEST GROUPS HISTCMD "
    "HISTFILE HISTSIZE IFS LINENO LINES MAIL MAILCHECK MAILPATH OLDPWD OPTARG OPTIND PIPESTATUS "
    "POSIXLY_CORRECT PPID PS1 PS2 PS3 PS4 PWD RANDOM SECONDS SHELLOPTS SHLVL SRANDOM TMOUT UID "
)
SPECIAL_IN_SHELL = frozenset(_SPECIAL.split())
"""Variables to which some `/bin/sh` (dash, ash, bash, ksh) gives its own meaning or value: only Python sets them."""

_LINE = re.compile(rf"\s*(?:export\s+)?(?P<name>{NAME_IN_SHELL})\s*=\s*(?P<value>.*)", re.DOTALL)
_COMMENT = re.compile(r"(?:^|\s)#")
_ESCAPE = re.compile(r"\\([\"\\$`\n])")
_Lines = Iterator[tuple[int, str]]


def compose(
    inherited: Mapping[str, str], given: Iterable[tuple[str, str]], file: Iterable[tuple[str, str]] = ()
) -> dict[str, str]:
    """What the plugin sees: inherited (without control over supervisord), then ours, then the environment file's.

    OLDPWD goes too: it is about a folder that we have never been in.
    """
    kept = {name: value for name, value in inherited.items() if name not in CONTROL and name != "OLDPWD"}
    return {**kept, **dict(given), **dict(file)}


def parse_file(text: str, path: str) -> list[tuple[str, str]]:
    """The variables in an environment file, in order.

    A line is blank, a `#` comment, or `[export ]NAME=value`. A value may stand in '…' (literal) or "…" (where a
    backslash takes the meaning from `"`, `\\`, `$`, a backtick, or joins lines), either over several lines; without
    quotes it ends before ` #` or at the end of the line. No variable is expanded. Raises NeverWorks that names `path`
    and the line, but shows nothing of it, as it may be a secret.
    """
    found: list[tuple[str, str]] = []
    lines = enumerate(text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n"), 1)
    for number, line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise _bad(path, number, "NAME=value is expected")
        value = match["value"]
        if value[:1] in ("'", '"'):
            value = _quoted(value, number, lines, path)
        else:
            value = _COMMENT.split(value, maxsplit=1)[0].strip()
        if "\0" in value:
            raise _bad(path, number, "a value cannot contain a NUL character")
        found.append((match["name"], value))
    return found


def _quoted(raw: str, number: int, lines: _Lines, path: str) -> str:
    """The value that begins with a quote in `raw`; takes more lines until the quote is closed."""
    quote, part = raw[0], raw[1:]
    parts: list[str] = []
    while (end := _closing(part, quote)) is None:
        parts.append(part)
        _, following = next(lines, (0, None))
        if following is None:
            raise _bad(path, number, f"the quote {quote} is not closed")
        part = following
    rest = part[end + 1 :].strip()
    if rest and not rest.startswith("#"):
        raise _bad(path, number, "there is text after the closing quote")
    inner = "\n".join([*parts, part[:end]])
    return inner if quote == "'" else _ESCAPE.sub(lambda m: "" if m[1] == "\n" else m[1], inner)


def _closing(line: str, quote: str) -> int | None:
    """Index in `line` of the quote that closes one which was opened before it."""
    at = 0
    while at < len(line):
        if line[at] == quote:
            return at
        at += 2 if line[at] == "\\" and quote == '"' else 1
    return None


def _bad(path: str, line: int, what: str) -> NeverWorks:
    return NeverWorks(f"{path}:{line}: {what}", hint="correct the environment file")
