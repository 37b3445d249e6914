"""Ports for servers of tests."""

from __future__ import annotations

import random
import socket

LOWEST, HIGHEST = 20000, 32000
"""Below what Linux gives to outgoing connections: of those there are many, and one on a server's port, while that is
being started or restarted, keeps it from listening.
"""


def free_port() -> int:
    """A TCP port on 127.0.0.1 on which nobody listens now."""
    for _ in range(100):
        port = random.SystemRandom().randrange(LOWEST, HIGHEST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port found")
