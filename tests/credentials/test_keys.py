"""Keys in the forms that HiveOT's Go programs read and write."""

from __future__ import annotations

import base64
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from hiveot_supervisor.credentials import keys
from hiveot_supervisor.errors import CredentialError


def test_every_go_form_gives_the_same_key() -> None:
    key = keys.generate()
    der = key.private_bytes(form.Encoding.DER, form.PrivateFormat.PKCS8, form.NoEncryption())
    forms = [keys.private_pem(key), base64.b64encode(der), base64.b64encode(key.private_bytes_raw()) + b"\n"]
    assert {keys.public_pem(keys.parse_private(f)) for f in forms} == {keys.public_pem(key)}
    assert keys.same(keys.parse_public(keys.public_pem(key)), key.public_key())


def test_p256_keys_of_hubcli_are_taken() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    assert keys.public_pem(keys.parse_private(keys.private_pem(key))) == keys.public_pem(key)


def test_what_is_no_key() -> None:
    other = rsa.generate_private_key(65537, 2048)
    pem = other.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    for data in (b"", b"junk", b"\xff", b"AAAA", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", pem):
        with pytest.raises(CredentialError, match="private key"):
            keys.parse_private(data)
    for text in ("", "ä", keys.private_pem(keys.generate()).decode()):
        with pytest.raises(CredentialError, match="public key"):
            keys.parse_public(text)


def test_load_or_create_keeps_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "authn.key"
    tmp_path.chmod(0o700)
    first = keys.load_or_create(path)
    before = path.read_bytes()
    assert keys.public_pem(keys.load_or_create(path)) == keys.public_pem(first)
    assert path.read_bytes() == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_damaged_key_is_named_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.key"
    path.write_bytes(b"garbage")
    with pytest.raises(CredentialError, match=r"x\.key: not a private key") as caught:
        keys.load_or_create(path)
    assert "remove the file" in caught.value.hint
    assert "garbage" not in str(caught.value)
    assert path.read_bytes() == b"garbage"


def test_openssl_reads_our_keys(tmp_path: Path) -> None:
    path = tmp_path / "x.key"
    path.write_bytes(keys.private_pem(keys.generate()))
    result = subprocess.run(["openssl", "pkey", "-in", str(path), "-noout", "-text"], capture_output=True, text=True)
    assert "ED25519 Private-Key" in result.stdout
