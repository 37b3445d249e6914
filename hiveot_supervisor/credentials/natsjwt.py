"""NATS identities: nkeys and the JWTs with which the auth callout answers a login.

Formats: github.com/nats-io/nkeys (prefix byte, key, CRC-16, base32) and github.com/nats-io/jwt version 2
(claims, `ed25519-nkey` signatures); callout: NATS ADR-26. Only encodes; who may log in is decided elsewhere.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hiveot_supervisor.errors import CredentialError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_ACCOUNT, _USER = 0 << 3, 20 << 3


@dataclass(frozen=True, slots=True)
class LoginRequest:
    """What the NATS server asks the callout. `client`: number of the connection; `kind`: `mqtt`, `nats`, …

    server, user_key: to be repeated in the answer. All but them comes from the network and is not to be
    trusted.
    """

    server: str
    user_key: str
    client: int
    kind: str
    host: str
    mqtt_id: str
    user: str
    password: str


def account_key(key: Ed25519PrivateKey) -> str:
    """The public nkey (`A…`) of an account, here of the issuer of user JWTs."""
    return _encode(_ACCOUNT, key.public_key().public_bytes_raw())


def user_key(key: Ed25519PrivateKey) -> str:
    """The public nkey (`U…`) of a user."""
    return _encode(_USER, key.public_key().public_bytes_raw())


def parse_request(data: bytes) -> LoginRequest:
    """Read a callout request. It came over the callout's own authenticated connection, so its signature says
    nothing more. Raises CredentialError when it has another form.
    """
    try:
        body = data.split(b".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + b"=" * (-len(body) % 4)))["nats"]
        info, options = claims["client_info"], claims["connect_opts"]
        return LoginRequest(
            server=str(claims["server_id"]["id"]),
            user_key=str(claims["user_nkey"]),
            client=int(info.get("id", 0)),
            kind=str(info.get("type", "")),
            host=str(info.get("host", "")),
            mqtt_id=str(info.get("mqtt_id", "")),
            user=str(options.get("user", "")),
            password=str(options.get("pass", "")),
        )
    except (IndexError, KeyError, TypeError, ValueError, AttributeError, binascii.Error) as err:
        raise CredentialError("not an authorization request of NATS") from err


def grant(
    issuer: Ed25519PrivateKey,
    request: LoginRequest,
    *,
    account: str,
    publish: Sequence[str],
    subscribe: Sequence[str],
    now: float,
    expires: float | None,
) -> bytes:
    """The answer that lets the client in, with these subjects only, until `expires` (the server then hangs
    up).
    """
    user: dict[str, Any] = {
        "pub": {"allow": list(publish)} if publish else {"deny": [">"]},
        "sub": {"allow": list(subscribe)} if subscribe else {"deny": [">"]},
        "subs": -1,
        "data": -1,
        "payload": -1,
        "allowed_connection_types": ["MQTT"],
        "type": "user",
        "version": 2,
    }
    claims = _claims(issuer, request, account, now) | {"name": request.user, "nats": user}
    if expires is not None:
        claims["exp"] = int(expires)
    return _answer(issuer, request, now, {"jwt": _sign(issuer, claims)})


def refuse(issuer: Ed25519PrivateKey, request: LoginRequest, reason: str, *, now: float) -> bytes:
    """The answer that keeps the client out; the reason gets into the server's log only."""
    return _answer(issuer, request, now, {"error": reason})


def _answer(issuer: Ed25519PrivateKey, request: LoginRequest, now: float, content: dict[str, str]) -> bytes:
    claims = _claims(issuer, request, request.server, now)
    claims["nats"] = content | {"type": "authorization_response", "version": 2}
    return _sign(issuer, claims).encode("ascii")


def _claims(issuer: Ed25519PrivateKey, request: LoginRequest, audience: str, now: float) -> dict[str, Any]:
    return {
        "jti": secrets.token_hex(16),
        "iat": int(now),
        "iss": account_key(issuer),
        "sub": request.user_key,
        "aud": audience,
    }


def _sign(key: Ed25519PrivateKey, claims: dict[str, Any]) -> str:
    head = _base64({"typ": "JWT", "alg": "ed25519-nkey"})
    message = f"{head}.{_base64(claims)}"
    signature = base64.urlsafe_b64encode(key.sign(message.encode("ascii"))).rstrip(b"=")
    return f"{message}.{signature.decode('ascii')}"


def _base64(value: dict[str, Any]) -> str:
    text = json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode("ascii")


def _encode(prefix: int, key: bytes) -> str:
    raw = bytes([prefix]) + key
    raw += binascii.crc_hqx(raw, 0).to_bytes(2, "little")  # CRC-16/XMODEM
    return base64.b32encode(raw).rstrip(b"=").decode("ascii")
