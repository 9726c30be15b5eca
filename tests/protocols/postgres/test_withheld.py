"""Which texts of the server a client with masks is told: those that cannot quote a masked value, and no other."""

import pytest

from hoopd.protocols.postgres import backend
from hoopd.protocols.postgres.backend import command_complete
from hoopd.protocols.postgres.frontend import SYNC_MESSAGE, Bind, Execute, Parse, query
from tests.protocols.postgres.conversation import (
    BOUND,
    FAILED,
    IN_BLOCK,
    NO_DATA,
    PARSED,
    READY,
    SYNTAX,
    Conversation,
    error,
)

SECRET = b"4111111111111111"


def failure(text: bytes, **more: bytes) -> bytes:
    return backend.message(backend.ERROR, backend.error_payload({"S": b"ERROR", "C": b"22012", "M": text, **more}))


def extended(text: bytes) -> list[bytes]:
    return [Parse(b"", text).encode(), Bind(b"", b"").encode(), Execute(b"").encode(), SYNC_MESSAGE]


def test_an_error_at_bind_of_an_untouched_statement_is_told_as_it_is() -> None:
    talk = Conversation()
    talk.client(*extended(b"SELECT 1/0"))
    assert error(talk.server(PARSED, failure(b"division by zero", R=b"int4div"), READY))["M"] == b"division by zero"


def test_an_error_at_bind_of_a_masked_statement_is_not() -> None:
    talk = Conversation()
    talk.client(*extended(b"SELECT card FROM customers WHERE name = $1"))
    assert SECRET not in b"".join(talk.server(PARSED, failure(SECRET), READY))
    assert SECRET.decode() not in repr(talk.route.recorder.frames)


@pytest.mark.parametrize(
    ("before", "told"),
    [(b"INSERT INTO orders VALUES ('x')", True), (b"INSERT INTO customers (name) VALUES ('x')", False)],
)
def test_the_end_of_a_transaction_may_fail_for_what_came_before(before: bytes, told: bool) -> None:
    talk = Conversation("code")
    for each in (b"BEGIN", before):
        talk.client(query(each))
        talk.server(command_complete("OK"), IN_BLOCK)
    talk.client(query(b"COMMIT"))
    heard = talk.server(failure(b"row (" + SECRET + b") is wrong"), READY)
    assert (SECRET in b"".join(heard)) is told
    # and nothing of it hangs on to the next
    talk.client(query(b"COMMIT"))
    assert error(talk.server(failure(b"x"), READY))["M"] == b"x"


@pytest.mark.parametrize(
    ("before", "told"),
    [(b"INSERT INTO orders VALUES ('x')", True), (b"INSERT INTO customers (name) VALUES ('x')", False)],
)
def test_so_may_a_sync(before: bytes, told: bool) -> None:
    talk = Conversation("code")
    talk.client(*extended(before))
    # where masks may apply the columns are asked for
    described = [] if told else [NO_DATA]
    heard = talk.server(PARSED, BOUND, *described, command_complete("INSERT 0 1"), failure(SECRET), READY)
    assert (SECRET in b"".join(heard)) is told


@pytest.mark.parametrize(
    ("wire", "code", "text"),
    [
        (Bind(b"", b"x").encode(), b"26000", b'prepared statement "x" does not exist'),
        (Bind(b"", b"").encode(), b"26000", b"unnamed prepared statement does not exist"),
        (Execute(b"x").encode(), b"34000", b'portal "x" does not exist'),
        (query(b"EXECUTE x"), b"26000", b'prepared statement "x" does not exist'),
    ],
)
def test_unknown_names_are_told_in_the_servers_words(wire: bytes, code: bytes, text: bytes) -> None:
    talk = Conversation()
    talk.client(wire)
    told = error(talk.server(SYNTAX))
    assert (told["C"], told["M"]) == (code, text)
    assert not {"D", "H"} & told.keys()


def test_an_error_in_a_failed_transaction_is_the_servers() -> None:
    talk = Conversation()
    talk.client(query(b"BEGIN"))
    talk.server(command_complete("BEGIN"), IN_BLOCK)
    talk.client(query(b"SELECT 1/0"))
    talk.server(failure(b"division by zero"), FAILED)
    talk.client(query(b"SELECT 1"))
    aborted = failure(b"current transaction is aborted, commands ignored until end of transaction block")
    assert talk.server(aborted, FAILED)[0] == aborted
