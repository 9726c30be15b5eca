"""Sessions as transcripts: what the client says, what the target is sent, what comes back."""

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from hoopd.errors import HoopdError, PeerError, RecordError, TargetError
from hoopd.protocols.postgres import backend, frontend
from hoopd.protocols.postgres.backend import Column, command_complete, data_row, row_description
from hoopd.protocols.postgres.frontend import SYNC_MESSAGE, Bind, Execute, Parse, describe, query
from hoopd.protocols.postgres.judgement import Refusal
from hoopd.protocols.postgres.session import AskCancel, AskEnd, AskHold, AskParse, AskRefresh
from hoopd.sql.grammar import Unparsed
from hoopd.sql.reading import read
from tests.protocols.postgres.conversation import (
    BOUND,
    CARD,
    EMPTY,
    FAILED,
    IN_BLOCK,
    NAME,
    NO_DATA,
    ORDERS,
    PARSED,
    READY,
    SUSPENDED,
    SYNTAX,
    Conversation,
    catalogue,
    error,
    kinds,
)

PAN = b"4111111111111111"
SELECT = b"SELECT name, card FROM customers"
ROW = data_row((b"Ann", PAN))
MASKED = data_row((b"Ann", b"****1111"))
DONE = command_complete("SELECT 1")


def test_simple_query_is_recorded_forwarded_and_masked() -> None:
    talk = Conversation()
    assert talk.client(query(SELECT)) == [query(SELECT)]
    assert [each["decision"] for each in talk.frames("operation")] == ["allow"]
    out = talk.server(row_description((NAME, CARD)), ROW, ROW, DONE, READY)
    assert out[1:] == [MASKED, MASKED, DONE, READY]
    assert talk.frames("rows")[0]["rows"] == [["Ann", "****1111"]] * 2
    assert talk.frames("rows")[0]["masked"] == [1]
    assert talk.frames("result")[0]["rows"] == 2
    assert PAN.decode() not in repr(talk.route.recorder.frames)


@pytest.mark.parametrize("size", [1, 3, 7, 64])
def test_any_split_gives_the_same(size: int) -> None:
    talk, wire = Conversation(), query(SELECT)
    for at in range(0, len(wire), size):
        talk.core.client_bytes(wire[at : at + size])
    assert talk.served() == [wire]
    answer = row_description((NAME, CARD)) + ROW * 3 + DONE + READY
    for at in range(0, len(answer), size):
        talk.core.target_bytes(answer[at : at + size])
    assert talk.heard()[1:] == [MASKED] * 3 + [DONE, READY]


def test_a_refusal_is_the_servers_own_failure() -> None:
    talk = Conversation()
    (sent,) = talk.client(query(b"SELECT 1; DROP TABLE orders"))
    assert b"DROP" not in sent
    assert [each["decision"] for each in talk.frames("operation")] == ["deny"]
    out = talk.server(SYNTAX, FAILED)
    assert error(out)["C"] == b"42501"
    assert b"use migrations" in error(out)["M"]
    assert b"p.deny.drop" in error(out)["D"]
    assert out[-1] == FAILED


def test_an_error_of_another_kind_is_not_rewritten() -> None:
    talk = Conversation()
    talk.client(query(b"DROP TABLE orders"))
    gone = backend.error_response("57P01", "terminating connection", severity="FATAL")
    assert error(talk.server(gone))["C"] == b"57P01"


def test_syntax_errors_are_told_with_their_place() -> None:
    talk = Conversation()
    (sent,) = talk.client(query(b"SELEC 1"))
    assert b"SELEC" not in sent
    told = error(talk.server(SYNTAX, READY))
    assert (told["C"], told["P"]) == (b"42601", b"1")


def extended(text: bytes = SELECT, results: tuple[int, ...] = (), name: bytes = b"") -> list[bytes]:
    return [Parse(name, text).encode(), Bind(b"", name, results=results).encode(), Execute(b"").encode(), SYNC_MESSAGE]


def test_execute_without_describe_has_one_injected() -> None:
    talk = Conversation()
    sent = talk.client(*extended())
    assert kinds(sent) == "PBDES"
    out = talk.server(PARSED, BOUND, row_description((NAME, CARD)), ROW, DONE, READY)
    assert kinds(out) == "12DCZ"
    assert MASKED in out


