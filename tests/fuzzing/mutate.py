"""Hostile variants of good inputs: of bytes, of text with numbers and words in it, and of JSON documents.

Takes its chances from the Random that it is given: hypothesis's own (which shrinks what it finds) or a seeded one
(fast, for the long form). Knows nothing of what is tested.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

MAX_SIZE = 1 << 16
"""Bytes of most inputs; one in a thousand may have sixteen times as many."""

TOKENS: tuple[bytes, ...] = (
    b"", b"\0", b"\n", b"\r\n", b" ", b"\t", b":", b"::", b"/", b"../", b"+", b"#", b"%", b"%s", b"%(x)s", b"'", b'"',
    b"{", b"}", b"[", b"]", b",", b"-", b"--", b"=", b"$(id)", b"`id`", b"\\", b"\\u0000", b"\\ud800", b"\xff",
    b"\xfe\xff", b"\xef\xbb\xbf", b"\xc3\x28", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x1b[31m", b"\x1b]0;t\x07",
    b"\x9b2J", b"\xe2\x80\xae", b"\xc2\x85", b"\xe2\x80\xa8", b"1e999", b"-1e999", b"NaN", b"Infinity", b"null",
    b"-0", b"0", b"1", b"-1", b"255", b"65536", b"2147483648", b"9223372036854775808", b"1" * 400, b"9" * 5000,
    b"\xd9\xa1\xd9\xa2", b"1_0", b"0x10", b"all", b"a" * 200, b"[" * 3000, b'{"a":' * 1500, b"]]]]",
    b"0001-01-01T00:00:00+23:59",
    b"9999-12-31T23:59:59-23:59", b"2024-02-30T00:00:00Z", b"2024-W01-1T00:00:00Z", b"24:00",
)  # fmt: skip

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**30, 0.5, -0.0, 1e308, "", " ", "a", "0", "all", "-",
    "..", "../../etc/passwd", "a/b", "+", "#", "$SYS/#", "\x1b[2J", "\x9b", "\u202e", "\ud800", "\0", "é" * 100,
    "x" * 300,
    "%(ENV_PATH)s", "{{7*7}}", "2024-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "99999-01-01T00:00:00Z", "launcher",
    "admin", "a" * 5000, [], {}, [[]], [None] * 3, {"": None}, {"a": {"b": {"c": []}}},
)  # fmt: skip

_INFINITE = '"~infinite~"'
_NUMBER = re.compile(rb"\d+")


def mutate(random: Random, seeds: Sequence[bytes], tokens: Sequence[bytes] = ()) -> bytes:
    """One input: a seed, changed in one to eight places, or (rarely) left as it is."""
    data = random.choice(seeds)
    if random.random() < 0.02:
        return data
    limit = MAX_SIZE << 4 if random.random() < 0.001 else MAX_SIZE
    words = (*TOKENS, *tokens)
    for _ in range(random.choice((1, 1, 1, 2, 3, 5, 8))):
        change = _json if random.random() < 0.4 else random.choice(_CHANGES)
        data = change(random, data, seeds, words)[:limit]
    return data


def _json(random: Random, data: bytes, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """Change one value of the JSON document that the input is, or that follows its first line."""
    head, newline, rest = data.partition(b"\n")
    for before, text in ((b"", data), (head + newline, rest)):
        if text[:1] not in (b"{", b"["):
            continue
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            continue
        try:
            changed = json.dumps(_changed(random, document), ensure_ascii=random.random() < 0.7)
        except RecursionError:
            continue
        return before + changed.replace(_INFINITE, "1e999").encode("utf-8", "surrogatepass")
    return random.choice(_CHANGES)(random, data, seeds, words)


def _changed(random: Random, node: Any) -> Any:
    """A copy of a document in which one value is another one."""
    if isinstance(node, dict) and node and random.random() < 0.85:
        key = random.choice(list(node))
        choice = random.random()
        if choice < 0.1:
            return {k: v for k, v in node.items() if k != key}
        if choice < 0.2:
            return {**node, str(random.choice(VALUES)): node[key]}
        return {**node, key: _changed(random, node[key])}
    if isinstance(node, list) and node and random.random() < 0.85:
        at = random.randrange(len(node))
        if random.random() < 0.1:
            return node * random.choice((0, 2, 50))
        return [*node[:at], _changed(random, node[at]), *node[at + 1 :]]
    choice = random.random()
    if choice < 0.05:
        return _INFINITE.strip('"')
    if choice < 0.1:
        nested: Any = node
        for _ in range(random.choice((2, 40, 500))):
            nested = [nested] if random.random() < 0.5 else {"a": nested}
        return nested
    if isinstance(node, str) and choice < 0.4:
        at = random.randrange(len(node) + 1)
        return node[:at] + str(random.choice(VALUES)) + node[at:]
    return random.choice(VALUES)


def _insert(random: Random, data: bytes, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + random.choice(words) + data[at:]


def _replace(random: Random, data: bytes, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + random.choice(words) + data[at + random.choice((1, 1, 2, 4, 16)) :]


def _flip(random: Random, data: bytes, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    if not data:
        return data
    at = random.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << random.randrange(8))]) + data[at + 1 :]


def _cut(random: Random, data: bytes, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] if random.random() < 0.3 else data[:at] + data[at + random.randrange(1, 40) :]


def _repeat(random: Random, data: bytes, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    at = random.randrange(len(data) + 1)
    piece = data[at : at + random.randrange(1, 60)]
    return data[:at] + piece * random.choice((2, 2, 3, 20, 1000)) + data[at:]


def _splice(random: Random, data: bytes, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    other = random.choice(seeds)
    return data[: random.randrange(len(data) + 1)] + other[random.randrange(len(other) + 1) :]


def _number(random: Random, data: bytes, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    found = list(_NUMBER.finditer(data))
    if not found:
        return _insert(random, data, seeds, words)
    match = random.choice(found)
    value = random.choice((b"0", b"-1", b"1", b"255", b"256", b"65536", b"4294967296", b"9" * 25, b"0" * 30, b""))
    return data[: match.start()] + value + data[match.end() :]


def _noise(random: Random, data: bytes, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    return bytes(random.randrange(256) for _ in range(random.choice((0, 1, 7, 64, 300))))


_CHANGES: tuple[Callable[[Random, bytes, Sequence[bytes], Sequence[bytes]], bytes], ...] = (
    _insert, _insert, _replace, _replace, _flip, _flip, _cut, _repeat, _splice, _number, _number, _noise,
)  # fmt: skip
