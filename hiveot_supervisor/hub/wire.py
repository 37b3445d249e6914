"""Strict JSON, and strict reading of its members: the ground that envelopes and values stand on. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from hiveot_supervisor.errors import HubError

MAX_MESSAGE = 1_048_576
"""Largest message that is read, bytes (the brokers' limit, docs/mqtt-hub.md §1)."""

MAX_SENT = MAX_MESSAGE - 4096
"""Largest message that is sent: to the brokers the limit includes topic and headers."""


class BadMessage(HubError):
    """What was received is not a message of the protocol."""


def encode_json(value: Any, *, limit: int = MAX_SENT) -> bytes:
    """A value as compact UTF-8 JSON. Raises BadMessage when it has no JSON form (NaN, objects) or is too large."""
    try:
        compact = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        try:
            data = compact.encode()
        except UnicodeEncodeError:  # lone surrogates, for instance of undecodable file names
            data = json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as exc:
        raise BadMessage("a value cannot be sent as JSON", why=str(exc)) from exc
    if len(data) > limit:
        raise BadMessage("a message is too large to be sent", why=f"{len(data)} bytes, limit {limit}")
    return data


def decode_json(data: bytes | str, *, limit: int = MAX_MESSAGE) -> Any:
    """Parse JSON text strictly: no NaN, nothing that would be read as infinity. Raises BadMessage when it is none or
    larger than `limit`.
    """
    if len(data) > limit:
        raise BadMessage("a message is too large", why=f"{len(data)} bytes, limit {limit}")
    try:
        return json.loads(data, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError) as exc:
        raise BadMessage("a message is not valid JSON", why=str(exc)) from exc


def mapping(data: Any, what: str) -> Mapping[str, Any]:
    """`data` itself when it is an object. Raises BadMessage."""
    if not isinstance(data, Mapping):
        raise BadMessage(f"the {what} is not a JSON object", why=f"it is {type(data).__name__}")
    return data


def text(source: Mapping[str, Any], key: str) -> str:
    """A text member; absent and null are empty. Raises BadMessage when it is something else."""
    value = source.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadMessage(f"member {key} of a message is not text", why=f"it is {type(value).__name__}")
    return value


def integer(source: Mapping[str, Any], key: str) -> int | None:
    """An integer member, None when absent. Raises BadMessage when it is something else."""
    value = source.get(key)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise BadMessage(f"member {key} of a message is not an integer", why=f"it is {type(value).__name__}")


def _finite(text: str) -> float:
    """Numbers beyond the range of a double would become infinity, which cannot be sent back."""
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:40]} is beyond the range of numbers")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
