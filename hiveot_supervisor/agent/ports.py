"""What the agent's heart asks of the world around it; `outside`, `probes` and `supervisord.rpc` are the real ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from hiveot_supervisor.agent.inbox import Probed
from hiveot_supervisor.agent.table import Gate
from hiveot_supervisor.errors import SupervisordFault
from hiveot_supervisor.model import Plugin


class Supervisord(Protocol):
    """What we ask of supervisord; requests return at once, results come as events."""

    def start_all(self, names: Sequence[str]) -> dict[str, SupervisordFault]: ...
    def stop(self, name: str) -> None: ...


class Credentials(Protocol):
    """Credentials of plugins: `valid` is a quick look at the files, `prepare` works in the background."""

    def valid(self, plugin_id: str) -> bool: ...
    def prepare(self, plugin_id: str) -> None: ...
    def token_expires(self, plugin_id: str) -> float | None: ...


class Prober(Protocol):
    """Readiness and liveness checks (`probes.Probes`); results come as `Probed` items."""

    def prepare(self, plugin: Plugin) -> None: ...
    def begin_ready(self, plugin: Plugin, pid: int, mono: float) -> None: ...
    def begin_alive(self, plugin: Plugin, pid: int, mono: float) -> None: ...
    def end(self, plugin_id: str) -> None: ...
    def answered(self, item: Probed) -> None: ...
    def tick(self, mono: float) -> float: ...


class Processes(Protocol):
    """What can be seen of processes from outside."""

    def executed(self, pid: int) -> bool:
        """The process has left supervisord's and prestart's code (or is gone)."""
        ...

    def signal_group(self, leader: int, number: int) -> bool:
        """Signal what is left of a process group; False when nothing is."""
        ...

    def signal(self, pid: int, number: int) -> None:
        """Signal one process, if it is still there."""
        ...

    def gate(self, plugin_id: str, pid: int) -> Gate | None:
        """The reason that prestart left for not executing the plugin, if it is of this process."""
        ...
