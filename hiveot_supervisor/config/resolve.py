"""Turns the decoded file into the model: every default applied, every path absolute, nothing left to look up.

Pure but for looking at which folders exist (`paths`); the same input gives the same model, member by member.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hiveot_supervisor.config import schema
from hiveot_supervisor.config.inventory import FileState
from hiveot_supervisor.config.order import start_order
from hiveot_supervisor.config.roster import Draft
from hiveot_supervisor.config.shapes import Settings
from hiveot_supervisor.model import (
    RUNTIME_NAME,
    Dependency,
    Hub,
    Launcher,
    Limits,
    Logs,
    Paths,
    Plugin,
    Policy,
    ProbeKind,
    Restart,
    Stop,
)


def resolve(top: Settings, drafts: Sequence[Draft], paths: Paths, hub: Hub, source: Path, digest: str) -> Launcher:
    """The model of a file without errors. `digest`: hash of the file, which generated files name."""
    launcher_id = top[schema.ID]
    defaults = _defaults(top, paths, hub)
    order = start_order(
        [d.id for d in drafts], {d.id: [i.plugin for i in d.settings[schema.DEPENDS_ON]] for d in drafts}
    )
    by_id = {draft.id: draft for draft in drafts}
    return Launcher(
        id=launcher_id,
        paths=paths,
        key_file=paths.certs / (top[schema.KEY_FILE] or f"{launcher_id}.key"),
        token_file=paths.certs / (top[schema.TOKEN_FILE] or f"{launcher_id}.token"),
        log_level=top[schema.LOG_LEVEL],
        log_to_file=top[schema.LOG_TO_FILE],
        runtime=_runtime(top, paths, defaults),
        runtime_wait=top[schema.RUNTIME_WAIT],
        runtime_timeout=top[schema.RUNTIME_TIMEOUT],
        start_wait=top[schema.START_WAIT],
        stop_wait=top[schema.STOP_WAIT],
        log_plugins=top[schema.LOG_PLUGINS],
        attach_stderr=top[schema.ATTACH_STDERR],
        attach_stdout=top[schema.ATTACH_STDOUT],
        create_plugin_cred=top[schema.CREATE_CRED],
        hub=hub,
        plugins=tuple(_plugin(by_id[name], top, paths, hub, defaults) for name in order),
        defaults=defaults,
        extension=top[schema.EXTENSION],
        source=source,
        source_hash=digest,
    )


def _defaults(top: Settings, paths: Paths, hub: Hub) -> Plugin:
    """What a plugin without settings of its own gets; ID, executable, log file and HIVEOT_CLIENTID are missing."""
    return Plugin(
        id="",
        executable=paths.plugins,
        args=_provided(Settings({}), top, hub),
        environment=tuple(_environment(top, paths, hub.url).items()),
        directory=paths.home,
        create_cred=top[schema.CREATE_CRED],
        restart=restart_of(top, Restart()),
        limits=top[schema.LIMITS_KEY].over(Limits(), schema.LIMITS.keys),
        stop=top[schema.STOP_KEY].over(Stop(), schema.STOP.keys),
        logs=top[schema.LOGS_KEY].over(Logs(), schema.LOGS.keys),
        on_credential_change=top[schema.ON_CREDENTIAL_CHANGE],
    )


def _plugin(draft: Draft, top: Settings, paths: Paths, hub: Hub, defaults: Plugin) -> Plugin:
    own = draft.settings
    file = own[schema.ENVIRONMENT_FILE]
    return Plugin(
        id=draft.id,
        executable=draft.executable,
        args=(*_client_id(draft, top), *_provided(own, top, hub), *own[schema.ARGS]),
        environment=_plugin_environment(draft, defaults, paths),
        environment_file=paths.home / file if file is not None else None,
        directory=paths.home,
        order=draft.order,
        depends_on=tuple(Dependency(item.plugin, item.condition) for item in own[schema.DEPENDS_ON]),
        ready=own[schema.READY_KEY],
        alive=own[schema.ALIVE_KEY],
        requires=tuple(Path(text) for text in own[schema.REQUIRES]),
        user=own[schema.USER],
        create_cred=own.either(schema.CREATE_CRED, top),
        restart=restart_of(own, defaults.restart),
        limits=own[schema.LIMITS_KEY].over(defaults.limits, schema.LIMITS.keys),
        stop=own[schema.STOP_KEY].over(defaults.stop, schema.STOP.keys),
        logs=own[schema.LOGS_KEY].over(defaults.logs, schema.LOGS.keys),
        log_file=paths.logs / f"{draft.id}.log" if top[schema.LOG_PLUGINS] else None,
        on_credential_change=own.either(schema.ON_CREDENTIAL_CHANGE, top),
        exists=draft.state is FileState.OK,
    )


def restart_of(settings: Settings, base: Restart) -> Restart:
    """`base` with what is given at one level: `restart:` over `autorestart`, Go's word for the policy."""
    word = settings[schema.AUTORESTART]
    if word is not None:
        base = dataclasses.replace(base, policy=Policy.ON_FAILURE if word else Policy.NEVER)
    return settings[schema.RESTART_KEY].over(base, schema.RESTART.keys)