def test_binary_results_of_other_types_are_null() -> None:
    talk = Conversation()
    talk.client(*extended(results=(1,)))
    card = Column(b"card", CARD.table_oid, 2, 20)
    out = talk.server(PARSED, BOUND, row_description((NAME, card)), data_row((b"Ann", b"\0" * 8)), DONE, READY)
    assert data_row((b"Ann", None)) in out


def test_what_is_described_once_is_not_described_again() -> None:
    talk = Conversation()
    talk.client(Parse(b"s", SELECT).encode(), describe(b"S", b"s"), SYNC_MESSAGE)
    talk.server(PARSED, backend.message(b"t", b"\0\0"), row_description((NAME, CARD)), READY)
    sent = talk.client(Bind(b"", b"s").encode(), Execute(b"").encode(), SYNC_MESSAGE)
    assert kinds(sent) == "BES"
    assert MASKED in talk.server(BOUND, ROW, DONE, READY)


def test_unmasked_statements_pass_as_they_are() -> None:
    talk = Conversation()
    wire = extended(b"SELECT note FROM orders")
    assert talk.client(*wire) == wire
    answer = [PARSED, BOUND, data_row((b"n",)), DONE, READY]
    assert talk.server(*answer) == answer


def test_suspended_portals_stay_masked() -> None:
    talk = Conversation()
    talk.client(
        Parse(b"", SELECT).encode(), Bind(b"p", b"").encode(), Execute(b"p", 1).encode(), frontend.FLUSH_MESSAGE
    )
    out = talk.server(PARSED, BOUND, row_description((NAME, CARD)), ROW, SUSPENDED)
    assert MASKED in out
    assert kinds(talk.client(Execute(b"p", 0).encode(), SYNC_MESSAGE)) == "ES"
    assert MASKED in talk.server(ROW, DONE, READY)


def test_rows_go_with_their_own_statement_in_a_pipeline() -> None:
    talk = Conversation()
    sent = talk.client(*extended(b"SELECT name FROM customers")[:3], *extended())
    assert kinds(sent).replace("D", "") == "PBEPBES"
    out = talk.server(PARSED, BOUND)
    if kinds(sent).startswith("PBD"):
        out += talk.server(row_description((NAME,)))
    out += talk.server(data_row((b"Ann",)), DONE, PARSED, BOUND, row_description((NAME, CARD)), ROW, DONE, READY)
    assert data_row((b"Ann",)) in out
    assert MASKED in out
    assert ROW not in out


def test_names_follow_the_servers_replies() -> None:
    """After an error the server skips up to Sync: a name means what it meant before."""
    talk = Conversation()
    talk.client(Parse(b"s", SELECT).encode(), SYNC_MESSAGE)
    talk.server(PARSED, READY)
    talk.client(
        Parse(b"bad", b"SELECT nothing FROM orders").encode(),
        frontend.message(b"C", b"Ss\0"),
        Parse(b"s", b"SELECT note FROM orders").encode(),
        SYNC_MESSAGE,
        Bind(b"", b"s").encode(),
        Execute(b"").encode(),
        SYNC_MESSAGE,
    )
    talk.server(backend.error_response("42703", "no such column"), READY)
    assert kinds(talk.served()) == "BDES"
    assert MASKED in talk.server(BOUND, row_description((NAME, CARD)), ROW, DONE, READY)


def test_a_name_changed_and_not_answered_is_waited_for() -> None:
    talk = Conversation()
    sent = talk.client(*extended(name=b"s"), Bind(b"", b"s").encode(), Execute(b"").encode(), SYNC_MESSAGE)
    assert kinds(sent) == "PBDESH"
    talk.server(PARSED, BOUND, row_description((NAME, CARD)), ROW, DONE, READY)
    assert kinds(talk.served()) == "BES"


@pytest.mark.parametrize(
    ("wire", "sqlstate"), [(Bind(b"", b"x").encode(), b"26000"), (Execute(b"x").encode(), b"34000")]
)
def test_unknown_names_are_refused_as_the_server_would(wire: bytes, sqlstate: bytes) -> None:
    talk = Conversation()
    (sent, _) = talk.client(wire, SYNC_MESSAGE)
    assert sent[:1] == b"P"
    out = talk.server(SYNTAX, READY)
    assert error(out)["C"] == sqlstate


