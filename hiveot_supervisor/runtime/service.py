"""The runtime process: brings the hub up in order, watches it, and takes it down. Entry point `main`.

Order: own files, accounts, broker, stored messages, negative probe, account service, ready. Ends with an exit code
when the broker ends (supervisord starts us again) and with 0 after SIGTERM.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from hiveot_supervisor import __version__
from hiveot_supervisor.credentials import store
from hiveot_supervisor.credentials.memory import forbid_core_dumps
from hiveot_supervisor.errors import ExitCode, HiveotError
from hiveot_supervisor.model import Driver, Hub
from hiveot_supervisor.runtime import bootstrap
from hiveot_supervisor.runtime.bootstrap import AUTHN, HubFiles
from hiveot_supervisor.runtime.exclusive import check_port, only_one
from hiveot_supervisor.runtime.settings import Settings, load_settings

if TYPE_CHECKING:  # imported when needed, so that a mistake in the settings is told at once
    from hiveot_supervisor.runtime.authn import AuthnService

log = logging.getLogger("hiveot.runtime")

CHECK_EVERY = 3600.0
"""Seconds between looks at the expiry of certificate and tokens."""
_CONNECT_TIMEOUT = 10.0
_M_MMAP_THRESHOLD = -3


class Runtime:
    """One run of the hub. `run` blocks until `stop` is called or the broker ends."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._files = HubFiles(settings.paths.certs)
        self._wake = threading.Event()
        self._stopping = False
        self._refused = ""

    def stop(self) -> None:
        """Have `run` come to its end; may be called from a signal handler."""
        self._stopping = True
        self._wake.set()

    def run(self) -> None:
        """Everything from first file to clean end. Raises HiveotError when the hub cannot start or ends by itself."""
        started = time.monotonic()
        settings, hub = self.settings, self.settings.hub
        store.ensure_folder(settings.folder)
        store.ensure_folder(settings.paths.run)
        with contextlib.ExitStack() as stack:
            stack.enter_context(only_one(settings.folder / "runtime.lock"))
            settings.ready_file.unlink(missing_ok=True)
            self._start(stack)
            store.write_file(settings.ready_file, _ready_text(os.getpid(), hub.listen_port))
            stack.callback(settings.ready_file.unlink, missing_ok=True)
            seconds = time.monotonic() - started
            log.info("ready on %s port %d after %.2f s", hub.listen_host, hub.listen_port, seconds)
            if hub.certificates is not None:
                log.info("client certificates are taken on %s port %d", *hub.certificates)
            self._watch()
            log.info("stopping")

    def _start(self, stack: contextlib.ExitStack) -> None:
        from hiveot_supervisor.runtime.local import probe, settle

        hub = self.settings.hub
        if hub.driver is not Driver.EXTERNAL:
            check_port(hub.listen_host, hub.listen_port)
            if hub.certificates is not None:
                check_port(*hub.certificates)
        self._prepare(stack)
        self._start_broker(stack)
        settle(self._broker.logins, self._broker.retained)
        probe(self._broker.logins)
        service = self._account_service()
        stack.callback(service.close)
        service.start(_CONNECT_TIMEOUT)
        self._broker.open()

    def _prepare(self, stack: contextlib.ExitStack) -> None:
        """Files and accounts."""
        from hiveot_supervisor.runtime.accounts import AccountStore
        from hiveot_supervisor.runtime.issued import IssuedCertificates

        files, launcher_id = self._files, self.settings.launcher_id
        store.ensure_folder(files.certs)
        for leftover in store.sweep(files.certs, now=time.time()):
            log.info("removed %s, left by an interrupted write", leftover)
        if self.settings.hub.driver is not Driver.EXTERNAL:
            bootstrap.prepare_tls(files, self.settings.hub, now=time.time())
        self._signer = bootstrap.prepare_signer(files)
        self._accounts = AccountStore(self.settings.folder / "accounts.db")
        stack.callback(self._accounts.close)
        self._issued = IssuedCertificates(self.settings.folder / "accounts.db")
        stack.callback(self._issued.close)
        bootstrap.prepare_accounts(self._accounts, files, self._signer, launcher_id)
        bootstrap.renew_tokens(self._accounts, files, self._signer, launcher_id, time.time)

    def _start_broker(self, stack: contextlib.ExitStack) -> None:
        """The broker, closed for all but ourselves and the account service."""
        from hiveot_supervisor.runtime.drivers import Ingredients, make_broker

        given = Ingredients(
            self.settings, self._accounts, self._issued, self._files, self._signer, on_exit=self._wake.set
        )
        self._broker = make_broker(given)
        stack.callback(self._broker.stop)
        self._broker.start()
        log.info("broker %s, process %d", self._broker.version, self._broker.pid)

    def _account_service(self) -> AuthnService:
        from hiveot_supervisor.hub.client import Account
        from hiveot_supervisor.hub.mqtt import MqttHubClient
        from hiveot_supervisor.runtime.authn import AuthnService
        from hiveot_supervisor.runtime.authn_actions import AccountActions

        client = MqttHubClient(
            _own_url(self.settings.hub),
            Account(AUTHN, self._files.token(AUTHN), self._broker.ca_file),
            version=__version__,
        )
        actions = AccountActions(
            self._accounts,
            self._files,
            self._signer,
            launcher_id=self.settings.launcher_id,
            now=time.time,
            broker=self._broker,
            issued=self._issued,
        )
        return AuthnService(client, actions, self._on_refused)

    def _watch(self) -> None:
        """Wait for the end; look after expiry meanwhile. Raises HiveotError when the hub has failed."""
        while not self._stopping:
            if self._wake.wait(CHECK_EVERY):
                self._wake.clear()
            if self._stopping:
                return
            if self._refused:
                raise HiveotError("the broker refuses the account service", why=self._refused)
            if not self._broker.running:
                raise HiveotError("the broker ended", why=self._broker.exit_words())
            self._renew()

    def _renew(self) -> None:
        try:
            external = self.settings.hub.driver is Driver.EXTERNAL
            if not external and bootstrap.prepare_tls(self._files, self.settings.hub, now=time.time()):
                self._broker.reload()
            bootstrap.renew_tokens(self._accounts, self._files, self._signer, self.settings.launcher_id, time.time)
            self._broker.recheck()
        except HiveotError as err:  # the hub goes on with what it has; tried again in an hour
            log.error("renewal failed: %s", err)

    def _on_refused(self, reason: str) -> None:
        self._refused = reason
        self._wake.set()


