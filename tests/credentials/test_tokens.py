"""PASETO v4.public: the official vectors, pyseto in both directions, and what must be refused."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime

import pyseto
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from hiveot_supervisor.credentials import expiry, keys, tokens
from hiveot_supervisor.errors import CredentialError

# https://github.com/paseto-standard/test-vectors v4.json: 4-S-1 and the pieces of 4-S-2/3 (those have
# footers)
SEED = bytes.fromhex("b4cbfb43df4ce210727d953e4a713307fa19bb7d9f85041438d9e11b942a3774")
PUBLIC = "1eb9dbbbbc047c03fd70604e0071f0987e16b28b757225c11f00415d0e20b1a2"
MESSAGE = b'{"data":"this is a signed message","exp":"2022-01-01T00:00:00+00:00"}'
FOOTER = b'{"kid":"zVhMiPBP9fRf2snEcT7gFTioeA9COcNy9DfgL1W60haN"}'
VECTOR_1 = (
    "v4.public.eyJkYXRhIjoidGhpcyBpcyBhIHNpZ25lZCBtZXNzYWdlIiwiZXhwIjoiMjAyMi0wMS0wMVQwMDowMDowMCswMDowMCJ9bg_XBBzds8lTZS"
    "hVlwwKSgeKpLT3yukTw6JUz3W4h_ExsQV-P0V54zemZDcAxFaSeef1QlXEFtkqxT1ciiQEDA"
)
SIGNATURE_3 = "NPWciuD3d0o5eXJXG5pJy-DiVEoyPYWs1YSTwWHNJq6DZD3je5gf-0M4JR9ipdUSJbIovzmBECeaWmaqcaP0DQ"
NOW = 1_800_000_000.0


@pytest.fixture(scope="module")
def key() -> Ed25519PrivateKey:
    return keys.generate()


def test_official_vector_4_s_1() -> None:
    vector_key = Ed25519PrivateKey.from_private_bytes(SEED)
    assert vector_key.public_key().public_bytes_raw().hex() == PUBLIC
    assert tokens.sign(vector_key, MESSAGE) == VECTOR_1
    assert tokens.verify_signature(vector_key.public_key(), VECTOR_1) == MESSAGE


def test_official_vectors_4_s_2_and_3_cover_the_pre_authentication_encoding() -> None:
    vector_key = Ed25519PrivateKey.from_private_bytes(SEED)
    implicit = b'{"test-vector":"4-S-3"}'
    signed = tokens._pre_auth(b"v4.public.", MESSAGE, FOOTER, implicit)
    assert base64.urlsafe_b64encode(vector_key.sign(signed)).rstrip(b"=").decode() == SIGNATURE_3


@pytest.mark.parametrize(
    "token",
    [
        # official 4-F-1: another purpose
        "v4.local.vngXfCISbnKgiP6VWGuOSlYrFYU300fy9ijW33rznDYgxHNPwWluAY2Bgb0z54CUs6aYYkIJ-bOOOmJHPuX_34Agt_IPlNdGDpRdGNnBz2"
        "MpWJvB3cttheEc1uyCEYltj7wBQQYX.YXJiaXRyYXJ5LXN0cmluZy10aGF0LWlzbid0LWpzb24",
        # a footer is not part of the format
        VECTOR_1 + ".eyJraWQiOiJ6VmhNaVBCUDlmUmYyc25FY1Q3Z0ZUaW9lQTlDT2NOeTlEZmdMMVc2MGhhTiJ9",
        VECTOR_1 + "=",
        VECTOR_1[:-1] + "B",  # not canonical: the same bytes, another text
        VECTOR_1.replace("v4.public.", "v3.public."),
        "v4.public.",
        "v4.public.AAAA",
        "v4.public." + "A" * 5000,
        "v4.public.ä",
        "",
    ],
)
def test_other_texts_are_no_tokens(token: str) -> None:
    with pytest.raises(CredentialError, match="not a"):
        expiry.split_token(token)


def test_pyseto_reads_ours_and_we_read_pysetos(key: Ed25519PrivateKey) -> None:
    private = pyseto.Key.new(version=4, purpose="public", key=keys.private_pem(key))
    public = pyseto.Key.new(version=4, purpose="public", key=keys.public_pem(key))
    ours = tokens.issue(key, "history", now=NOW, lifetime=3600)
    decoded = json.loads(pyseto.decode(public, ours).payload)
    assert decoded == {
        "iss": "hiveot",
        "sub": "history",
        "clientID": "history",
        "sessionID": "history",
        "iat": "2027-01-15T08:00:00Z",
        "nbf": "2027-01-15T08:00:00Z",
        "exp": "2027-01-15T09:00:00Z",
    }
    theirs = pyseto.encode(private, json.dumps(decoded).encode()).decode()
    assert tokens.verify(theirs, key.public_key(), now=NOW).client_id == "history"


def test_go_times_with_zone_and_fraction(key: Ed25519PrivateKey) -> None:
    claims = {"iss": "hiveot", "sub": "a", "clientID": "a", "sessionID": "s1"}
    claims |= {"iat": "2027-01-15T10:00:00+02:00", "nbf": "2027-01-15T08:00:00.5Z", "exp": "2027-01-15T03:00:01-05:00"}
    read = tokens.verify(tokens.sign(key, json.dumps(claims).encode()), key.public_key(), now=NOW)
    assert (read.issued, read.not_before, read.expires, read.session_id) == (NOW, NOW + 0.5, NOW + 1, "s1")


def test_expiry_and_skew(key: Ed25519PrivateKey) -> None:
    token = tokens.issue(key, "a", now=NOW, lifetime=60)
    assert tokens.verify(token, key.public_key(), now=NOW - 299).expires == NOW + 60
    with pytest.raises(CredentialError, match="not valid yet"):
        tokens.verify(token, key.public_key(), now=NOW - 301)
    with pytest.raises(CredentialError, match="has expired"):
        tokens.verify(token, key.public_key(), now=NOW + 60)


def test_a_foreign_signature_is_refused(key: Ed25519PrivateKey) -> None:
    foreign = tokens.issue(keys.generate(), "admin", now=NOW, lifetime=60)
    with pytest.raises(CredentialError, match="not issued by this hub"):
        tokens.verify(foreign, key.public_key(), now=NOW)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"iss": "other"}, "issuer"),
        ({"sub": "b"}, "differ"),
        ({"clientID": ""}, "clientID is missing"),
        ({"sessionID": None}, "sessionID is missing"),
        ({"exp": 1893456000}, "exp is missing"),
        ({"exp": "tomorrow"}, "exp is not a time"),
        ({"exp": "2027-01-15T09:00:00"}, "exp is not a time"),
        ({"nbf": "9999-99-99T00:00:00Z"}, "nbf is not a time"),
        ({"exp": "9999-12-31T23:59:59-23:59"}, "exp is not a time of our age"),
        ({"iat": "0001-01-01T00:00:00Z"}, "iat is not a time of our age"),
    ],
)
def test_claims_that_are_not_the_hubs(key: Ed25519PrivateKey, change: dict[str, object], why: str) -> None:
    good = expiry.split_token(tokens.issue(key, "a", now=NOW, lifetime=60))[0]
    claims = json.dumps(json.loads(good) | change).encode()
    with pytest.raises(CredentialError) as caught:
        tokens.verify(tokens.sign(key, claims), key.public_key(), now=NOW)
    assert why in caught.value.why


@pytest.mark.parametrize("message", [b"[]", b"null", b"{", b"\xff\xfe", b"[" * 100_000])
def test_signed_nonsense(key: Ed25519PrivateKey, message: bytes) -> None:
    with pytest.raises(CredentialError):
        expiry.parse_claims(message)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60), st.booleans())
def test_nothing_but_credential_errors_for_any_text(text: str, with_header: bool) -> None:
    with pytest.raises(CredentialError):
        expiry.read_claims("v4.public." + text if with_header else text)


@settings(max_examples=100, deadline=None)
@given(position=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_any_changed_byte_is_noticed(position: int, flip: int) -> None:
    signer = Ed25519PrivateKey.from_private_bytes(SEED)
    raw = bytearray(base64.urlsafe_b64decode(VECTOR_1[10:] + "=="))
    raw[position % len(raw)] ^= flip
    changed = "v4.public." + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    with pytest.raises(CredentialError):
        tokens.verify_signature(signer.public_key(), changed)


def test_renewal_is_due_after_two_thirds() -> None:
    period = expiry.Period(1000.0, 4000.0)
    assert period.renewal() == 3000.0
    assert not period.expired(3999)
    assert period.expired(4000)


def test_claims_are_read_without_third_party_imports() -> None:
    import subprocess
    import sys

    token = tokens.issue(keys.generate(), "a", now=time.time(), lifetime=60)
    script = (
        "import sys; from hiveot_supervisor.credentials import expiry, provision\n"
        f"print(expiry.read_claims({token!r}).client_id, 'cryptography' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout == "a False\n"


def test_the_times_are_utc(key: Ed25519PrivateKey) -> None:
    claims = expiry.read_claims(tokens.issue(key, "a", now=NOW, lifetime=60))
    assert datetime.fromtimestamp(claims.issued, UTC).isoformat() == "2027-01-15T08:00:00+00:00"