def test_what_follows_a_failure_is_skipped_as_the_server_skips_it() -> None:
    talk = Conversation()
    talk.client(Parse(b"", b"DROP TABLE orders").encode(), frontend.FLUSH_MESSAGE)
    assert error(talk.server(SYNTAX))["C"] == b"42501"
    assert talk.client(Bind(b"", b"").encode(), Execute(b"").encode(), query(b"DELETE FROM orders")) == []
    assert kinds(talk.client(SYNC_MESSAGE)) == "S"
    assert talk.server(READY) == [READY]
    assert len(talk.frames("operation")) == 1


UPDATE = b"UPDATE orders SET note = 'x'"


def test_a_held_query_waits_and_runs_once() -> None:
    talk = Conversation()
    assert talk.client(query(UPDATE), query(b"SELECT 1")) == []
    (ask,) = talk.asked()
    assert isinstance(ask, AskHold)
    assert (ask.held.statement, ask.in_transaction) == (UPDATE, False)
    assert talk.frames("operation") == []
    talk.core.released("A-1")
    assert talk.served() == [query(UPDATE), query(b"SELECT 1")]
    assert talk.state.sync_needed
    (held, _) = talk.frames("operation")
    assert (held["decision"], held["approval"]) == ("hold", "A-1")
    talk.server(command_complete("UPDATE 1"), READY)
    assert talk.route.settled == [("A-1", "executed")]


def test_a_held_query_that_is_not_approved() -> None:
    talk = Conversation()
    talk.client(query(UPDATE))
    talk.asked()
    talk.core.refused(Refusal("57014", "withdrawn"))
    (sent,) = talk.served()
    assert b"UPDATE" not in sent
    assert error(talk.server(SYNTAX, READY))["C"] == b"57014"


def test_a_hold_in_the_extended_protocol_begins_when_the_rest_is_answered() -> None:
    talk = Conversation()
    sent = talk.client(*extended(UPDATE))
    assert kinds(sent) == "PBH"
    assert talk.asked() == []
    assert talk.server(PARSED, BOUND) == [PARSED, BOUND]
    (ask,) = talk.asked()
    assert not ask.in_transaction
    talk.core.released("A-1")
    assert kinds(talk.served()) == "ES"
    talk.server(command_complete("UPDATE 1"), READY)
    assert talk.route.settled == [("A-1", "executed")]


@pytest.mark.parametrize("before", [[query(b"BEGIN")], extended(b"INSERT INTO orders VALUES ('x')")[:3]])
def test_a_hold_knows_of_the_open_transaction(before: list[bytes]) -> None:
    talk = Conversation()
    talk.client(*before, *extended(UPDATE))
    if len(before) == 1:
        talk.server(command_complete("BEGIN"), IN_BLOCK, PARSED, BOUND)
    else:
        talk.server(PARSED, BOUND, command_complete("INSERT 0 1"), PARSED, BOUND)
    (ask,) = talk.asked()
    assert ask.in_transaction


def test_a_held_client_may_not_send_without_end() -> None:
    talk = Conversation(queue=1000)
    talk.client(query(UPDATE))
    with pytest.raises(PeerError):
        for _ in range(20):
            talk.client(query(b"x" * 100))


def test_reasons_are_answered_by_us_in_their_place() -> None:
    talk = Conversation()
    assert talk.client(query(b"SET hoopd.reason = 'T-1'"), query(b"SHOW hoopd.reason")) == [query(b"")] * 2
    out = talk.server(EMPTY, IN_BLOCK, EMPTY, READY)
    assert kinds(out) == "CZTDCZ"
    assert out[0] == command_complete("SET")
    assert out[3] == data_row((b"T-1",))
    sent = talk.client(*extended(b"SHOW hoopd.reason")[:2], describe(b"P", b""), Execute(b"").encode(), SYNC_MESSAGE)
    assert b"hoopd" not in b"".join(sent)
    assert kinds(talk.server(PARSED, BOUND, NO_DATA, EMPTY, READY)) == "12TDCZ"


