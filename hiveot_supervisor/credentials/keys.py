"""Private and public keys: Ed25519 for accounts, PEM and the other forms that HiveOT's Go programs write.

Never prints or logs key material; errors name the file, not its content.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import TYPE_CHECKING

from hiveot_supervisor.credentials import store
from hiveot_supervisor.errors import CredentialError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    PrivateKey = Ed25519PrivateKey | EllipticCurvePrivateKey
    PublicKey = Ed25519PublicKey | EllipticCurvePublicKey
    SigningKey = Ed25519PrivateKey  # of accounts and of the token signer
    VerifyKey = Ed25519PublicKey

_SEED = 32


def generate() -> Ed25519PrivateKey:
    """A new account key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate()


def private_pem(key: PrivateKey) -> bytes:
    """PKCS#8 PEM, not encrypted: the form of `{id}.key`."""
    from cryptography.hazmat.primitives import serialization as form

    return key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())


def public_pem(key: PrivateKey | PublicKey) -> str:
    """PKIX PEM of the public key: what accounts carry as `pubKey`."""
    from cryptography.hazmat.primitives import serialization as form

    public = key.public_key() if hasattr(key, "public_key") else key
    return public.public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def parse_private(data: bytes) -> PrivateKey:
    """A private key from PKCS#8 PEM, bare base64 of its DER, or a bare base64 32-byte Ed25519 seed.

    Source of the forms: docs hiveot-hub-protocol §1.3. Ed25519 and P-256/384 keys are taken. Raises
    CredentialError.
    """
    from cryptography.exceptions import InternalError, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        if b"-----BEGIN" in data:
            key = form.load_pem_private_key(data, None)
        else:
            raw = base64.b64decode(b"".join(data.split()), validate=True)
            key = (
                Ed25519PrivateKey.from_private_bytes(raw) if len(raw) == _SEED else form.load_der_private_key(raw, None)
            )
    except (binascii.Error, ValueError, TypeError, UnsupportedAlgorithm, InternalError) as err:
        raise CredentialError("not a private key", why="neither PKCS#8 PEM nor base64") from err
    if not isinstance(key, (Ed25519PrivateKey, EllipticCurvePrivateKey)):
        raise CredentialError("not a usable private key", why="it is neither Ed25519 nor ECDSA")
    return key


def parse_public(text: str) -> PublicKey:
    """A public key from PKIX PEM. Raises CredentialError."""
    from cryptography.exceptions import InternalError, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = form.load_pem_public_key(text.encode("ascii"))
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError) as err:
        raise CredentialError("not a public key", why="PEM of type PUBLIC KEY is expected") from err
    if not isinstance(key, (Ed25519PublicKey, EllipticCurvePublicKey)):
        raise CredentialError("not a usable public key", why="it is neither Ed25519 nor ECDSA")
    return key


def load(path: Path) -> PrivateKey:
    """The private key in a file. Raises FileNotFoundError, CredentialError."""
    try:
        return parse_private(store.read_file(path))
    except CredentialError as err:
        if str(path) in err.what:
            raise
        hint = "remove the file to have a new key made, or restore it from a backup"
        raise CredentialError(f"{path}: {err.what}", why=err.why, hint=hint) from err


def load_or_create(path: Path) -> Ed25519PrivateKey:
    """The Ed25519 key in a file; a new one is written when there is none. Raises CredentialError."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        key = load(path)
    except FileNotFoundError:
        new = generate()
        store.write_file(path, private_pem(new))
        return new
    if not isinstance(key, Ed25519PrivateKey):
        raise CredentialError(f"{path} is not an Ed25519 key")
    return key


def same(one: PublicKey, other: PublicKey) -> bool:
    """True when both are the same public key."""
    return public_pem(one) == public_pem(other)
