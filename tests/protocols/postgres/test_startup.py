"""The client's first phase as transcripts, hostile packets, and the target's start-up."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoopd.errors import Denied, HoopdError, PeerError, TargetError
from hoopd.protocols.postgres import backend, upstream
from hoopd.protocols.postgres.startup import Cancel, ClientStartup, Login, Reply, StartTls, check_wait, options
from hoopd.protocols.postgres.upstream import TargetStartup, startup_message

SSL = struct.pack(">II", 8, 80877103)
GSS = struct.pack(">II", 8, 80877104)


def packet(pairs: list[tuple[str, str]], version: int = 0x30000) -> bytes:
    body = b"".join(name.encode() + b"\0" + value.encode() + b"\0" for name, value in pairs) + b"\0"
    return struct.pack(">II", len(body) + 8, version) + body


def login(*pairs: tuple[str, str], version: int = 0x30000) -> Login:
    (event,) = ClientStartup(True).receive(packet([("user", "priya"), ("database", "orders"), *pairs], version))
    assert isinstance(event, Login)
    return event


@pytest.mark.parametrize("order", [(SSL, GSS), (GSS, SSL)])
def test_both_encryption_requests_in_either_order(order: tuple[bytes, bytes]) -> None:
    startup = ClientStartup(True)
    answers = [startup.receive(each)[0] for each in order]
    assert answers == [StartTls(b"S", False) if each is SSL else Reply(b"N") for each in order]


def test_without_a_certificate_tls_is_declined() -> None:
    assert ClientStartup(False).receive(SSL) == [Reply(b"N")]


@pytest.mark.parametrize("hostile", [SSL + b"Q\0\0\0\5\0", SSL + SSL, b"\0\0\0\4", b"\xff\xff\xff\xff", b"\0\0\x40\0"])
def test_what_comes_before_tls_never_counts(hostile: bytes) -> None:
    with pytest.raises(PeerError):
        ClientStartup(True).receive(hostile)


def test_repeated_requests_end_the_connection() -> None:
    startup = ClientStartup(True)
    startup.receive(SSL)
    with pytest.raises(PeerError):
        startup.receive(SSL)


def test_direct_tls() -> None:
    assert ClientStartup(True).receive(b"\x16\x03\x01\x02\x00") == [StartTls(b"", True)]
    with pytest.raises(PeerError):
        ClientStartup(False).receive(b"\x16\x03\x01\x02\x00")


@pytest.mark.parametrize("secret", [b"\0\0\0\7", b"s" * 256])
def test_cancel(secret: bytes) -> None:
    key = b"\0\0\0\1" + secret
    wire = struct.pack(">II", 8 + len(key), 80877102) + key
    assert ClientStartup(True).receive(wire) == [Cancel(key)]


def test_login_byte_by_byte() -> None:
    startup, events = ClientStartup(True), []
    for octet in packet([("user", "priya"), ("database", "orders/billing"), ("application_name", "psql")]):
        events += startup.receive(bytes((octet,)))
    (event,) = events
    assert (event.user, event.target, event.database, event.application_name) == (
        "priya", "orders", "billing", "psql",
    )  # fmt: skip


def test_versions_and_options_of_the_protocol() -> None:
    assert not login().negotiate
    assert login(version=0x30002).spoken == 2
    assert not login(version=0x30002).negotiate
    newer = login(("_pq_.hoop", "1"), version=0x30000 + 9999)
    assert (newer.negotiate, newer.spoken, newer.unknown) == (True, 2, (b"_pq_.hoop",))
    with pytest.raises(PeerError):
        login(version=0x20000)


def test_reason_by_options() -> None:
    event = login(("options", r"-c hoopd.reason=TICKET\ 7 -cstatement_timeout=5s --lock-timeout=1s"))
    assert event.reason == "TICKET 7"
    assert event.settings == {"statement_timeout": "5s", "lock_timeout": "1s"}


@pytest.mark.parametrize("text", ["-c", "-c=", "-c =x", "--", "-W", "x=y", "-c x"])
def test_hostile_options(text: str) -> None:
    with pytest.raises(PeerError):
        options(text)


@pytest.mark.parametrize(
    ("pair", "error"),
    [
        (("user", "postgres"), PeerError),
        (("USER", "postgres"), PeerError),
        (("options", "-c role=analyst"), Denied),
        (("role", "x"), Denied),
        (("search_path", "a, pg_catalog"), Denied),
        (("search_path", 'a, "b'), Denied),
        (("session_preload_libraries", "x"), Denied),
        (("replication", "database"), Denied),
        (("options", "-c hoopd.reason=a\u202eb"), PeerError),
    ],
)
def test_what_a_startup_packet_may_not_say(pair: tuple[str, str], error: type[Exception]) -> None:
    with pytest.raises(error):
        login(pair)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=6), st.booleans())
def test_hostile_bytes(chunks: list[bytes], tls: bool) -> None:
    startup = ClientStartup(tls)
    try:
        for chunk in chunks:
            startup.receive(chunk)
    except HoopdError:
        pass
    assert len(startup._buffer) <= 10_040


SETTINGS = {"user": "app", "database": "orders"}
SASL = backend.authentication(backend.AUTH_SASL, b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0")
OK = backend.authentication(backend.AUTH_OK)
TAIL = backend.parameter_status(b"server_version", b"15") + backend.backend_key(b"\0\0\0\1\0\0\0\2")


def test_target_transcript() -> None:
    target = TargetStartup(SETTINGS, True, True)
    assert target.first == upstream.ssl_request()
    assert target.receive(b"S") == [upstream.BeginTls()]
    assert target.encrypted() == startup_message(SETTINGS)
    assert target.receive(SASL) == [upstream.Sasl(("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"))]
    target.sasl_first("SCRAM-SHA-256", b"n,,n=,r=x")
    assert target.receive(backend.authentication(backend.AUTH_SASL_CONTINUE, b"r=xy")) == [
        upstream.SaslContinue(b"r=xy")
    ]
    target.sasl_next(b"c=biws")
    # the server's proof and its welcome come in one chunk: nothing is believed before the proof is checked
    rest = backend.authentication(backend.AUTH_SASL_FINAL, b"v=z") + OK + TAIL + backend.ready(b"I") + b"tail"
    assert target.receive(rest) == [upstream.SaslFinal(b"v=z")]
    assert target.receive(b"") == []
    target.sasl_verified()
    (ready,) = target.receive(b"")
    assert isinstance(ready, upstream.Ready)
    assert (ready.key, ready.rest) == (b"\0\0\0\1\0\0\0\2", b"tail")


def test_a_target_without_cancel_key() -> None:
    target = TargetStartup(SETTINGS, False, False)
    (ready,) = target.receive(OK + backend.ready(b"I"))
    assert isinstance(ready, upstream.Ready)
    assert ready.key is None


@pytest.mark.parametrize(
    "answers",
    [
        [OK],
        [b"N"],
        [b"SX"],
        [backend.authentication(backend.AUTH_SASL_FINAL, b"v=z")],
        [backend.error_response("28P01", "no")],
        [b"R\xff\xff\xff\xff"],
    ],
)
def test_hostile_targets(answers: list[bytes]) -> None:
    tls = answers[0][:1] in (b"N", b"S")
    target = TargetStartup(SETTINGS, tls, True)
    with pytest.raises(TargetError):
        for each in answers:
            target.receive(each)


@pytest.mark.parametrize(
    ("server_name", "database", "meant"),
    [
        ("orders.db.example.org", "", ("orders", "")),
        ("orders.db.example.org", "priya", ("orders", "")),
        ("ORDERS.DB.example.org", "orders", ("orders", "")),
        ("orders.db.example.org", "billing", ("orders", "billing")),
        ("orders.db.example.org", "orders/billing", ("orders", "billing")),
        ("db.example.org", "orders", ("orders", "")),
        (".db.example.org", "orders", ("orders", "")),
        ("orders.db.example.org.evil.net", "x", ("x", "")),
        (None, "orders", ("orders", "")),
    ],
)
def test_the_target_by_tls_server_name(server_name: str | None, database: str, meant: tuple[str, str]) -> None:
    startup = ClientStartup(True, "{target}.db.example.org")
    startup.receive(SSL)
    startup.encrypted(server_name)
    pairs = [("user", "priya"), *([("database", database)] if database else [])]
    (event,) = startup.receive(packet(pairs))
    assert isinstance(event, Login)
    assert (event.target, event.database) == meant


def test_two_targets_in_one_connection_are_refused() -> None:
    startup = ClientStartup(True, "{target}.db.example.org")
    startup.encrypted("orders.db.example.org")
    with pytest.raises(Denied):
        startup.receive(packet([("user", "priya"), ("database", "billing/orders")]))


def test_the_proof_that_a_client_asks_for() -> None:
    assert login().proof == ""
    assert login(("options", "-c hoopd.proof=oauth")).proof == "oauth"
    with pytest.raises(Denied):
        login(("options", "-c hoopd.proof=none"))


@pytest.mark.parametrize(("said", "seconds"), [
    (None, None), ("", None), ("default", None), ("ticket", 0.0), (" Ticket ", 0.0), ("90", 90.0), ("90s", 90.0),
    ("15m", 900.0), ("2h", 7200.0), ("0", 0.0),
])  # fmt: skip
def test_how_long_a_client_waits(said: str | None, seconds: float | None) -> None:
    assert check_wait(said) == seconds


@pytest.mark.parametrize("said", ["a while", "-1s", "1.5m", "1d", "99999999", "15 m", "٣s"])
def test_what_is_no_time_to_wait(said: str) -> None:
    with pytest.raises(PeerError, match="duration such as"):
        check_wait(said)
