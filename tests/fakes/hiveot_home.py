"""An installation as HiveOT's Go launcher has it: bin/ plugins/ config/ certs/ logs/ stores/, and a runtime program.

`bin/runtime` is a script that runs the test hub; the plugins are those of the recordings. Nothing in it is ours until
a command of ours runs in it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fakes.hiveot_hub import Hub
from fakes.home import ROOT, free_port, until

from hiveot_supervisor.agent.state import Reader
from hiveot_supervisor.hub.client import Account, Notification, NotificationKind
from hiveot_supervisor.hub.wss import WssHubClient

PLUGINS = {
    "sleeper": "#!/bin/sh\nexec sleep 100000\n",
    "sleeper2": "#!/bin/sh\nexec sleep 100000\n",
    "failer": "#!/bin/sh\nexit 3\n",
    "crasher": "#!/bin/sh\nsleep 0.8\nexit 7\n",
    "done": "#!/bin/sh\nsleep 0.8\n",
    "stubborn": "#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 1; done\n",
}
RUNTIME = """#!/bin/sh
# stands for HiveOT's Go program: listens, and writes its credential files anew at each start
PYTHONPATH='{tests}:{root}' exec '{python}' -m fakes.hiveot_hub --home '{home}' --port {port}
"""


class GoHome:
    """One installation. `runtime=False`: the hub runs elsewhere, in this process (`self.hub`)."""

    def __init__(self, *, runtime: bool = True, plugins: dict[str, str] | None = None) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="hs", dir="/tmp"))
        self.port = free_port()
        self.runtime = runtime
        self.hub = Hub(self.path / "elsewhere", self.port)
        self.process: subprocess.Popen[bytes] | None = None
        self._clients: list[WssHubClient] = []
        for name in ("bin", "plugins", "config", "certs", "logs", "stores"):
            (self.path / name).mkdir(mode=0o755)
        (self.path / "stores").chmod(0o700)
        (self.path / "logs").chmod(0o700)
        script = RUNTIME.format(tests=ROOT / "tests", root=ROOT, python=sys.executable, home=self.path, port=self.port)
        if runtime:
            self._program(self.path / "bin/runtime", script)
        for name, text in (PLUGINS if plugins is None else plugins).items():
            self._program(self.path / "plugins" / name, text)

    @staticmethod
    def _program(path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)

    @property
    def url(self) -> str:
        return f"wss://localhost:{self.port}/wot/wss"

    def configure(self, *autostart: str, extra: str = "", url: bool = True) -> None:
        """config/launcher.yaml as a HiveOT user has it; the hub's port is not 8444 here, so it has to be said."""
        text = "runtime: runtime\n" if self.runtime else ""
        text += f"hub: {{url: '{self.url}'}}\n" if url else ""
        text += "logLevel: info\nautorestart: false\n" + extra
        text += "".join(["autostart:\n", *(f"  - {name}\n" for name in autostart)]) if autostart else ""
        (self.path / "config/launcher.yaml").write_text(text)

    def start(self, *flags: str, program: str = "launcher") -> None:
        """Start `bin/launcher`, a link to ours, as HiveOT's unit file does."""
        link = self.path / "bin" / program
        if not link.exists():
            link.symlink_to(ROOT / "bin/launcher")
        with (self.path / "out.log").open("ab") as out:
            self.process = subprocess.Popen([str(link), *flags], cwd="/", env=self.env(), stdout=out, stderr=out)

    @staticmethod
    def env() -> dict[str, str]:
        hidden = ("SUPERVISOR_", "HIVEOT_", "LOGLEVEL")
        return {k: v for k, v in os.environ.items() if not k.startswith(hidden)}

    def output(self) -> str:
        parts = [self.path / "out.log", self.path / "logs/launcher.log", self.path / "logs/supervisord.log"]
        return "\n".join(f"--- {p.name}\n{p.read_text()[-3000:]}" for p in parts if p.exists())

    def login(self, client: str = "admin") -> Account:
        folder = self.path / "certs" if self.runtime else self.hub.certs
        return Account(client, folder / f"{client}.token", folder / "caCert.pem")

    def client(self, client: str = "admin") -> WssHubClient:
        """A consumer's connection; waits until the hub is there."""
        made = WssHubClient(self.url, self.login(client), agent=False)
        self._clients.append(made)
        made.start()
        made.wait_connected(20)
        return made

    def ask(self, consumer: WssHubClient, name: str, given: Any = None, timeout: float = 20.0) -> Any:
        return consumer.invoke_action("launcher", "Admin", name, given, timeout=timeout)

    def infos(self, consumer: WssHubClient) -> dict[str, dict[str, Any]]:
        return {each["pluginID"]: each for each in self.ask(consumer, "listPlugins", False)}

    def settled(self, consumer: WssHubClient, *names: str) -> None:
        """Wait until the launcher answers and these plugins run."""

        def there() -> bool:
            with contextlib.suppress(Exception):
                infos = self.infos(consumer)
                return all(infos[name].get("running") for name in names)
            return False

        try:
            until(there, 20, f"running: {names}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output()[-3000:]}") from error

    def stop(self, timeout: float = 20) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout)
        self.process = None
        return code

    def processes(self) -> dict[int, str]:
        """Every living process whose command line or environment names the home."""
        found = {}
        marks = (str(self.path).encode() + b"/", str(self.path).encode() + b"\0")
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                line, environment = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes() + b"\0"
                if line and any(m in line + b"\0" or m in environment for m in marks):
                    found[int(entry.name)] = line.replace(b"\0", b" ").decode(errors="replace")
        return found

    def close(self) -> None:
        for each in self._clients:
            each.close()
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(15)
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.hub.stop()
        shutil.rmtree(self.path, ignore_errors=True)


class Watch:
    """A consumer that writes down the launcher's events and properties, over restarts of the hub."""

    def __init__(self, client: WssHubClient) -> None:
        self.seen: list[Notification] = []
        self._lock = threading.Lock()
        kinds = [NotificationKind.EVENT, NotificationKind.PROPERTY, NotificationKind.TD]
        client.subscribe(kinds, self.seen.append, agent_id="launcher").result(10)

    def events(self, *names: str) -> list[tuple[str, Any]]:
        return [(n.name, n.value) for n in list(self.seen) if n.kind is NotificationKind.EVENT and n.name in names]

    def last(self, name: str, thing: str = "Admin") -> Any:
        values = [n.value for n in list(self.seen) if n.thing_id == thing and n.name == name]
        return values[-1] if values else None

    def described(self) -> list[str]:
        return [n.thing_id for n in list(self.seen) if n.kind is NotificationKind.TD]


@contextlib.contextmanager
def go_home(**options: Any) -> Iterator[GoHome]:
    made = GoHome(**options)
    try:
        yield made
    finally:
        made.close()


def stamps(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Mode and content of every file."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {str(p.relative_to(folder)): (p.stat().st_mode & 0o777, p.read_bytes()) for p in files}


def journal(path: Path) -> list[dict[str, Any]]:
    """The launcher's own record of events."""
    reader = Reader(path / "stores/launcher/launcher.db")
    try:
        return [{"name": e.name, "plugin": e.plugin, "value": e.value} for e in reader.events()]
    finally:
        reader.close()


def wait_gone(home: GoHome, timeout: float = 10.0) -> float:
    """Seconds until no process of the home is left."""
    begin = time.monotonic()
    until(lambda: not home.processes(), timeout, f"no process is left: {home.processes()}")
    return time.monotonic() - begin
