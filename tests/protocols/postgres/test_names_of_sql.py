"""Names and settings that SQL itself makes, through a whole core: prepared statements, cursors, search_path."""

import pytest

from hoopd.protocols.postgres.backend import Column, command_complete, data_row, row_description
from hoopd.protocols.postgres.frontend import SYNC_MESSAGE, Bind, Execute, Parse, query
from hoopd.protocols.postgres.judgement import Refusal
from tests.protocols.postgres.conversation import (
    BOUND,
    CARD,
    FAILED,
    IN_BLOCK,
    NAME,
    PARSED,
    READY,
    SYNTAX,
    Conversation,
    error,
    kinds,
)

ROW = data_row((b"Ann", b"4111111111111111"))
MASKED = data_row((b"Ann", b"****1111"))
ANY = Column(b"name", 0, 0, 25)
COLUMNS = row_description((NAME, CARD))
PREPARE = query(b"PREPARE p AS SELECT name, card FROM customers")
DECLARE = query(b"DECLARE c CURSOR FOR SELECT name, card FROM customers")


def begun(*more: bytes) -> Conversation:
    talk = Conversation()
    for each in (query(b"BEGIN"), *more):
        talk.client(each)
        talk.server(command_complete("OK"), IN_BLOCK)
    return talk


def test_execute_is_masked_by_what_was_prepared() -> None:
    talk = Conversation()
    talk.client(PREPARE)
    talk.server(command_complete("PREPARE"), READY)
    talk.client(query(b"EXECUTE p"))
    assert MASKED in talk.server(COLUMNS, ROW, command_complete("SELECT 1"), READY)
    assert talk.frames("operation")[-1]["classes"] == ["execute", "read"]


def test_what_is_not_prepared_fails_with_the_servers_code() -> None:
    talk = Conversation()
    talk.client(query(b"EXECUTE p"))
    assert error(talk.server(SYNTAX, READY))["C"] == b"26000"


def test_a_prepare_that_failed_changes_no_name() -> None:
    talk = Conversation()
    talk.client(query(b"PREPARE p AS SELECT 1"))
    talk.server(command_complete("PREPARE"), READY)
    talk.client(PREPARE)
    talk.server(SYNTAX, READY)
    talk.client(query(b"EXECUTE p"))
    assert talk.frames("operation")[-1]["classes"] == ["execute", "introspect"]


def test_deallocate_and_discard_take_names_away() -> None:
    for text in (b"DEALLOCATE p", b"DEALLOCATE ALL", b"DISCARD ALL"):
        talk = Conversation()
        talk.client(PREPARE)
        talk.server(command_complete("PREPARE"), READY)
        talk.client(query(text))
        talk.server(command_complete("OK"), READY)
        talk.client(query(b"EXECUTE p"))
        assert error(talk.server(SYNTAX, READY))["C"] == b"26000"


def test_a_name_of_sql_is_bound_by_message() -> None:
    talk = Conversation()
    talk.client(PREPARE)
    talk.server(command_complete("PREPARE"), READY)
    assert kinds(talk.client(Bind(b"", b"p").encode(), Execute(b"").encode(), SYNC_MESSAGE)) == "BDES"
    assert MASKED in talk.server(BOUND, COLUMNS, ROW, command_complete("SELECT 1"), READY)


def test_a_name_of_a_message_is_executed_by_sql() -> None:
    talk = Conversation()
    talk.client(Parse(b"s", b"SELECT name, card FROM customers").encode(), SYNC_MESSAGE)
    talk.server(PARSED, READY)
    talk.client(query(b"EXECUTE s"))
    assert MASKED in talk.server(COLUMNS, ROW, command_complete("SELECT 1"), READY)


def test_a_message_behind_a_prepare_waits_for_its_outcome() -> None:
    talk = Conversation()
    assert kinds(talk.client(PREPARE, query(b"EXECUTE p"))) == "QH"
    assert talk.server(command_complete("PREPARE"), READY)
    assert talk.served() == [query(b"EXECUTE p")]


def test_fetch_is_masked_by_what_was_declared() -> None:
    talk = begun(DECLARE)
    talk.client(query(b"FETCH 1 FROM c"))
    assert MASKED in talk.server(COLUMNS, ROW, command_complete("FETCH 1"), IN_BLOCK)


def test_a_cursor_of_sql_is_executed_by_message() -> None:
    talk = begun(DECLARE)
    assert kinds(talk.client(Execute(b"c", 1).encode(), SYNC_MESSAGE)) == "DES"
    assert MASKED in talk.server(COLUMNS, ROW, command_complete("SELECT 1"), IN_BLOCK)


@pytest.mark.parametrize("end", [b"COMMIT", b"ROLLBACK", b"CLOSE c", b"CLOSE ALL"])
def test_a_cursor_that_is_gone_is_unknown(end: bytes) -> None:
    talk = begun(DECLARE)
    talk.client(query(end))
    talk.server(command_complete(end.split()[0].decode()), READY)
    talk.client(Execute(b"c").encode(), SYNC_MESSAGE)
    assert error(talk.server(SYNTAX, READY))["C"] == b"34000"


