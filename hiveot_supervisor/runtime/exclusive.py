"""What only one process can have: the port, and the home. Says who is in the way, as far as we can know.

Both wait a moment for a predecessor that was just killed, so that a restart does not fail for nothing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from hiveot_supervisor.credentials import store
from hiveot_supervisor.errors import HiveotError

PATIENCE = 0.3
"""Seconds to wait for a predecessor to let go; far below the second that supervisord takes for a successful start."""


def check_port(host: str, port: int, *, patience: float = PATIENCE) -> None:
    """See whether we can listen there. Raises HiveotError that says what is in the way.

    patience: seconds to wait for a predecessor that is just ending.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
            return
        except OSError as err:
            if err.errno != errno.EADDRINUSE or time.monotonic() >= deadline:
                raise _port_error(host, port, err) from err
        time.sleep(0.02)


def _port_error(host: str, port: int, err: OSError) -> HiveotError:
    if err.errno == errno.EADDRINUSE:
        hint = (
            f"see who listens there with: ss -ltnp 'sport = :{port}'; stop it, or choose another port "
            f"in launcher.yaml: hub: {{url: mqtts://localhost:{port + 1}}}"
        )
        return HiveotError(f"port {port} on {host} is already in use", hint=hint)
    if err.errno == errno.EACCES:
        hint = "ports below 1024 are for root; choose one above in launcher.yaml, for instance 8883"
        return HiveotError(f"may not listen on port {port}", why="permission denied", hint=hint)
    return HiveotError(f"cannot listen on {host} port {port}", why=err.strerror or str(err))


@contextlib.contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Hold the home's runtime lock while the block runs. Raises HiveotError that names who has it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, store.PRIVATE_MODE)
    try:
        deadline = time.monotonic() + PATIENCE
        while not store.try_lock(fd):
            if time.monotonic() >= deadline:
                holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
                hint = "is supervisord of this home already running? see: hiveot-launcher status"
                raise HiveotError(f"another runtime serves this home (process {holder or 'unknown'})", hint=hint)
            time.sleep(0.02)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)
