"""A real supervisord in a short temporary folder, with hand-written configuration and a listener that stamps events."""

from __future__ import annotations

import ast
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from fakes.wait import wait_until

from hiveot_supervisor.errors import SupervisordUnreachable
from hiveot_supervisor.supervisord import process
from hiveot_supervisor.supervisord.listener import Event, parse_event, parse_header
from hiveot_supervisor.supervisord.rpc import ProcessInfo, SupervisordClient
from hiveot_supervisor.supervisord.states import Mood, ProcessState

SUPERVISORD = Path(sys.executable).with_name("supervisord")
FACTORY = "hiveot_supervisor.supervisord.extension:make_extension"
SLEEPER = "/bin/sleep 1000"

RECORDER = r"""
import os, time
out = os.open(os.environ["RECORD"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
os.write(1, b"READY\n")
data = b""
while chunk := os.read(0, 65536):
    stamp = time.monotonic()
    data += chunk
    while True:
        head, newline, rest = data.partition(b"\n")
        if not newline:
            break
        length = int(head.rsplit(b"len:", 1)[1])
        text = rest.decode(errors="ignore")
        if len(text) < length:
            break
        payload = text[:length].encode()
        data = rest[len(payload):]
        os.write(out, repr((stamp, head, payload)).encode() + b"\n")
        os.write(1, b"RESULT 2\nOKREADY\n")
"""


def other_versions() -> list[Path]:
    """Folders with other versions of supervisor, named after them: `make` puts one there, and any may be added with
    pip install --target .venv/supervisors/VERSION --no-deps …"""
    return sorted(p for p in Path(sys.prefix, "supervisors").glob("*") if (p / "supervisor").is_dir())


