"""What every binding needs to log in: the token, the trusted CA, and words for people when it fails."""

from __future__ import annotations

import socket
import ssl

from hiveot_supervisor.credentials.trust import trust
from hiveot_supervisor.hub.client import Account


class FileProblem(OSError):
    """A file that the login needs is missing or unreadable."""


def read_token(account: Account) -> str:
    """The token as it is in the file now; a new one must not need a restart. Raises FileProblem."""
    try:
        text = account.token_file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise FileProblem(f"the token file {account.token_file} does not exist yet") from None
    except (OSError, UnicodeDecodeError) as exc:
        raise FileProblem(f"the token file {account.token_file} cannot be read: {exc}") from exc
    if not text:
        raise FileProblem(f"the token file {account.token_file} is empty")
    return text


def client_tls(account: Account) -> ssl.SSLContext:
    """A context that trusts the hub's CA alone, checks the host name, and shows the account's certificate if it has
    one. Raises FileProblem.
    """
    try:
        context = trust(account.ca_file)
    except FileNotFoundError:
        raise FileProblem(f"the CA certificate {account.ca_file} does not exist yet") from None
    except OSError as exc:
        raise FileProblem(f"the CA certificate {account.ca_file} cannot be read: {exc}") from exc
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if account.certificate is not None:
        try:
            context.load_cert_chain(account.certificate, account.key)
        except OSError as exc:  # includes ssl.SSLError
            why = exc.strerror or str(exc)
            raise FileProblem(f"the client certificate {account.certificate} or its key cannot be used: {why}") from exc
    return context


def describe(exc: Exception, host: str, port: int, account: Account) -> str:
    """Why a connection could not be made, in words for people."""
    where = f"{host}:{port}"
    if isinstance(exc, FileProblem):
        return str(exc)
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"the certificate of {where} is not trusted by {account.ca_file}: {exc.verify_message}"
    if isinstance(exc, ssl.SSLError):
        return f"TLS with {where} failed: {exc.reason or exc}"
    if isinstance(exc, ConnectionRefusedError):
        return f"nothing listens on {where}"
    if isinstance(exc, TimeoutError):
        return f"{where} does not answer"
    if isinstance(exc, socket.gaierror):
        return f"host name {host} is not known"
    return f"{where}: {exc}"
