"""Certificates judged by others: OpenSSL in strict mode over real TLS, and the openssl program's reading."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from hiveot_supervisor.credentials import certificates, expiry, keys
from hiveot_supervisor.errors import CredentialError

NOW = time.time()


class Hub:
    """A CA with one server certificate."""

    def __init__(self) -> None:
        self.ca_key = certificates.new_server_key()
        self.ca = certificates.create_ca(self.ca_key, now=NOW)
        self.key = certificates.new_server_key()
        self.server = certificates.create_server(
            self.ca, self.ca_key, self.key, ["localhost", "127.0.0.1", "::1", "myhost"], now=NOW
        )


@pytest.fixture(scope="module")
def hub() -> Hub:
    return Hub()


def client(hub: Hub, name: str = "history") -> tuple[bytes, keys.PrivateKey]:
    key = keys.generate()
    csr = certificates.create_request(key, name)
    return certificates.create_client(hub.ca, hub.ca_key, csr, name, now=NOW), key


def handshake(hub: Hub, tmp_path: Path, name: str, pem: bytes, key: keys.PrivateKey) -> dict[str, object]:
    """One mutual TLS handshake in strict mode (the default from Python 3.13 on); the server's view of the
    client.
    """
    for file, data in [
        ("ca.pem", hub.ca),
        ("s.pem", hub.server),
        ("s.key", keys.private_pem(hub.key)),
        ("c.pem", pem),
        ("c.key", keys.private_pem(key)),
    ]:
        (tmp_path / file).write_bytes(data)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "ca.pem"))
    server.load_cert_chain(tmp_path / "s.pem", tmp_path / "s.key")
    server.verify_mode = ssl.CERT_REQUIRED
    peer = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    peer.load_cert_chain(tmp_path / "c.pem", tmp_path / "c.key")
    for context in (server, peer):
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    seen: list[dict[str, object]] = []
    one, other = socket.socketpair()

    def serve() -> None:
        try:
            with server.wrap_socket(one, server_side=True) as tls:
                seen.append(dict(tls.getpeercert() or {}))
                tls.sendall(b"ok")
        except ssl.SSLError:
            one.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with peer.wrap_socket(other, server_hostname=name) as tls:
            assert tls.recv(2) == b"ok"
    finally:
        thread.join(5)
        other.close()
    return seen[0]


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "myhost"])
def test_strict_mutual_tls(hub: Hub, tmp_path: Path, name: str) -> None:
    subject = handshake(hub, tmp_path, name, *client(hub))
    assert (("commonName", "history"),) in subject["subject"]  # type: ignore[operator]
    assert subject["subjectAltName"] == (("URI", "urn:hiveot:client:history"),)


def test_a_wrong_host_name_is_refused(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(hub, tmp_path, "elsewhere", *client(hub))


def test_a_foreign_client_certificate_is_refused(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises((ssl.SSLError, OSError)):
        handshake(hub, tmp_path, "localhost", *client(Hub()))


def test_a_server_certificate_is_no_client_certificate(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises((ssl.SSLError, OSError)):
        handshake(hub, tmp_path, "localhost", hub.server, hub.key)


def test_client_profile(hub: Hub) -> None:
    pem, key = client(hub)
    found = x509.load_pem_x509_certificate(pem)
    usage = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    basic = found.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.critical, basic.value.ca) == (True, False)
    assert found.subject.rfc4514_string() == "CN=history,O=hiveot"
    period = expiry.certificate_period(pem)
    assert period.start == pytest.approx(NOW - 300, abs=1)
    assert period.end == pytest.approx(NOW + 30 * 86400, abs=1)
    assert certificates.belongs_to(pem, key)
    assert not certificates.belongs_to(pem, keys.generate())
    assert certificates.signed_by(pem, hub.ca)
    assert not certificates.signed_by(pem, Hub().ca)
    assert client(hub)[0] != pem  # random serial numbers


def test_nothing_of_the_request_but_its_key_is_believed(hub: Hub) -> None:
    key = keys.generate()
    forged = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "admin")]))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, None)
    )
    from cryptography.hazmat.primitives.serialization import Encoding

    pem = certificates.create_client(hub.ca, hub.ca_key, forged.public_bytes(Encoding.PEM).decode(), "history", now=NOW)
    assert certificates.common_name(pem) == "history"
    assert not x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_requests_that_are_refused(hub: Hub) -> None:
    good = certificates.create_request(keys.generate(), "a")
    lines = good.splitlines()
    other = certificates.create_request(keys.generate(), "a").splitlines()
    mixed = "\n".join([*lines[:-2], other[-2], lines[-1]])  # the signature of another request
    for text in ["", "junk", "ä", mixed, good.replace("\n", "\n" + "x" * 20_000)]:
        with pytest.raises(CredentialError, match="request"):
            certificates.create_client(hub.ca, hub.ca_key, text, "a", now=NOW)


def test_a_certificate_never_outlives_the_ca() -> None:
    key = certificates.new_server_key()
    ca = certificates.create_ca(key, now=NOW - 3640 * 86400)
    server = certificates.create_server(ca, key, certificates.new_server_key(), ["localhost"], now=NOW)
    assert expiry.certificate_period(server).end == expiry.certificate_period(ca).end
    old = certificates.create_ca(key, now=NOW - 4000 * 86400)
    with pytest.raises(CredentialError, match="CA certificate has expired"):
        certificates.create_server(old, key, certificates.new_server_key(), ["localhost"], now=NOW)


def test_server_names(hub: Hub) -> None:
    assert certificates.server_names(hub.server) == {"localhost", "127.0.0.1", "::1", "myhost"}
    assert certificates.server_names(hub.ca) == set()


def test_our_reading_of_validity_agrees_with_cryptography(hub: Hub) -> None:
    far = certificates.create_ca(certificates.new_server_key(), now=NOW + 25 * 365 * 86400)  # GeneralizedTime
    for pem in (hub.ca, hub.server, client(hub)[0], far):
        found, period = x509.load_pem_x509_certificate(pem), expiry.certificate_period(pem)
        assert period.start == found.not_valid_before_utc.timestamp()
        assert period.end == found.not_valid_after_utc.timestamp()


def test_damaged_certificates_are_credential_errors(hub: Hub) -> None:
    begin, end = b"-----BEGIN CERTIFICATE-----\n", b"-----END CERTIFICATE-----\n"
    body = hub.ca[len(begin) : -len(end)]
    pieces = [b"", b"x", begin, hub.ca[: len(hub.ca) // 2], begin + body[:64] + end, begin + b"AAAA" + end, begin + end]
    for pem in [*pieces, begin + body[:10] + b"!" + body[11:] + end]:
        with pytest.raises(CredentialError, match="not a certificate"):
            expiry.certificate_period(pem)