def _client_id(draft: Draft, top: Settings) -> tuple[str, ...]:
    """A plugin takes the name of its executable for its ID unless told otherwise (hiveot-hub-protocol.md §1.1)."""
    wanted = draft.settings.either(schema.PROVIDE_CLIENT, top) and draft.executable.name != draft.id
    return (f"--clientID={draft.id}",) if wanted else ()


def _provided(own: Settings, top: Settings, hub: Hub) -> tuple[str, ...]:
    """The URLs that the launcher passes as arguments."""
    directory: Any = top[schema.DIRECTORY_URL]
    server = (f"--serverURL={hub.url}",) if own.either(schema.PROVIDE_SERVER, top) else ()
    if directory is None or not own.either(schema.PROVIDE_DIRECTORY, top):
        return server
    return (*server, f"--directoryURL={directory}")


def _environment(top: Settings, paths: Paths, url: str | None) -> dict[str, str]:
    """What every program gets. LOGLEVEL as the Go launcher does: only when it writes the log files."""
    variables = {"LOGLEVEL": top[schema.LOG_LEVEL]} if top[schema.LOG_PLUGINS] else {}
    variables["HIVEOT_HOME"] = str(paths.home)
    variables["HIVEOT_CERTS"] = str(paths.certs)
    if url is not None:
        variables["HIVEOT_SERVERURL"] = url
    return variables


def _plugin_environment(draft: Draft, defaults: Plugin, paths: Paths) -> tuple[tuple[str, str], ...]:
    variables = {**dict(defaults.environment), "HIVEOT_CLIENTID": draft.id}
    probe = draft.settings[schema.READY_KEY]
    if probe is not None and probe.kind is ProbeKind.NOTIFY:
        variables["NOTIFY_SOCKET"] = str(paths.notify_socket(draft.id))
    variables.update((named.name, named.value) for named in draft.settings[schema.ENVIRONMENT])
    return tuple(variables.items())


def _runtime(top: Settings, paths: Paths, defaults: Plugin) -> Plugin | None:
    """The hub as a supervised program: no credentials, no arguments."""
    runtime = top[schema.RUNTIME]
    if runtime is None:
        return None
    return dataclasses.replace(
        defaults,
        id=RUNTIME_NAME,
        executable=paths.bin / runtime,
        args=(),
        environment=(*_environment(top, paths, None).items(), ("HIVEOT_GENERATED", str(paths.generated))),
        create_cred=False,
        log_file=paths.logs / f"{RUNTIME_NAME}.log" if top[schema.LOG_PLUGINS] else None,
    )
