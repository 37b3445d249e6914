"""The example plugins as running programs, the home they run in, and a subscriber that sees everything."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from fakes import brokers
from fakes.wait import wait_until

PLUGINS = Path(__file__).parents[2] / "examples/plugins"
ACCOUNT = "sleeper"
"""The account of `fakes.brokers` that may do what a plugin does."""


class Run:
    """A plugin that runs, with everything it says."""

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self.log = folder / "plugin.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", process_group=0
            )

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def terminate(self, timeout: float = 5.0) -> int:
        """SIGTERM to the program alone; its exit code."""
        self.process.terminate()
        return self.process.wait(timeout)


class Home:
    """The certs folder of a home, with the broker's CA and the plugin's token, and plugins that run with it."""

    def __init__(self, folder: Path, broker: brokers.Broker) -> None:
        self.folder = folder
        self.certs = folder / "certs"
        self.broker = broker
        self.runs: list[Run] = []
        self.certs.mkdir()
        shutil.copy(broker.folder / "ca.pem", self.certs / "caCert.pem")
        self.token = self.certs / f"{ACCOUNT}.token"
        shutil.copy(broker.folder / self.token.name, self.token)

    def run(self, name: str, *options: str, interpreter: str = "", **environment: str) -> Run:
        """Start the example as the launcher would: URL as argument, everything else in the environment."""
        program = [interpreter or sys.executable] if name == "sysinfo" or interpreter else []
        command = [*program, str(PLUGINS / name), f"--serverURL={self.broker.url}", *options]
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("HIVEOT_")}
        ours = {"HIVEOT_HOME": str(self.folder), "HIVEOT_CERTS": str(self.certs), "HIVEOT_CLIENTID": ACCOUNT}
        run = Run(command, inherited | ours | {"LOGLEVEL": "info"} | environment, self.folder)
        self.runs.append(run)
        return run

    def close(self) -> None:
        for run in self.runs:
            if run.process.poll() is None:
                os.killpg(run.process.pid, 9)
                run.process.wait()


class Watcher:
    """Subscribes to everything and writes it down; can publish as `admin`."""

    def __init__(self, broker: brokers.Broker) -> None:
        self.messages: list[mqtt.MQTTMessage] = []
        self._subscribed = threading.Event()
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=f"watch-{os.urandom(3).hex()}")
        client.username_pw_set("admin", (broker.folder / "admin.token").read_text().strip())
        client.tls_set_context(ssl.create_default_context(cafile=str(broker.folder / "ca.pem")))
        client.on_socket_open = lambda _c, _u, s: s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.on_connect = lambda c, *_: c.subscribe("hiveot/#", 1)
        client.on_subscribe = lambda *_: self._subscribed.set()
        client.on_message = lambda _c, _u, message: self.messages.append(message)
        client.reconnect_delay_set(1, 1)
        client.connect(broker.host, broker.port)
        client.loop_start()
        assert self._subscribed.wait(10)
        self.client = client

    def on(self, topic: str) -> list[bytes]:
        """The payloads on one topic, in order."""
        return [bytes(m.payload) for m in list(self.messages) if m.topic == topic]

    def wait(self, topic: str, condition: Callable[[Any], Any] = bool, timeout: float = 10.0) -> Any:
        """The first decoded payload on the topic that fulfils the condition."""

        def found() -> list[Any]:
            values = [json.loads(payload) for payload in self.on(topic) if payload]
            return [value for value in values if condition(value)]

        return wait_until(found, timeout, f"{topic}; seen {[m.topic for m in self.messages]}")[0]

    def presence(self, state: str) -> Any:
        return self.wait(f"hiveot/presence/{ACCOUNT}", lambda value: value["state"] == state)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
