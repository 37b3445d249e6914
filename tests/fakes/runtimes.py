"""The embedded hub for tests: as a process of its own, in a home of its own, and its broker alone in this process.

Nothing is simulated: the process is the product's, the broker the real NATS server with the real callout.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fakes.ports import free_port
from fakes.tools import require
from fakes.wait import wait_until

from hiveot_supervisor.credentials import certificates, keys, store, tokens
from hiveot_supervisor.hub.client import Account as Login
from hiveot_supervisor.hub.mqtt import MqttHubClient
from hiveot_supervisor.model import Hub, Paths, to_json
from hiveot_supervisor.runtime.accounts import Account, AccountStore, ClientType
from hiveot_supervisor.runtime.broker_nats import NatsBroker
from hiveot_supervisor.runtime.local import LocalLogins
from hiveot_supervisor.runtime.logins import Doorkeeper
from hiveot_supervisor.runtime.rawmqtt import RawMqtt
from hiveot_supervisor.runtime.roles import Role

FOLDERS = ("bin", "plugins", "config", "certs", "logs", "stores", "run")


class RuntimeHome:
    """A home with the runtime as a child process; `start`, `stop`, `kill` can be called again and again."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="hs", dir="/tmp"))
        self.port = free_port()
        self.paths = Paths(
            home=self.path,
            generated=self.path / "generated",
            supervisord_conf=self.path / "supervisord.conf",
            **{name: self.path / name for name in FOLDERS},
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.log = self.path / "runtime.log"
        self.configure()

    def configure(self, **hub: object) -> None:
        settings = {"url": f"mqtts://localhost:{self.port}", "listen_port": self.port} | hub
        self.paths.generated.mkdir(mode=0o700, exist_ok=True)
        content = {"hub": to_json(Hub(**settings)), "paths": to_json(self.paths), "launcher_id": "launcher"}  # type: ignore[arg-type]
        (self.paths.generated / "runtime.json").write_text(json.dumps(content))

    def spawn(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "hiveot_supervisor.runtime", "--home", str(self.path)]
            self.process = subprocess.Popen(command, stderr=log, stdout=log, stdin=subprocess.DEVNULL)
        return self.process

    def start(self) -> float:
        """Start it and wait until it is ready; returns the seconds that took."""
        began = time.monotonic()
        process = self.spawn()
        wait_until(lambda: self.ready_pid() == process.pid or process.poll() is not None, 20, "ready")
        assert process.poll() is None, self.log.read_text()
        return time.monotonic() - began

    def ready_pid(self) -> int:
        try:
            return int(json.loads((self.paths.run / "runtime.ready").read_text())["pid"])
        except (FileNotFoundError, ValueError):
            return 0

    def broker_pid(self) -> int:
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0])

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(20)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(5)

    def token(self, client_id: str) -> str:
        return self.paths.token(client_id).read_text()

    def client(self, user: str, *, agent: bool = False) -> MqttHubClient:
        """A connected hub client; close it."""
        url = f"mqtts://localhost:{self.port}"
        client = MqttHubClient(url, Login(user, self.paths.token(user), self.paths.ca_cert), agent=agent)
        client.start()
        client.wait_connected(10)
        return client

    def raw(self, user: str, password: str, client_id: str = "", *, clean: bool = True) -> RawMqtt:
        """A stranger's login by hand."""
        connection = RawMqtt("127.0.0.1", self.port, ssl.create_default_context(cafile=str(self.paths.ca_cert)))
        connection.login(client_id, user, password, clean=clean)
        return connection

    def mosquitto(self, program: str, user: str, password: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Run Debian's mosquitto_sub or mosquitto_pub to its end; skips the test where it is not installed."""
        require(program)
        command = [program, "-h", "localhost", "-p", str(self.port), "--cafile", str(self.paths.ca_cert)]
        command += ["-u", user, "-P", password, "-q", "1", *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(5)
        shutil.rmtree(self.path, ignore_errors=True)


class LocalBroker:
    """The real broker with callout and account store, run from this process."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="hs", dir="/tmp"))
        self.port = free_port()
        now = time.time()
        self.ca_key = certificates.new_server_key()
        self.ca = certificates.create_ca(self.ca_key, now=now)
        self.key = certificates.new_server_key()
        store.write_file(self.path / "ca.pem", self.ca)
        store.write_file(self.path / "server.key", keys.private_pem(self.key))
        self.new_server_certificate()
        self.signer = keys.generate()
        self.accounts = AccountStore(self.path / "accounts.db")
        self.door = Doorkeeper(self.accounts, self.signer.public_key(), launcher_id="launcher", now=time.time)
        self.exits = 0
        self.start()

    def start(self) -> None:
        self.broker = NatsBroker(
            host="127.0.0.1",
            port=self.port,
            certificate=self.path / "server.pem",
            key=self.path / "server.key",
            folder=self.path / "nats",
            binary=None,
            admit=lambda *login: self.door.admit(*login),
            on_exit=self._exited,
        )
        self.broker.start()
        self.broker.open()
        self.context = ssl.create_default_context(cafile=str(self.path / "ca.pem"))
        self.logins = LocalLogins("127.0.0.1", self.port, self.path / "ca.pem", self.door.secret)

    def _exited(self) -> None:
        self.exits += 1

    def new_server_certificate(self) -> bytes:
        pem = certificates.create_server(self.ca, self.ca_key, self.key, ["localhost", "127.0.0.1"], now=time.time())
        store.write_file(self.path / "server.pem", pem)
        return pem

    def add(self, client_id: str, role: Role, **more: object) -> str:
        """A new account and a token for it."""
        kind = ClientType.SERVICE if role in (Role.SERVICE, Role.AGENT) else ClientType.CONSUMER
        now = time.time()
        self.accounts.put(Account(client_id, kind, role, created=now, **more))  # type: ignore[arg-type]
        return tokens.issue(self.signer, client_id, now=now, lifetime=3600)

    def raw(self, user: str, password: str, client_id: str = "", *, clean: bool = True) -> RawMqtt:
        connection = RawMqtt("127.0.0.1", self.port, self.context)
        connection.login(client_id, user, password, clean=clean)
        return connection

    def close(self) -> None:
        self.broker.stop()
        self.accounts.close()
        shutil.rmtree(self.path, ignore_errors=True)


def gone(pid: int) -> bool:
    """True when the process has ended (a zombie has, too)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def rss_kb(pid: int) -> int:
    """Resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def loose_files(folder: Path) -> list[str]:
    """Everything below a folder that group or others may touch."""
    found = []
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # the broker's files come and go
            if not path.is_symlink() and path.lstat().st_mode & 0o077:
                found.append(f"{path} {path.lstat().st_mode:o}")
    return found


def environment_of(pid: int) -> str:
    """Arguments and environment of a process, as anyone with `ps` may see them."""
    return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes())
