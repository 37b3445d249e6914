"""hiveot-supervisor with everything: supervisord with the extension, the embedded hub, the agent, credentials, logs.

startWait 0, as nobody else waits; a restart waits 100 ms, the least that can be set. Told as an MQTT client of the hub.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

from fakes.home import SUPERVISORCTL, Home, until

from hiveot_supervisor import __version__
from peers import FOREVER, SLEEP, Stamps, Workers, descendants

SETTINGS = "startWait: 0\nrestart: {delay: 100ms, limit: 100ms, jitter: 0%}\n"
LAUNCHER = str(Path(SUPERVISORCTL).with_name("hiveot-launcher"))
EVENTS = "hiveot/event/launcher/Admin/"


class Ours:
    name = "ours"
    how_told = "MQTT subscriber"

    def install(self, cache: Path) -> str:
        return __version__

    def configure(self, folder: Path, count: int, *, notify: bool) -> None:
        """Also the first start, which makes the credentials: not what a start of the machine does."""
        folder.rmdir()
        self.home = Home(settings=SETTINGS)
        self.folder = self.home.path
        self._workers = Workers(self.folder / "plugins")
        names = [f"w{number:04}" for number in range(count)]
        for name in names:
            (self.folder / "plugins" / name).symlink_to(SLEEP)
        settings = "".join(f"  {name}: {{args: ['{FOREVER}']}}\n" for name in names)
        hub = "provideServerURL: false\nprovideDirectoryURL: false\nprovideClientID: false\n"
        self.home.configure(*names, extra=f"{hub}plugins:\n{settings}")
        self.home.launch("up", "-d", timeout=120)
        until(lambda: len(self.workers()) == count, 60 + count / 10)
        self.home.launch("down", timeout=120)

    def start(self) -> None:
        self.home.launch("up", "-d")

    def workers(self) -> dict[str, int]:
        return self._workers.find()

    def roots(self) -> list[int]:
        return [self.home.supervisord_pid]

    def parts(self) -> dict[str, list[int]]:
        """PIDs by part, for the figures of each."""
        words = {"agent": "hiveot_supervisor.agent", "hub": ".runtime", "broker": "nats-server"}
        found: dict[str, list[int]] = {"supervisord": self.roots()}
        for pid in descendants(self.roots()):
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            for part, word in words.items():
                if word in line:
                    found.setdefault(part, []).append(pid)
        return found

    def status(self) -> list[str]:
        return [LAUNCHER, "--home", str(self.folder), "list"]

    @contextlib.contextmanager
    def listen(self, stamps: Stamps) -> Iterator[None]:
        subscriber = self.home.subscribe(topics=(f"{EVENTS}stopped",))
        stock = subscriber.client.on_message

        def told(client: object, data: object, message: object) -> None:
            stock(client, data, message)
            stamp, _, payload, _ = subscriber.messages[-1]
            stamps.put(json.loads(payload)["value"], stamp)

        subscriber.client.on_message = told
        try:
            yield
        finally:
            subscriber.close()

    def stop(self) -> None:
        os.kill(self.home.supervisord_pid, signal.SIGTERM)

    def clean_up(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            for pid in descendants(self.roots()):
                os.kill(pid, signal.SIGKILL)
        self.home.close()
        shutil.rmtree(self.folder, ignore_errors=True)
