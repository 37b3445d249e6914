"""Until when a token or certificate is good, read without any key and without third-party imports.

Only says what the files claim; it never verifies a signature (`tokens.verify`, `certificates` do).
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hiveot_supervisor.clock import parse_iso8601
from hiveot_supervisor.errors import CredentialError

TOKEN_HEADER = "v4.public."
MAX_TOKEN = 4096
"""Characters; the hub's tokens have about 330."""

_YEAR_10000 = 253402300800.0
_SIGNATURE = 64
_RENEW_AT = 2 / 3


@dataclass(frozen=True, slots=True)
class Period:
    """From when until when something is valid; seconds since the epoch."""

    start: float
    end: float

    def renewal(self) -> float:
        """When to renew: after 2/3 of the lifetime."""
        return self.start + (self.end - self.start) * _RENEW_AT

    def expired(self, now: float) -> bool:
        return now >= self.end


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says (docs/mqtt-hub.md §2); times in seconds since the epoch."""

    client_id: str
    session_id: str
    issued: float
    not_before: float
    expires: float

    @property
    def period(self) -> Period:
        return Period(min(self.issued, self.not_before), self.expires)


def split_token(token: str) -> tuple[bytes, bytes]:
    """Message and signature of a `v4.public` token without footer. Raises CredentialError on any other
    text.
    """
    token = token.strip()
    if len(token) > MAX_TOKEN:
        raise CredentialError("not a token", why=f"longer than {MAX_TOKEN} characters")
    if not token.startswith(TOKEN_HEADER):
        raise CredentialError("not a token", why=f"it does not begin with {TOKEN_HEADER}")
    body = token[len(TOKEN_HEADER) :]
    if not body.isascii() or not body.replace("-", "A").replace("_", "A").isalnum():
        raise CredentialError("not a token", why="it is not base64url text, or has a footer")
    try:
        raw = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
    except (binascii.Error, ValueError) as err:
        raise CredentialError("not a token", why="it is not base64url text") from err
    if len(raw) <= _SIGNATURE or base64.urlsafe_b64encode(raw).rstrip(b"=") != body.encode():
        raise CredentialError("not a token", why="it is too short, or not in its canonical form")
    return raw[:-_SIGNATURE], raw[-_SIGNATURE:]


def read_claims(token: str) -> Claims:
    """The claims of a token's text, signature unchecked. Raises CredentialError when it is not a HiveOT
    token.
    """
    return parse_claims(split_token(token)[0])


def parse_claims(message: bytes) -> Claims:
    """The claims in a token's message part. Raises CredentialError when one is missing or malformed."""
    try:
        content: Any = json.loads(message)
    except (ValueError, RecursionError) as err:
        raise CredentialError("not a token", why="its claims are not JSON") from err
    if not isinstance(content, dict):
        raise CredentialError("not a token", why="its claims are not an object")
    client_id = _text(content, "clientID")
    if _text(content, "iss") != "hiveot":
        raise CredentialError("not a HiveOT token", why="issuer is not hiveot")
    if _text(content, "sub") != client_id:
        raise CredentialError("not a HiveOT token", why="subject and clientID differ")
    return Claims(
        client_id=client_id,
        session_id=_text(content, "sessionID"),
        issued=_time(content, "iat"),
        not_before=_time(content, "nbf"),
        expires=_time(content, "exp"),
    )


def certificate_period(pem: bytes) -> Period:
    """Validity of the first certificate in a PEM text (RFC 5280 §4.1.2.5). Raises CredentialError."""
    begin, end = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
    _, found, rest = pem.partition(begin)
    body, closed, _ = rest.partition(end)
    if not found or not closed:
        raise CredentialError("not a certificate", why="no PEM block of type CERTIFICATE")
    try:
        outer = _children(base64.b64decode(b"".join(body.split()), validate=True))[0][1]
        certificate = _children(outer)[0][1]
        fields = [f for f in _children(certificate) if f[0] != 0xA0]  # without the optional version
        start, stop = _children(fields[3][1])[:2]
        return Period(_asn1_time(*start), _asn1_time(*stop))
    except (binascii.Error, ValueError, IndexError) as err:
        raise CredentialError("not a certificate", why="damaged content") from err


def _text(content: dict[str, Any], name: str) -> str:
    value = content.get(name)
    if not isinstance(value, str) or not value:
        raise CredentialError("not a HiveOT token", why=f"claim {name} is missing")
    return value


def _time(content: dict[str, Any], name: str) -> float:
    try:
        found = parse_iso8601(_text(content, name))
    except (ValueError, OverflowError) as err:
        raise CredentialError("not a HiveOT token", why=f"claim {name} is not a time") from err
    if not 0.0 <= found < _YEAR_10000:  # the file may be one that a plugin can write: what is read can be shown
        raise CredentialError("not a HiveOT token", why=f"claim {name} is not a time of our age")
    return found


def _children(data: bytes) -> list[tuple[int, bytes]]:
    """The (tag, content) pairs in a DER sequence. Raises IndexError or ValueError when it is cut off."""
    found, at = [], 0
    while at < len(data):
        tag, size, at = data[at], data[at + 1], at + 2
        if size & 0x80:
            count = size & 0x7F
            if not 1 <= count <= 3:
                raise ValueError("length")
            size, at = int.from_bytes(data[at : at + count]), at + count
        if at + size > len(data):
            raise ValueError("cut off")
        found.append((tag, data[at : at + size]))
        at += size
    return found


def _asn1_time(tag: int, content: bytes) -> float:
    text = content.decode("ascii")
    if tag == 0x17:  # two digits of the year, from 50 on of the last century (RFC 5280 §4.1.2.5.1)
        text = ("19" if text >= "5" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
