"""Wire vectors, both ways and in three splits; hostile bytes raise PeerError only."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoopd.errors import PeerError
from hoopd.protocols.postgres import backend, frontend
from hoopd.protocols.postgres.backend import Column
from hoopd.protocols.postgres.codec import HEADER_SIZE, INT32, Framer
from hoopd.protocols.postgres.frontend import Bind, Execute, Named, Parse

CLIENT = [
    ("query", b"Q\0\0\0\x0dSELECT 1\0", frontend.parse_query, b"SELECT 1", frontend.query),
    ("parse", b"P\0\0\0\x13s\0SELECT\0\0\1\0\0\0\x17",
     frontend.parse_parse, Parse(b"s", b"SELECT", (23,)), Parse.encode),
    ("bind", b"B\0\0\0\x18p\0s\0\0\1\0\1\0\1\0\0\0\2hi\0\1\0\1", frontend.parse_bind,
     Bind(b"p", b"s", (1,), (b"hi",), (1,)), Bind.encode),
    ("bind null", b"B\0\0\0\x10\0\0\0\0\0\1\xff\xff\xff\xff\0\0", frontend.parse_bind,
     Bind(b"", b"", (), (None,), ()), Bind.encode),
    ("execute", b"E\0\0\0\x0ap\0\0\0\0\5", frontend.parse_execute, Execute(b"p", 5), Execute.encode),
    ("describe", b"D\0\0\0\x07Ss\0", lambda p: frontend.parse_named(p, "Describe"), Named(b"S", b"s"),
     lambda n: frontend.describe(n.kind, n.name)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "wire", "parse", "value", "build"), CLIENT, ids=[each[0] for each in CLIENT])
def test_client_vectors(name, wire, parse, value, build) -> None:
    assert INT32.unpack_from(wire, 1)[0] == len(wire) - 1
    assert parse(wire[HEADER_SIZE:]) == value
    assert build(value) == wire


SERVER = [
    ("ready", b"Z\0\0\0\5T", backend.ready(b"T")),
    ("auth", b"R\0\0\0\x08\0\0\0\3", backend.authentication(backend.AUTH_CLEARTEXT)),
    ("row", b"D\0\0\0\x10\0\2\0\0\0\2ab\xff\xff\xff\xff", backend.data_row((b"ab", None))),
    ("status", b"S\0\0\0\x08a\0b\0", backend.parameter_status(b"a", b"b")),
    ("key", b"K\0\0\0\x0c\0\0\0\1\0\0\0\2", backend.backend_key(b"\0\0\0\1\0\0\0\2")),
    ("negotiate", b"v\0\0\0\x13\0\3\0\2\0\0\0\1_pq_.x\0", backend.negotiate_version(2, [b"_pq_.x"])),
]


@pytest.mark.parametrize(("name", "wire", "built"), SERVER, ids=[each[0] for each in SERVER])
def test_server_vectors(name, wire, built) -> None:
    assert built == wire


def test_row_description_both_ways() -> None:
    columns = (Column(b"id", 16384, 1, 23, 4, -1, 0), Column(b"?column?", 0, 0, 25, -1, -1, 1))
    wire = backend.row_description(columns)
    assert backend.parse_row_description(wire[HEADER_SIZE:]) == columns


def test_error_fields_both_ways() -> None:
    payload = backend.error_response("42501", "no", "d", "h", position=3)[HEADER_SIZE:]
    assert backend.parse_error(payload) == {
        "S": b"ERROR", "V": b"ERROR", "C": b"42501", "M": b"no", "D": b"d", "H": b"h", "P": b"3",
    }  # fmt: skip


def messages(chunks: list[bytes]) -> tuple[list[bytes], int]:
    framer, found = Framer(), []
    for chunk in chunks:
        buffer = framer.take(chunk)
        at, needed = 0, HEADER_SIZE
        while len(buffer) - at >= HEADER_SIZE:
            end = at + 1 + INT32.unpack_from(buffer, at + 1)[0]
            if end > len(buffer):
                needed = end - at
                break
            found.append(buffer[at:end])
            at = end
        framer.keep(buffer, at, needed)
    return found, framer.kept


STREAM = [wire for _, wire, *_ in CLIENT]


@pytest.mark.parametrize("tail", [b"", b"Q\0\0\0\x20SEL"])
def test_framing_in_every_split(tail: bytes) -> None:
    whole = b"".join(STREAM) + tail
    assert messages([whole]) == (STREAM, len(tail))
    assert messages([bytes((octet,)) for octet in whole]) == (STREAM, len(tail))
    for cut in range(1, len(whole)):
        assert messages([whole[:cut], whole[cut:]]) == (STREAM, len(tail))


PARSERS = [
    frontend.parse_query, frontend.parse_parse, frontend.parse_bind, frontend.parse_execute,
    lambda payload: frontend.parse_named(payload, "Close"), backend.parse_row_description, backend.parse_error,
    backend.parse_data_row, backend.parse_parameter_status,
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(PARSERS), st.sampled_from(STREAM), st.integers(0, 30), st.binary(max_size=60))
def test_hostile_payloads_raise_peer_error_only(parse, wire: bytes, cut: int, rest: bytes) -> None:
    try:
        parse(wire[HEADER_SIZE : HEADER_SIZE + cut] + rest)
    except PeerError:
        pass
