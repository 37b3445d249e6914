"""Real MQTT brokers for tests: Mosquitto and the NATS server, TLS, password logins, on ephemeral loopback ports.

A broker lives in its own folder with `ca.pem` and one `{user}.token` file (the password) for each of `USERS`, so a
hub client can use them like a home's certs folder. Brokers die with the thread that started them, and so with the
test process.
"""

from __future__ import annotations

import base64
import ctypes
import datetime
import hashlib
import ipaddress
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from fakes.ports import free_port

from hiveot_supervisor.hub.client import Account

START_TIMEOUT = 10.0

# user -> topics that it may publish, topics that it may subscribe; `#` and `+` as in MQTT
USERS: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "launcher": (["hiveot/#"], ["hiveot/#"]),
    "authn": (["hiveot/#"], ["hiveot/#"]),
    "admin": (["hiveot/#"], ["hiveot/#"]),
    "sleeper": (["hiveot/#"], ["hiveot/#"]),
    "viewer": (
        ["hiveot/read/+/+/+/viewer", "hiveot/presence/viewer"],
        ["hiveot/td/#", "hiveot/prop/#", "hiveot/event/#", "hiveot/presence/#", "hiveot/inbox/viewer/#"],
    ),
    "nobody": (["hiveot/action/authn/User/+/nobody"], ["hiveot/inbox/nobody/#"]),
}


KEEPER = "keeper"
"""Administrator of Mosquitto's Dynamic Security; the password is `password-of-keeper`."""
CONTROL_RIGHTS = ("publishClientSend", "subscribePattern", "publishClientReceive")


class Broker:
    """One broker; `start`, `kill` (as kill -9), `stop` (SIGTERM) can be called again and again on the same port."""

    kind = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = "localhost"
        self.port = free_port()
        self.log = folder / "broker.log"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        make_certificates(folder)
        for user in USERS:
            (folder / f"{user}.token").write_text(f"token-of-{user}\n")
        self._configure()

    @property
    def url(self) -> str:
        return f"mqtts://{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def account(self, user: str) -> Account:
        return Account(user, self.folder / f"{user}.token", self.folder / "ca.pem")

    def start(self) -> None:
        """Start and wait until it listens."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                preexec_fn=_die_with_parent,
            )
        deadline = time.monotonic() + START_TIMEOUT
        while not listens(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.kind} did not start:\n{self.log.read_text()}")
            time.sleep(0.005)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.send_signal(signal.SIGCONT)  # a test may have suspended it
            self._process.wait(START_TIMEOUT)
            self._process = None

    def _configure(self) -> None:
        raise NotImplementedError

    def _command(self) -> list[str]:
        raise NotImplementedError


class Mosquitto(Broker):
    """Mosquitto with Dynamic Security (its ACL file would let everybody subscribe)."""

    kind = "mosquitto"

    @staticmethod
    def executable() -> str | None:
        program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
        return program if program and _dynamic_security() else None

    def _configure(self) -> None:
        folder = self.folder
        (folder / "security.json").write_text(json.dumps(_security()))
        (folder / "mosquitto.conf").write_text(
            f"""user {pwd.getpwuid(os.getuid()).pw_name}
