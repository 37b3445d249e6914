"""Certificates of hubs that others have made."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from fakes.brokers import make_certificates

from hiveot_supervisor.credentials.trust import trust


def handshake(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> None:
    """Both sides in memory. Raises ssl.SSLError."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(back, there, server_hostname=name),
        server.wrap_bio(there, back, server_side=True),
    ]
    for _ in range(6):
        for end in list(ends):
            try:
                end.do_handshake()
                ends.remove(end)
            except ssl.SSLWantReadError:
                pass
    assert not ends


def serving(folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    return context


@pytest.mark.parametrize("key_usage", [True, False])
def test_a_ca_is_trusted_with_and_without_a_key_usage(tmp_path: Path, key_usage: bool) -> None:
    """Python 3.13 by itself refuses the second."""
    make_certificates(tmp_path, key_usage=key_usage)
    handshake(trust(tmp_path / "ca.pem"), serving(tmp_path), "localhost")


def test_another_ca_and_another_host_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        make_certificates(tmp_path / name)
    server = serving(tmp_path / "a")
    with pytest.raises(ssl.SSLCertVerificationError, match=r"self-signed|self signed|unable to get|signature"):
        handshake(trust(tmp_path / "b/ca.pem"), server, "localhost")
    with pytest.raises(ssl.SSLCertVerificationError, match=r"doesn't match|mismatch"):
        handshake(trust(tmp_path / "a/ca.pem"), server, "elsewhere")


def test_no_ca_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        trust(tmp_path / "ca.pem")
