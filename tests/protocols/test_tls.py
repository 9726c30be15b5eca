"""Records of TLS that arrived together are handed over together; nothing is lost before an end or an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from OpenSSL import SSL

from hoopd.protocols.tls import AT_ONCE, LONG, TRUSTED_FOR, Gathering, client_tls
from hoopd.values import TargetTls
from tests.integration.postgres import certificate


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate(tmp_path_factory.mktemp("tls"))


def carry(one: Any, other: Any) -> None:
    """What C{one} has to send, to C{other}."""
    try:
        while True:
            other.bio_write(one.bio_read(1 << 20))
    except SSL.WantReadError:
        pass


@pytest.fixture
def ends(files: tuple[Path, Path]) -> tuple[Gathering, SSL.Connection]:
    """A client as the gateway has it, and the server at the other end, through their handshake."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.use_certificate_file(str(files[0]))
    context.use_privatekey_file(str(files[1]))
    server = SSL.Connection(context, None)
    server.set_accept_state()
    client = Gathering(SSL.Connection(SSL.Context(SSL.TLS_METHOD), None))
    client.set_connect_state()
    for _ in range(4):
        for one, other in ((client, server), (server, client)):
            try:
                one.do_handshake()
            except SSL.WantReadError:
                pass
            carry(one, other)
    return client, server


def test_records_of_a_long_result_come_together(ends: tuple[Gathering, SSL.Connection]) -> None:
    client, server = ends
    sent = b"".join(bytes((number,)) * LONG for number in range(5)) + b"end"
    for at in range(0, len(sent), LONG):
        server.send(sent[at : at + LONG])
    carry(server, client)
    assert client.recv(1) == sent
    with pytest.raises(SSL.WantReadError):
        client.recv(1)


def test_short_ones_come_one_by_one_and_in_order(ends: tuple[Gathering, SSL.Connection]) -> None:
    client, server = ends
    for octets in (b"one", b"two", b"x" * LONG, b"three"):
        server.send(octets)
    carry(server, client)
    assert [client.recv(1) for _ in range(3)] == [b"one", b"two", b"x" * LONG + b"three"]


def test_no_more_than_agreed_comes_at_once(ends: tuple[Gathering, SSL.Connection]) -> None:
    client, server = ends
    sent = 3 * AT_ONCE
    for _ in range(sent // LONG):
        server.send(b"x" * LONG)
    carry(server, client)
    parts = []
    while sum(map(len, parts)) < sent:
        parts.append(client.recv(1))
    assert max(map(len, parts)) < AT_ONCE + 16 * 1024
    assert len(parts) == 3


def test_what_came_before_the_end_is_given_before_it(ends: tuple[Gathering, SSL.Connection]) -> None:
    client, server = ends
    server.send(b"x" * LONG)
    server.shutdown()
    carry(server, client)
    assert client.recv(1) == b"x" * LONG
    with pytest.raises(SSL.ZeroReturnError):
        client.recv(1)


def test_what_came_before_a_forged_record_is_given_and_nothing_behind_it(
    ends: tuple[Gathering, SSL.Connection],
) -> None:
    client, server = ends
    server.send(b"x" * LONG)
    good = server.bio_read(1 << 20)
    server.send(b"y" * LONG)
    forged = bytearray(server.bio_read(1 << 20))
    forged[100] ^= 1
    server.send(b"z" * LONG)
    behind = server.bio_read(1 << 20)
    client.bio_write(good + bytes(forged) + behind)
    assert client.recv(1) == b"x" * LONG
    for _ in range(3):
        with pytest.raises(SSL.Error) as caught:
            client.recv(1)
        assert not isinstance(caught.value, SSL.WantReadError)


def test_sessions_of_a_target_share_its_context(files: tuple[Path, Path]) -> None:
    tls = TargetTls(authorities=files[0].read_text())
    first = client_tls(tls, "db.example", 0.0)
    assert client_tls(evolve(tls), "db.example", 10 * TRUSTED_FOR) is first
    others = [
        client_tls(tls, "other.example", 0.0),
        client_tls(evolve(tls, mode="verify-ca"), "db.example", 0.0),
        client_tls(evolve(tls, server_name="other"), "db.example", 0.0),
    ]
    assert first not in others
    assert client_tls(TargetTls("off"), "db.example", 0.0) is None


def test_authorities_of_the_system_are_read_again() -> None:
    tls = TargetTls()
    first = client_tls(tls, "db.example", 0.0)
    assert client_tls(tls, "db.example", TRUSTED_FOR - 1) is first
    assert client_tls(tls, "db.example", TRUSTED_FOR) is not first