def test_a_cursor_with_hold_outlives_a_commit_only() -> None:
    hold = query(b"DECLARE c CURSOR WITH HOLD FOR SELECT name, card FROM customers")
    kept, lost = begun(hold), begun(hold)
    kept.client(query(b"COMMIT"))
    kept.server(command_complete("COMMIT"), READY)
    kept.client(query(b"FETCH c"))
    assert MASKED in kept.server(COLUMNS, ROW, command_complete("FETCH 1"), READY)
    lost.client(query(b"COMMIT"))
    lost.server(command_complete("ROLLBACK"), READY)
    lost.client(Execute(b"c").encode(), SYNC_MESSAGE)
    assert error(lost.server(SYNTAX, READY))["C"] == b"34000"


def test_a_row_limit_is_on_all_rows_of_a_cursor() -> None:
    talk = Conversation("few")
    talk.client(query(b"BEGIN"))
    talk.server(command_complete("BEGIN"), IN_BLOCK)
    talk.client(DECLARE)
    talk.server(command_complete("DECLARE CURSOR"), IN_BLOCK)
    fetch = query(b"FETCH 2 FROM c")
    talk.client(fetch)
    assert talk.server(COLUMNS, ROW, ROW, command_complete("FETCH 2"), IN_BLOCK).count(MASKED) == 2
    talk.client(fetch)
    assert MASKED not in talk.server(COLUMNS, ROW, ROW)


def test_a_path_is_followed_when_the_server_has_agreed() -> None:
    talk = Conversation()
    # behind another path, the name means nothing that is known: masked wholly
    sent = talk.client(query(b"SET search_path = elsewhere"), query(b"SELECT name, card FROM customers"))
    assert kinds(sent) == "QH"
    talk.server(command_complete("SET"), READY)
    talk.served()
    unknown = row_description((ANY, ANY))
    assert talk.server(unknown, ROW, command_complete("SELECT 1"), READY)[1] == data_row((b"****", b"****"))


def test_a_path_that_was_rolled_back_is_the_old_one() -> None:
    talk = begun(query(b"SET search_path = elsewhere"), query(b"ROLLBACK"))
    talk.client(query(b"SELECT name, card FROM customers"))
    assert MASKED in talk.server(COLUMNS, ROW, command_complete("SELECT 1"), READY)


def test_a_path_set_in_a_pipeline_that_fails_is_the_old_one() -> None:
    talk = Conversation()
    talk.client(Parse(b"", b"SET search_path = elsewhere").encode(), Bind(b"", b"").encode(), Execute(b"").encode())
    talk.server(PARSED, BOUND, command_complete("SET"))
    assert talk.state.settings().search_path == ()
    talk.client(Parse(b"", b"SELECT 1/0").encode(), SYNC_MESSAGE)
    talk.server(SYNTAX, READY)
    assert talk.state.settings().search_path == ("public",)


def test_what_unread_code_did_to_the_session_is_not_trusted() -> None:
    talk = Conversation("code")
    talk.client(query(b"SELECT set_the_path()"))
    talk.server(row_description((ANY,)), data_row((b"x",)), command_complete("SELECT 1"), READY)
    talk.client(query(b"SELECT name FROM orders"))
    assert data_row((b"****",)) in talk.server(
        row_description((NAME,)), data_row((b"x",)), command_complete("SELECT 1"), READY
    )


def test_names_that_the_server_cuts_are_one() -> None:
    talk = Conversation()
    long = b"n" * 70
    talk.client(Parse(long, b"SELECT name, card FROM customers").encode(), SYNC_MESSAGE)
    talk.server(PARSED, READY)
    talk.client(Bind(b"", b"n" * 63).encode(), Execute(b"").encode(), SYNC_MESSAGE)
    assert MASKED in talk.server(BOUND, COLUMNS, ROW, command_complete("SELECT 1"), READY)


def test_in_a_failed_transaction_names_live_on() -> None:
    talk = begun(PREPARE)
    talk.client(query(b"SELECT 1/0"))
    talk.server(SYNTAX, FAILED)
    talk.client(query(b"ROLLBACK"))
    talk.server(command_complete("ROLLBACK"), READY)
    talk.client(query(b"EXECUTE p"))
    assert MASKED in talk.server(COLUMNS, ROW, command_complete("SELECT 1"), READY)


def test_an_approval_is_for_what_a_name_means() -> None:
    talk = Conversation()
    contexts = []
    for text in (b"PREPARE p AS UPDATE orders SET note = 'a'", b"PREPARE p AS UPDATE orders SET note = 'b'"):
        for each in (b"DEALLOCATE ALL", text):
            talk.client(query(each))
            talk.server(command_complete("OK"), READY)
        talk.client(query(b"EXECUTE p"))
        (ask,) = talk.asked()
        contexts.append(ask.held.context)
        assert text.decode() in ask.held.redacted
        talk.core.refused(Refusal("42501", "no"))
        talk.server(SYNTAX, READY)
    assert contexts[0] != contexts[1]
