"""Launchers made in code, their generated files, and a real supervisord that runs them without agent and hub.

For tests of what `generate` writes and what prestart does with it; `fakes.home` is the whole product.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fakes.wait import wait_until

from hiveot_supervisor.generate import plan, write
from hiveot_supervisor.model import Hub, Launcher, Paths, Plugin, Stop
from hiveot_supervisor.supervisord.rpc import ProcessInfo, SupervisordClient

ENV_BIN = Path(sys.executable).parent
SUPERVISORD = str(ENV_BIN / "supervisord")
SUPERVISORCTL = str(ENV_BIN / "supervisorctl")
SLEEPER = "#!/bin/sh\nexec sleep 100000\n"
INTERPRETER = """#!/bin/sh
# the interpreter of prestart; in place of the agent a listener that only acknowledges
case "$*" in *hiveot_supervisor.agent*) exec '{python}' -IS -c '{listener}' ;; esac
exec '{python}' "$@"
"""
LISTENER = """
import sys
while True:
    print("READY", flush=True)
    words = dict(word.split(":") for word in sys.stdin.readline().split())
    sys.stdin.read(int(words["len"]))
    print("RESULT 2\\nOK", end="")
"""


def paths_of(home: Path) -> Paths:
    """The user layout."""
    folders = {
        name: home / name for name in ("bin", "plugins", "config", "certs", "logs", "stores", "run", "generated")
    }
    return Paths(home=home, supervisord_conf=home / "supervisord.conf", **folders)


def plugin_of(home: Path, name: str, **settings: Any) -> Plugin:
    """A plugin as `config` would resolve it; without credentials unless asked for."""
    defaults: dict[str, Any] = {
        "executable": home / "plugins" / name,
        "directory": home,
        "log_file": home / "logs" / f"{name}.log",
        "create_cred": False,
        "stop": Stop(timeout=3),
    }
    return Plugin(name, **{**defaults, **settings})


def launcher_of(home: Path, *plugins: Plugin, **settings: Any) -> Launcher:
    """A launcher whose hub runs elsewhere (and does not answer)."""
    paths = paths_of(home)
    defaults: dict[str, Any] = {
        "hub": Hub(url="mqtts://localhost:1", embedded=False),
        "source": home / "launcher.yaml",
        "source_hash": "0" * 64,
        "plugins": tuple(replace(p, order=n) for n, p in enumerate(plugins)),
    }
    return Launcher("launcher", paths, paths.key("launcher"), paths.token("launcher"), **{**defaults, **settings})


def program(path: Path, text: str = SLEEPER, mode: int = 0o755) -> Path:
    """An executable file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


@contextlib.contextmanager
def short_home(name: str = "h") -> Iterator[Path]:
    """An empty home folder whose path is short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="hs", dir="/tmp"))
    try:
        (folder / name).mkdir(mode=0o700)
        yield folder / name
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Daemon:
    """A real supervisord in the foreground, started as typed in the home folder."""

    def __init__(
        self, launcher: Launcher, *, command: Sequence[str] = (SUPERVISORD,), quiet_agent: bool = True
    ) -> None:
        self.launcher = launcher
        self.home = launcher.paths.home
        self._command = list(command)
        python = self.home / "quiet" / "python" if quiet_agent else Path(sys.executable)
        if quiet_agent:
            program(python, INTERPRETER.format(python=sys.executable, listener=LISTENER))
        self.plan = plan.make(launcher, python=python)
        write.write(self.plan)
        self.process: subprocess.Popen[bytes] | None = None
        self.rpc = SupervisordClient(launcher.paths.socket)

    def start(self, **environment: str) -> None:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("SUPERVISOR_")}
        with (self.home / "supervisord.out").open("wb") as out:
            self.process = subprocess.Popen(
                self._command, cwd=self.home, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                env={**inherited, **environment},
            )  # fmt: skip
        wait_until(self._answers, what=f"supervisord answers; {self.output()}")

    def output(self) -> str:
        return (self.home / "supervisord.out").read_text(errors="replace")

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.output()
        try:
            self.rpc.state()
        except Exception:  # noqa: BLE001  (not up yet)
            return False
        return True

    def info(self, name: str) -> ProcessInfo:
        return next(p for p in self.rpc.snapshot() if p.name == name)

    def log(self, name: str) -> str:
        file = self.launcher.paths.logs / f"{name}.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def ctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        """supervisorctl as typed in the home folder."""
        return subprocess.run([SUPERVISORCTL, *words], cwd=self.home, capture_output=True, text=True, timeout=60)

    def stop(self, number: int = signal.SIGTERM, timeout: float = 30) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout)

    def close(self) -> None:
        self.rpc.close()
        if self.process is None or self.process.poll() is not None:
            return
        pids = [p.pid for p in self.rpc.snapshot() if p.pid]
        self.process.kill()
        self.process.wait()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)


@contextlib.contextmanager
def daemon(launcher: Launcher, *, started: bool = True, **settings: Any) -> Iterator[Daemon]:
    made = Daemon(launcher, **settings)
    try:
        if started:
            made.start()
        yield made
    finally:
        made.close()
