"""X.509: the hub's CA, its server certificate, client certificates from signing requests, and the list of revoked ones.

CA and server keys are P-256 (understood everywhere); client keys are whatever the request carries, normally
Ed25519. Profiles pass Python 3.13's strict checks. Knows no files and no accounts.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hiveot_supervisor.credentials import keys
from hiveot_supervisor.errors import CredentialError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

CA_DAYS = 3650
SERVER_DAYS = 365
CLIENT_DAYS = 30
BACKDATE = 300.0
"""Seconds that a certificate is valid before it was made, for clocks that run behind ours."""

_DAY = 86400.0
_MAX_CSR = 16 * 1024


def new_server_key() -> EllipticCurvePrivateKey:
    """A P-256 key, for CA and server."""
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def create_ca(key: keys.PrivateKey, *, now: float) -> bytes:
    """PEM of a self-signed CA certificate `CN=hiveot`, which signs end certificates only."""
    from cryptography import x509

    name = _name("hiveot")
    builder = _builder(name, key.public_key(), now, CA_DAYS).issuer_name(name)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(sign_certificates=True), critical=True)
    return _signed(builder, key, key.public_key())


def create_server(
    ca_pem: bytes, ca_key: keys.PrivateKey, key: keys.PrivateKey, hosts: Sequence[str], *, now: float
) -> bytes:
    """PEM of a server certificate for the names and addresses in `hosts`; the first one is also the common
    name.
    """
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    ca = parse(ca_pem)
    builder = _builder(_name(hosts[0][:64], unit="hiveot"), key.public_key(), now, SERVER_DAYS, within=ca)
    builder = builder.issuer_name(ca.subject)
    builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(h) for h in hosts]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(), critical=True)
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    return _signed(builder.add_extension(usage, critical=False), ca_key, ca.public_key())


def create_client(ca_pem: bytes, ca_key: keys.PrivateKey, csr_pem: str, client_id: str, *, now: float) -> bytes:
    """PEM of a client certificate for the key that signed the request; nothing else of the request is
    believed.

    Profile: docs/mqtt-hub.md §2 (CN = client ID, O = hiveot, SAN `urn:hiveot:client:{id}`, clientAuth, 30
    days). Raises CredentialError when the request is malformed, too long, or not signed by its own key.
    """
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    ca, key = parse(ca_pem), _requested_key(csr_pem)
    name = _name(client_id[:64], organization="hiveot")
    builder = _builder(name, key, now, CLIENT_DAYS, within=ca).issuer_name(ca.subject)
    uri = x509.UniformResourceIdentifier(f"urn:hiveot:client:{client_id}")
    builder = builder.add_extension(x509.SubjectAlternativeName([uri]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(), critical=True)
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    return _signed(builder.add_extension(usage, critical=False), ca_key, ca.public_key())


def create_request(key: keys.PrivateKey, client_id: str) -> str:
    """PEM of a certificate signing request (PKCS#10) that proves possession of `key`."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    request = x509.CertificateSigningRequestBuilder().subject_name(_name(client_id[:64])).sign(key, _hash_for(key))
    return request.public_bytes(Encoding.PEM).decode("ascii")


def create_crl(ca_pem: bytes, ca_key: keys.PrivateKey, serials: Sequence[int], *, now: float) -> bytes:
    """PEM of the CA's list of revoked certificates (RFC 5280), made at wall time `now`.

    It is good until the CA's own end: whoever reads it gets a new one when something changes, and a list that has
    expired would lock everybody out.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    ca = parse(ca_pem)
    builder = x509.CertificateRevocationListBuilder().issuer_name(ca.subject)
    builder = builder.last_update(_utc(now)).next_update(max(_utc(now + _DAY), ca.not_valid_after_utc))
    for serial in serials:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(_utc(now))
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(ca_key, _hash_for(ca_key)).public_bytes(Encoding.PEM)


def parse(pem: bytes) -> x509.Certificate:
    """The certificate in a PEM text. Raises CredentialError."""
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(pem)
    except (ValueError, x509.InvalidVersion) as err:
        raise CredentialError("not a certificate", why="PEM of type CERTIFICATE is expected") from err


def belongs_to(pem: bytes, key: keys.PrivateKey) -> bool:
    """True when the certificate is for this key."""
    public = parse(pem).public_key()
    return keys.public_pem(public) == keys.public_pem(key)  # type: ignore[arg-type]


def common_name(pem: bytes) -> str:
    """Common name of the subject, or an empty text."""
    from cryptography import x509

    names = parse(pem).subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def signed_by(pem: bytes, ca_pem: bytes) -> bool:
    """True when the CA's key signed this certificate (dates are not looked at)."""
    from cryptography.exceptions import InvalidSignature

    try:
        parse(pem).verify_directly_issued_by(parse(ca_pem))
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def may_sign_crl(ca_pem: bytes) -> bool:
    """False for a CA whose key usage leaves out lists of revoked certificates: OpenSSL would then refuse everybody."""
    from cryptography import x509

    try:
        return parse(ca_pem).extensions.get_extension_for_class(x509.KeyUsage).value.crl_sign
    except x509.ExtensionNotFound:
        return True


def server_names(pem: bytes) -> set[str]:
    """The DNS names and addresses that a server certificate is for."""
    from cryptography import x509

    try:
        names = parse(pem).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    addresses = names.get_values_for_type(x509.IPAddress)
    return {*names.get_values_for_type(x509.DNSName), *(str(a) for a in addresses)}


def _builder(
    subject: x509.Name, key: keys.PublicKey, now: float, days: int, *, within: x509.Certificate | None = None
) -> x509.CertificateBuilder:
    from cryptography import x509

    start, end = _utc(now - BACKDATE), _utc(now + days * _DAY)
    if within is not None:  # no certificate outlives, or is older than, the CA that vouches for it
        start, end = max(start, within.not_valid_before_utc), min(end, within.not_valid_after_utc)
        if end <= start:
            raise CredentialError(
                "the hub's CA certificate has expired", hint="remove caCert.pem and caKey.pem for a new CA"
            )
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _signed(builder: x509.CertificateBuilder, key: keys.PrivateKey, issuer: object) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer)  # type: ignore[arg-type]
    certificate = builder.add_extension(authority, critical=False).sign(key, _hash_for(key))
    return certificate.public_bytes(Encoding.PEM)


