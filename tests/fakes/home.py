"""A real home for end-to-end tests: launcher.yaml, plugins, supervisord, the embedded hub, and a subscriber.

Everything is the product's own, started the way a user would; ports are ephemeral, the folder is short (sockets) and is
removed at the end together with every process that was started from it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from fakes.ports import free_port

ROOT = Path(__file__).parents[2]
LAUNCHER = [sys.executable, "-m", "hiveot_supervisor.cli.main"]
SUPERVISORD = str(Path(sys.executable).with_name("supervisord"))
SUPERVISORCTL = str(Path(sys.executable).with_name("supervisorctl"))

VISIBLE = ("hiveot/td/#", "hiveot/prop/#", "hiveot/event/#", "hiveot/presence/#")
"""What every role from viewer on may see."""

EXTENSION = not os.environ.get("TEST_STOCK")
"""Whether homes use our extension inside supervisord; `make stock` runs the same tests without."""


def told_signal(name: str) -> str | None:
    """What is told of a death by signal: supervisord alone does not know by which."""
    return name if EXTENSION else None


SLEEPER = "#!/bin/sh\nexec sleep 100000\n"
STUBBORN = "#!/bin/sh\ntrap '' TERM INT\nwhile :; do sleep 1; done\n"


def until(condition: Callable[[], Any], timeout: float = 20.0, what: str = "") -> Any:
    """Wait until the condition is true and return its value."""
    deadline = time.monotonic() + timeout
    while True:
        if value := condition():
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what or condition}")
        time.sleep(0.01)


class Subscriber:
    """A stranger's MQTT client with a persistent session, which writes down everything it is allowed to see."""

    def __init__(self, home: Home, user: str = "admin", topics: tuple[str, ...] = VISIBLE) -> None:
        self.messages: list[tuple[float, str, bytes, bool]] = []
        self._subscribed = threading.Event()
        client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id=f"{user}-{os.urandom(3).hex()}", clean_session=False
        )
        context = ssl.create_default_context(cafile=str(home.path / "certs/caCert.pem"))
        client.tls_set_context(context)
        client.username_pw_set(user, (home.path / f"certs/{user}.token").read_text())
        client.on_connect = lambda c, *_: c.subscribe([(t, 1) for t in topics])
        client.on_subscribe = lambda *_: self._subscribed.set()
        client.on_message = lambda _c, _u, m: self.messages.append((time.monotonic(), m.topic, m.payload, m.retain))
        client.on_socket_open = lambda _c, _u, s: s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.reconnect_delay_set(1, 1)
        self.client = client
        client.connect("localhost", home.port)
        client.loop_start()
        assert self._subscribed.wait(10)

    def events(self, name: str) -> list[str]:
        """Plugin IDs of `started` or `stopped` events, in order of arrival, each seq once."""
        seen: set[Any] = set()
        result = []
        for _, topic, payload, _ in list(self.messages):
            if topic == f"hiveot/event/launcher/Admin/{name}":
                message = json.loads(payload)
                if message.get("seq") not in seen:
                    seen.add(message.get("seq"))
                    result.append(message["value"])
        return result

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


class Home:
    """One home folder and what runs from it."""

    def __init__(self, *, settings: str = "startWait: 0\n", hub: str = "") -> None:
        self.path = Path(tempfile.mkdtemp(prefix="hs", dir="/tmp"))
        self.port = free_port()
        self.settings = settings
        self.hub = hub  # more keys of `hub`, as in `driver: mosquitto`
        self.foreground: subprocess.Popen[str] | None = None
        self._subscribers: list[Subscriber] = []
        self.launch("init", str(self.path), home=False)

    # -- making

    def plugin(self, name: str, script: str = SLEEPER) -> Path:
        path = self.path / "plugins" / name
        path.write_text(script)
        path.chmod(0o755)
        return path

    def configure(self, *autostart: str, extra: str = "", runtime: str = "runtime: runtime\n") -> None:
        listed = "".join(f"  - {name}\n" for name in autostart)
        stock = "" if EXTENSION else "extension: false\n"
        hub = f"hub: {{url: 'mqtts://localhost:{self.port}', {self.hub}}}\n"
        text = f"{stock}{runtime}{hub}logLevel: info\n{self.settings}{extra}"
        text += f"autostart:\n{listed}" if listed else ""
        for place in (self.path / "launcher.yaml", self.path / "config/launcher.yaml"):
            if place.exists():
                place.write_text(text)
                return
        (self.path / "launcher.yaml").write_text(text)

    # -- running

    def launch(
        self, *words: str, check: int | None = 0, home: bool = True, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run hiveot-launcher; `check` is the exit code that is expected (None: any)."""
        command = [*LAUNCHER, *(["--home", str(self.path)] if home else []), *words]
        result = subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=ROOT, env=self.env())
        if check is not None:
            assert result.returncode == check, f"{words}: exit {result.returncode}\n{result.stdout}\n{result.stderr}"
        return result

    @staticmethod
    def env() -> dict[str, str]:
        return {k: v for k, v in os.environ.items() if not k.startswith(("SUPERVISOR_", "HIVEOT_"))}

    def ctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        """supervisorctl as typed in the home folder."""
        return subprocess.run([SUPERVISORCTL, *words], cwd=self.path, capture_output=True, text=True, timeout=60)

    def up(self, *, wait: bool = True) -> None:
        """`up --wait`: everything of the autostart list runs afterwards."""
        self.launch("up", "--wait" if wait else "-d")

    def up_failing(self) -> None:
        """`up --wait` where something of the autostart list will not run."""
        self.launch("up", "--wait", check=1)

    def down(self) -> None:
        self.launch("down")

    def subscribe(self, user: str = "admin", topics: tuple[str, ...] = VISIBLE) -> Subscriber:
        subscriber = Subscriber(self, user, topics)
        self._subscribers.append(subscriber)
        return subscriber

    def views(self) -> dict[str, dict[str, Any]]:
        """`list --json` by name."""
        return {v["name"]: v for v in json.loads(self.launch("list", "--json", check=None).stdout)["plugins"]}

    def journal(self, name: str | None = None) -> list[dict[str, Any]]:
        lines = self.launch("events", "--json", "-n", "100000").stdout.splitlines()
        events = [json.loads(line) for line in lines]
        return [e for e in events if name is None or e["name"] == name]

    @property
    def supervisord_pid(self) -> int:
        return int((self.path / "run/supervisord.pid").read_text())

    def processes(self) -> dict[int, str]:
        """Every living process that was started from this home: command line or environment names its path."""
        found = {}
        marks = (str(self.path).encode() + b"/", str(self.path).encode() + b"\0")
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                line = (entry / "cmdline").read_bytes()
                environment = (entry / "environ").read_bytes() + b"\0"
            except OSError:
                continue
            if line and any(m in line + b"\0" or m in environment for m in marks):
                found[int(entry.name)] = line.replace(b"\0", b" ").decode(errors="replace")
        return found

    def close(self) -> None:
        """Stop and remove everything, whatever state it is in."""
        for subscriber in self._subscribers:
            with contextlib.suppress(Exception):
                subscriber.close()
        with contextlib.suppress(Exception):
            self.launch("down", "--timeout", "20", check=None)
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.path, ignore_errors=True)


@contextlib.contextmanager
def home(**options: Any) -> Iterator[Home]:
    made = Home(**options)
    try:
        yield made
    finally:
        made.close()
