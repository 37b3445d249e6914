"""Arguments and environment arrive byte for byte through the real supervisord, on the fast and on the slow path.

Hypothesis makes a batch of plugins; one supervisord runs the whole batch, so that many examples cost one start.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from fakes.launchers import daemon, launcher_of, plugin_of, program, short_home
from fakes.wait import wait_until
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from hiveot_supervisor.generate.hooks import Tools, specify, takes_fast_path
from hiveot_supervisor.prestart import verified
from hiveot_supervisor.prestart.environment import SPECIAL_IN_SHELL

DUMP = f"""#!{sys.executable} -IS
import os, sys
name = sys.argv[0]
with open(name + ".part", "wb") as out:
    out.write(open("/proc/self/cmdline", "rb").read() + b"\\n==\\n" + open("/proc/self/environ", "rb").read())
os.rename(name + ".part", name + ".out")
"""

NASTY = [
    "%",
    "%%",
    "%(here)s",
    " ;",
    " #",
    "'",
    '"',
    "=",
    ",",
    "\n",
    "\\",
    "\\n",
    "$HOME",
    "`id`",
    "é",
    "日",
    "\x01",
    "\x81",
]
text = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=30),
    st.lists(st.sampled_from(NASTY), max_size=8).map("".join),
    st.sampled_from(["", "x" * 4096, "é'\"%;\n" * 700, "-n", "--", "~", "*", "|", "\t ", "\r\n"]),
)
names = st.one_of(
    st.from_regex("[A-Za-z_][A-Za-z0-9_]{0,10}", fullmatch=True),
    st.sampled_from(
        ["PATH", "HOME", "LANG", "a.b", "my-var", "é", "1X", "A B", "BASH_FUNC_x%%", *sorted(SPECIAL_IN_SHELL)]
    ),
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0="), min_size=1, max_size=8),
)
# the dynamic loader and the dumping Python itself react to these
harmless = names.filter(lambda n: not n.startswith(("LD_", "PYTHON", "MALLOC_", "GLIBC_")))
examples = st.tuples(st.lists(text, min_size=1, max_size=6), st.dictionaries(harmless, text, min_size=1, max_size=5))

KEPT = ("SUPERVISOR_ENABLED", "SUPERVISOR_PROCESS_NAME", "SUPERVISOR_GROUP_NAME")


def known_batch() -> list[tuple[list[str], dict[str, str]]]:
    """Every nasty text as argument and value with harmless names (fast path), and every special name (slow path)."""
    whole = "".join(NASTY)
    fast = [([nasty, nasty * 2, ""], {"A": nasty, "PATH": nasty, "EMPTY": ""}) for nasty in [*NASTY, whole, whole * 40]]
    special = sorted(SPECIAL_IN_SHELL)
    slow = [([name], dict.fromkeys(special[n::4], whole)) for n, name in enumerate(("a.b", "é", "1X", "A B"))]
    return [*fast, *slow, ([whole], {"a.b": whole, "é": "é", "A B": "\n"})]


@settings(
    max_examples=1,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking a batch would take long and explain little
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
@example(known_batch())
@given(st.lists(examples, min_size=15, max_size=20))
def test_everything_arrives_byte_for_byte(batch: list[tuple[list[str], dict[str, str]]]) -> None:
    with short_home("a b;c'd") as home:
        plugins = []
        for number, (arguments, environment) in enumerate(batch):
            name = f"p{number}"
            program(home / "plugins" / name, DUMP)
            plugins.append(plugin_of(home, name, args=tuple(arguments), environment=tuple(environment.items())))
        launcher = launcher_of(home, *plugins)
        with daemon(launcher) as running:
            for fast in (False, True):
                paths = {str(specify(launcher, p).argv[0]) for p in plugins}
                for plugin in plugins:
                    if fast and takes_fast_path(specify(launcher, plugin), Tools()):
                        assert Path(f"{specify(launcher, plugin).verified}.{verified.UNTIL}").exists()
                        (launcher.paths.plugin_dir / f"{plugin.id}.json").unlink()  # the slow path would miss it
                    running.rpc.start(plugin.id)
                for plugin, (arguments, environment) in zip(plugins, batch, strict=True):
                    out = Path(f"{plugin.executable}.out")
                    wait_until(out.exists, what=f"{plugin.id} wrote {out}; log: {running.log(plugin.id)}")
                    check(out.read_bytes(), plugin.executable, arguments, environment, home)
                    out.unlink()
                    wait_until(lambda p=plugin: running.info(p.id).pid == 0)
                assert len(paths) == len(plugins)


def check(seen: bytes, executable: Path, arguments: list[str], environment: dict[str, str], home: Path) -> None:
    line, _, variables = seen.partition(b"\n==\n")
    # a script's interpreter and its option come before the path in /proc
    assert line.split(b"\0")[2:-1] == [os.fsencode(executable), *(word.encode() for word in arguments)]
    found = dict(variable.split(b"=", 1) for variable in variables.split(b"\0")[:-1])
    for name, value in environment.items():
        assert found.pop(name.encode()) == value.encode(), name
    found = {name: value for name, value in found.items() if name.decode("utf-8", "replace") not in environment}
    inherited = {
        n: v for n, v in os.environb.items() if n.decode() not in environment and not n.startswith(b"SUPERVISOR_")
    }
    for name in (b"OLDPWD", b"PWD", b"_"):
        inherited.pop(name, None)
    assert found.pop(b"PWD", os.fsencode(home)) == os.fsencode(home)
    found.pop(b"_", None)
    for name in KEPT:
        assert name in environment or found.pop(name.encode())
    assert found == inherited
