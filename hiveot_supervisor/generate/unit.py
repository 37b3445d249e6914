"""The systemd unit that runs a home: pure mapping from the model; `render` writes it."""

from __future__ import annotations

from pathlib import Path

from hiveot_supervisor.generate import programs, render
from hiveot_supervisor.generate.programs import Conf
from hiveot_supervisor.generate.render import Unit
from hiveot_supervisor.model import Launcher

UNIT_NAME = "hiveot.service"
_READ_ONLY = ("/usr", "/boot", "/efi", "/etc")
"""What `ProtectSystem=full` closes (systemd.exec(5))."""

_SPARE = 10


def systemd_unit(
    launcher: Launcher, *, supervisord: Path, path: Path, user: str | None, user_manager: bool = False
) -> str:
    """The text of the unit. supervisord: absolute path of the program; path: where the file will lie; user: to run as,
    None = as the manager; user_manager: for `systemctl --user`."""
    conf = programs.configure(launcher, Path("/"))
    paths = launcher.paths
    folders = (paths.home, paths.config, paths.certs, paths.logs, paths.stores, paths.run, paths.generated)
    unit = Unit(
        path=path,
        home=str(paths.home),
        command=(str(supervisord), "-c", str(paths.supervisord_conf)),
        user=user,
        user_manager=user_manager,
        stop_seconds=longest_stop(conf),
        min_fds=conf.min_fds,
        writable=[str(f) for f in dict.fromkeys(folders) if str(f).startswith(tuple(f"{p}/" for p in _READ_ONLY))],
    )
    return render.systemd_unit(unit, launcher.source, launcher.source_hash)


def longest_stop(conf: Conf) -> int:
    """Seconds until all is down when every program has to be killed: Supervisor stops one group after another."""
    return sum(program.stop_wait for program in conf.programs) + programs.LISTENER_STOP_WAIT + _SPARE
