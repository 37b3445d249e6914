"""Fuzzing of the account service: any input of any account to any action, over a real store and real files."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

from fuzzing.target import SECRET, Logged, Target
from runtime.test_authn_actions import Service

from hiveot_supervisor.credentials import certificates, keys, tokens
from hiveot_supervisor.errors import HiveotError
from hiveot_supervisor.hub.client import Right
from hiveot_supervisor.runtime.accounts import ClientType, valid_client_id
from hiveot_supervisor.runtime.authn_actions import Call
from hiveot_supervisor.runtime.authn_things import ADMIN_RIGHTS, USER_ACTIONS
from hiveot_supervisor.runtime.roles import Role

COSTLY = frozenset(
    {"addConsumer", "setClientPassword", "login", "updatePassword", "issueCertificate", "addAgent", "addService"}
)
"""Cost 50 ms for a hash, or a synchronised write; one in twenty of these is carried out."""

SENDERS = ("admin", "launcher", "boss", "viewer", "plugin", "nobody")
RESET = 3000


class _Accounts:
    """The service of the ordinary tests, with some accounts, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.home = Path(tempfile.mkdtemp(dir=folder))
        service = Service(self.home)
        self.signer, self.store, self.actions = service.signer, service.accounts, service.actions
        service.person("boss", "manager", SECRET)
        service.person("viewer", "viewer", SECRET)
        service.admin("addService", {"clientID": "plugin", "pubKey": keys.public_pem(keys.generate())})
        self.admins = {a.client_id for a in self.store.all() if a.role is Role.ADMIN}


def _elsewhere(value: Any) -> bool:
    """The caller itself has put the secret where no secret belongs, and may read there what it has sent."""
    others = {k: v for k, v in value.items() if k != "password"} if isinstance(value, dict) else value
    return SECRET in json.dumps(others)


def accounts(folder: Path) -> Target:
    """Only documented errors; nobody below admin makes an admin; no file outside; no password comes back."""
    logged = Logged()
    made = _Accounts(folder)
    count = 0
    key = keys.generate()

    def check(data: bytes) -> None:
        nonlocal made, count
        count += 1
        if count % RESET == 0:
            made.store.close()
            made = _Accounts(folder)
        try:
            thing, name, sender, right, value = json.loads(data)
            call = Call(str(thing), str(name), value, SENDERS[int(sender) % len(SENDERS)], list(Right)[int(right) % 4])
        except (ValueError, TypeError, RecursionError, OverflowError):
            return
        if call.name in COSTLY and hash(data) % 20:
            return
        try:
            output = made.actions.perform(call)
            assert SECRET not in json.dumps(output)
        except HiveotError as error:
            assert _elsewhere(value) or SECRET not in str(error)
        logged.take()
        if call.sender not in ("admin", "launcher"):
            now = {a.client_id for a in made.store.all() if a.role is Role.ADMIN}
            assert now <= made.admins, "an admin was made"
        made.admins = {a.client_id for a in made.store.all() if a.role is Role.ADMIN}
        assert all(valid_client_id(a.client_id) for a in made.store.all())
        assert {p.name for p in made.home.iterdir()} <= {"certs", "accounts.db", "accounts.db-wal", "accounts.db-shm"}

    values: dict[str, Any] = {
        "addConsumer": {"clientID": "anna", "password": SECRET, "displayName": "Anna"}, "updateName": "Anna",
        "issueCertificate": {"clientID": "plugin", "csr": certificates.create_request(key, "plugin")},
        "setClientRole": {"clientID": "viewer", "role": "admin"}, "removeClient": "plugin", "updatePassword": SECRET,
        "updateClientProfile": {"clientID": "viewer", "clientType": ClientType.AGENT.value, "disabled": True},
        "login": {"clientID": "boss", "password": SECRET}, "updatePubKey": keys.public_pem(key),
        "refreshToken": tokens.issue(made.signer, "plugin", now=time.time(), lifetime=600),
        "setClientPassword": {"clientID": "viewer", "password": SECRET},
    }  # fmt: skip
    default = {"clientID": "plugin", "pubKey": keys.public_pem(key), "displayName": "x"}
    calls = [("Admin", name) for name in ADMIN_RIGHTS] + [("User", name) for name in USER_ACTIONS]
    seeds = tuple(
        json.dumps([thing, name, n % len(SENDERS), 3, values.get(name, default)]).encode()
        for n, (thing, name) in enumerate(calls)
    )
    return Target("accounts", seeds, check, (b"clientID", b"launcher", b"admin", b"viewer", b"service", b"../x"))
