"""s6, one service a worker; told through a fifo in the service's event folder. A restart waits a second by design."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from peers import FOREVER, Daemon, Stamps, Workers, make_links, need, output, script


class S6(Daemon):
    name = "s6"
    how_told = "event fifo"

    def install(self, cache: Path) -> str:
        need("s6-svscan", "s6-svscanctl", "s6-svstat")
        with contextlib.suppress(Exception):
            return output("dpkg-query", "-W", "-f", "${Version}", "s6").strip()
        return "?"

    def configure(self, folder: Path, count: int, *, notify: bool) -> None:
        self.folder = folder
        self._workers = Workers(folder / "bin")
        for link in make_links(folder / "bin", count):
            script(folder / "svc" / link.name / "run", f"exec {link} {FOREVER}")

    def start(self) -> None:
        self.spawn(["s6-svscan", "-c", "2000", str(self.folder / "svc")])

    def status(self) -> list[str]:
        return ["sh", "-c", f"for each in {self.folder}/svc/w*; do s6-svstat $each; done"]

    @contextlib.contextmanager
    def listen(self, stamps: Stamps) -> Iterator[None]:
        """Subscribe to all services: a fifo in each event folder, as s6-ftrig-listen makes it; the letter d is down."""
        names: dict[int, str] = {}
        poller = select.poll()
        for event in sorted((self.folder / "svc").glob("w*/event")):
            place = event / f"ftrig1:@{os.urandom(12).hex()}:{os.urandom(3).hex()}"
            os.mkfifo(place)
            place.chmod(0o622)
            fd = os.open(place, os.O_RDWR | os.O_NONBLOCK)
            names[fd] = event.parent.name
            poller.register(fd, select.POLLIN)
        ended = threading.Event()
        thread = threading.Thread(target=_read, args=(poller, names, stamps, ended))
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            for fd in names:
                os.close(fd)

    def stop(self) -> None:
        subprocess.run(["s6-svscanctl", "-t", str(self.folder / "svc")], check=False)


def _read(poller: select.poll, names: dict[int, str], stamps: Stamps, ended: threading.Event) -> None:
    while not ended.is_set():
        for fd, _ in poller.poll(100):
            now = time.monotonic()
            if b"d" in os.read(fd, 64):
                stamps.put(names[fd], now)