def test_a_reason_given_for_a_transaction_ends_with_it() -> None:
    talk = Conversation()
    show = query(b"SHOW hoopd.reason")
    for words, status, said in (
        (b"SET hoopd.reason = 'T-1'", READY, b"T-1"),
        (b"BEGIN", IN_BLOCK, b"T-1"),
        (b"SET LOCAL hoopd.reason = 'T-2'", IN_BLOCK, b"T-2"),
        (b"COMMIT", READY, b"T-1"),
        # outside a transaction it is over at once
        (b"SET LOCAL hoopd.reason = 'T-3'", READY, b"T-1"),
        (b"BEGIN; SET LOCAL hoopd.reason = 'T-4'; ROLLBACK", READY, b"T-1"),
        (b"DISCARD ALL", READY, b""),
        (b"SET hoopd.reason = 'T-5'", READY, b"T-5"),
        (b"RESET ALL", READY, b""),
    ):
        talk.client(query(words))
        talk.server(
            *(
                [command_complete("X")] * (1 + words.count(b";"))
                if b"reason" not in words or b";" in words
                else [EMPTY]
            ),
            status,
        )
        talk.client(show)
        assert talk.server(EMPTY, status)[1] == data_row((said,)), words


def test_what_comes_behind_a_commit_has_not_its_reason() -> None:
    talk = Conversation()
    talk.client(query(b"BEGIN"))
    talk.server(command_complete("BEGIN"), IN_BLOCK)
    # all at once, before the server has answered any of it
    talk.client(query(b"SET LOCAL hoopd.reason = 'T-2'"), query(b"COMMIT"), query(b"SHOW hoopd.reason"))
    out = talk.server(EMPTY, IN_BLOCK, command_complete("COMMIT"), READY, EMPTY, READY)
    assert data_row((b"",)) in out


def test_the_row_limit_cancels_and_leaks_nothing_more() -> None:
    talk = Conversation("few")
    talk.client(query(b"SELECT note FROM orders"), query(b"SELECT 1"))
    rows = [data_row((str(number).encode(),)) for number in range(9)]
    out = talk.server(row_description((Column(b"note", ORDERS, 1, 25),)), *rows)
    assert out[1:] == rows[:2]
    assert any(isinstance(each, AskCancel) for each in talk.asked())
    out = talk.server(*rows, backend.error_response("57014", "canceling statement"), READY)
    assert error(out)["C"] == b"54000"
    assert kinds(out) == "EZ"


def test_the_row_limit_in_a_pipeline_makes_the_server_fail() -> None:
    talk = Conversation("few")
    assert kinds(talk.client(*extended(b"SELECT note FROM orders"))) == "PBEH"
    rows = [data_row((b"n",))] * 5
    out = talk.server(PARSED, BOUND, *rows, DONE)
    assert kinds(out) == "12DD"
    assert kinds(talk.served()) == "P"
    assert talk.client() == []  # the Sync waits: a CancelRequest is on its way
    talk.core.cancelled()
    assert kinds(talk.served()) == "S"
    out = talk.server(SYNTAX, READY)
    assert error(out)["C"] == b"54000"
    assert kinds(out) == "EZ"


def test_copy_out_is_masked() -> None:
    talk = Conversation()
    talk.client(query(b"COPY customers TO STDOUT"))
    line = backend.message(b"d", b"Ann\t" + PAN + b"\n")
    end = backend.message(b"c")
    out = talk.server(backend.message(b"H", b"\0\0\2\0\0\0\0"), line, end, command_complete("COPY 1"), READY)
    assert backend.message(b"d", b"Ann\t****1111\n") in out
    assert PAN not in b"".join(out)


def test_copy_in_is_counted_and_hashed_never_kept() -> None:
    talk = Conversation()
    talk.client(*extended(b"COPY orders FROM STDIN"))
    assert kinds(talk.server(PARSED, BOUND, backend.message(b"G", b"\0\0\1\0\0"))) == "12G"
    big = backend.message(b"d", b"secret\n" * 5000)
    for at in range(0, len(big), 1000):
        talk.core.client_bytes(big[at : at + 1000])
    sent = b"".join(talk.state.to_target)
    talk.state.to_target = []
    assert sent == big
    assert kinds(talk.client(backend.message(b"c"), SYNC_MESSAGE)) == "cS"
    talk.server(command_complete("COPY 5000"), READY)
    assert talk.frames("input")[0]["bytes"] == 35000
    assert "secret" not in repr(talk.route.recorder.frames)


def test_definitions_changed_here_are_read_again_first() -> None:
    talk = Conversation()
    talk.client(query(b"ALTER TABLE orders ADD extra text"), query(b"SELECT note FROM orders"))
    talk.server(command_complete("ALTER TABLE"), READY)
    assert [each for each in talk.asked() if isinstance(each, AskRefresh)] == [AskRefresh(True)]
    assert talk.served() == []
    talk.core.refreshed(catalogue())
    assert kinds(talk.served()) == "Q"


