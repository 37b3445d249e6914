"""Whom a client trusts."""

from __future__ import annotations

import ssl
from pathlib import Path


def trust(ca_file: Path) -> ssl.SSLContext:
    """A client's context that trusts this CA alone, and checks the host name. Raises OSError (ssl.SSLError with it).

    Not in OpenSSL's strict mode, the default of Python from 3.13 on: it refuses CA certificates without a key usage,
    and such are in use: Mosquitto's own instructions (`openssl req -x509`) make them. What 3.11 accepts 3.13 accepts.
    """
    context = ssl.create_default_context(cafile=str(ca_file))
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