def _own_url(hub: Hub) -> str:
    """Where the account service connects."""
    if hub.driver is Driver.EXTERNAL:
        return hub.url
    host = "localhost" if hub.listen_host in ("0.0.0.0", "::") else hub.listen_host
    return f"mqtts://{f'[{host}]' if ':' in host else host}:{hub.listen_port}"


def _ready_text(pid: int, port: int) -> bytes:
    return json.dumps({"pid": pid, "port": port}).encode()


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="hiveot-runtime", description="The embedded MQTT hub of hiveot-supervisor.")
    parser.add_argument("--home", type=Path, help="home folder (default: the current one)")
    parser.add_argument(
        "--generated", type=Path, help="folder with runtime.json (default: $HIVEOT_GENERATED, HOME/generated)"
    )
    parser.add_argument(
        "--logLevel", default=os.environ.get("LOGLEVEL") or "info", help="debug, info, warning or error"
    )
    parser.add_argument("--version", action="version", version=__version__)
    for ignored in ("--clientID", "--serverURL", "--directoryURL"):  # the launcher may hand these to any program
        parser.add_argument(ignored, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def _return_freed_memory() -> None:
    """Have the C library give large blocks back to the system: a password check takes 16 MB, which it would keep."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1 << 20)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the hub until SIGTERM or SIGINT. Returns an exit code of `errors.ExitCode`."""
    args = _parse(argv)
    levels = {"debug": logging.DEBUG, "warn": logging.WARNING, "warning": logging.WARNING, "error": logging.ERROR}
    logging.basicConfig(
        level=levels.get(args.logLevel.lower(), logging.INFO), format="%(levelname)s: %(message)s", stream=sys.stderr
    )
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        logging.addLevelName(level, logging.getLevelName(level).lower())
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    os.umask(0o077)
    forbid_core_dumps()  # the broker, which inherits that, holds keys too
    _return_freed_memory()
    try:
        runtime = Runtime(load_settings(args.home, args.generated))

        def on_signal(number: int, frame: FrameType | None) -> None:
            runtime.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, on_signal)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        runtime.run()
    except HiveotError as err:
        log.error("%s", err)
        return err.exit_code
    return ExitCode.OK
