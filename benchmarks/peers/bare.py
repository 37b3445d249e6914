"""supervisord as it comes, one program (and so one group) a worker; told through its event listener protocol."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from peers import FOREVER, Daemon, Stamps, Workers, fifo, make_links, output

SUPERVISORD = str(Path(sys.executable).with_name("supervisord"))
SUPERVISORCTL = str(Path(sys.executable).with_name("supervisorctl"))
LISTENER = """
import sys, time
out = open(sys.argv[1], "w", buffering=1)
print("READY", flush=True)
for line in sys.stdin:
    now = time.monotonic()
    length = int(line.rsplit("len:", 1)[1])
    payload = sys.stdin.read(length)
    out.write(f"{payload.split()[0].split(':')[1]} {now}\\n")
    print("RESULT 2\\nOKREADY", flush=True)
"""


class Bare(Daemon):
    name = "supervisord"
    how_told = "event listener"

    def install(self, cache: Path) -> str:
        return output(SUPERVISORD, "--version").strip()

    def configure(self, folder: Path, count: int, *, notify: bool) -> None:
        self.folder = folder
        self._workers = Workers(folder / "bin")
        text = (
            f"[supervisord]\nnodaemon=true\nlogfile={folder}/log\npidfile={folder}/pid\nchildlogdir={folder}\n"
            f"minfds={max(1024, 4 * count + 64)}\n[unix_http_server]\nfile={folder}/s\n"
            f"[supervisorctl]\nserverurl=unix://{folder}/s\n[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n"
        )
        if notify:
            os.mkfifo(folder / "fifo")
            (folder / "listener.py").write_text(LISTENER)
            text += (
                f"[eventlistener:told]\ncommand={sys.executable} -I -S {folder}/listener.py {folder}/fifo\n"
                "events=PROCESS_STATE_EXITED,PROCESS_STATE_BACKOFF\nbuffer_size=5000\n"
            )
        for link in make_links(folder / "bin", count):
            text += f"[program:{link.name}]\ncommand={link} {FOREVER}\nautorestart=true\n"
        (folder / "conf").write_text(text)

    def start(self) -> None:
        self.spawn([SUPERVISORD, "-c", str(self.folder / "conf")])

    def status(self) -> list[str]:
        return [SUPERVISORCTL, "-c", str(self.folder / "conf"), "status"]

    @contextlib.contextmanager
    def listen(self, stamps: Stamps) -> Iterator[None]:
        with fifo(self.folder / "fifo", stamps):
            yield

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
