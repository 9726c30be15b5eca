"""Functions called by message: judged, recorded and masked as the statement that they amount to."""

import struct

import pytest

from hoopd.errors import PeerError, TargetError
from hoopd.protocols.postgres import backend
from hoopd.protocols.postgres.backend import function_result
from hoopd.protocols.postgres.frontend import FunctionCall, parse_function_call
from tests.protocols.postgres.conversation import READY, SYNTAX, Conversation, error

LO_CREAT, LO_OPEN, LOREAD, LO_EXPORT, PG_READ_FILE = 957, 952, 954, 765, 2624


def call(function: int, *values: bytes | None, formats: tuple[int, ...] = (1,), result: int = 1) -> bytes:
    parts = [struct.pack(">iH", function, len(formats)), *(struct.pack(">H", each) for each in formats)]
    parts.append(struct.pack(">H", len(values)))
    for each in values:
        parts.append(struct.pack(">i", -1) if each is None else struct.pack(">i", len(each)) + each)
    return backend.message(b"F", b"".join(parts) + struct.pack(">H", result))


def test_a_message_is_read() -> None:
    assert parse_function_call(call(952, b"ab", None)[5:]) == FunctionCall(952, (1,), (b"ab", None), 1)
    for wrong in (
        call(952, b"a", b"b", formats=(1, 1, 1)),
        call(952, result=2),
        call(952, formats=(2,)),
        call(952) + b"x",
    ):
        with pytest.raises(PeerError):
            parse_function_call(wrong[5:])


def test_large_objects_work_where_policy_opens_them() -> None:
    talk = Conversation("objects")
    wire = call(LO_OPEN, b"\0\0\0\5", b"\0\4\0\0")
    assert talk.client(wire) == [wire]
    (operation,) = talk.frames("operation")
    assert operation["text"] == "SELECT pg_catalog.lo_open($1, $2)"
    assert "large-object" in operation["classes"]
    assert "function" not in operation["classes"]
    # what it gives is no content: shown under masks too
    assert talk.server(function_result(b"\0\0\0\0"), READY) == [function_result(b"\0\0\0\0"), READY]


def test_content_is_hidden_where_anything_is_masked() -> None:
    talk = Conversation("objects")
    talk.client(call(LOREAD, b"\0\0\0\0", b"\0\0\1\0"))
    assert talk.server(function_result(b"4111111111111111"), READY) == [function_result(None), READY]
    assert talk.frames("result")[0]["sha256"] is None
    assert "4111" not in repr(talk.route.recorder.frames)


def test_errors_of_calls_are_scrubbed() -> None:
    talk = Conversation("objects")
    talk.client(call(LOREAD, b"\0\0\0\0", b"\0\0\1\0"))
    told = backend.message(
        backend.ERROR, backend.error_payload({"S": b"ERROR", "C": b"42704", "M": b"4111111111111111"})
    )
    heard = talk.server(told, READY)
    assert error(heard)["C"] == b"42704"
    assert b"4111" not in b"".join(heard)


@pytest.mark.parametrize(
    "wire",
    [call(LO_EXPORT, b"\0\0\0\5", b"/tmp/x"), call(PG_READ_FILE, b"x"), call(LO_OPEN, b"\0\0\0\5"), call(99999)],
)
def test_other_functions_are_refused_with_ready_behind(wire: bytes) -> None:
    talk = Conversation("objects")
    (sent,) = talk.client(wire)
    assert sent[:1] == b"Q"
    assert error(talk.server(SYNTAX, READY))["C"] == b"42501"


def test_a_policy_that_does_not_open_them_refuses() -> None:
    talk = Conversation()
    (sent,) = talk.client(call(LO_CREAT, b"\0\0\0\5"))
    assert sent[:1] == b"Q"
    assert error(talk.server(SYNTAX, READY))["C"] == b"42501"


def test_a_result_that_was_not_asked_for_ends_the_session() -> None:
    talk = Conversation("objects")
    talk.client(call(LO_CREAT, b"\0\0\0\5"))
    with pytest.raises(TargetError):
        talk.server(function_result(b"\0\0\0\0"), function_result(b"\0\0\0\0"))