def test_in_the_transaction_that_changed_definitions_everything_is_masked() -> None:
    talk = Conversation()
    for text, tag in ((b"BEGIN", "BEGIN"), (b"ALTER TABLE orders RENAME TO x", "ALTER TABLE")):
        talk.client(query(text))
        talk.server(command_complete(tag), IN_BLOCK)
    talk.client(query(b"SELECT note || '' FROM orders"))
    out = talk.server(row_description((Column(b"?column?", 0, 0, 25),)), data_row((PAN,)), DONE, IN_BLOCK)
    assert PAN not in b"".join(out)


def test_large_statements_are_parsed_elsewhere() -> None:
    talk = Conversation(statement_inline=30)
    text = b"SELECT note FROM orders WHERE note = 'long'"
    assert talk.client(query(text)) == []
    (ask,) = talk.asked()
    assert (type(ask), ask.text) == (AskParse, text)
    assert ask.catalogue is talk.state.catalogue
    talk.core.parsed(read(text, ask.question, ask.catalogue))
    assert talk.served() == [query(text)]


def test_a_large_statement_is_read_anew_if_anything_changed_meanwhile() -> None:
    talk = Conversation(statement_inline=30)
    text = b"SELECT note FROM orders WHERE note = 'long'"
    talk.client(query(text))
    (ask,) = talk.asked()
    other = evolve(talk.state.catalogue, version="v2")
    talk.core.refreshed(other)
    talk.core.parsed(read(text, ask.question, ask.catalogue))
    assert talk.served() == []
    (again,) = talk.asked()
    assert again.question.version == "v2"
    talk.core.parsed(read(text, again.question, again.catalogue))
    assert talk.served() == [query(text)]


def test_a_large_statement_that_cannot_be_read_is_refused_and_shown_without_its_values() -> None:
    talk = Conversation(statement_inline=30)
    text = b"SELECT note FROM orders WHERE note = 'long'"
    talk.client(query(text))
    talk.core.parsed(Unparsed("the statement takes too much time or memory to be judged"))
    assert query(text) not in talk.served()
    (frame,) = talk.frames("operation")
    assert frame["decision"] == "deny"
    assert "long" not in frame["text"]


def test_a_large_statement_by_name_is_what_the_name_stands_for() -> None:
    talk = Conversation(statement_inline=60)
    talk.client(query(b"PREPARE p AS SELECT card FROM customers"))
    talk.server(command_complete("PREPARE"), READY)
    text = b"/* " + b"x" * 60 + b" */ EXECUTE p"
    talk.client(query(text))
    (ask,) = talk.asked()
    reading = read(text, ask.question, ask.catalogue)
    assert reading.missing == (("statement", "p"),)
    talk.core.parsed(reading)
    (ask,) = talk.asked()
    talk.core.parsed(read(text, ask.question, ask.catalogue))
    assert talk.served() == [query(text)]
    out = talk.server(row_description((CARD,)), data_row((PAN,)), DONE, READY)
    assert PAN not in b"".join(out)


def test_nothing_passes_without_its_record() -> None:
    talk = Conversation()
    talk.route.broken = True
    with pytest.raises(RecordError):
        talk.client(query(b"SELECT 1"))
    assert talk.served() == []


@pytest.mark.parametrize("step", [1000, 1 << 20])
def test_a_message_too_long_to_judge_is_refused_like_a_statement_and_never_held(step: int) -> None:
    talk = Conversation(message=10_000)
    wire = query(b"SELECT '" + b"x" * 50_000 + b"'") + query(SELECT)
    for at in range(0, len(wire), step):
        talk.core.client_bytes(wire[at : at + step])
        assert talk.core.backlog < 10_000 or step > 10_000
    sent, judged = talk.served()
    assert b"xxx" not in sent
    assert judged == query(SELECT)
    out = talk.server(SYNTAX, READY)
    assert error(out)["C"] == b"54000"
    assert b"50014 bytes is too long" in error(out)["M"]
    assert out[-1] == READY
    assert [each["decision"] for each in talk.frames("operation")] == ["deny", "allow"]


