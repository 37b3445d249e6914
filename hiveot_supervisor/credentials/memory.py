"""Keeps keys and tokens in memory out of core dumps, which end in files and crash reporters that others may read.

A limit of one byte, not none: Linux ignores 0 when dumps are piped to a program, but treats 1 as "never" (core(5) and
fs/coredump.c). Only the soft limit is changed, so that whoever wants dumps of a child can still have them.
"""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator


def forbid_core_dumps() -> None:
    """For this process and, unless they raise the limit again, its children."""
    with contextlib.suppress(ValueError, OSError):
        _, hard = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (_lowest(hard), hard))


@contextlib.contextmanager
def no_core_dumps() -> Iterator[None]:
    """While the block runs; afterwards, in a process that becomes something else, as it was."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    forbid_core_dumps()
    try:
        yield
    finally:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_CORE, before)


def _lowest(hard: int) -> int:
    return 1 if hard == resource.RLIM_INFINITY else min(1, hard)
