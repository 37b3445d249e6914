"""Escapes text for the three languages that are generated: Supervisor's INI, POSIX shell, systemd units.

Everything that cannot be carried is refused with a ConfigError; nothing is ever silently changed. Facts about the INI
reader: docs/supervisord-facts.md §7 (inline comments, `%` expansion, stripping), held by tests against Supervisor.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from hiveot_supervisor.errors import ConfigError

_COMMENT = ";#"
_PLAIN_WORD = re.compile(r"[A-Za-z0-9_./:@%+,-]+")
_NOTHING = "%(here).0s"
"""Expands to the empty text wherever Supervisor knows `here`; it keeps a blank and a comment sign apart."""


def ini_value(text: str, *, expansions: int = 1) -> str:
    """`text` as the value of an option, so that Supervisor reads back exactly it.

    expansions: how often Supervisor applies `%` to this option: once, but twice for `*_logfile` of programs. Only
    for options that know `%(here)s` (all paths and commands do). Raises ConfigError for control characters, bytes
    that are not UTF-8, and blanks at the ends.
    """
    carried(text)
    if text != text.strip():
        raise ConfigError(f"{text!r} cannot stand in supervisord.conf", why="it begins or ends with a blank")
    escaped = text.replace("%", "%" * 2**expansions)
    pieces = []
    for before, character in zip(" " + escaped, escaped, strict=False):
        comment = character in _COMMENT and before.isspace()
        pieces.append(_NOTHING + character if comment else character)
    return "".join(pieces)


def ini_command(words: Sequence[str]) -> str:
    """A command line for the option `command`: quoted for shlex, then escaped for the INI."""
    return ini_value(shlex.join(words))


def shell_word(text: str) -> str:
    """One word of POSIX shell that means exactly `text`, new lines included. Raises ConfigError for NUL."""
    if _PLAIN_WORD.fullmatch(text):
        return text
    if "\0" in text:
        raise ConfigError(f"{text!r} cannot be passed to a program", why="it contains a NUL character")
    encodable(text)
    return shlex.quote(text)


def unit_word(text: str) -> str:
    """One word in a list of a systemd unit, or the program of `ExecStart=` (systemd.syntax(7), specifiers)."""
    carried(text)
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def unit_argument(text: str) -> str:
    """One argument in `ExecStart=`, where `$` would begin a variable (systemd.service(5))."""
    return unit_word(text).replace("$", "$$")


def unit_path(text: str) -> str:
    """A path as the whole value of a unit's setting, such as `WorkingDirectory=`, where quotes have no meaning."""
    carried(text)
    if text.endswith("\\"):
        raise ConfigError(f"{text!r} cannot stand in a systemd unit", why="it ends with a backslash")
    return text.replace("%", "%%")


def carried(text: str) -> str:
    """`text` itself, when generated files can carry it. Raises ConfigError for control characters and non-UTF-8."""
    encodable(text)
    bad = next((c for c in text if unicodedata.category(c) in ("Cc", "Zl", "Zp")), None)
    if bad is not None:
        raise ConfigError(
            f"{text!r} cannot stand in a generated file",
            why=f"it contains the control character {bad!r}",
            hint="rename the folder",
        )
    return text


def encodable(text: str) -> str:
    """`text` itself, when it is valid Unicode. Raises ConfigError when it holds bytes that are not UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ConfigError(f"{text!r} cannot stand in a generated file", why="it is not valid UTF-8") from error
    return text


def path_text(path: Path) -> str:
    """The text of an absolute path. Raises ConfigError when it is relative."""
    if not path.is_absolute():
        raise ConfigError(f"the path {path} is not absolute")
    return str(path)
