"""Fuzzing of what strangers present as credentials: tokens, certificates, signing requests, keys."""

from __future__ import annotations

import base64
import time
from pathlib import Path

from fuzzing.target import SECRET, Target

from hiveot_supervisor.credentials import certificates, expiry, keys, tokens
from hiveot_supervisor.errors import CredentialError

NOW = 1_800_000_000.0


def paseto(folder: Path) -> Target:
    """Nothing but CredentialError; only the very token that was issued is ever accepted; complaints hide it."""
    key = keys.generate()
    good = tokens.issue(key, "history", now=NOW, lifetime=3600.0)
    claims = b'{"iss":"hiveot","sub":"a","clientID":"a","sessionID":"s","iat":"%s","nbf":"%s","exp":"%s"}'
    times = [
        b"2027-01-15T08:00:00Z",
        b"2027-01-15T08:00:00+00:00",
        b"0001-01-01T00:00:00+23:59",
        b"9999-12-31T23:59:59-23:59",
    ]
    messages = [claims % (a, b, c) for a in times for b in times for c in times][:24]
    signed = [tokens.sign(key, message).encode() for message in messages]

    def check(data: bytes) -> None:
        if data[:1] == b"{":  # claims: signed by the hub, so that what is behind the signature is reached too
            data = tokens.sign(key, data).encode()
        text = data.decode("utf-8", "surrogateescape")
        for read in (expiry.read_claims, lambda t: tokens.verify(t, key.public_key(), now=NOW)):
            try:
                found = read(text)
                assert found.client_id
                assert found.period.start <= max(found.issued, found.not_before)
            except CredentialError as error:
                body = text.strip()[len(expiry.TOKEN_HEADER) :][:40]
                assert len(body) < 20 or body not in str(error)
        stranger = keys.generate() if len(data) % 64 == 0 else None
        if stranger is not None:
            try:
                tokens.verify(text, stranger.public_key(), now=NOW)
            except CredentialError:
                return
            raise AssertionError("accepted with another hub's key")

    return Target(
        "PASETO", (good.encode(), *signed, *messages), check, (b"v4.public.", b".", b"v4.local.", b"v3.public.")
    )


def certificate_dates(folder: Path) -> Target:
    """The little DER reader of `expiry` against any bytes; where both read it, it agrees with the real parser."""
    ca_key = certificates.new_server_key()
    pem = certificates.create_ca(ca_key, now=time.time())
    der = _der(pem)

    def check(data: bytes) -> None:
        text = data if data.startswith(b"-----") else _pem("CERTIFICATE", data)
        try:
            period = expiry.certificate_period(text)
        except CredentialError:
            return
        try:
            real = certificates.parse(text)
            agreed = real.not_valid_before_utc.timestamp(), real.not_valid_after_utc.timestamp()
        except (CredentialError, ValueError):
            return
        assert (period.start, period.end) == agreed

    return Target(
        "certificate dates", (pem, der), check, (b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----")
    )


def signing_request(folder: Path) -> Target:
    """issueCertificate: only CredentialError, and never a certificate for another name."""
    ca_key = certificates.new_server_key()
    ca = certificates.create_ca(ca_key, now=NOW)
    seeds = []
    for key in (keys.generate(), certificates.new_server_key()):
        pem = certificates.create_request(key, "history")
        seeds += [pem.encode(), _der(pem.encode())]

    def check(data: bytes) -> None:
        text = (data if data.startswith(b"-----") else _pem("CERTIFICATE REQUEST", data)).decode("utf-8", "replace")
        try:
            pem = certificates.create_client(ca, ca_key, text, "history", now=NOW)
        except CredentialError as error:
            assert SECRET not in str(error)
            return
        assert certificates.common_name(pem) == "history"

    return Target("CSR", tuple(seeds), check, (b"-----BEGIN CERTIFICATE REQUEST-----", *_algorithms()))


def key_files(folder: Path) -> Target:
    """Keys in any of the forms that are read; complaints hide them."""
    key = keys.generate()
    private = keys.private_pem(key)
    body = b"".join(private.splitlines()[1:-1])
    seeds = (private, body, base64.b64encode(bytes(32)), keys.public_pem(key).encode())

    def check(data: bytes) -> None:
        for read in (keys.parse_private, lambda d: keys.parse_public(d.decode("utf-8", "replace"))):
            try:
                read(data)
            except CredentialError as error:
                assert body.decode()[:24] not in str(error)

    return Target(
        "keys", seeds, check, (b"-----BEGIN PRIVATE KEY-----", b"-----BEGIN RSA PRIVATE KEY-----", *_algorithms())
    )


def _algorithms() -> tuple[bytes, ...]:
    """DER object identifiers: Ed25519, X25519, Ed448, RSA, EC, P-256, secp256k1, DSA."""
    hexes = (
        "06032b6570 06032b656e 06032b6571 06092a864886f70d010101 06072a8648ce3d0201 06082a8648ce3d030107 "
        "06052b8104000a 06072a8648ce380401"
    )
    return tuple(bytes.fromhex(one) for one in hexes.split())


def _der(pem: bytes) -> bytes:
    return base64.b64decode(b"".join(pem.splitlines()[1:-1]))


def _pem(kind: str, der: bytes) -> bytes:
    body = base64.b64encode(der)
    lines = [body[at : at + 64] for at in range(0, len(body), 64)]
    return b"\n".join([f"-----BEGIN {kind}-----".encode(), *lines, f"-----END {kind}-----".encode(), b""])
