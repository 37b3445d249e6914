"""Which broker the hub runs: makes the driver that launcher.yaml names. The drivers' libraries load only then."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from hiveot_supervisor.credentials import keys
from hiveot_supervisor.errors import ConfigError
from hiveot_supervisor.model import Driver
from hiveot_supervisor.runtime.accounts import AccountStore
from hiveot_supervisor.runtime.bootstrap import AUTHN, HubFiles
from hiveot_supervisor.runtime.broker import Broker
from hiveot_supervisor.runtime.issued import IssuedCertificates
from hiveot_supervisor.runtime.settings import Settings


@dataclass(frozen=True, slots=True)
class Ingredients:
    """What a broker is made of. on_exit: called (from another thread) when it ends by itself."""

    settings: Settings
    accounts: AccountStore
    issued: IssuedCertificates
    files: HubFiles
    signer: keys.SigningKey
    on_exit: Callable[[], None]


def make_broker(given: Ingredients) -> Broker:
    """The broker that the settings name, not started. Raises ConfigError."""
    match given.settings.hub.driver:
        case Driver.NATS:
            return _nats(given)
        case Driver.MOSQUITTO:
            return _mosquitto(given)
        case Driver.EXTERNAL:
            return _external(given)


def _external(given: Ingredients) -> Broker:
    from hiveot_supervisor.runtime.broker_external import ExternalBroker
    from hiveot_supervisor.runtime.tokenfiles import TokenFiles

    if given.settings.hub.admin_file is None:
        hint = "name it in hub.adminFile; or leave `runtime` out of launcher.yaml, and use accounts made by hand"
        raise ConfigError("the accounts of the external broker cannot be managed without an administrator", hint=hint)
    if not given.files.ca.exists():
        hint = "ask its administrator for the CA certificate"
        raise ConfigError(
            f"{given.files.ca} is missing", why="the external broker's certificate cannot be checked", hint=hint
        )
    return ExternalBroker(
        url=given.settings.hub.url,
        files=given.files,
        admin_file=given.settings.hub.admin_file,
        accounts=given.accounts,
        token_files=TokenFiles(given.files, given.signer.public_key(), time.time),
        launcher_id=given.settings.launcher_id,
    )


def _nats(given: Ingredients) -> Broker:
    from hiveot_supervisor.runtime.broker_nats import NatsBroker
    from hiveot_supervisor.runtime.certfront import CertificateFront
    from hiveot_supervisor.runtime.local import reachable
    from hiveot_supervisor.runtime.logins import Doorkeeper

    hub = given.settings.hub
    door = Doorkeeper(given.accounts, given.signer.public_key(), launcher_id=given.settings.launcher_id, now=time.time)
    front = None
    if hub.certificates is not None:
        front = CertificateFront(
            listen=hub.certificates,
            backend=(reachable(hub.listen_host), hub.listen_port),
            files=given.files,
            accounts=given.accounts,
            issued=given.issued,
            ticket=door.ticket,
        )
    return NatsBroker(
        host=hub.listen_host,
        port=hub.listen_port,
        files=given.files,
        folder=given.settings.folder / "nats",
        binary=hub.broker_path,
        admit=door.admit,
        secret=door.secret,
        first=frozenset({AUTHN}),
        front=front,
        on_exit=given.on_exit,
    )


def _mosquitto(given: Ingredients) -> Broker:
    from hiveot_supervisor.runtime.broker_mosquitto import MosquittoBroker
    from hiveot_supervisor.runtime.tokenfiles import TokenFiles

    hub = given.settings.hub
    return MosquittoBroker(
        host=hub.listen_host,
        port=hub.listen_port,
        certificates=hub.certificates,
        files=given.files,
        folder=given.settings.folder / "mosquitto",
        binary=hub.broker_path,
        accounts=given.accounts,
        issued=given.issued,
        token_files=TokenFiles(given.files, given.signer.public_key(), time.time),
        launcher_id=given.settings.launcher_id,
        on_exit=given.on_exit,
    )
