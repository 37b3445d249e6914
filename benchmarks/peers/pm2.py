"""pm2, one app a worker; told through its bus, by a program of Node's."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from peers import FOREVER, Daemon, Stamps, Workers, listener, make_links, need, output

LISTENER = """
const pm2 = require("pm2");
pm2.connect(() => pm2.launchBus((error, bus) => {
    bus.on("process:event", (packet) => {
        if (packet.event === "exit")
            console.log(packet.process.name, Number(process.hrtime.bigint()) / 1e9);
    });
    setTimeout(() => console.log("ready"), 500);
}));
"""


class Pm2(Daemon):
    name = "pm2"
    how_told = "its bus"

    def install(self, cache: Path) -> str:
        need("node", "npm")
        self._place = cache / "pm2"
        self._command = str(self._place / "node_modules/.bin/pm2")
        if not Path(self._command).exists():
            output("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(self._place), "pm2")
        package = json.loads((self._place / "node_modules/pm2/package.json").read_text())
        return f"{package['version']} on node {output('node', '--version').strip()}"

    def configure(self, folder: Path, count: int, *, notify: bool) -> None:
        self.folder = folder
        self._workers = Workers(folder / "bin")
        self._environment = {**os.environ, "PM2_HOME": str(folder / "pm2")}
        apps = [
            {"name": link.name, "script": str(link), "args": [FOREVER], "interpreter": "none"}
            for link in make_links(folder / "bin", count)
        ]
        (folder / "apps.json").write_text(json.dumps({"apps": apps}))

    def start(self) -> None:
        self.spawn([self._command, "start", str(self.folder / "apps.json")], env=self._environment)

    def roots(self) -> list[int]:
        with contextlib.suppress(OSError, ValueError):
            return [int((self.folder / "pm2/pm2.pid").read_text())]
        return []

    def status(self) -> list[str]:
        return ["env", f"PM2_HOME={self.folder}/pm2", self._command, "list"]

    @contextlib.contextmanager
    def listen(self, stamps: Stamps) -> Iterator[None]:
        environment = {**self._environment, "NODE_PATH": str(self._place / "node_modules")}
        with listener(["node", "-e", LISTENER], stamps, env=environment):
            yield

    def stop(self) -> None:
        subprocess.run([self._command, "kill"], env=self._environment, check=False, capture_output=True)
