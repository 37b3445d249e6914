"""The NATS broker: the server process and, in a thread of its own, the auth callout that answers every login.

The only user of nats-py. One connection in the server's system account serves both the callout and the
commands (who is connected, hang up). Whether a login is granted is decided by `logins`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import threading
import time
import zlib
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from hiveot_supervisor.credentials import keys, natsjwt
from hiveot_supervisor.credentials.expiry import TOKEN_HEADER
from hiveot_supervisor.errors import CredentialError, HiveotError, HubRefused
from hiveot_supervisor.hub.limitlog import LimitedLog
from hiveot_supervisor.runtime.child import BrokerError
from hiveot_supervisor.runtime.local import LocalLogins
from hiveot_supervisor.runtime.logins import INTERNAL, TICKET_HEADER, Admission
from hiveot_supervisor.runtime.nats_process import ACCOUNT, LOGIN_TIMEOUT, NatsProcess, NatsSettings
from hiveot_supervisor.runtime.roles import to_nats

if TYPE_CHECKING:
    from pathlib import Path

    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from hiveot_supervisor.runtime.accounts import Account
    from hiveot_supervisor.runtime.bootstrap import HubFiles
    from hiveot_supervisor.runtime.certfront import CertificateFront

log = logging.getLogger("hiveot.runtime")

Admit = Callable[[str, str, str], Admission]
"""(user, password, MQTT client ID) -> Admission; raises HubRefused."""

T = TypeVar("T")

_CALLOUT = "$SYS.REQ.USER.AUTH"
_COMMAND_TIMEOUT = 5.0
_MAX_WAITING = 64  # password logins in the queue; each costs 50 ms of CPU


@dataclass(frozen=True, slots=True)
class Connection:
    """A client that is connected now."""

    number: int
    user: str
    mqtt_id: str


class NatsBroker:
    """A running hub broker.

    admit: judges logins; secret: password of the runtime's own; first: accounts whose logins are judged before `open`,
    too; front: the listener for certificates; on_exit: called (from another thread) when the server ends, for whatever
    reason. See `broker.Broker` for the methods.
    """

    one_secret = False

    def __init__(
        self,
        *,
        host: str,
        port: int,
        files: HubFiles,
        folder: Path,
        binary: Path | None,
        admit: Admit,
        secret: str,
        first: frozenset[str] = frozenset(),
        front: CertificateFront | None = None,
        on_exit: Callable[[], None],
    ) -> None:
        self._issuer = keys.generate()
        self._login = keys.generate()
        self._admit = admit
        self._first = first
        self._front = front
        settings = NatsSettings(
            host=host,
            port=port,
            certificate=files.server,
            key=files.server_key,
            folder=folder,
            issuer=natsjwt.account_key(self._issuer),
            callout_user=natsjwt.user_key(self._login),
            binary=binary,
        )
        self.process = NatsProcess(settings, on_exit)
        self._ca_file = files.ca
        self.logins = LocalLogins(host, port, files.ca, secret)
        self._loop = asyncio.new_event_loop()
        self._tokens = ThreadPoolExecutor(2, thread_name_prefix="login")
        self._passwords = ThreadPoolExecutor(1, thread_name_prefix="password")
        self._server = ""
        self._waiting = 0
        self._opened = asyncio.Event()
        self._answering: set[asyncio.Task[None]] = set()
        self._log = LimitedLog(log, time.monotonic)
        self._client: Client | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="callout", daemon=True)

    def start(self) -> None:
        """Start server and callout. Logins of others than the runtime itself are held until `open`.

        Raises BrokerError, CredentialError.
        """
        self.process.start()
        import nats.aio.client  # noqa: F401  (the server starts meanwhile)

        self.process.wait_ready()
        self._thread.start()
        try:
            self._run(self._connect()).result(_COMMAND_TIMEOUT)
        except Exception as err:
            why = str(err) or type(err).__name__
            raise BrokerError("the account service cannot reach the broker", why=why) from err
        self.process.reload()

    def open(self) -> None:
        """Let everyone log in."""
        self._loop.call_soon_threadsafe(self._opened.set)
        if self._front is not None:
            self._front.start()

    def reload(self) -> None:
        """Take a renewed server certificate into use. The clients are disconnected once, and come back.

        Raises BrokerError.
        """
        self.process.reload()
        if self._front is not None:
            self._front.reload()

    @property
    def ca_file(self) -> Path:
        return self._ca_file

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def version(self) -> str:
        return f"nats-server {self.process.version}"

    @property
    def running(self) -> bool:
        return self.process.running

    def exit_words(self) -> str:
        return self.process.exit_words()

    def put(self, account: Account) -> None:
        """Each login asks us."""

    def set_secret(self, client_id: str, secret: str, *, at_once: bool = False) -> None:
        """Each login asks us."""

    def recheck(self) -> None:
        if self._front is not None:
            self._front.recheck()

    def kick(self, client_id: str) -> None:
        try:
            self.hang_up(client_id)
        except HiveotError as err:
            log.warning("clients of %s may still be connected: %s", client_id, err)

    def forget(self, client_id: str) -> None:
        try:
            sessions = {each.mqtt_id for each in self.hang_up(client_id)} | {client_id}
            for mqtt_id in sorted(sessions):
                self.logins.drop_session(mqtt_id)
        except HiveotError as err:
            log.warning("what the broker stores for %s may still be there: %s", client_id, err)

    def hang_up(self, user: str) -> list[Connection]:
        """Hang up on every client that is logged in as `user`; returns them. Raises BrokerError."""
        return self._command(self._hang_up(user))

    def retained(self) -> int:
        """How many retained messages the broker's store holds. Raises BrokerError."""
        return self._command(self._retained())

    def stop(self) -> None:
        """Stop everything; the broker's clients are disconnected. Idempotent."""
        if self._front is not None:
            self._front.stop()
        if self._thread.is_alive():
            with contextlib.suppress(Exception):  # as far as it is still there
                self._run(self._disconnect()).result(1.0)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5)
        self.process.stop()
        self._tokens.shutdown(wait=False, cancel_futures=True)
        self._passwords.shutdown(wait=False, cancel_futures=True)

    # in the callout thread

    async def _connect(self) -> None:
        from nats.aio.client import Client

        client = Client()
        # nats-py takes nkeys only through the PyNaCl-based `nkeys`; the signature is all that is needed
        client._public_nkey = natsjwt.user_key(self._login)
        await client.connect(
            f"nats://127.0.0.1:{self.process.port}",
            signature_cb=lambda nonce: base64.b64encode(self._login.sign(nonce.encode())),
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
            error_cb=self._on_error,
        )
        await client.subscribe(_CALLOUT, cb=self._on_login)
        await client.flush()
        self._client = client

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _on_error(self, error: Exception) -> None:
        self._log.warning("callout", "callout: %s", error)

    async def _on_login(self, message: Msg) -> None:
        task = asyncio.get_running_loop().create_task(self._answer(message))
        self._answering.add(task)  # the loop itself keeps only a weak reference
        task.add_done_callback(self._answering.discard)

    async def _answer(self, message: Msg) -> None:
        try:
            request = natsjwt.parse_request(message.data)
            answer = await self._decide(request)
        except CredentialError as err:
            self._log.warning("callout", "callout: %s", err)
        except Exception:  # without an answer this login times out; the next ones must not
            log.exception("a login could not be judged")
        else:
            await message.respond(answer)

    async def _decide(self, request: natsjwt.LoginRequest) -> bytes:
        try:
            if request.kind != "mqtt":
                raise HubRefused("only MQTT clients are served")
            admission = await self._judge(request)
        except HubRefused as err:
            user = request.user[:64]
            self._log.warning(_bucket(user), "login of %r from %s refused: %s", user, request.host, err)
            return natsjwt.refuse(self._issuer, request, err.what, now=time.time())
        return natsjwt.grant(
            self._issuer,
            request,
            account=ACCOUNT,
            publish=to_nats(admission.grants.publish),
            subscribe=to_nats(admission.grants.subscribe),
            now=time.time(),
            expires=admission.expires,
        )

    async def _judge(self, request: natsjwt.LoginRequest) -> Admission:
        if not request.user.startswith(INTERNAL) and request.user not in self._first:
            try:
                await asyncio.wait_for(self._opened.wait(), LOGIN_TIMEOUT * 0.8)
            except TimeoutError:
                raise HubRefused("the hub is not open yet") from None
        loop = asyncio.get_running_loop()
        arguments = (request.user, request.password, request.mqtt_id)
        if request.password.startswith((TOKEN_HEADER, TICKET_HEADER)):
            return await loop.run_in_executor(self._tokens, self._admit, *arguments)
        if self._waiting >= _MAX_WAITING:
            raise HubRefused("too many logins by password at once")
        self._waiting += 1
        try:
            return await loop.run_in_executor(self._passwords, self._admit, *arguments)
        finally:
            self._waiting -= 1

    async def _request(self, subject: str, options: dict[str, Any]) -> dict[str, Any]:
        if self._client is None:
            raise BrokerError("the broker is not running")
        answer = await self._client.request(subject, json.dumps(options).encode(), timeout=_COMMAND_TIMEOUT)
        content: dict[str, Any] = json.loads(answer.data)
        if "error" in content:
            raise BrokerError("the broker refused a command", why=str(content["error"]))
        return content

    async def _connections(self, user: str) -> list[Connection]:
        options = {"auth": True, "user": user, "acc": ACCOUNT, "limit": 10_000}
        answer = await self._request("$SYS.REQ.SERVER.PING.CONNZ", options)
        found = answer["data"].get("connections") or []
        self._server = answer["server"]["id"]
        return [
            Connection(each["cid"], user, each.get("mqtt_client", ""))
            for each in found
            if each.get("authorized_user") == user
        ]

    async def _hang_up(self, user: str) -> list[Connection]:
        kicked = await self._connections(user)
        for each in kicked:
            await self._request(f"$SYS.REQ.SERVER.{self._server}.KICK", {"cid": each.number})
        return kicked

    async def _retained(self) -> int:
        answer = await self._request("$SYS.REQ.SERVER.PING.JSZ", {"acc": ACCOUNT, "accounts": True, "streams": True})
        accounts = answer["data"].get("account_details") or []
        streams = [s for a in accounts if a.get("name") == ACCOUNT for s in a.get("stream_detail") or []]
        return sum(s["state"]["messages"] for s in streams if s.get("name") == "$MQTT_rmsgs")

    # from other threads

    def _run(self, what: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(what, self._loop)

    def _command(self, what: Coroutine[Any, Any, T]) -> T:
        try:
            return self._run(what).result(2 * _COMMAND_TIMEOUT)
        except BrokerError:
            raise
        except Exception as err:
            raise BrokerError("the broker does not answer a command", why=str(err) or type(err).__name__) from err


def _bucket(user: str) -> str:
    """The key under which a refused login is counted; few enough that an attacker's names do not fill the
    memory.
    """
    return f"login {zlib.crc32(user.encode('utf-8', 'replace')) % 256}"
