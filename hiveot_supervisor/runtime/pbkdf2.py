"""Hashes of secrets in the form that Mosquitto's Dynamic Security reads: PBKDF2-HMAC-SHA512 (RFC 8018).

`pbkdf2-sha512:iterations:salt:hash`, salt and hash in base64. Pure, but for the time a hash takes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Any

TOKEN_ITERATIONS = 101
"""For tokens: they hold a 512-bit signature, so guessing is hopeless at any speed. Also what Mosquitto itself uses
for every secret that it is given while it runs."""
PASSWORD_ITERATIONS = 50_000
"""For what people choose: 35 ms a guess. Mosquitto has one thread, which does nothing else meanwhile, so that more
would let anyone who knows a person's account name stop the hub by guessing."""

_KIND = "pbkdf2-sha512"


def hash_secret(text: str, iterations: int) -> str:
    """A salted hash of `text`."""
    salt = secrets.token_bytes(12)  # the only length that Mosquitto 2.0 reads
    return f"{_KIND}:{iterations}:{_encode(salt)}:{_encode(_hash(text, salt, iterations))}"


def check_secret(text: str, hashed: str) -> bool:
    """True when `text` is what was hashed; False for an empty or strange hash."""
    try:
        kind, iterations, salt, expected = hashed.split(":")
        found = _hash(text, base64.b64decode(salt), int(iterations))
    except ValueError:
        return False
    return kind == _KIND and hmac.compare_digest(found, base64.b64decode(expected))


def dynsec_password(hashed: str) -> dict[str, Any]:
    """The members of a client in dynamic-security.json that say this; none for an empty hash (no password works)."""
    if not hashed:
        return {}
    _, iterations, salt, password = hashed.split(":")
    return {"password": password, "salt": salt, "iterations": int(iterations)}


def _hash(text: str, salt: bytes, iterations: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha512", text.encode("utf-8", "surrogatepass"), salt, iterations)


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
