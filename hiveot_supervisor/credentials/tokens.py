"""PASETO v4.public tokens, the format of the HiveOT hub: made by the account service, checked at every login.

Owns the signature (pre-authentication encoding + Ed25519) and the rules by which a token is accepted. The
claims themselves are read in `expiry`, which needs no key. Source: PASETO specification, version 4;
docs/mqtt-hub.md §2.
"""

from __future__ import annotations

import base64
import json
import struct
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hiveot_supervisor.credentials.expiry import TOKEN_HEADER, Claims, parse_claims, split_token
from hiveot_supervisor.errors import CredentialError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

CLOCK_SKEW = 300.0
"""Seconds by which another machine's clock may be ahead of ours (iat, nbf)."""


def issue(key: Ed25519PrivateKey, client_id: str, *, now: float, lifetime: float, session_id: str = "") -> str:
    """A new token for `client_id`, valid from `now` for `lifetime` seconds; the session is the client's own
    by default.
    """
    claims = {
        "iss": "hiveot",
        "sub": client_id,
        "clientID": client_id,
        "sessionID": session_id or client_id,
        "iat": _rfc3339(now),
        "nbf": _rfc3339(now),
        "exp": _rfc3339(now + lifetime),
    }
    return sign(key, json.dumps(claims, separators=(",", ":")).encode())


def verify(token: str, key: Ed25519PublicKey, *, now: float) -> Claims:
    """The claims of a token with a good signature that is valid at `now`. Raises CredentialError
    otherwise.
    """
    message, _ = split_token(token)
    verify_signature(key, token)
    claims = parse_claims(message)
    if claims.expires <= now:
        raise CredentialError("the token has expired", why=f"at {_rfc3339(claims.expires)}")
    if max(claims.issued, claims.not_before) > now + CLOCK_SKEW:
        raise CredentialError("the token is not valid yet", why=f"before {_rfc3339(claims.not_before)}")
    return claims


def sign(key: Ed25519PrivateKey, message: bytes, *, implicit: bytes = b"") -> str:
    """A `v4.public` token of any message, without footer."""
    signature = key.sign(_pre_auth(TOKEN_HEADER.encode(), message, b"", implicit))
    return TOKEN_HEADER + base64.urlsafe_b64encode(message + signature).rstrip(b"=").decode()


def verify_signature(key: Ed25519PublicKey, token: str, *, implicit: bytes = b"") -> bytes:
    """The message of a token whose signature is good. Raises CredentialError otherwise."""
    from cryptography.exceptions import InvalidSignature

    message, signature = split_token(token)
    try:
        key.verify(signature, _pre_auth(TOKEN_HEADER.encode(), message, b"", implicit))
    except InvalidSignature as err:
        raise CredentialError("the token was not issued by this hub", why="wrong signature") from err
    return message


def _pre_auth(*pieces: bytes) -> bytes:
    """PASETO's pre-authentication encoding: count and lengths as 64-bit little endian, so pieces cannot be
    shifted.
    """
    return struct.pack("<Q", len(pieces)) + b"".join(struct.pack("<Q", len(p)) + p for p in pieces)


def _rfc3339(wall: float) -> str:
    return datetime.fromtimestamp(int(wall), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