def test_a_bind_too_long_fails_its_pipeline_only() -> None:
    talk = Conversation(message=10_000)
    long = Bind(b"", b"", (), (b"x" * 50_000,)).encode()
    talk.client(Parse(b"", b"SELECT $1::text").encode() + long + Execute(b"").encode() + SYNC_MESSAGE)
    out = talk.server(PARSED, SYNTAX, READY)
    assert error(out)["C"] == b"54000"
    assert [each["decision"] for each in talk.frames("operation")] == ["deny"]
    assert talk.client(query(SELECT)) == [query(SELECT)]


def test_too_long_behind_a_hold_waits_its_turn() -> None:
    talk = Conversation(message=10_000, queue=200_000)
    talk.client(query(b"UPDATE orders SET note = 'x'") + query(b"SELECT '" + b"x" * 50_000 + b"'"))
    assert talk.frames("operation") == []
    talk.core.released("A-1")
    assert [each["decision"] for each in talk.frames("operation")] == ["hold", "deny"]


def test_goodbye() -> None:
    talk = Conversation()
    assert kinds(talk.client(frontend.TERMINATE_MESSAGE)) == "X"
    assert isinstance(talk.asked()[0], AskEnd)


@pytest.mark.parametrize("wire", [b"Y\0\0\0\4", b"Q\x7f\xff\xff\xff", b"S\0\0\0\5\0", b"Q\0\0\0\2", b"Q\0\0\0\7a\0\0"])
def test_hostile_clients_end_their_session(wire: bytes) -> None:
    talk = Conversation()
    with pytest.raises(PeerError):
        talk.client(wire)
    assert talk.served() == []


@pytest.mark.parametrize(
    "wire", [PARSED, ROW, DONE, READY, b"D\0\0\0\2", b"V\0\0\0\4", b"W\0\0\0\7\0\0\0", b"R\0\0\0\x08\0\0\0\0"]
)
def test_replies_that_nobody_expects_end_the_session(wire: bytes) -> None:
    talk = Conversation()
    with pytest.raises(TargetError):
        talk.server(wire)


FRAGMENTS = [*extended(), *extended(UPDATE, name=b"s"), query(SELECT), query(UPDATE), frontend.FLUSH_MESSAGE]
REPLIES = [PARSED, BOUND, row_description((NAME, CARD)), ROW, DONE, READY, SYNTAX, SUSPENDED, NO_DATA, EMPTY]


@settings(max_examples=120, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=14), st.binary(max_size=20), st.booleans())
def test_no_order_of_messages_shows_a_masked_value(steps, junk: bytes, last: bool) -> None:
    """Whatever the two sides say: errors that name the guilty, and never the card in clear."""
    talk, heard = Conversation(), b""
    try:
        for client, number in steps:
            if client:
                talk.client(FRAGMENTS[number])
            else:
                heard += b"".join(talk.server(REPLIES[number]))
        talk.core.client_bytes(junk) if last else talk.core.target_bytes(junk)
    except HoopdError:
        pass
    assert PAN not in heard + b"".join(talk.state.to_client)
    assert talk.core.backlog < 10_000


def test_texts_of_many_statements_are_parsed_elsewhere_however_short() -> None:
    talk = Conversation()
    text = b";".join([b"SELECT 1"] * 102)
    assert talk.client(query(text)) == []
    (ask,) = talk.asked()
    assert (type(ask), ask.text) == (AskParse, text)
    talk.core.parsed(read(text, ask.question, ask.catalogue))
    assert talk.served() == [query(text)]


def test_what_waits_is_looked_at_again_when_something_was_answered_and_not_before() -> None:
    """Neither each chunk of a long result nor each byte that a client sends behind makes a waiting text be read anew."""
    talk = Conversation()
    talk.client(query(SELECT))
    talk.server(row_description((NAME, CARD)))
    looked: list[int] = []
    judged = talk.state.judged
    talk.state.judged = lambda *given, **named: looked.append(1) or judged(*given, **named)  # type: ignore[method-assign, func-returns-value]
    held = query(b"UPDATE orders SET note = 'held'")
    assert held not in talk.client(held)
    assert len(looked) == 1
    for _ in range(50):
        assert talk.server(ROW) == [MASKED]
        assert talk.client(SYNC_MESSAGE) == []
    assert len(looked) == 1
    talk.server(DONE, READY)
    assert len(looked) > 1
    (ask,) = talk.asked()
    talk.core.released("A-1")
    assert isinstance(ask, AskHold)
    assert talk.served() == [held, *[SYNC_MESSAGE] * 50]