per_listener_settings false
plugin {_dynamic_security()}
plugin_opt_config_file {folder}/security.json
allow_anonymous false
set_tcp_nodelay true
max_packet_size 1048576
persistence true
persistence_location {folder}/
listener {self.port} 127.0.0.1
cafile {folder}/server-ca.pem
certfile {folder}/server.pem
keyfile {folder}/server.key
"""
        )

    def _command(self) -> list[str]:
        return [self.executable() or "mosquitto", "-v", "-c", str(self.folder / "mosquitto.conf")]


class Nats(Broker):
    """The NATS server with its MQTT listener and users in the configuration."""

    kind = "nats"

    @staticmethod
    def executable() -> str | None:
        beside = Path(sys.executable).parent / "nats-server"
        return str(beside) if beside.exists() else shutil.which("nats-server")

    def _configure(self) -> None:
        folder = self.folder
        users = [
            {
                "user": user,
                "password": f"token-of-{user}",
                "permissions": {
                    "publish": [s for t in publish for s in nats_subjects(t)],
                    "subscribe": [s for t in subscribe for s in nats_subjects(t)] + ["$MQTT.sub.>"],
                },
            }
            for user, (publish, subscribe) in USERS.items()
        ]
        config = {
            "server_name": "hub",
            "listen": f"127.0.0.1:{free_port()}",
            "max_payload": 1048576,
            "jetstream": {"store_dir": str(folder / "store"), "limits": {"default_max_consumers": 20000}},
            "mqtt": {
                "listen": f"127.0.0.1:{self.port}",
                "ack_wait": "5s",
                "tls": {"cert_file": str(folder / "server.pem"), "key_file": str(folder / "server.key")},
            },
            "accounts": {"HUB": {"jetstream": "enabled", "users": users}, "SYS": {}},
            "system_account": "SYS",
        }
        (folder / "nats.conf").write_text(json.dumps(config, indent=1))

    def _command(self) -> list[str]:
        return [self.executable() or "nats-server", "-c", str(self.folder / "nats.conf")]


KINDS: Mapping[str, type[Broker]] = {kind.kind: kind for kind in (Mosquitto, Nats)}


def make_broker(kind: str, folder: Path) -> Broker:
    """A broker of that kind, not started."""
    return KINDS[kind](folder)


def available(kind: str) -> bool:
    return KINDS[kind].executable() is not None  # type: ignore[attr-defined]


def nats_subjects(topic: str) -> list[str]:
    """An MQTT filter as NATS subjects: `a/#` matches `a` too, `.` in a level is `//`."""
    subject = topic.replace(".", "//").replace("/", ".").replace("+", "*")
    return [subject[:-2], subject[:-1] + ">"] if subject.endswith(".#") else [subject]


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def make_certificates(folder: Path, *, key_usage: bool = True) -> None:
    """`ca.pem`, `server.pem`, `server.key` for localhost and 127.0.0.1. key_usage: the CA's says that it signs."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")])
    ca = _certificate(ca_name, ca_key.public_key(), ca_name).add_extension(x509.BasicConstraints(True, None), True)
    ca = ca.add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), False)
    if key_usage:
        ca = ca.add_extension(x509.KeyUsage(False, False, False, False, False, True, True, False, False), True)
    server = _certificate(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hub")]), key.public_key(), ca_name)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    server = server.add_extension(x509.SubjectAlternativeName(names), False)
    server = server.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    server = server.add_extension(authority, False)
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(ca.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    shutil.copy(folder / "ca.pem", folder / "server-ca.pem")  # the broker's own: tests may take the clients' away
    (folder / "server.pem").write_bytes(server.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    (folder / "server.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def _certificate(subject: x509.Name, key: ec.EllipticCurvePublicKey, issuer: x509.Name) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=2))
    )


def _dynamic_security() -> Path | None:
    return next(Path("/usr/lib").glob("**/mosquitto_dynamic_security.so"), None)


def _security() -> dict[str, Any]:
    """The state of Dynamic Security: one role per user, everything else denied."""
    clients, roles = [], []
    for user, (publish, subscribe) in USERS.items():
        salt = os.urandom(12)
        digest = hashlib.pbkdf2_hmac("sha512", f"token-of-{user}".encode(), salt, 101)
        secret = {"salt": base64.b64encode(salt).decode(), "password": base64.b64encode(digest).decode()}
        clients.append({"username": user, **secret, "iterations": 101, "roles": [{"rolename": user}]})
        rules = [("publishClientSend", t) for t in publish]
        rules += [(kind, t) for t in subscribe for kind in ("subscribePattern", "publishClientReceive")]
        roles.append({"rolename": user, "acls": [{"acltype": k, "topic": t, "allow": True} for k, t in rules]})
    salt = os.urandom(12)
    digest = hashlib.pbkdf2_hmac("sha512", b"password-of-keeper", salt, 101)
    secret = {"salt": base64.b64encode(salt).decode(), "password": base64.b64encode(digest).decode()}
    clients.append({"username": KEEPER, **secret, "iterations": 101, "roles": [{"rolename": KEEPER}]})
    control = [(kind, "$CONTROL/dynamic-security/#") for kind in CONTROL_RIGHTS]
    roles.append({"rolename": KEEPER, "acls": [{"acltype": k, "topic": t, "allow": True} for k, t in control]})
    kinds = ("publishClientSend", "publishClientReceive", "subscribe", "unsubscribe")
    return {"defaultACLAccess": dict.fromkeys(kinds, False), "clients": clients, "roles": roles}


_LIBC = ctypes.CDLL(None)


def _die_with_parent() -> None:
    _LIBC.prctl(1, signal.SIGKILL)
