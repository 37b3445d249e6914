"""Which broker the hub runs: makes the driver that launcher.yaml names. The drivers' libraries load only then."""

from __future__ import annotations

import time
from collections.abc import Callable

from hiveot_supervisor.credentials import keys
from hiveot_supervisor.errors import ConfigError
from hiveot_supervisor.model import Driver
from hiveot_supervisor.runtime.accounts import AccountStore
from hiveot_supervisor.runtime.bootstrap import AUTHN, HubFiles
from hiveot_supervisor.runtime.broker import Broker
from hiveot_supervisor.runtime.issued import IssuedCertificates
from hiveot_supervisor.runtime.settings import Settings


def make_broker(
    settings: Settings,
    *,
    accounts: AccountStore,
    issued: IssuedCertificates,
    files: HubFiles,
    signer: keys.SigningKey,
    on_exit: Callable[[], None],
) -> Broker:
    """The broker of `settings`, not started. Raises ConfigError."""
    match settings.hub.driver:
        case Driver.NATS:
            return _nats(settings, accounts, issued, files, signer, on_exit)
        case Driver.MOSQUITTO:
            return _mosquitto(settings, accounts, issued, files, signer, on_exit)
        case Driver.EXTERNAL:
            return _external(settings, accounts, files, signer)


def _external(settings: Settings, accounts: AccountStore, files: HubFiles, signer: keys.SigningKey) -> Broker:
    from hiveot_supervisor.runtime.broker_external import ExternalBroker
    from hiveot_supervisor.runtime.tokenfiles import TokenFiles

    if settings.hub.admin_file is None:
        hint = "name it in hub.adminFile; or leave `runtime` out of launcher.yaml, and use accounts made by hand"
        raise ConfigError("the accounts of the external broker cannot be managed without an administrator", hint=hint)
    if not files.ca.exists():
        hint = "ask its administrator for the CA certificate"
        raise ConfigError(
            f"{files.ca} is missing", why="the external broker's certificate cannot be checked", hint=hint
        )
    return ExternalBroker(
        url=settings.hub.url,
        files=files,
        admin_file=settings.hub.admin_file,
        accounts=accounts,
        token_files=TokenFiles(files, signer.public_key(), time.time),
        launcher_id=settings.launcher_id,
    )


def _nats(
    settings: Settings,
    accounts: AccountStore,
    issued: IssuedCertificates,
    files: HubFiles,
    signer: keys.SigningKey,
    on_exit: Callable[[], None],
) -> Broker:
    from hiveot_supervisor.runtime.broker_nats import NatsBroker
    from hiveot_supervisor.runtime.certfront import CertificateFront
    from hiveot_supervisor.runtime.local import reachable
    from hiveot_supervisor.runtime.logins import Doorkeeper

    hub = settings.hub
    door = Doorkeeper(accounts, signer.public_key(), launcher_id=settings.launcher_id, now=time.time)
    front = None
    if hub.certificates is not None:
        front = CertificateFront(
            listen=hub.certificates,
            backend=(reachable(hub.listen_host), hub.listen_port),
            files=files,
            accounts=accounts,
            issued=issued,
            ticket=door.ticket,
        )
    return NatsBroker(
        host=hub.listen_host,
        port=hub.listen_port,
        files=files,
        folder=settings.folder / "nats",
        binary=hub.broker_path,
        admit=door.admit,
        secret=door.secret,
        first=frozenset({AUTHN}),
        front=front,
        on_exit=on_exit,
    )


def _mosquitto(
    settings: Settings,
    accounts: AccountStore,
    issued: IssuedCertificates,
    files: HubFiles,
    signer: keys.SigningKey,
    on_exit: Callable[[], None],
) -> Broker:
    from hiveot_supervisor.runtime.broker_mosquitto import MosquittoBroker
    from hiveot_supervisor.runtime.tokenfiles import TokenFiles

    hub = settings.hub
    return MosquittoBroker(
        host=hub.listen_host,
        port=hub.listen_port,
        certificates=hub.certificates,
        files=files,
        folder=settings.folder / "mosquitto",
        binary=hub.broker_path,
        accounts=accounts,
        issued=issued,
        token_files=TokenFiles(files, signer.public_key(), time.time),
        launcher_id=settings.launcher_id,
        on_exit=on_exit,
    )
