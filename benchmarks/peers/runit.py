"""runit, one service a worker; told by the service's finish script, which runsv executes after each end."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from peers import FOREVER, Daemon, Stamps, Workers, fifo, make_links, need, output, script


class Runit(Daemon):
    name = "runit"
    how_told = "finish script"

    def install(self, cache: Path) -> str:
        need("runsvdir", "runsv", "sv")
        with contextlib.suppress(Exception):
            return output("dpkg-query", "-W", "-f", "${Version}", "runit").strip()
        return "?"

    def configure(self, folder: Path, count: int, *, notify: bool) -> None:
        self.folder = folder
        self._workers = Workers(folder / "bin")
        os.mkfifo(folder / "fifo")
        for link in make_links(folder / "bin", count):
            script(folder / "svc" / link.name / "run", f"exec {link} {FOREVER}")
            if notify:
                script(folder / "svc" / link.name / "finish", f"echo {link.name} > {folder}/fifo")

    def start(self) -> None:
        self.spawn(["runsvdir", str(self.folder / "svc")])

    def status(self) -> list[str]:
        return ["sh", "-c", f"sv status {self.folder}/svc/w*"]

    @contextlib.contextmanager
    def listen(self, stamps: Stamps) -> Iterator[None]:
        with fifo(self.folder / "fifo", stamps):
            yield

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)
