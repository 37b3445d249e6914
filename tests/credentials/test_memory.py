"""No core dump of a process that holds keys; those of plugins stay as they are configured."""

from __future__ import annotations

import resource
import subprocess
import sys

from hiveot_supervisor.credentials.memory import no_core_dumps

LIMIT = resource.RLIMIT_CORE


def test_only_while_keys_are_in_memory() -> None:
    before = resource.getrlimit(LIMIT)
    with no_core_dumps():
        assert resource.getrlimit(LIMIT) == (min(1, before[1] if before[1] >= 0 else 1), before[1])
    assert resource.getrlimit(LIMIT) == before


def test_it_can_be_undone_by_a_child() -> None:
    script = (
        "import resource, subprocess; from hiveot_supervisor.credentials.memory import forbid_core_dumps\n"
        "forbid_core_dumps(); subprocess.run(['sh', '-c', 'ulimit -c; ulimit -S -c $(ulimit -H -c); ulimit -c'])"
    )
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    hard = resource.getrlimit(LIMIT)[1]
    assert output[0] in ("0", "1")
    assert output[1] == ("unlimited" if hard == resource.RLIM_INFINITY else output[1])
