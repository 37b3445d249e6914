"""The listener for client certificates in front of the NATS server, whose own is for tokens and passwords alone.

Ends TLS, finds the account of the certificate, puts a one-time login into CONNECT, and from then on passes bytes. Runs
in a thread of its own; what it holds of a connection is bounded. Who is let in, and how far, stays `logins`' decision.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from hiveot_supervisor.credentials.certificates import BACKDATE
from hiveot_supervisor.credentials.trust import trust
from hiveot_supervisor.errors import HubRefused
from hiveot_supervisor.hub.limitlog import LimitedLog
from hiveot_supervisor.runtime import mqttconnect
from hiveot_supervisor.runtime.accounts import AccountStore
from hiveot_supervisor.runtime.bootstrap import HubFiles
from hiveot_supervisor.runtime.child import BrokerError
from hiveot_supervisor.runtime.issued import Issued, IssuedCertificates, stands
from hiveot_supervisor.runtime.mqttconnect import BadConnect, Connect

log = logging.getLogger("hiveot.runtime")

LOGIN_TIMEOUT = 5.0
"""Seconds for TLS, and again for CONNECT."""
MAX_CONNECTIONS = 2000
_CHUNK = 64 * 1024
_CALL_TIMEOUT = 5.0

T = TypeVar("T")


class CertificateFront:
    """listen: host and port of its own; backend: those of the broker; ticket: a password with which an account can log
    in once, until the given wall time at the longest.
    """

    def __init__(
        self,
        *,
        listen: tuple[str, int],
        backend: tuple[str, int],
        files: HubFiles,
        accounts: AccountStore,
        issued: IssuedCertificates,
        ticket: Callable[[str, float], str],
    ) -> None:
        self._listen = listen
        self._backend = backend
        self._files = files
        self._accounts = accounts
        self._issued = issued
        self._ticket = ticket
        self._log = LimitedLog(log, time.monotonic)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="certificates", daemon=True)
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.StreamWriter, Issued | None] = {}  # the loop's thread alone uses it

    def start(self) -> None:
        """Listen. Raises BrokerError."""
        self._accepting = _server_context(self._files)
        self._connecting = trust(self._files.ca)
        self._thread.start()
        try:
            self._run(self._serve())
        except OSError as err:
            host, port = self._listen
            raise BrokerError(f"cannot listen for certificates on {host} port {port}", why=str(err)) from err

    def reload(self) -> None:
        """Take a renewed server certificate into use; clients stay."""
        self._accepting.load_cert_chain(self._files.server, self._files.server_key)

    def recheck(self) -> None:
        """Hang up on clients whose certificate counts no more."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._drop_void)

    def stop(self) -> None:
        """Hang up on everybody. Idempotent."""
        if self._thread.is_alive():
            with contextlib.suppress(Exception):
                self._run(self._close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_CALL_TIMEOUT)

    def _run(self, what: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(_CALL_TIMEOUT)

    # in the thread of its own

    async def _serve(self) -> None:
        host, port = self._listen
        self._server = await asyncio.start_server(
            self._on_connection,
            host,
            port,
            ssl=self._accepting,
            ssl_handshake_timeout=LOGIN_TIMEOUT,
            ssl_shutdown_timeout=1.0,
            limit=_CHUNK,
        )

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in list(self._open):
            writer.transport.abort()

    def _drop_void(self) -> None:
        for writer, certificate in list(self._open.items()):
            if certificate is not None and not self._counts(certificate):
                writer.transport.abort()

    def _counts(self, certificate: Issued) -> bool:
        known = self._issued.get(certificate.serial) or certificate
        return known.client_id == certificate.client_id and stands(known, self._accounts.get(known.client_id))

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._open[writer] = None
        try:
            await self._let_in(reader, writer)
            await asyncio.wait_for(writer.wait_closed(), LOGIN_TIMEOUT)
        except BadConnect as err:
            self._log.warning("front", "a connection to the listener for certificates is closed: %s", err)
        except (OSError, EOFError, TimeoutError):
            pass  # theirs, or the broker's, which is watched elsewhere
        except Exception:
            log.exception("a connection to the listener for certificates failed")
        finally:
            del self._open[writer]
            writer.transport.abort()

    async def _let_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(LOGIN_TIMEOUT):
            connect = await _read_connect(reader)
            if connect.level != mqttconnect.LEVEL_311:
                await _answer(writer, mqttconnect.refusal(connect.level, unsupported=True))
                return
            try:
                certificate = self._judge(writer)
            except HubRefused as err:
                self._log.warning("front", "a login by certificate is refused: %s", err)
                await _answer(writer, mqttconnect.refusal(connect.level))
                return
            self._open[writer] = certificate
            host, port = self._backend
            broker = await asyncio.open_connection(
                host, port, ssl=self._connecting, server_hostname="localhost", limit=_CHUNK
            )
        password = self._ticket(certificate.client_id, certificate.expires)
        broker[1].write(mqttconnect.render(connect, certificate.client_id, password))
        await _pass_on((reader, writer), broker)

    def _judge(self, writer: asyncio.StreamWriter) -> Issued:
        """Whose certificate was shown; TLS has checked signature, dates and usage. Raises HubRefused."""
        shown: dict[str, Any] = writer.get_extra_info("peercert") or {}
        names = [value for part in shown.get("subject", ()) for key, value in part if key == "commonName"]
        if len(names) != 1 or self._accounts.get(names[0]) is None:
            raise HubRefused(f"there is no account {', '.join(names)[:80]!r}")
        certificate = Issued(
            serial=int(shown["serialNumber"], 16),
            client_id=names[0],
            issued=ssl.cert_time_to_seconds(shown["notBefore"]) + BACKDATE,
            expires=ssl.cert_time_to_seconds(shown["notAfter"]),
        )
        if not self._counts(certificate):
            raise HubRefused(f"the certificate {certificate.serial:x} of {certificate.client_id} has been revoked")
        return certificate


def _server_context(files: HubFiles) -> ssl.SSLContext:
    """Demands a certificate of our CA for clients (OpenSSL checks the extended key usage)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(files.server, files.server_key)
    context.load_verify_locations(files.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    context.options |= ssl.OP_NO_TICKET  # a session that is resumed would not show its certificate again
    context.num_tickets = 0
    return context


async def _read_connect(reader: asyncio.StreamReader) -> Connect:
    head = b""
    while (found := mqttconnect.body_length(head)) is None:
        head += await reader.readexactly(1)
    size, _ = found
    return mqttconnect.parse(await reader.readexactly(size))


async def _answer(writer: asyncio.StreamWriter, packet: bytes) -> None:
    writer.write(packet)
    await writer.drain()
    writer.close()


async def _pass_on(
    client: tuple[asyncio.StreamReader, asyncio.StreamWriter], broker: tuple[asyncio.StreamReader, asyncio.StreamWriter]
) -> None:
    """Pass bytes in both directions until one side is gone."""
    ways = [
        asyncio.ensure_future(_pump(client[0], broker[1])),
        asyncio.ensure_future(_pump(broker[0], client[1])),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for writer in (client[1], broker[1]):  # what was said last gets through, if the other side takes it
            writer.close()
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        broker[1].close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
