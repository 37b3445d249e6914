"""The mapping from the model to programs: order, time-outs, sizes, and the names and paths that are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fakes.launchers import launcher_of, plugin_of

from hiveot_supervisor.errors import ConfigError
from hiveot_supervisor.generate.programs import RUNTIME_STOP_WAIT, SOCKET_LIMIT, configure
from hiveot_supervisor.model import Launcher, Logs, Stop

HOME = Path("/srv/home")
PYTHON = Path("/venv/bin/python")


def make(*names: str, **settings: object) -> Launcher:
    return launcher_of(HOME, *(plugin_of(HOME, name) for name in names), **settings)


def test_stop_order_is_the_exact_reverse_of_the_start_order() -> None:
    launcher = make("zeta", "alpha", "mid", runtime=plugin_of(HOME, "runtime"))
    conf = configure(launcher, PYTHON)
    priorities = {p.name: p.priority for p in conf.programs}
    assert priorities == {"runtime": -2, "zeta": 100, "alpha": 101, "mid": 102}
    assert max(p.priority for p in conf.programs if p.name == "runtime") < -1  # before and after the agent


def test_the_agent_alone_owns_restarts_but_the_runtime_comes_back_by_itself() -> None:
    conf = configure(make("a", runtime=plugin_of(HOME, "runtime")), PYTHON)
    runtime, plugin = conf.programs
    assert (plugin.autostart, plugin.autorestart, plugin.start_seconds, plugin.start_retries) == (False, False, 0, 0)
    assert (runtime.autostart, runtime.autorestart) == (True, True)
    # with startsecs=0 an autorestarted program that fails at once would be spawned more than a hundred times a second
    assert runtime.start_seconds > 0
    assert runtime.start_retries > 1000


@pytest.mark.parametrize(("timeout", "seconds"), [(10, 10), (0.2, 1), (9.01, 10), (0, 0)])
def test_stop_timeouts_are_rounded_up_to_whole_seconds(timeout: float, seconds: int) -> None:
    launcher = launcher_of(HOME, plugin_of(HOME, "a", stop=Stop("INT", timeout)))
    program = configure(launcher, PYTHON).programs[0]
    assert (program.stop_signal, program.stop_wait) == ("INT", seconds)


def test_the_runtime_gets_time_to_disconnect_its_clients() -> None:
    launcher = make(runtime=plugin_of(HOME, "runtime", stop=Stop(timeout=1)))
    assert configure(launcher, PYTHON).programs[0].stop_wait == RUNTIME_STOP_WAIT


@pytest.mark.parametrize(("count", "fds", "buffer"), [(1, 256, 1000), (50, 256, 1020), (1000, 3067, 20020)])
def test_file_descriptors_and_event_buffer_grow_with_the_number_of_programs(count: int, fds: int, buffer: int) -> None:
    conf = configure(make(*(f"p{n}" for n in range(count))), PYTHON)
    assert (conf.min_fds, conf.listener.buffer_size) == (fds, buffer)


def test_commands_are_fixed_but_for_the_home() -> None:
    conf = configure(make("a"), PYTHON)
    assert conf.programs[0].command == ("/bin/sh", "/srv/home/generated/plugins/a.sh")
    assert conf.listener.command == (
        "/venv/bin/python", "-P", "-m", "hiveot_supervisor.agent", "/srv/home/generated",
    )  # fmt: skip


def test_log_settings() -> None:
    plugin = plugin_of(HOME, "a", logs=Logs(max_size=5, backups=1))
    conf = configure(launcher_of(HOME, plugin, plugin_of(HOME, "b", log_file=None)), PYTHON)
    assert [(p.log_file, p.log) for p in conf.programs] == [(HOME / "logs/a.log", Logs(5, 1)), (None, Logs())]
    assert conf.listener.log_file == HOME / "logs/launcher.log"
    silent = configure(replace(make("a"), log_to_file=False), PYTHON)
    assert silent.log_file is None
    assert silent.listener.log_file is None


@pytest.mark.parametrize(
    "name", ["all", "", "x ;y", "a:b", "a/b", "a\tb", "é", "x" * 65, "-x", ".x", "a,b", "a]b", "a\nb", "%(here)s", "*"]
)
def test_names_that_cannot_be_sections_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name of a plugin"):
        configure(make(name), PYTHON)


@pytest.mark.parametrize("name", ["launcher", "runtime", "twice"])
def test_two_programs_of_one_name_are_refused(name: str) -> None:
    names = ("twice", name) if name == "twice" else (name,)
    with pytest.raises(ConfigError, match="two programs with the name"):
        configure(make(*names), PYTHON)


def test_a_socket_path_that_supervisord_could_not_bind_is_refused_with_advice() -> None:
    longest = SOCKET_LIMIT - len("/run/supervisor.sock")
    home = Path("/" + "x" * (longest - 1))
    assert len(str(configure(launcher_of(home), PYTHON).socket)) == SOCKET_LIMIT
    with pytest.raises(ConfigError, match=r"control socket is too long") as caught:
        configure(launcher_of(Path(f"{home}x")), PYTHON)
    assert "shorter path" in caught.value.hint
    with pytest.raises(ConfigError, match=r"control socket is too long"):
        configure(launcher_of(Path("/" + "é" * (longest // 2 + 1))), PYTHON)  # bytes count, not characters
