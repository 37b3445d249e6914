"""The embedded hub for tests: as a process of its own, in a home of its own, and its broker alone in this process.

Nothing is simulated: the process is the product's, the brokers are the real NATS server with the real callout, and the
real Mosquitto.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.brokers import Mosquitto
from fakes.ports import free_port
from fakes.tools import require
from fakes.wait import wait_until

from hiveot_supervisor.credentials import certificates, keys, store, tokens
from hiveot_supervisor.hub.client import Account as Login
from hiveot_supervisor.hub.mqtt import MqttHubClient
from hiveot_supervisor.model import Driver, Hub, Paths, to_json
from hiveot_supervisor.runtime import bootstrap, dynsec
from hiveot_supervisor.runtime.accounts import Account, AccountStore, ClientType, hash_password
from hiveot_supervisor.runtime.bootstrap import HubFiles
from hiveot_supervisor.runtime.drivers import Ingredients, make_broker
from hiveot_supervisor.runtime.issued import IssuedCertificates
from hiveot_supervisor.runtime.local import LocalLogins
from hiveot_supervisor.runtime.logins import RUNTIME_USER, Admission
from hiveot_supervisor.runtime.pbkdf2 import TOKEN_ITERATIONS, hash_secret
from hiveot_supervisor.runtime.rawmqtt import RawMqtt
from hiveot_supervisor.runtime.roles import EVERYTHING, Grants, Role, grants
from hiveot_supervisor.runtime.settings import Settings

FOLDERS = ("bin", "plugins", "config", "certs", "logs", "stores", "run")


class RuntimeHome:
    """A home with the runtime as a child process; `start`, `stop`, `kill` can be called again and again."""

    def __init__(self, driver: Driver = Driver.NATS, **hub: object) -> None:
        require_driver(driver)
        self.driver = driver
        self.path = Path(tempfile.mkdtemp(prefix="hs", dir="/tmp"))
        self.port = free_port()
        self.certificate_port = int(str(hub.get("certificates_port", 0)))
        self.paths = Paths(
            home=self.path,
            generated=self.path / "generated",
            supervisord_conf=self.path / "supervisord.conf",
            **{name: self.path / name for name in FOLDERS},
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.log = self.path / "runtime.log"
        self.configure(**hub)

    def configure(self, **hub: object) -> None:
        own = {"url": f"mqtts://localhost:{self.port}", "listen_port": self.port, "driver": self.driver}
        settings = own | hub
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

    def client(self, user: str, *, agent: bool = False, certificate_port: int = 0) -> MqttHubClient:
        """A connected hub client, by token or at the listener for certificates; close it."""
        url = f"mqtts://localhost:{certificate_port or self.port}"
        login = Login(user, self.paths.token(user), self.paths.ca_cert)
        if certificate_port:
            files = {"certificate": self.paths.certificate(user), "key": self.paths.key(user)}
            login = dataclasses.replace(login, **files)  # type: ignore[arg-type]
        client = MqttHubClient(url, login, agent=agent)
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


DRIVERS = (Driver.NATS, Driver.MOSQUITTO)


def require_driver(driver: Driver) -> None:
    """Skip the test where the driver's program is missing."""
    if driver is Driver.MOSQUITTO and Mosquitto.executable() is None:
        pytest.skip("mosquitto with Dynamic Security is not installed (apt install mosquitto)")


