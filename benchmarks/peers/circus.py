"""circus, one watcher a worker; told through its ZeroMQ publications. It looks at its children every 5 s by default."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from peers import FOREVER, Daemon, Missing, Stamps, Workers, listener, make_links, output

LISTENER = """
import sys, time, zmq
socket = zmq.Context().socket(zmq.SUB)
socket.connect(sys.argv[1])
socket.setsockopt(zmq.SUBSCRIBE, b"watcher.")
time.sleep(0.5)
print("ready", flush=True)
while True:
    topic = socket.recv_multipart()[0].decode()
    if topic.endswith(".reap"):
        print(topic.split(".")[1], time.monotonic(), flush=True)
"""


class Circus(Daemon):
    name = "circus"
    how_told = "ZeroMQ publication"

    def install(self, cache: Path) -> str:
        self._bin = cache / "circus" / "bin"
        if not (self._bin / "circusd").exists():
            output(sys.executable, "-m", "venv", str(cache / "circus"))
            output(str(self._bin / "pip"), "install", "--quiet", "--disable-pip-version-check", "circus")
        if not (self._bin / "circusd").exists():
            raise Missing("pip installed no circusd")
        listed = output(str(self._bin / "pip"), "list", "--format=freeze", "--disable-pip-version-check")
        return next(line.partition("==")[2] for line in listed.splitlines() if line.startswith("circus="))

    def configure(self, folder: Path, count: int, *, notify: bool) -> None:
        self.folder = folder
        self._workers = Workers(folder / "bin")
        text = "".join(f"{what} = ipc://{folder}/{what}\n" for what in ("endpoint", "pubsub_endpoint"))
        text = f"[circus]\n{text}"
        for link in make_links(folder / "bin", count):
            text += f"[watcher:{link.name}]\ncmd = {link} {FOREVER}\n"
        (folder / "circus.ini").write_text(text)

    def start(self) -> None:
        self.spawn([str(self._bin / "circusd"), str(self.folder / "circus.ini")])

    def status(self) -> list[str]:
        return self._ctl("status")

    def _ctl(self, command: str) -> list[str]:
        return [str(self._bin / "circusctl"), "--endpoint", f"ipc://{self.folder}/endpoint", command]

    @contextlib.contextmanager
    def listen(self, stamps: Stamps) -> Iterator[None]:
        command = [str(self._bin / "python"), "-c", LISTENER, f"ipc://{self.folder}/pubsub_endpoint"]
        with listener(command, stamps):
            yield

    def stop(self) -> None:
        subprocess.run(self._ctl("quit"), check=False, capture_output=True)
