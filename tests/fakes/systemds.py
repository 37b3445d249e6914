"""A real systemd, PID 1 of its own namespaces, for tests of units and of systemd-run. Needs root.

It harms nothing outside: it sees the machine's files, but its /run, /tmp and /var/tmp are empty ones of its own,
/proc/sys is read-only, and the only units are the few written here, so that nothing of the machine's own boot
(tmpfiles, sysctl, mounts, init.d) can run.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from fakes.wait import wait_until

SYSTEMD = Path("/lib/systemd/systemd")
ROOT = Path(__file__).parents[2]
UNITS = {
    "sysinit.target": "[Unit]\nDefaultDependencies=no\n",
    "basic.target": "[Unit]\nRequires=sysinit.target\nAfter=sysinit.target\nDefaultDependencies=no\n",
    "multi-user.target": "[Unit]\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n",
    "shutdown.target": "[Unit]\nDefaultDependencies=no\nRefuseManualStart=yes\n",
    "network-online.target": "[Unit]\n",
    "time-sync.target": "[Unit]\n",
}
GENERATORS = (
    "/etc/systemd/system-generators /usr/local/lib/systemd/system-generators /usr/lib/systemd/system-generators"
)
BOOT = """
set -e
cd /
mount --make-rprivate /
for place in {kept}; do
    mkdir -p "{keep}$place"
    mount --bind "$place" "{keep}$place"
done
for place in /run /tmp /var/tmp {generators} /etc/systemd/system /usr/lib/systemd/system; do
    [ ! -d "$place" ] || mount -t tmpfs tmpfs "$place"
done
for place in {kept}; do
    mkdir -p "$place"
    mount --bind "{keep}$place" "$place"
done
mount --bind "{units}" /usr/lib/systemd/system
[ ! -e /etc/machine-id ] || mount --bind "{machine_id}" /etc/machine-id
mount -t tmpfs tmpfs /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mkdir -p /run/lock
exec {systemd} --system --unit=multi-user.target --log-target=console --show-status=no
"""


def unavailable() -> str:
    """Why there can be no systemd here; empty when there can."""
    if os.geteuid() != 0:
        return "needs root"
    missing = [tool for tool in ("unshare", "nsenter", "systemctl", "systemd-run") if shutil.which(tool) is None]
    if missing or not SYSTEMD.exists():
        return f"not installed: {', '.join(missing) or SYSTEMD}"
    command = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--fork", "--mount-proc", "true"]
    probe = subprocess.run(command, capture_output=True, text=True)
    if probe.returncode != 0:
        return f"no new namespaces: {probe.stderr.strip()}"
    if "cgroup2" not in Path("/proc/filesystems").read_text():
        return "the kernel has no cgroup2"
    return ""


class Systemd:
    """A running systemd; `folder` (below /var/lib) is seen inside under the same path."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hs", dir="/var/lib"))
        self.folder.chmod(0o755)
        self._cgroup: Path | None = None
        self._unshare: subprocess.Popen[bytes] | None = None
        self.log = self.folder / "systemd.log"

    def start(self) -> None:
        self._cgroup = self._own_cgroup()
        units = self.folder / "units"
        units.mkdir()
        for name, text in UNITS.items():
            (units / name).write_text(text)
        machine_id = self.folder / "machine-id"
        machine_id.write_text(os.urandom(16).hex() + "\n")
        # /tmp is hidden: what the tests need from there is shown again
        needed = {str(ROOT), sys.prefix, sys.base_prefix}
        kept = " ".join(sorted(p for p in needed if p.startswith(("/tmp/", "/var/tmp/", "/run/"))))
        script = BOOT.format(
            kept=kept, keep=self.folder / "keep", units=units, machine_id=machine_id, systemd=SYSTEMD,
            generators=GENERATORS,
        )  # fmt: skip
        inner = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child", "--mount-proc"]
        join = f'echo $$ > "{self._cgroup}/cgroup.procs" && exec "$@"'
        with self.log.open("wb") as log:
            self._unshare = subprocess.Popen(
                ["sh", "-c", join, "sh", *inner, "sh", "-c", script],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={"container": "docker", "PATH": os.environ["PATH"]},
            )  # fmt: skip
        wait_until(self._running, timeout=20, what=f"systemd runs: {self.log.read_text(errors='replace')}")

    @staticmethod
    def _own_cgroup() -> Path:
        """A new cgroup of the unified hierarchy, wherever that is mounted (or mounted for us)."""
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
        mounted = next((Path(m[1]) for m in mounts if m[2] == "cgroup2"), None)
        if mounted is None:
            mounted = Path(tempfile.mkdtemp(prefix="hs-cgroup", dir="/var/lib"))
            subprocess.run(["mount", "-t", "cgroup2", "cgroup2", str(mounted)], check=True)
        current = next(
            line.split("::", 1)[1] for line in Path("/proc/self/cgroup").read_text().splitlines() if "::" in line
        )
        own = mounted / current.lstrip("/") / f"hs-test-{os.getpid()}-{os.urandom(3).hex()}"
        own.mkdir(parents=True)
        return own

    @property
    def pid(self) -> int:
        """PID 1's PID outside."""
        assert self._unshare is not None
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children").read_text().split()
        return int(children[0])

    def _running(self) -> bool:
        assert self._unshare is not None
        assert self._unshare.poll() is None, self.log.read_text(errors="replace")
        with contextlib.suppress(IndexError, OSError):
            line = Path(f"/proc/{self.pid}/cmdline").read_bytes()
            if line.startswith(bytes(SYSTEMD)):
                state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
                return state in ("running", "degraded")
        return False

    def run(self, *command: str, cwd: Path = Path("/"), check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command inside."""
        entered = ["nsenter", "-t", str(self.pid), "-a", f"--wd={cwd}", *command]
        result = subprocess.run(entered, capture_output=True, text=True, timeout=60)
        assert not check or result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
        return result

    def state(self, unit: str) -> str:
        return self.run("systemctl", "is-active", unit, check=False).stdout.strip()

    def processes(self) -> dict[int, str]:
        """Everything that runs inside but systemd itself: PID outside -> command line."""
        namespace = Path(f"/proc/{self.pid}/ns/pid").readlink()
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != self.pid:
                with contextlib.suppress(OSError):
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    if line and (entry / "ns/pid").readlink() == namespace:
                        found[int(entry.name)] = line
        return found

    def close(self) -> None:
        if self._unshare is not None and self._unshare.poll() is None:
            with contextlib.suppress(OSError, IndexError):
                os.kill(self.pid, signal.SIGKILL)  # the namespace's init: everything in it dies with it
            self._unshare.kill()
            self._unshare.wait()
        if self._cgroup is not None:
            self._remove_cgroups(self._cgroup)
        shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    def _remove_cgroups(top: Path) -> None:
        deadline = time.monotonic() + 5
        while top.exists() and time.monotonic() < deadline:
            for folder, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    Path(folder).rmdir()
            time.sleep(0.02)


@contextlib.contextmanager
def systemd() -> Iterator[Systemd]:
    made = Systemd()
    try:
        made.start()
        yield made
    finally:
        made.close()
