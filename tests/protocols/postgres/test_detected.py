"""What detectors find is in no message to the client and in no frame of the recording."""

import struct

import pytest

from hoopd.protocols.postgres import backend
from hoopd.protocols.postgres.backend import Column, command_complete, data_row, function_result, row_description
from hoopd.protocols.postgres.frontend import SYNC_MESSAGE, Bind, Execute, Parse, query
from tests.protocols.postgres.conversation import (
    BOUND,
    DETECTING_SNAPSHOT,
    NAME,
    ORDERS,
    PARSED,
    READY,
    Conversation,
    kinds,
)
from tests.protocols.postgres.test_calls import LOREAD, call

PAN = b"4111111111111111"
NOTE = Column(b"note", ORDERS, 1, 25)
SELECT = b"SELECT note FROM orders"
SHOWN = data_row((b"paid with **** today",))
ROW = data_row((b"paid with " + PAN + b" today",))
DONE = command_complete("SELECT 1")


def test_text_of_columns_that_nobody_masked() -> None:
    talk = Conversation("scanned", DETECTING_SNAPSHOT)
    talk.client(query(SELECT))
    assert SHOWN in talk.server(row_description((NOTE,)), ROW, DONE, READY)
    assert PAN.decode() not in repr(talk.route.recorder.frames)


def test_others_see_it_and_their_recording_does_not_have_it() -> None:
    talk = Conversation("others", DETECTING_SNAPSHOT)
    talk.client(query(SELECT))
    assert ROW in talk.server(row_description((NOTE,)), ROW, DONE, READY)
    assert PAN.decode() not in repr(talk.route.recorder.frames)


def test_an_execute_without_describe_has_one_injected() -> None:
    talk = Conversation("scanned", DETECTING_SNAPSHOT)
    sent = talk.client(Parse(b"", SELECT).encode(), Bind(b"", b"").encode(), Execute(b"").encode(), SYNC_MESSAGE)
    assert kinds(sent) == "PBDES"
    assert SHOWN in talk.server(PARSED, BOUND, row_description((NOTE,)), ROW, DONE, READY)


def test_masked_columns_keep_their_masks() -> None:
    talk = Conversation("scanned", DETECTING_SNAPSHOT)
    talk.client(query(b"SELECT name, card FROM customers"))
    card = Column(b"card", NAME.table_oid, 2, 25)
    row = data_row((b"ann@example.org", PAN))
    assert data_row((b"****", b"****1111")) in talk.server(row_description((NAME, card)), row, DONE, READY)


@pytest.mark.parametrize("kind", ["error", "notice", "notification", "unasked notice"])
def test_texts_of_the_server(kind: str) -> None:
    talk = Conversation("scanned", DETECTING_SNAPSHOT)
    if kind != "unasked notice":
        talk.client(query(SELECT))
    fields = backend.error_payload({"S": b"ERROR", "C": b"22000", "M": b"bad " + PAN, "D": PAN, "H": b"x"})
    wire = {
        "error": backend.message(backend.ERROR, fields),
        "notification": backend.message(backend.NOTIFICATION, b"\0\0\0\1channel\0" + PAN + b"\0"),
    }.get(kind, backend.message(backend.NOTICE, fields))
    heard = talk.server(wire)
    assert kinds(heard) == chr(wire[0])
    assert PAN not in b"".join(heard)
    assert PAN.decode() not in repr(talk.route.recorder.frames)


@pytest.mark.parametrize("binary", [False, True])
def test_copy(binary: bool) -> None:
    talk = Conversation("scanned", DETECTING_SNAPSHOT)
    talk.client(query(b"COPY orders TO STDOUT" + (b" (FORMAT binary)" if binary else b"")))
    begin = backend.message(b"H", bytes((binary,)) + b"\0\1" + struct.pack(">H", binary))
    head = b"PGCOPY\n\xff\r\n\0" + bytes(8)
    value = b"ann@example.org"
    row = head + b"\0\1" + struct.pack(">i", len(value)) + value if binary else b"mail " + value + b"\n"
    heard = talk.server(begin, backend.message(b"d", row), backend.message(b"c"), command_complete("COPY 1"), READY)
    shown = head + b"\0\1\xff\xff\xff\xff" if binary else b"mail ****\n"
    assert backend.message(b"d", shown) in heard


def test_pieces_of_large_objects() -> None:
    talk = Conversation("scanned", DETECTING_SNAPSHOT)
    talk.client(call(LOREAD, b"\0\0\0\0", b"\0\0\1\0"))
    assert talk.server(function_result(b"x " + PAN), READY) == [function_result(None), READY]