def _requested_key(csr_pem: str) -> keys.PublicKey:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    if len(csr_pem) > _MAX_CSR:
        raise CredentialError("not a certificate request", why=f"longer than {_MAX_CSR} characters")
    try:
        request = x509.load_pem_x509_csr(csr_pem.encode("ascii"))
        proven = request.is_signature_valid
        key = request.public_key()
    except UnsupportedAlgorithm as err:
        raise CredentialError("refused certificate request", why="its key or signature is of an unknown kind") from err
    except (ValueError, TypeError, x509.InvalidVersion) as err:
        raise CredentialError("not a certificate request", why="PKCS#10 PEM is expected") from err
    if not proven:
        raise CredentialError("refused certificate request", why="it is not signed by its own key")
    return keys.parse_public(keys.public_pem(key))  # type: ignore[arg-type]


def _usage(*, sign_certificates: bool = False) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str, *, organization: str = "", unit: str = "") -> x509.Name:
    from cryptography import x509

    parts = [(x509.NameOID.ORGANIZATION_NAME, organization), (x509.NameOID.ORGANIZATIONAL_UNIT_NAME, unit)]
    found = [x509.NameAttribute(oid, text) for oid, text in parts if text]
    return x509.Name([*found, x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])


def _general_name(host: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _hash_for(key: object) -> hashes.SHA256 | None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return None if isinstance(key, Ed25519PrivateKey) else hashes.SHA256()


def _utc(wall: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(int(wall), dt.UTC)
