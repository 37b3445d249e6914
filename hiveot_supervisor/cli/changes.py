"""What differs between two resolved configurations, and what each difference takes: pure, for `apply`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hiveot_supervisor.model import Launcher, Plugin, Stop

_GLOBAL = ("id", "paths", "key_file", "token_file", "hub", "runtime", "extension", "log_level")
"""Settings of the launcher itself; a change of these is taken over by the next `down` and `up`."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Plugin IDs by what has to be done, in start order.

    restarted: what the process was started with has changed; adjusted: only the agent's rules (order, limits,
    readiness, restart …) have, so nothing is restarted. outside: launcher settings that need `down` and `up`.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    restarted: tuple[str, ...] = ()
    adjusted: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()

    @property
    def nothing(self) -> bool:
        return not (self.added or self.removed or self.restarted or self.adjusted or self.outside)


def compare(old: Launcher, new: Launcher) -> Changes:
    """The way from `old` to `new`."""
    before = {p.id: p for p in old.plugins}
    after = {p.id: p for p in new.plugins}
    common = [(before[p.id], p) for p in new.plugins if p.id in before]
    restarted = [n.id for o, n in common if process_of(o) != process_of(n)]
    adjusted = [n.id for o, n in common if _settings(o) != _settings(n) and n.id not in restarted]
    return Changes(
        added=tuple(p.id for p in new.plugins if p.id not in before),
        removed=tuple(p.id for p in old.plugins if p.id not in after),
        restarted=tuple(restarted),
        adjusted=tuple(adjusted),
        outside=tuple(name for name in _GLOBAL if getattr(old, name) != getattr(new, name)),
    )


def process_of(plugin: Plugin) -> Plugin:
    """Only what a running process, or supervisord's section for it, was made from."""
    return Plugin(
        id=plugin.id,
        executable=plugin.executable,
        args=plugin.args,
        environment=plugin.environment,
        environment_file=plugin.environment_file,
        directory=plugin.directory,
        user=plugin.user,
        create_cred=plugin.create_cred,
        stop=Stop(plugin.stop.signal, plugin.stop.timeout),
        logs=plugin.logs,
        log_file=plugin.log_file,
    )


def _settings(plugin: Plugin) -> Plugin:
    return replace(plugin, exists=True)
