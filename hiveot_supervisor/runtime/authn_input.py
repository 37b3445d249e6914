"""What callers send to the account service, read strictly, and what they get to see of an account.

Every function raises BadInput with a text for the caller. Pure, but for the time a password hash takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hiveot_supervisor.clock import iso8601
from hiveot_supervisor.credentials import keys
from hiveot_supervisor.errors import CredentialError, HiveotError
from hiveot_supervisor.runtime.accounts import MAX_PASSWORD, MIN_PASSWORD, Account, hash_password

_MAX_NAME = 256


class Denied(HiveotError):
    """The caller may not do that. `status`: HTTP status of the answer."""

    status = 403


class BadInput(HiveotError):
    """What the caller sent makes no sense."""

    status = 400


class NotFound(HiveotError):
    """There is no such account, thing or action."""

    status = 404


def profile(account: Account) -> dict[str, Any]:
    """The ClientProfile of an account; empty members are left out, as in Go."""
    found = {
        "clientID": account.client_id,
        "clientType": account.type.value,
        "disabled": account.disabled,
        "displayName": account.display_name,
        "pubKey": account.public_key,
        "updated": iso8601(account.updated),
    }
    return {name: value for name, value in found.items() if value not in ("", False)}


def text(value: Any, name: str, *, needed: bool = True) -> str:
    """The text member `name` of an object; empty when it is absent and not `needed`."""
    if not isinstance(value, Mapping):
        raise BadInput("an object is expected as input")
    found = value.get(name, "")
    if not isinstance(found, str) or (needed and not found):
        raise BadInput(f"{name} is missing or not text")
    return found


def flag(value: Any, name: str) -> bool:
    """The truth value `name` of an object; False when it is absent."""
    found = value.get(name, False) if isinstance(value, Mapping) else False
    if not isinstance(found, bool):
        raise BadInput(f"{name} is true or false")
    return found


def plain(value: Any) -> str:
    """An input that is itself a text, and not empty."""
    if not isinstance(value, str) or not value:
        raise BadInput("a text is expected as input")
    return value


def display_name(value: Any) -> str:
    """The member `displayName`, or an empty text."""
    name = text(value, "displayName", needed=False)
    if len(name) > _MAX_NAME or not name.isprintable():
        raise BadInput(f"displayName is longer than {_MAX_NAME} characters, or has control characters")
    return name


def public_key(value: Any) -> str:
    """The member `pubKey` as PEM in its usual form, or an empty text."""
    pem = text(value, "pubKey", needed=False)
    if not pem:
        return ""
    try:
        return keys.public_pem(keys.parse_public(pem))
    except CredentialError as err:
        raise BadInput(f"pubKey is {err.what}", why=err.why) from err


def check_password_length(password: str) -> None:
    """Refuse a password that is too short or too long before anything is done."""
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise BadInput(f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters")


def password_hash(password: str) -> str:
    """The hash of a password of acceptable length."""
    try:
        return hash_password(password)
    except ValueError as err:
        raise BadInput(str(err)) from err
