"""Passwords and OAUTHBEARER as transcripts, and what hostile clients send in their place."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoopd.errors import AuthenticationFailed, PeerError
from hoopd.protocols.postgres import oauthbearer
from hoopd.protocols.postgres.oauthbearer import Discovery
from hoopd.protocols.postgres.proving import MESSAGE_MAX, Proving
from hoopd.secret import Secret

DISCOVERY = Discovery("https://id.example.org/", "openid db")


def said(payload: bytes) -> bytes:
    return b"p" + struct.pack(">I", len(payload) + 4) + payload


def initial(response: bytes | None, mechanism: bytes = b"OAUTHBEARER") -> bytes:
    size = struct.pack(">i", -1 if response is None else len(response))
    return said(mechanism + b"\0" + size + (response or b""))


@pytest.mark.parametrize("step", [1, 1000])
def test_a_password_whole_and_byte_by_byte(step: int) -> None:
    proving = Proving("password", None)
    assert proving.request() == b"R\0\0\0\x08\0\0\0\x03"
    assert not proving.bearer
    octets = said(b"secret\0")
    answers = [proving.receive(octets[at : at + step]) for at in range(0, len(octets), step)]
    assert answers[:-1] == [None] * (len(answers) - 1)
    assert answers[-1] == Secret(b"secret")


@pytest.mark.parametrize(
    "octets",
    [b"Q", said(b"secret"), said(b"se\0cret\0"), said(b"x\0") + b"Q", b"p\0\0\0\4", b"p\xff\xff\xff\xff",
     b"p" + struct.pack(">I", MESSAGE_MAX + 1)],
)  # fmt: skip
def test_what_is_no_password(octets: bytes) -> None:
    with pytest.raises(PeerError):
        Proving("password", None).receive(octets)


@pytest.mark.parametrize("step", [1, 1000])
def test_a_bearer_token(step: int) -> None:
    proving = Proving("oauth", DISCOVERY)
    assert proving.bearer
    assert proving.request() == b"R\0\0\0\x15\0\0\0\x0aOAUTHBEARER\0\0"
    octets = initial(b"n,,\x01auth=Bearer abc.def-_~+/==\x01\x01")
    answers = [proving.receive(octets[at : at + step]) for at in range(0, len(octets), step)]
    assert answers[-1] == Secret(b"abc.def-_~+/==")


def test_without_a_token_the_client_learns_where_to_get_one_and_the_exchange_fails() -> None:
    proving = Proving("oauth", DISCOVERY)
    answer = proving.receive(initial(b"n,,\x01auth=\x01\x01"))
    assert isinstance(answer, bytes)
    assert answer[:1] == b"R"
    assert answer[5:9] == b"\0\0\0\x0b"
    assert json.loads(answer[9:]) == {
        "status": "invalid_token",
        "openid-configuration": "https://id.example.org/.well-known/openid-configuration",
        "scope": "openid db",
    }
    with pytest.raises(AuthenticationFailed):
        proving.receive(said(b"\x01"))


def test_after_a_rejected_token_only_the_end_may_come() -> None:
    proving = Proving("oauth", DISCOVERY)
    proving.receive(initial(b"n,,\x01auth=Bearer bad\x01\x01"))
    assert proving.rejected()[:1] == b"R"
    with pytest.raises(PeerError):
        proving.receive(initial(b"n,,\x01auth=Bearer again\x01\x01"))


@pytest.mark.parametrize(
    ("response", "token"),
    [
        (b"y,,\x01host=h\x01port=1\x01auth=bearer   t\x01\x01", b"t"),
        (b"n,,\x01auth=BEARER t\x01\x01", b"t"),
    ],
)
def test_forms_that_the_specification_permits(response: bytes, token: bytes) -> None:
    assert oauthbearer.token(response) == Secret(token)


@pytest.mark.parametrize(
    "response",
    [b"", b"n,,", b"n,,\x01", b"n,,\x01\x01", b"p=tls-unique,,\x01auth=Bearer t\x01\x01", b"n,a=root,\x01auth=Bearer t\x01\x01",
     b"n,,\x01auth=Bearer t\x01", b"n,,\x01auth=Bearer t", b"n,,\x01auth=Basic dDp0\x01\x01", b"n,,\x01auth=Bearer\x01\x01",
     b"n,,\x01auth=Bearer a\x01auth=Bearer b\x01\x01", b"n,,\x01auth=Bearer a b\x01\x01", b"n,,\x01auth=Bearer t\x01\x01x",
     b"n,,\x01auth=Bearer t\x01\x01\x01", b"n,,\x01au th=\x01\x01", b"n,,\x01auth=Bearer t\0\x01\x01", b"\x01"],
)  # fmt: skip
def test_what_is_no_bearer_message(response: bytes) -> None:
    with pytest.raises(PeerError):
        oauthbearer.token(response)


@pytest.mark.parametrize(
    "message",
    [initial(b"n,,\x01auth=Bearer t\x01\x01", b"SCRAM-SHA-256"), initial(None), said(b"OAUTHBEARER\0"), said(b"")],
)
def test_what_is_no_initial_response(message: bytes) -> None:
    with pytest.raises(PeerError):
        Proving("oauth", DISCOVERY).receive(message)


@settings(max_examples=300)
@given(st.sampled_from(["password", "oauth"]), st.lists(st.binary(max_size=60), max_size=4), st.booleans())
def test_anything_else_is_the_clients_fault(kind: str, chunks: list[bytes], framed: bool) -> None:
    """Hostile bytes give a secret, an answer or PeerError, never anything else."""
    proving = Proving(kind, DISCOVERY)
    for chunk in chunks:
        try:
            proving.receive(said(chunk) if framed else chunk)
        except (PeerError, AuthenticationFailed):
            return
