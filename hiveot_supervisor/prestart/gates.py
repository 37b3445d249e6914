"""What must be true before a plugin may start: its devices, its folder, its program.

Each gate raises TryLater (it may come true by itself, exit 111) or NeverWorks (only a change by somebody helps, exit
100). Gates look, they change nothing. The gate "hub reachable" only stands in the way when a credential is missing or
due, so `provide` asks for it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from hiveot_supervisor.errors import NeverWorks, TryLater
from hiveot_supervisor.prestart.spec import Spec

HUB_TIMEOUT = 3.0
"""Seconds for a connection to the hub's port."""

_PORTS = {"mqtts": 8883, "wss": 8444}
_ELF = b"\x7fELF"
_HEADER = 256
"""Bytes that Linux reads to find out how to execute a file (BINPRM_BUF_SIZE)."""


def check(spec: Spec) -> None:
    """All gates that need no other user's rights. Raises TryLater or NeverWorks."""
    for path in spec.requires:
        if not Path(path).exists():
            raise TryLater(f"{path} is not there", hint="the plugin starts when it appears")
    _check_program(Path(spec.argv[0]))
    if not Path(spec.directory).is_dir():
        raise TryLater(f"the working folder {spec.directory} is not there")


def check_rights(spec: Spec, who: str) -> None:
    """What the user that the plugin runs as must be able to do; called as that user. Raises NeverWorks."""
    given = spec.credentials
    needs = [(spec.argv[0], os.X_OK, "execute"), (spec.directory, os.X_OK, "enter")]
    if given is not None:
        needs += [(path, os.R_OK, "read") for path in (given.key, given.token, given.ca)]
    for path, access, verb in needs:
        if not os.access(path, access) and not _missing(path):
            hint = f"look at the modes of the file and of the folders above it: namei -l {path}"
            raise NeverWorks(f"{who} cannot {verb} {path}", hint=hint)


def check_hub(url: str) -> None:
    """The hub's port takes connections. Raises TryLater at once when it does not, NeverWorks for a URL without host."""
    import socket
    import urllib.parse

    try:
        parts = urllib.parse.urlsplit(url)
        address = (parts.hostname or "", parts.port or _PORTS[parts.scheme])
    except (ValueError, KeyError):
        raise NeverWorks(f"{url!r} is not the URL of a hub", hint="correct hub.url in launcher.yaml") from None
    try:
        socket.create_connection(address, timeout=HUB_TIMEOUT).close()
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise TryLater(f"the hub at {address[0]}:{address[1]} cannot be reached", why=why) from error


def explain(error: OSError, program: str) -> NeverWorks:
    """Why execve(2) failed, in words for people."""
    header = _header(Path(program))
    if not header.startswith(b"#!"):
        if isinstance(error, FileNotFoundError):
            why = "its dynamic linker is missing: it was built for another system (libc)"
        elif header.startswith(_ELF):
            why = "it was built for another kind of machine"
        else:
            why = f"{(error.strerror or str(error)).lower()}: it is neither a binary nor a script that begins with #!"
        return NeverWorks(f"{program} cannot be executed", why=why)
    interpreter = _interpreter(header)
    hint = "save it with Unix line ends" if interpreter.endswith("\r") else ""
    why = f"its first line names the interpreter {interpreter!r}: {(error.strerror or str(error)).lower()}"
    return NeverWorks(f"{program} cannot be executed", why=why, hint=hint)


def is_plain(program: str) -> bool:
    """True when a shell can surely `exec` the file: a binary like this very process, or a script with interpreter.

    Everything else (another machine's binary, a text without `#!`) is left to execve(2) itself, which then tells.
    """
    header = _header(Path(program))
    if header.startswith(b"#!"):
        return os.access(_interpreter(header), os.X_OK)
    own = _header(Path("/proc/self/exe"))
    # class and byte order (5, 6), machine (18, 19): elf(5)
    return header.startswith(_ELF) and header[4:6] == own[4:6] and header[18:20] == own[18:20]


def _check_program(path: Path) -> None:
    hint = "put it there, or correct its entry in launcher.yaml"
    try:
        found = path.stat()
    except FileNotFoundError:
        dangling = path.is_symlink()
        why = f"it is a link to {path.readlink()}, which does not exist" if dangling else "there is no such file"
        raise NeverWorks(f"the program {path} is missing", why=why, hint=hint) from None
    except OSError as error:
        raise NeverWorks(f"cannot look at the program {path}", why=(error.strerror or "").lower(), hint=hint) from error
    if not stat.S_ISREG(found.st_mode):
        raise NeverWorks(f"{path} is not a program", why="it is not a regular file", hint=hint)
    if not found.st_mode & 0o111:
        raise NeverWorks(
            f"{path} is not executable", why=f"mode {stat.S_IMODE(found.st_mode):04o}", hint=f"chmod +x {path}"
        )
    if found.st_size == 0:
        raise NeverWorks(f"{path} is empty", hint=hint)


def _missing(path: str) -> bool:
    """Surely not there, as opposed to out of reach."""
    try:
        Path(path).stat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def _header(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEADER)
    except OSError:
        return b""


def _interpreter(header: bytes) -> str:
    """The interpreter of a script's first line, as Linux reads it (execve(2))."""
    line = header[2:].split(b"\n", 1)[0].strip(b" \t")
    return os.fsdecode(line.split(b" ", 1)[0].split(b"\t", 1)[0])