class LocalBroker:
    """A real broker with accounts, run from this process: what the runtime makes, without the account service."""

    def __init__(self, driver: Driver = Driver.NATS, *, certificates: bool = False, path: Path | None = None) -> None:
        require_driver(driver)
        self.driver = driver
        self.path = path or Path(tempfile.mkdtemp(prefix="hs", dir="/tmp"))
        self.port = free_port()
        self.certificate_port = free_port() if certificates else 0
        self.files = HubFiles(self.path / "certs")
        bootstrap.prepare_tls(self.files, self._hub(), now=time.time())
        self.signer = bootstrap.prepare_signer(self.files)
        self.accounts = AccountStore(self.path / "accounts.db")
        self.issued = IssuedCertificates(self.path / "accounts.db")
        self.exits = 0
        self.start()

    def _hub(self) -> Hub:
        return Hub(
            url=f"mqtts://localhost:{self.port}",
            driver=self.driver,
            listen_port=self.port,
            certificates_port=self.certificate_port,
        )

    def start(self, *, opened: bool = True) -> None:
        paths = Paths(
            home=self.path,
            generated=self.path,
            supervisord_conf=self.path / "supervisord.conf",
            **{name: self.path / name for name in FOLDERS},
        )
        settings = Settings(self._hub(), paths, "launcher")
        given = Ingredients(settings, self.accounts, self.issued, self.files, self.signer, on_exit=self._exited)
        self.broker: Any = make_broker(given)
        self.broker.start()
        if opened:
            self.broker.open()
        self.context = ssl.create_default_context(cafile=str(self.files.ca))
        self.logins: LocalLogins = self.broker.logins

    def _exited(self) -> None:
        self.exits += 1

    @property
    def folder(self) -> Path:
        """The broker's own."""
        return self.path / "stores" / "runtime" / self.driver.value

    def new_server_certificate(self) -> bytes:
        ca, ca_key = self.files.ca.read_bytes(), bootstrap.load_ca_key(self.files)
        key = keys.load(self.files.server_key)
        pem = certificates.create_server(ca, ca_key, key, ["localhost", "127.0.0.1"], now=time.time())
        store.write_file(self.files.server, pem)
        return pem

    def add(self, client_id: str, role: Role, *, password: str = "", lifetime: float = 3600) -> str:
        """A new account and a token for it; with a password that is how it logs in, and the token is for NATS only."""
        token = self.add_before_start(client_id, role, password=password, lifetime=lifetime)
        self.broker.put(self.accounts.get(client_id))
        self.broker.set_secret(client_id, password or token)
        return token

    def add_before_start(self, client_id: str, role: Role, *, password: str = "", lifetime: float = 3600) -> str:
        """The same in the account store alone."""
        kind = ClientType.SERVICE if role in (Role.SERVICE, Role.AGENT) else ClientType.CONSUMER
        now = time.time()
        account = Account(client_id, kind, role, created=now)
        if password:
            account = dataclasses.replace(account, password_hash=hash_password(password))
        token = tokens.issue(self.signer, client_id, now=now, lifetime=lifetime)
        if not password:
            secret_hash = hash_secret(token, TOKEN_ITERATIONS)
            account = dataclasses.replace(account, secret_hash=secret_hash, secret_expires=now + lifetime)
        self.accounts.put(account)
        return token

    def change(self, client_id: str, **changes: Any) -> None:
        """Change an account as the account service does."""
        account = self.accounts.get(client_id)
        assert account is not None
        changed = dataclasses.replace(account, **changes)
        self.accounts.put(changed)
        self.broker.put(changed)
        self.broker.kick(client_id)

    def remove(self, client_id: str) -> None:
        self.accounts.remove(client_id)
        self.broker.forget(client_id)

    @contextlib.contextmanager
    def spoiled(self, user: str, rights: Grants) -> Iterator[None]:
        """One of the runtime's own users has other rights than it should have."""
        if self.driver is Driver.MOSQUITTO:
            control = Grants(publish=("$CONTROL/#",), subscribe=("$CONTROL/#",))
            proper = EVERYTHING | control if user == RUNTIME_USER else grants(Role.NONE, user)
            wrong = rights | control if user == RUNTIME_USER else rights
            self.broker._dynsec.run(dynsec.change_rights(user, wrong)[:1])
            yield
            self.broker._dynsec.run(dynsec.change_rights(user, proper)[:1])
            return
        real = self.broker._admit

        def admit(name: str, password: str, mqtt_id: str) -> Admission:
            admission = real(name, password, mqtt_id)
            return Admission(rights, admission.expires) if name == user else admission

        self.broker._admit = admit
        yield
        self.broker._admit = real

    def raw(self, user: str, password: str, client_id: str = "", **options: Any) -> RawMqtt:
        connection = RawMqtt("127.0.0.1", self.port, self.context)
        connection.login(client_id, user, password, **options)
        return connection

    def certificate(self, client_id: str, *, now: float | None = None) -> ssl.SSLContext:
        """A context with a new client certificate of the hub's CA."""
        key = keys.generate()
        request = certificates.create_request(key, client_id)
        ca_key, when = bootstrap.load_ca_key(self.files), now or time.time()
        pem = certificates.create_client(self.files.ca.read_bytes(), ca_key, request, client_id, now=when)
        self.issued.add(pem, client_id, now=when)
        return self.present(pem, keys.private_pem(key))

    def present(self, certificate: bytes, key: bytes) -> ssl.SSLContext:
        """A context that shows this certificate."""
        file = self.path / "client.pem"
        store.write_file(file, certificate + key)
        context = ssl.create_default_context(cafile=str(self.files.ca))
        context.load_cert_chain(file)
        return context

    def raw_certificate(self, context: ssl.SSLContext, client_id: str, **options: Any) -> RawMqtt:
        """A login by certificate; user name and password are not what counts."""
        connection = RawMqtt("127.0.0.1", self.certificate_port, context)
        connection.login(client_id, "whoever", "nonsense", **options)
        return connection

    def close(self) -> None:
        self.broker.stop()
        self.accounts.close()
        self.issued.close()
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
    for where, folders, files in os.walk(folder):  # the broker's files come and go, which os.walk does not mind
        for path in (Path(where, name) for name in [*folders, *files]):
            with contextlib.suppress(FileNotFoundError):
                if not path.is_symlink() and path.lstat().st_mode & 0o077:
                    found.append(f"{path} {path.lstat().st_mode:o}")
    return found


def environment_of(pid: int) -> str:
    """Arguments and environment of a process, as anyone with `ps` may see them."""
    return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes())
