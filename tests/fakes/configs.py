"""A home folder with a few executables for tests of the configuration."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EMBEDDED = "#!/bin/sh\nexec python3 -m hiveot_supervisor.runtime\n"
GO_RUNTIME = "\x7fELF and so on\n"
PLUGINS = ("history", "zwavejs", "zwavejs-cb", "owserver")


def executable(path: Path, text: str = "#!/bin/sh\nexec sleep 60\n") -> Path:
    """Write an executable file, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@contextmanager
def config_home() -> Iterator[Path]:
    """A home with the embedded hub as bin/runtime and four plugins; its path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="hs", dir="/tmp") as name:
        home = Path(name)
        executable(home / "bin" / "runtime", EMBEDDED)
        for plugin in PLUGINS:
            executable(home / "plugins" / plugin)
        yield home
