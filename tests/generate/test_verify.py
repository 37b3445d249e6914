"""What Supervisor would read differently is refused; what is written for any legal model is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.launchers import launcher_of, plugin_of
from hypothesis import given, settings
from hypothesis import strategies as st

from hiveot_supervisor.generate import render, verify
from hiveot_supervisor.generate.programs import Conf, configure
from hiveot_supervisor.generate.verify import RoundTripError
from hiveot_supervisor.model import Launcher, Logs, Stop

HOME = Path("/srv/home")
PYTHON = Path("/venv/bin/python")


def make(home: Path = HOME) -> tuple[Launcher, Conf, str]:
    plugins = (plugin_of(home, "a"), plugin_of(home, "b", log_file=None, stop=Stop("INT", 3)))
    launcher = launcher_of(home, *plugins, runtime=plugin_of(home, "runtime"))
    conf = configure(launcher, PYTHON)
    return launcher, conf, render.supervisord_conf(conf)


TAMPERED = [
    ("nodaemon = true", "nodaemon = false"),
    ("nocleanup = true", "nocleanup = false"),
    ("minfds = 256", "minfds = 255"),
    ("identifier = launcher", "identifier = other"),
    ("chmod = 0700", "chmod = 0777"),
    ("enabled = true", "enabled = false"),
    ("supervisor.sock", "other.sock"),
    ("serverurl = unix:///srv", "serverurl = unix:///tmp"),
    ("logfile = /srv", "logfile = /tmp"),
    ("logfile_backups = 3", "logfile_backups = 30"),
    ("[program:b]", "[program:c]"),
    ("[program:b]", "[Program:b]"),
    ("[program:b]", "[program:b ;]"),
    ("[program:b]", "[program:a]"),
    ("[program:b]", "[include]\nfiles = /tmp/*.conf\n[program:b]"),
    ("[program:b]", "[inet_http_server]\nport = 127.0.0.1:9001\n[program:b]"),
    ("[program:b]", "[group:g]\nprograms = a\n[program:b]"),
    ("[program:b]", "[program:b]\nuser = root"),
    ("[program:b]", "[program:b]\numask = 000"),
    ("[program:b]", "[program:b]\ndirectory = /"),
    ("[program:b]", "[program:b]\nenvironment = A=1"),
    ("[program:b]", "[program:b]\nserverurl = http://x:1"),
    ("[program:b]", "[program:b]\nnumprocs = 2\nprocess_name = %(process_num)s"),
    ("[supervisord]", "[supervisord]\nenvironment = A=1"),
    ("[supervisord]", "[supervisord]\nuser = root"),
    ("[supervisord]", "[supervisord]\ndirectory = /"),
    ("[supervisord]", "[DEFAULT]\nnumprocs_start = 0\numask = 000\n[supervisord]"),
    ("plugins/b.sh", "plugins/b.sh extra"),
    ("plugins/b.sh", "plugins/'b.sh"),
    ("plugins/b.sh", "plugins/%(ENV_HOME)s"),
    ("plugins/b.sh", "plugins/50%"),
    ("priority = 101", "priority = 99"),
    ("autostart = false", "autostart = true"),
    ("autorestart = false", "autorestart = unexpected"),
    ("startsecs = 0\nstartretries = 0", "startsecs = 1\nstartretries = 0"),
    ("startretries = 0", "startretries = 3"),
    ("stopsignal = INT", "stopsignal = TERM"),
    ("stopwaitsecs = 3\n", "stopwaitsecs = 4\n"),
    ("stopasgroup = true", "stopasgroup = false"),
    ("redirect_stderr = true", "redirect_stderr = false"),
    ("logs/a.log", "logs/b.log"),
    ("stdout_logfile_backups = 5", "stdout_logfile_backups = 50"),
    ("stdout_logfile = NONE", "stdout_logfile = AUTO"),
    ("buffer_size = 1000", "buffer_size = 10"),
    (",TICK_5", ""),
    ("PROCESS_STATE,", "PROCESS_LOG,"),
    ("[eventlistener:launcher]", "[eventlistener:a]"),
    ("hiveot_supervisor.agent", "hiveot_supervisor.other"),
    ("hiveot_supervisor.supervisord.extension:make_extension", "os:system"),
]


@pytest.mark.parametrize(("old", "new"), TAMPERED, ids=[f"{o.strip()} -> {n.strip()}" for o, n in TAMPERED])
def test_every_deviation_is_noticed(old: str, new: str) -> None:
    launcher, conf, text = make()
    assert old in text
    with pytest.raises(RoundTripError):
        verify.check(text.replace(old, new), conf, launcher.paths.supervisord_conf)


def test_the_error_names_what_differs_and_promises_that_nothing_changed() -> None:
    launcher, conf, text = make()
    with pytest.raises(RoundTripError) as caught:
        verify.check(text.replace("stopwaitsecs = 3\n", "stopwaitsecs = 4\n"), conf, launcher.paths.supervisord_conf)
    assert caught.value.why.startswith("program a: stop: ")
    assert "nothing was changed" in caught.value.hint


def test_the_environment_of_the_moment_plays_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher, conf, text = make()
    monkeypatch.setenv("HOME", "%(ENV_HOME)s%")
    verify.check(text, conf, launcher.paths.supervisord_conf)


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", fullmatch=True)
LEGAL_NAMES = NAMES.filter(lambda n: n not in ("all", "launcher", "runtime"))
FOLDERS = st.text(
    st.one_of(st.sampled_from(" %;#'\"\\$=:é"), st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp", "Zs"))),
    min_size=1,
    max_size=12,
).filter(lambda t: t.strip("./ ") and "/" not in t)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(LEGAL_NAMES, unique_by=str.lower, max_size=6),
    FOLDERS,
    st.sampled_from(["TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "KILL"]),
    st.floats(0, 5000),
    st.integers(0, 10**12),
    st.booleans(),
)
def test_any_legal_model_round_trips(
    names: list[str], folder: str, stop_signal: str, timeout: float, size: int, extension: bool
) -> None:
    home = Path("/tmp") / folder.strip()
    settings_of = {"stop": Stop(stop_signal, timeout), "logs": Logs(size, size % 7)}
    plugins = [plugin_of(home, name, **settings_of) for name in names]
    launcher = launcher_of(home, *plugins, runtime=plugin_of(home, "runtime"), extension=extension)
    conf = configure(launcher, PYTHON)
    verify.check(render.supervisord_conf(conf), conf, launcher.paths.supervisord_conf)
