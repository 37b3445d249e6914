"""systemd, PID 1 of namespaces of its own, one unit a worker; told by ExecStopPost. Needs root.

A machine's systemd runs already, so the clock of a cold start runs from `systemctl start` of a target with all units.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from fakes import systemds

from peers import FOREVER, Missing, Stamps, Workers, fifo, make_links, output


class Systemd:
    name = "systemd"
    how_told = "ExecStopPost"

    def install(self, cache: Path) -> str:
        if reason := systemds.unavailable():
            raise Missing(reason)
        return output("systemctl", "--version").split()[1]

    def configure(self, folder: Path, count: int, *, notify: bool) -> None:
        folder.rmdir()  # it has one of its own, which is seen inside
        self.machine = systemds.Systemd()
        self.folder = self.machine.folder
        self._workers = Workers(self.folder / "bin")
        os.mkfifo(self.folder / "fifo")
        links = make_links(self.folder / "bin", count)
        units = {"workers.target": "[Unit]\nWants=" + " ".join(f"{link.name}.service" for link in links) + "\n"}
        for link in links:
            text = f"[Unit]\nPartOf=workers.target\nStartLimitIntervalSec=0\n[Service]\nExecStart={link} {FOREVER}\n"
            text += "Restart=always\n"
            if notify:
                text += f"ExecStopPost=/bin/sh -c 'echo {link.name} > {self.folder}/fifo'\n"
            units[f"{link.name}.service"] = text
        systemds.UNITS, stock = {**systemds.UNITS, **units}, systemds.UNITS
        try:
            self.machine.start()
        finally:
            systemds.UNITS = stock

    def start(self) -> None:
        subprocess.run(self._enter("systemctl", "start", "workers.target"), check=True, capture_output=True)

    def _enter(self, *command: str) -> list[str]:
        return ["nsenter", "-t", str(self.machine.pid), "-a", *command]

    def workers(self) -> dict[str, int]:
        return self._workers.find()

    def roots(self) -> list[int]:
        return [self.machine.pid]

    def status(self) -> list[str]:
        return self._enter("systemctl", "--no-pager", "list-units", "w*.service")

    @contextlib.contextmanager
    def listen(self, stamps: Stamps) -> Iterator[None]:
        with fifo(self.folder / "fifo", stamps):
            yield

    def stop(self) -> None:
        subprocess.run(self._enter("systemctl", "stop", "--no-block", "workers.target"), check=False)

    def clean_up(self) -> None:
        self.machine.close()
