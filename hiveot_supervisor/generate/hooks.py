"""What the pre-start hook of each program is told: the model mapped to `prestart.spec` and to the shell fast path.

Pure but for looking for two tools (`Tools.find`). Decides which programs may take the fast path at all.
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hiveot_supervisor.errors import ConfigError
from hiveot_supervisor.generate.escape import carried, path_text, shell_word
from hiveot_supervisor.model import RUNTIME_NAME, Launcher, Plugin
from hiveot_supervisor.prestart import verified
from hiveot_supervisor.prestart.environment import CONTROL, NAME_IN_SHELL, SPECIAL_IN_SHELL
from hiveot_supervisor.prestart.spec import Credentials, Spec

_CERTIFICATE_SCHEMES = ("mqtts:", "mqtt:")
"""Hubs that issue client certificates; the HiveOT hub (wss) does not (hiveot-hub-protocol.md §1.3)."""

_PLAIN_NAME = re.compile(NAME_IN_SHELL)


@dataclass(frozen=True, slots=True)
class Tools:
    """Programs that set what a shell cannot; only needed when the extension, which does it in supervisord, is off.

    parent_death: command prefix for the parent-death signal; signals: prefix that resets signals that supervisord
    ignores. Empty = not available here.
    """

    parent_death: tuple[str, ...] = ()
    signals: tuple[str, ...] = ()

    @classmethod
    @functools.cache
    def find(cls) -> Tools:
        """The tools of this machine."""
        return cls(
            parent_death=_prefix("setpriv", "--pdeathsig", "TERM", "--"),
            signals=_prefix("env", "--default-signal=PIPE,XFSZ", "--"),
        )


def specify(launcher: Launcher, plugin: Plugin) -> Spec:
    """What the hook has to know about a plugin (or the runtime). Raises ConfigError for what no program can receive."""
    name = RUNTIME_NAME if plugin is launcher.runtime else plugin.id
    paths = launcher.paths
    needs_credentials = plugin.create_cred and plugin is not launcher.runtime
    spec = Spec(
        name=name,
        argv=(path_text(plugin.executable), *plugin.args),
        environment=tuple(dict(plugin.environment).items()),
        environment_file=None if plugin.environment_file is None else path_text(plugin.environment_file),
        directory=path_text(plugin.directory),
        requires=tuple(path_text(p) for p in plugin.requires),
        user=plugin.user,
        credentials=_credentials(launcher, plugin.id) if needs_credentials else None,
        reason_file=str(paths.prestart_dir / f"{name}.json"),
        verified=str(paths.stores / "launcher" / "verified" / name),
        extension=launcher.extension,
        store=str(paths.stores / name),
    )
    _check(spec)
    return spec


def script(spec: Spec, *, python: Path, generated: Path, tools: Tools) -> dict[str, Any]:
    """The values for `prestart.sh.j2`."""
    files = verified.tracked(spec)
    wrapper = () if spec.extension else (*tools.parent_death, *tools.signals)
    return {
        "name": spec.name,
        "hook": hook_command(spec.name, python=python, generated=generated),
        "fast": takes_fast_path(spec, tools),
        "verified": spec.verified,
        "reason_file": spec.reason_file,
        "argv": spec.argv,
        "wrapper": wrapper,
        "tools": [word for word in wrapper if word.startswith("/")],
        "requires": spec.requires,
        "must_exist": [(s, files[s]) for s in verified.MUST_EXIST if s in files],
        "may_exist": [(s, files[s]) for s in verified.MAY_EXIST if s in files],
        "directory": spec.directory,
        "control": CONTROL,
        "environment": spec.environment,
    }


def hook_command(name: str, *, python: Path, generated: Path) -> tuple[str, ...]:
    """The slow path. -P: no module is taken from the folder that we happen to be in; UTF-8 whatever the locale."""
    return (
        str(python), "-P", "-X", "utf8", "-m", "hiveot_supervisor.prestart", name, "--generated", str(generated)
    )  # fmt: skip


def takes_fast_path(spec: Spec, tools: Tools) -> bool:
    """False when only Python can start the program exactly as asked."""
    plain = all(_PLAIN_NAME.fullmatch(n) and n not in SPECIAL_IN_SHELL for n, _ in spec.environment)
    simple = spec.environment_file is None and spec.user is None
    # env(1) would take a path with `=` for a variable
    wrapped = spec.extension or (bool(tools.parent_death) and not (tools.signals and "=" in spec.argv[0]))
    return plain and simple and wrapped


def _credentials(launcher: Launcher, client_id: str) -> Credentials:
    paths = launcher.paths
    login, token = launcher.prestart_login
    return Credentials(
        client_id=client_id,
        key=str(paths.key(client_id)),
        token=str(paths.token(client_id)),
        certificate=str(paths.certificate(client_id)),
        ca=str(paths.ca_cert),
        issuer=str(paths.certs / "authn.pub"),
        lock=str(paths.run / "credentials" / f"{client_id}.lock"),
        certificate_wanted=launcher.hub.url.startswith(_CERTIFICATE_SCHEMES),
        hub_url=launcher.hub.url,
        launcher_id=login,
        launcher_token=str(token),
    )


def _check(spec: Spec) -> None:
    """Refuse what execve(2) cannot pass on."""
    try:
        for word in (*spec.argv, *(value for _, value in spec.environment)):
            shell_word(word)
        for path in (spec.argv[0], spec.directory, *spec.requires):
            carried(path)
        for name, _ in spec.environment:
            shell_word(name)
            if not name or "=" in name:
                raise ConfigError(f"{name!r} cannot be the name of an environment variable")
    except ConfigError as error:
        raise ConfigError(f"plugin {spec.name}: {error.what}", why=error.why, hint=error.hint) from error


def _prefix(name: str, *options: str) -> tuple[str, ...]:
    """The tool with its options, absolute; empty when it is missing or too old for them."""
    found = shutil.which(name)
    if found is None or subprocess.run([found, *options, "true"], capture_output=True, check=False).returncode != 0:
        return ()
    return (found, *options)
