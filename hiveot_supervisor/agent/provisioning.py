"""What the agent knows and does about the credentials of one plugin, over the agent's hub connection.

Blocks on the disk and, where something is asked of the hub, on the hub; threads and queues are others'. The rules are
`credentials.provision`'s.
"""

from __future__ import annotations

import time

from hiveot_supervisor.credentials import expiry, provision, store
from hiveot_supervisor.credentials.provision import Ask, Files, Outcome, Renew, Status
from hiveot_supervisor.errors import CredentialError, HubError
from hiveot_supervisor.hub.client import HubClient, Right
from hiveot_supervisor.model import Launcher, Paths
from hiveot_supervisor.prestart import spec, verified
from hiveot_supervisor.prestart.become import find_user


class Provisioner:
    """The plugins of one home."""

    def __init__(self, paths: Paths, ask: Ask) -> None:
        self._paths = paths
        self._ask = ask

    def valid(self, plugin_id: str) -> bool:
        """All that is needed is there and not expired (a renewal may be due). Raises HiveotError, OSError."""
        status, certificate = self.status(plugin_id)
        return not provision.plan(status, now=time.time(), certificate=certificate).must

    def status(self, plugin_id: str) -> tuple[Status, bool]:
        """What is on the disk, and whether a certificate is wanted. Raises HiveotError, OSError."""
        program = self._program(plugin_id)
        return provision.inspect(Files.of(self._paths, plugin_id), _owner(program)), _certificate_wanted(program)

    def any(self, plugin_id: str) -> bool:
        """It has some credentials; without any they were revoked, or never made."""
        files = Files.of(self._paths, plugin_id)
        return files.key.exists() or files.token.exists()

    def ensure(self, plugin_id: str, renew: Renew = Renew.DUE) -> Outcome:
        """Make what is missing or due, and leave the markers for the next start. Raises HiveotError, OSError.

        The token that was replaced stays good until `retire`.
        """
        files, program = Files.of(self._paths, plugin_id), self._program(plugin_id)
        wanted, owner = _certificate_wanted(program), _owner(program)
        outcome = provision.ensure(files, self._ask, now=time.time, certificate=wanted, owner=owner, renew=renew)
        stamps = verified.look(program)
        again = provision.plan(provision.inspect(files, owner), now=time.time(), certificate=wanted)
        if again.nothing and program.user is None and program.environment_file is None:
            verified.mark(program, stamps, again.valid_until)
        return outcome

    def retire(self, plugin_id: str) -> str:
        """Have the hub forget the tokens before the present one; a remark when it cannot. Raises HubError."""
        return provision.retire(Files.of(self._paths, plugin_id), self._ask)

    def _program(self, plugin_id: str) -> spec.Spec:
        return spec.load(str(self._paths.plugin_dir / f"{plugin_id}.json"))


def refresh_own(launcher: Launcher, hub: HubClient) -> None:
    """Exchange the launcher's own token for a new one. Raises HubError, CredentialError."""
    old = store.read_text(launcher.token_file)
    answer = hub.invoke_action("authn", "User", "refreshToken", old, right=Right.ACTION, timeout=10.0)
    try:
        claims = expiry.read_claims(answer if isinstance(answer, str) else "")
    except CredentialError as error:
        raise HubError("the hub gave no usable token for the launcher", why=error.why) from error
    if claims.client_id != launcher.id or claims.period.expired(time.time()):
        raise HubError("the hub gave no usable token for the launcher", why="it is for somebody else, or has expired")
    store.write_file(launcher.token_file, answer.strip().encode("ascii"))


def own_status(launcher: Launcher) -> Status:
    """The launcher's own credentials: a token is all that it needs."""
    try:
        claims = expiry.read_claims(store.read_text(launcher.token_file))
    except (FileNotFoundError, CredentialError):
        return Status(True, None, None)
    return Status(True, claims.period if claims.client_id == launcher.id else None, None)


def _certificate_wanted(program: spec.Spec) -> bool:
    """HiveOT's own hub issues none."""
    return program.credentials is not None and program.credentials.certificate_wanted


def _owner(program: spec.Spec) -> tuple[int, int] | None:
    """Whose the files are. Raises NeverWorks when the plugin cannot run as its user anyway."""
    user = find_user(program.user)
    return None if user is None else (user.uid, user.gid)
