"""Guesses what was meant by a word that is not known: case slips, other spellings, typing errors.

Pure. Words of other tools (compose, systemd, supervisord, kubernetes) are a table here: people bring them along.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_SEPARATORS = re.compile(r"[-_. ]")

HABITS: dict[str, tuple[str, ...]] = {
    # What people write, without case and separators -> our keys. The first that is known where it stands is taken;
    # `limits.memory` is the key `memory` in the section `limits` that is known there.
    "after": ("dependsOn",),
    "arguments": ("args",),
    "argv": ("args",),
    "attempts": ("maxFailures",),
    "backupcount": ("backups",),
    "binary": ("command", "broker"),
    "broker": ("driver",),
    "clientid": ("id",),
    "cmd": ("command",),
    "count": ("backups", "failures"),
    "cpus": ("cpu", "limits.cpu"),
    "cpuquota": ("cpu", "limits.cpu"),
    "environ": ("environment",),
    "env": ("environment",),
    "envfile": ("environmentFile",),
    "envs": ("environment",),
    "exec": ("command",),
    "execstart": ("command",),
    "executable": ("command",),
    "failurethreshold": ("failures",),
    "grep": ("log",),
    "health": ("alive",),
    "healthcheck": ("alive",),
    "interval": ("every",),
    "keep": ("backups",),
    "killsignal": ("signal", "stop.signal"),
    "launcherid": ("id",),
    "liveness": ("alive",),
    "livenessprobe": ("alive",),
    "logdir": ("logsDir",),
    "logging": ("logs",),
    "maxattempts": ("maxFailures",),
    "maxbytes": ("maxSize",),
    "maxdelay": ("limit",),
    "maxretries": ("maxFailures", "restart.maxFailures"),
    "mem": ("memory", "limits.memory"),
    "memlimit": ("memory", "limits.memory"),
    "memory": ("limits.memory",),
    "memorymax": ("memory", "limits.memory"),
    "mode": ("policy", "action"),
    "needs": ("dependsOn",),
    "path": ("command",),
    "pattern": ("log",),
    "period": ("every",),
    "periodseconds": ("every",),
    "plugin": ("plugins",),
    "port": ("tcp", "listen"),
    "processes": ("plugins",),
    "program": ("command",),
    "programs": ("plugins",),
    "readiness": ("ready",),
    "readinessprobe": ("ready",),
    "regex": ("log",),
    "resources": ("limits",),
    "restartpolicy": ("policy", "restart.policy"),
    "restartsec": ("delay", "restart.delay"),
    "retries": ("maxFailures", "failures", "restart.maxFailures"),
    "rss": ("memory",),
    "server": ("url", "hub.url"),
    "serverurl": ("url", "hub.url"),
    "services": ("plugins",),
    "startlimitburst": ("maxFailures", "restart.maxFailures"),
    "startretries": ("maxFailures", "restart.maxFailures"),
    "stopgraceperiod": ("timeout", "stop.timeout"),
    "stopsignal": ("signal", "stop.signal"),
    "stoptimeout": ("timeout", "stop.timeout"),
    "stopwaitsecs": ("timeout", "stop.timeout"),
    "timeoutstopsec": ("timeout", "stop.timeout"),
    "type": ("policy", "action"),
    "uri": ("url", "http"),
    "url": ("http", "hub.url"),
    "username": ("user",),
    "wants": ("dependsOn",),
}


def plain(word: str) -> str:
    """`word` without case and separators: what `logLevel`, `log_level` and `LOG-LEVEL` have in common."""
    return _SEPARATORS.sub("", word).lower()


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that differs from `word` only in case and separators, or by one slip in three letters."""
    candidates = list(known)
    bare = plain(word)
    for candidate in candidates:
        if plain(candidate) == bare:
            return candidate
    if not 2 <= len(word) <= 64:
        return None
    allowed = max(1, len(bare) // 3)
    best: tuple[int, str] | None = None
    for candidate in candidates:
        if abs(len(candidate) - len(word)) > allowed:
            continue
        distance = _distance(bare, plain(candidate), allowed)
        if distance <= allowed and (best is None or distance < best[0]):
            best = (distance, candidate)
    return best[1] if best is not None and best[0] < len(plain(best[1])) - 1 else None


def meant_key(word: str, known: Iterable[str]) -> str | None:
    """The key that `word` probably stands for: a slip, or what another tool calls it."""
    keys = list(known)
    bare = plain(word)
    for key in keys:
        if plain(key) == bare:
            return key
    for key in HABITS.get(bare, ()):
        if key.split(".")[0] in keys:
            return key
    return nearest(word, keys)


def _distance(one: str, two: str, limit: int) -> int:
    """Optimal string alignment distance (insert, delete, replace, swap neighbours); anything above `limit` is equal."""
    before: list[int] = []
    last = list(range(len(two) + 1))
    for i, a in enumerate(one, 1):
        row = [i]
        for j, b in enumerate(two, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (a != b))
            if i > 1 and j > 1 and a == two[j - 2] and one[i - 2] == b:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        if min(row) > limit:
            return limit + 1
        before, last = last, row
    return last[-1]
