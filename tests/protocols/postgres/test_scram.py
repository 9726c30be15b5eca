"""SCRAM: the vector of RFC 7677, every way in which a server can cheat, and any bytes it may send."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoopd.errors import PeerError
from hoopd.protocols.postgres.scram import (
    PLAIN,
    PLUS,
    Challenge,
    ScramClient,
    ScramServer,
    prepare,
    salted_password,
)

NONCE = b"rOprNGfwEbeRWgbNEkqO"
SERVER_FIRST = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
BINDING = b"\x17" * 32


def server(password: bytes = b"pencil", binding: bytes | None = None, iterations: int = 4096) -> ScramServer:
    return ScramServer(password, b"salt of 16 bytes", b"server-nonce", iterations, binding)


def exchange(client: ScramClient, other: ScramServer, password: bytes = b"pencil") -> None:
    challenge = client.read_first(other.first(client.mechanism, client.first()))
    client.read_final(other.final(client.final(salted_password(password, challenge))))


def test_rfc_7677_section_3() -> None:
    # the RFC's client names a user; PostgreSQL's does not, so the name is put in by hand
    client = ScramClient(NONCE)
    client.first()
    client._bare = b"n=user,r=" + NONCE
    challenge = client.read_first(SERVER_FIRST)
    assert client.final(salted_password(b"pencil", challenge)) == (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    client.read_final(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")


def test_both_sides_agree() -> None:
    exchange(ScramClient(NONCE), server())
    exchange(ScramClient(NONCE, tls=True), server())
    exchange(ScramClient(NONCE, binding=BINDING), server(binding=BINDING))
    assert ScramClient(NONCE).mechanism == PLAIN
    assert ScramClient(NONCE, binding=BINDING).mechanism == PLUS


def test_wrong_password_binding_and_downgrade_are_refused() -> None:
    with pytest.raises(PeerError, match="wrong proof"):
        exchange(ScramClient(NONCE), server(), b"pencils")
    with pytest.raises(PeerError, match="binding does not match"):
        exchange(ScramClient(NONCE, binding=b"other"), server(binding=BINDING))
    with pytest.raises(PeerError, match="downgrade"):
        exchange(ScramClient(NONCE, tls=True), server(binding=BINDING))


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",  # adds nothing to our nonce
        b"r=XOprNGfwEbeRWgbNEkqOabc,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        b"r=rOprNGfwEbeRWgbNEkqO\x07x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        SERVER_FIRST.replace(b"i=4096", b"i=4095"),
        SERVER_FIRST.replace(b"i=4096", b"i=1"),
        SERVER_FIRST.replace(b"i=4096", b"i=1000001"),
        SERVER_FIRST.replace(b"i=4096", b"i=" + b"9" * 1000),
        SERVER_FIRST.replace(b"i=4096", b"i=-4096"),
        SERVER_FIRST.replace(b"i=4096", b"i=4096.0"),
        SERVER_FIRST.replace(b"i=4096", "i=٤٠٩٦".encode()),
        SERVER_FIRST.replace(b"gQ==", b"gQ="),
        SERVER_FIRST.replace(b"s=W22ZaJ0SNY7soEsUEjb6gQ==", b"s="),
        b"m=unknown," + SERVER_FIRST,
        SERVER_FIRST + b",x=" + b"x" * 5000,
    ],
)
def test_server_first_that_must_be_refused(message: bytes) -> None:
    client = ScramClient(NONCE)
    client.first()
    with pytest.raises(PeerError):
        client.read_first(message)
    with pytest.raises(PeerError, match="out of order"):
        client.final(b"\x00" * 32)


def test_server_that_does_not_know_the_password() -> None:
    for message in (b"v=" + base64.b64encode(b"\x00" * 32), b"v=", b"e=invalid-proof", b"", b"v=AAAA", b"v=%%%%"):
        client = ScramClient(NONCE)
        client.first()
        challenge = client.read_first(SERVER_FIRST)
        client.final(salted_password(b"pencil", challenge))
        with pytest.raises(PeerError):
            client.read_final(message)


def test_order_is_kept() -> None:
    client = ScramClient(NONCE)
    for call in (lambda: client.read_first(SERVER_FIRST), lambda: client.final(b""), lambda: client.read_final(b"")):
        with pytest.raises(PeerError, match="out of order"):
            call()
    client.first()
    with pytest.raises(PeerError, match="out of order"):
        client.first()


def test_reprs_show_nothing() -> None:
    client = ScramClient(NONCE, binding=BINDING)
    client.first()
    client.read_first(SERVER_FIRST)
    client.final(b"\x41" * 32)
    assert client._signature.hex() not in repr(client)
    assert repr(client._signature) not in repr(client)
    assert "pencil" not in repr(server())


@pytest.mark.parametrize(
    ("given_password", "prepared"),
    [
        (b"pencil", b"pencil"),
        ("I\u00adX".encode(), b"IX"),  # RFC 4013 section 3
        ("\u00aa".encode(), b"a"),
        ("\u2168".encode(), b"IX"),
        ("\u0627\u0031".encode(), "\u0627\u0031".encode()),  # refused: as it is
        (b"\x07", b"\x07"),
        ("x\u00a0y".encode(), b"x y"),
        (b"\xff\xfe", b"\xff\xfe"),
        ("pä\x07".encode(), "pä\x07".encode()),
    ],
)
def test_saslprep_as_libpq_does_it(given_password: bytes, prepared: bytes) -> None:
    assert prepare(given_password) == prepared


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.integers(0, len(SERVER_FIRST)))
def test_any_bytes_from_the_server_raise_peer_error_only(noise: bytes, kept: int) -> None:
    client = ScramClient(NONCE)
    client.first()
    try:
        challenge = client.read_first(SERVER_FIRST[:kept] + noise)
    except PeerError:
        return
    assert isinstance(challenge, Challenge)
    assert 4096 <= challenge.iterations <= 1_000_000


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=120), st.binary(max_size=120))
def test_any_bytes_from_the_client_raise_peer_error_only(first: bytes, final: bytes) -> None:
    other = server()
    for call in (lambda: other.first(PLAIN, b"n,," + first), lambda: other.final(final)):
        try:
            call()
        except PeerError:
            continue
