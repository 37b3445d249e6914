"""XML-RPC as text: requests, and answers that are one string; all other answers are left to xmlrpc.client.

That takes 30 ms to import, a quarter of a whole `hiveot-launcher list`, and our extension answers in strings.
Raises ValueError and what xmlrpc.client raises; knows nothing of supervisord.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

_ESCAPED = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_STRING = re.compile(
    rb"\s*(?:<\?xml[^>]*\?>\s*)?<methodResponse>\s*<params>\s*<param>\s*<value><string>([^<]*)</string></value>\s*"
    rb"</param>\s*</params>\s*</methodResponse>\s*"
)
_ENTITY = re.compile(r"&(amp|lt|gt);")
_PLAIN = {"amp": "&", "lt": "<", "gt": ">"}


def request(method: str, params: Sequence[str | bool | int | Sequence[str]]) -> bytes:
    """The text of a call."""
    values = "".join(f"<param>{_value(p)}</param>" for p in params)
    call = f"<methodCall><methodName>{_text(method)}</methodName><params>{values}</params></methodCall>"
    return f"<?xml version='1.0'?>\n{call}\n".encode()


def answer(body: bytes) -> Any:
    """The value of an answer. Raises xmlrpc.client.Fault, and others when it is no answer."""
    found = _STRING.fullmatch(body)
    if found and b"&#" not in found[1] and b"\r" not in found[1]:
        return _ENTITY.sub(lambda m: _PLAIN[m[1]], found[1].decode())
    import xmlrpc.client

    return xmlrpc.client.loads(body)[0][0]


def _value(param: str | bool | int | Sequence[str]) -> str:
    if isinstance(param, bool):
        return f"<value><boolean>{param:d}</boolean></value>"
    if isinstance(param, int):
        return f"<value><int>{param}</int></value>"
    if isinstance(param, str):
        return f"<value><string>{_text(param)}</string></value>"
    return f"<value><array><data>{''.join(_value(p) for p in param)}</data></array></value>"


def _text(text: str) -> str:
    return re.sub("[&<>]", lambda m: _ESCAPED[m[0]], text)