class Supervisord:
    """One supervisord. Settings are attributes; change them before `start` or `reload`.

    installation: a folder with another version of supervisor (`other_versions`).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "s"
        self.pidfile = folder / "pid"
        self.conf = folder / "supervisord.conf"
        self.log = folder / "log"
        self.record = folder / "events"
        self.programs: dict[str, str] = {}
        self.extension: str | None = f"supervisor.rpcinterface_factory = {FACTORY}"
        self.sections = ""
        self.listener = True
        self.nodaemon = True
        self.umask: int | None = None
        self.installation: Path | None = None
        self.client = SupervisordClient(self.socket, timeout=20.0)
        self.process: subprocess.Popen[bytes] | None = None

    def program(self, name: str, command: str = SLEEPER, **settings: object) -> None:
        """A program of its own group, with the settings that the launcher's generator uses."""
        values: dict[str, object] = {
            "command": command,
            "autostart": "false",
            "autorestart": "false",
            "startsecs": 0,
            "startretries": 0,
            "stopasgroup": "true",
            "killasgroup": "true",
            "redirect_stderr": "true",
            "stdout_logfile": "NONE",
        }
        values.update(settings)
        self.programs[name] = "".join(f"{key}={value}\n" for key, value in values.items())

    def script(self, name: str, text: str, interpreter: str = "/bin/sh") -> str:
        """An executable script in the folder; returns its path."""
        path = self.folder / name
        path.write_text(f"#!{interpreter}\n{text}\n")
        path.chmod(0o755)
        return str(path)

    def write(self) -> None:
        recorder = self.folder / "recorder.py"
        recorder.write_text(RECORDER)
        text = (
            f"[supervisord]\nnodaemon={'true' if self.nodaemon else 'false'}\nlogfile={self.log}\n"
            f"pidfile={self.pidfile}\nchildlogdir={self.folder}\nminfds=512\n"
            f"[unix_http_server]\nfile={self.socket}\nchmod=0700\n"
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n"
        )
        if self.extension is not None:
            text += f"[rpcinterface:hiveot]\n{self.extension}\n"
        if self.listener:
            text += (
                f"[eventlistener:listener]\ncommand={sys.executable} -I -S {recorder}\npriority=-1\nstartsecs=0\n"
                f'autorestart=true\nstopwaitsecs=1\nbuffer_size=5000\nevents=EVENT\nenvironment=RECORD="{self.record}"\n'
                "stderr_logfile=NONE\n"
            )
        text += self.sections
        text += "".join(f"[program:{name}]\n{settings}" for name, settings in self.programs.items())
        self.conf.write_text(text)

    def launch(self) -> None:
        """Start without looking at the socket (a connection would wake supervisord up)."""
        self.write()
        given = [self.installation and str(self.installation), os.environ.get("PYTHONPATH")]
        paths = [str(self.folder), *filter(None, given)]
        environment = {**os.environ, "HS_TEST_FOLDER": str(self.folder), "PYTHONPATH": os.pathsep.join(paths)}
        with open(self.folder / "stderr", "ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "supervisor.supervisord", "-c", self.conf],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                cwd=self.folder,
                env=environment,
                umask=-1 if self.umask is None else self.umask,
            )

    def start(self) -> Supervisord:
        self.launch()
        self.await_running()
        return self

    def await_running(self) -> None:
        def answers() -> bool:
            if self.nodaemon and self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"supervisord ended: {(self.folder / 'stderr').read_text()}")
            try:
                return self.client.state() is Mood.RUNNING
            except SupervisordUnreachable:
                return False

        wait_until(answers, 20.0, "supervisord answers")
        wait_until(lambda: not self.listener or self.record.exists(), 20.0, "the listener runs")

    @property
    def pid(self) -> int:
        return int(self.pidfile.read_text())

    def reload(self) -> None:
        """SIGHUP, and wait until the new generation answers."""
        before = self.log.read_text().count("supervisord started with pid")
        os.kill(self.pid, signal.SIGHUP)
        wait_until(lambda: self.log.read_text().count("supervisord started with pid") > before, 30.0, "a reload")
        self.await_running()

    def info(self, name: str) -> ProcessInfo:
        return next(info for info in self.client.snapshot() if info.name == name)

    def await_state(self, name: str, state: ProcessState, timeout: float = 10.0) -> ProcessInfo:
        def reached() -> ProcessInfo | None:
            info = self.info(name)
            return info if info.state is state else None

        return wait_until(reached, timeout, f"{name} is {state.name}")

    def begin(self, name: str) -> int:
        """Start a program and wait until its command was executed; returns its pid."""
        self.client.start(name)
        pid = self.info(name).pid
        wait_until(lambda: "supervisord" not in " ".join(process.cmdline(pid)), 10.0, f"{name} is executed")
        return pid

    def events(self, name: str = "", prefix: str = "PROCESS_STATE") -> list[tuple[float, Event]]:
        """Events so far (when they arrived, monotonic), of one process or all, the listener's own excepted."""
        found = []
        lines = self.record.read_text().splitlines(keepends=True) if self.record.exists() else []
        for line in lines:
            if not line.endswith("\n"):
                break
            stamp, head, payload = ast.literal_eval(line)
            event = parse_event(parse_header(head), payload.decode())
            if event.name.startswith(prefix) and event.process != "listener" and name in ("", event.process):
                found.append((stamp, event))
        return found

    def await_event(
        self, name: str, state: ProcessState, *, after: float = 0.0, timeout: float = 10.0
    ) -> tuple[float, Event]:
        def seen() -> tuple[float, Event] | None:
            return next(((t, e) for t, e in self.events(name) if e.state is state and t >= after), None)

        return wait_until(seen, timeout, f"event {state.name} of {name}")

    def cpu(self) -> float:
        """CPU seconds that supervisord has used."""
        fields = process.stat_fields(self.pid)
        assert fields is not None
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def fds(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def zombies(self) -> list[int]:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [int(pid) for pid in children if (process.stat_fields(int(pid)) or ["?"])[0] == "Z"]

    def log_count(self, pattern: str) -> int:
        return len(re.findall(pattern, self.log.read_text()))

    def terminate(self, timeout: float = 30.0) -> float:
        """SIGTERM, wait for the end; returns the seconds that it took."""
        assert self.process is not None
        begun = time.monotonic()
        self.process.terminate()
        self.process.wait(timeout)
        return time.monotonic() - begun

    def remains(self) -> list[int]:
        """Pids of processes that were started in this folder and still live."""
        mark = f"HS_TEST_FOLDER={self.folder}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        return [pid for pid in found if process.is_alive(pid)]

    def clean_up(self) -> None:
        """Kill whatever still runs of it."""
        self.client.close()
        for _ in range(5):
            for pid in self.remains():
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def supervisord() -> Iterator[Supervisord]:
    """A supervisord that is not started yet; killed, and its folder removed, at the end."""
    folder = Path(tempfile.mkdtemp(prefix="hs", dir="/tmp"))
    folder.chmod(0o755)
    made = Supervisord(folder)
    try:
        yield made
    finally:
        made.clean_up()
        shutil.rmtree(folder, ignore_errors=True)
