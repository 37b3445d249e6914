"""XML-RPC without xmlrpc.client, judged by xmlrpc.client."""

from __future__ import annotations

import xmlrpc.client
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiveot_supervisor.supervisord import wire

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff"))
PARAM = st.one_of(TEXT, st.booleans(), st.integers(-(2**31), 2**31 - 1), st.lists(TEXT))


@given(st.lists(PARAM, max_size=4))
def test_what_we_ask_is_understood(params: list[Any]) -> None:
    assert xmlrpc.client.loads(wire.request("some.method", params)) == (tuple(params), "some.method")


@given(st.one_of(PARAM, st.dictionaries(TEXT, TEXT)))
def test_any_answer_is_understood(value: Any) -> None:
    assert wire.answer(xmlrpc.client.dumps((value,), methodresponse=True).encode()) == value


@pytest.mark.parametrize("text", ["a\r\nb", "\t &amp; <b>", "&#65;", "é\n"])
def test_a_string_is_what_xmlrpc_client_makes_of_it(text: str) -> None:
    body = xmlrpc.client.dumps((text,), methodresponse=True).encode()
    assert wire.answer(body) == xmlrpc.client.loads(body)[0][0]
    raw = (
        b"<methodResponse><params><param><value><string>&#65;&quot;</string></value></param></params></methodResponse>"
    )
    assert wire.answer(raw) == 'A"'


def test_a_fault_is_raised() -> None:
    body = xmlrpc.client.dumps(xmlrpc.client.Fault(10, "BAD_NAME: x")).encode()
    with pytest.raises(xmlrpc.client.Fault, match="BAD_NAME"):
        wire.answer(body)
