"""Ceilings and limits as transcripts: what is sent around a statement, and what its client is told."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoopd.errors import TargetError
from hoopd.policy.snapshot import PolicySnapshot
from hoopd.protocols.postgres import backend
from hoopd.protocols.postgres.backend import Column, command_complete, data_row, row_description
from hoopd.protocols.postgres.frontend import SYNC_MESSAGE, Bind, Execute, Parse, query
from hoopd.protocols.postgres.session import POISON, AskCancel, AskHold
from tests.protocols.postgres.conversation import (
    BOUND,
    FAILED,
    IN_BLOCK,
    ORDERS,
    PARSED,
    READY,
    SUSPENDED,
    SYNTAX,
    TARGET,
    Conversation,
    error,
    kinds,
)

LIMITED = PolicySnapshot.load(
    {
        "p.toml": """
targets = ["orders"]
allow.few = { who = ["group:few"], do = ["read", "write", "do"], max_changes = 5 }
allow.cut = { who = ["group:cut"], do = ["read", "write"], max_rows = 2, max_bytes = 60, max_time = "3s" }
allow.asked = { who = ["group:asked"], do = ["read", "write", "do"] }
hold.asked = { who = ["group:asked"], do = ["write", "do"], by = ["group:leads"], max_rows = 5 }
allow.part = { who = ["group:part"], do = ["read", "write"] }
hold.part = { who = ["group:part"], do = ["write"], by = ["group:leads"], max_rows_factor = 2.5, when = "op.rows > 3" }
deny.part = { who = ["group:part"], do = ["write"], when = "op.rows > 100" }
"""
    },
    {"orders": TARGET},
    b"k" * 32,
)
UPDATE = b"UPDATE orders SET note = 'x'"
NOTE = Column(b"note", ORDERS, 1, 25)
BEGUN, COMMITTED, UNDONE = (command_complete(word) for word in ("BEGIN", "COMMIT", "ROLLBACK"))


def talking(group: str) -> Conversation:
    return Conversation(group, LIMITED)


def extended(text: bytes, *more: bytes, rows: int = 0) -> Sequence[bytes]:
    return (Parse(b"", text).encode(), Bind(b"", b"").encode(), Execute(b"", rows).encode(), *more, SYNC_MESSAGE)


def limited(talk: Conversation) -> list[str]:
    return [each["why"] for each in talk.frames("decision")]


def test_what_touches_few_rows_looks_as_it_would() -> None:
    talk = talking("few")
    assert talk.client(query(UPDATE)) == [query(b"BEGIN")]
    assert talk.server(BEGUN, IN_BLOCK) == []
    assert talk.served() == [query(UPDATE)]
    assert talk.server(command_complete("UPDATE 5"), IN_BLOCK) == []
    assert talk.served() == [query(b"COMMIT")]
    assert talk.server(COMMITTED, READY) == [command_complete("UPDATE 5"), READY]
    assert limited(talk) == []


def test_what_touches_too_many_is_rolled_back() -> None:
    talk = talking("few")
    talk.client(query(UPDATE) + query(b"SELECT 1"))
    talk.server(BEGUN, IN_BLOCK)
    talk.served()
    talk.server(command_complete("UPDATE 6"), IN_BLOCK)
    assert talk.served() == [query(b"ROLLBACK")]
    out = talk.server(UNDONE, READY)
    assert kinds(out) == "EZ"
    told = error(out)
    assert (told["C"], told["D"]) == (b"54000", b"Refused by rule p.allow.few.")
    assert told["M"] == b"hoopd: rolled back: it touched 6 rows, and rule p.allow.few allows 5"
    assert limited(talk) == ["rolled back: it touched 6 rows, and rule p.allow.few allows 5"]
    # what waited behind it runs now
    assert talk.served() == [query(b"SELECT 1")]


def test_the_statements_of_a_text_count_together() -> None:
    talk = talking("few")
    talk.client(query(UPDATE + b"; " + UPDATE + b"; SELECT 1"))
    talk.server(BEGUN, IN_BLOCK)
    first = command_complete("UPDATE 3")
    assert talk.server(first, first) == [first]
    assert talk.server(data_row((b"1",)), command_complete("SELECT 1"), IN_BLOCK) == []
    assert talk.served()[-1] == query(b"ROLLBACK")
    assert kinds(talk.server(UNDONE, READY)) == "EZ"


def test_an_error_of_the_server_stays_its_own() -> None:
    talk = talking("few")
    talk.client(query(UPDATE))
    talk.server(BEGUN, IN_BLOCK)
    failure = backend.error_response("23505", "duplicate key")
    assert talk.server(failure, FAILED) == [failure]
    assert talk.served()[-1] == query(b"ROLLBACK")
    assert talk.server(UNDONE, READY) == [READY]
    # and one at COMMIT (a deferred constraint) comes in place of the tag
    talk.client(query(UPDATE))
    talk.server(BEGUN, IN_BLOCK)
    assert talk.server(command_complete("UPDATE 1"), IN_BLOCK) == []
    assert talk.server(failure, READY) == [failure, READY]


def test_in_a_transaction_the_server_is_made_to_abort_it() -> None:
    talk = talking("few")
    talk.client(query(b"BEGIN"))
    talk.server(BEGUN, IN_BLOCK)
    talk.served()
    assert talk.client(query(UPDATE)) == [query(UPDATE)]
    assert talk.server(command_complete("UPDATE 6"), IN_BLOCK) == []
    assert talk.served() == [query(POISON)]
    out = talk.server(SYNTAX, FAILED)
    assert (kinds(out), error(out)["C"]) == ("EZ", b"54000")


@pytest.mark.parametrize("answer", [(BEGUN, READY), (BEGUN, FAILED)])
def test_without_a_transaction_nothing_runs(answer: tuple[bytes, ...]) -> None:
    talk = talking("few")
    talk.client(query(UPDATE))
    with pytest.raises(TargetError):
        talk.server(*answer)
    assert talk.served() == []


def test_a_target_that_ends_our_transaction_itself_ends_the_session() -> None:
    talk = talking("few")
    talk.client(query(UPDATE))
    talk.server(BEGUN, IN_BLOCK)
    with pytest.raises(TargetError):
        talk.server(command_complete("UPDATE 1"), READY)
    talk = talking("few")
    talk.client(query(UPDATE))
    talk.server(BEGUN, IN_BLOCK)
    talk.server(command_complete("UPDATE 1"), IN_BLOCK)
    with pytest.raises(TargetError):
        talk.server(UNDONE, READY)


def test_in_the_extended_protocol_it_is_counted_before_sync() -> None:
    talk = talking("few")
    assert kinds(talk.client(*extended(UPDATE))) == "PBEH"
    assert kinds(talk.server(PARSED, BOUND, command_complete("UPDATE 6"))) == "12"
    # the server itself has to fail, then it reads the Sync
    assert kinds(talk.served()) == "PS"
    out = talk.server(SYNTAX, READY)
    assert (kinds(out), error(out)["C"]) == ("EZ", b"54000")
    assert kinds(talk.client(*extended(UPDATE))) == "PBEH"
    talk.server(PARSED, BOUND, command_complete("UPDATE 5"))
    assert kinds(talk.served()) == "S"
    assert talk.server(READY) == [READY]


def test_parts_of_what_a_statement_returns_are_not_its_count() -> None:
    talk = talking("few")
    talk.client(*extended(UPDATE + b" RETURNING note", rows=1))
    talk.server(PARSED, BOUND, data_row((b"x",)), SUSPENDED)
    assert kinds(talk.served()) == "PS"
    assert b"rows fetched in parts are not counted" in error(talk.server(SYNTAX, READY))["M"]


@pytest.mark.parametrize(
    "text", [b"DO 'x'", b"WITH a AS (" + UPDATE + b" RETURNING 1) SELECT * FROM a", b"BEGIN; " + UPDATE]
)
def test_what_nobody_counts_is_refused(text: bytes) -> None:
    talk = talking("few")
    assert talk.client(query(text)) == [query(POISON)]
    assert b"its row ceiling cannot be kept" in error(talk.server(SYNTAX, READY))["M"]


def test_rows_and_bytes_that_are_returned_undo_what_was_changed() -> None:
    for row, count in ((data_row((b"n",)), 3), (data_row((b"n" * 40,)), 2)):
        talk = talking("cut")
        talk.client(query(UPDATE + b" RETURNING note"))
        talk.server(BEGUN, IN_BLOCK)
        talk.served()
        out = talk.server(row_description((NOTE,)), *[row] * count)
        assert kinds(out) == "T" + "D" * (count - 1)
        assert [type(each) for each in talk.asked()] == [AskCancel]
        talk.core.cancelled()
        # the cancel came too late
        assert talk.server(command_complete("UPDATE 9"), IN_BLOCK) == []
        assert talk.served() == [query(b"ROLLBACK")]
        out = talk.server(UNDONE, READY)
        assert (kinds(out), error(out)["C"]) == ("EZ", b"54000")


def test_the_time_of_a_statement_begins_when_its_turn_comes() -> None:
    talk = talking("cut")
    talk.client(query(b"SELECT 1") + query(b"SELECT note FROM orders"))
    talk.now = 100.0
    assert talk.state.due() is not None
    talk.server(data_row((b"1",)), command_complete("SELECT 1"), READY)
    talk.now = 101.0
    due = talk.state.due()
    assert due is not None
    assert due[1] == 104.0
    talk.core.late(due[0])
    assert [type(each) for each in talk.asked()] == [AskCancel]
    talk.core.cancelled()
    out = talk.server(backend.error_response("57014", "canceling statement"), READY)
    told = error(out)
    assert (told["C"], told["D"]) == (b"57014", b"Refused by rule p.allow.cut.")
    assert b"took longer than 3 s" in told["M"]
    assert talk.state.due() is None


def test_one_that_ends_just_in_time_is_told_so() -> None:
    talk = talking("cut")
    talk.client(query(b"SELECT note FROM orders"))
    due = talk.state.due()
    assert due is not None
    talk.core.late(due[0])
    out = talk.server(row_description((NOTE,)), command_complete("SELECT 0"), READY)
    assert kinds(out) == "TCZ"


def test_an_approval_brings_its_ceiling() -> None:
    talk = talking("asked")
    talk.client(query(UPDATE))
    (ask,) = [each for each in talk.asked() if isinstance(each, AskHold)]
    assert (ask.held.max_rows, ask.held.estimated_rows, ask.held.facts) == (5, None, {"where": False})
    talk.core.released("A-1", 3)
    assert talk.served() == [query(b"BEGIN")]
    talk.server(BEGUN, IN_BLOCK)
    talk.server(command_complete("UPDATE 4"), IN_BLOCK)
    assert talk.route.settled == []
    out = talk.server(UNDONE, READY)
    assert b"touched 4 rows, and approval A-1 allows 3" in error(out)["M"]
    assert talk.route.settled == [("A-1", "failed")]


def test_an_approval_is_executed_when_that_is_on_disk() -> None:
    talk = talking("asked")
    talk.client(*extended(UPDATE))
    talk.server(PARSED, BOUND)
    talk.core.released("A-1")
    talk.served()
    talk.server(command_complete("UPDATE 2"))
    assert talk.route.settled == []
    talk.server(READY)
    assert talk.route.settled == [("A-1", "executed")]
    # an error behind it in the same implicit transaction takes it back
    talk = talking("asked")
    talk.client(*extended(UPDATE, Parse(b"", b"SELECT 1").encode()))
    talk.server(PARSED, BOUND)
    talk.core.released("A-2")
    talk.server(command_complete("UPDATE 2"))
    talk.server(backend.error_response("22012", "division by zero"), READY)
    assert talk.route.settled == [("A-2", "failed")]
    assert talk.route.details == ["rolled back: 22012"]


def test_the_estimate_decides_and_sets_the_ceiling() -> None:
    talk = talking("part")
    talk.rows = [3]
    where = UPDATE + b" WHERE note = 'y'"
    assert talk.client(query(where)) == [query(where)]
    (asked,) = talk.estimates
    assert (asked.texts, asked.relations) == ((where,), (ORDERS,))
    talk.server(command_complete("UPDATE 3"), READY)
    talk.rows = [101]
    assert talk.client(query(where)) == [query(POISON)]
    talk.server(SYNTAX, READY)
    talk.rows = [11]
    assert talk.client(query(where)) == []
    (ask,) = [each for each in talk.asked() if isinstance(each, AskHold)]
    assert (ask.held.estimated_rows, ask.held.max_rows) == (11, 28)
    talk.core.released("A-1", 28)
    assert talk.served() == [query(b"BEGIN")]
    assert talk.estimates[3:] == [], "it is not asked again"


def test_an_estimate_waits_for_what_came_before() -> None:
    talk = talking("part")
    talk.rows = [1]
    assert kinds(talk.client(*extended(UPDATE))) == "PBH"
    assert talk.estimates == []
    talk.server(PARSED, BOUND)
    assert len(talk.estimates) == 1
    assert kinds(talk.served()) == "ES"


def test_unknown_rows_close() -> None:
    talk = talking("part")
    assert talk.client(query(UPDATE)) == [query(POISON)]
    assert len(talk.estimates) == 1
    talk.server(SYNTAX, READY)
    # a function of somebody's is not even asked about
    assert talk.client(query(b"DELETE FROM orders WHERE note = somebodys()")) == [query(POISON)]
    assert len(talk.estimates) == 1


class Server:
    """As much of a server as transactions need: what is committed, row by row. C{broken}: COMMITs that fail."""

    def __init__(self, broken: list[bool]) -> None:
        self.broken = broken
        self.status = b"I"
        self.pending: list[int] = []
        self.committed: list[int] = []

    def answer(self, message: bytes) -> bytes:
        if message[:1] == b"H":
            return b""
        text = message[5:-1]
        failed = backend.error_response("25P02", "aborted")
        if text == POISON:
            self._abort()
            return SYNTAX + backend.ready(self.status)
        if text in (b"COMMIT", b"ROLLBACK"):
            return self._end(text == b"COMMIT")
        if self.status == b"E":
            return failed + FAILED
        if text == b"BEGIN":
            self.status = b"T"
            return BEGUN + IN_BLOCK
        rows = int(text.rpartition(b"'")[0].rpartition(b"'")[2])
        if rows == 9:
            self._abort()
            return backend.error_response("23505", "duplicate") + backend.ready(self.status)
        (self.pending if self.status == b"T" else self.committed).append(rows)
        return command_complete(f"UPDATE {rows}") + backend.ready(self.status)

    def _abort(self) -> None:
        self.status = b"I" if self.status == b"I" else b"E"

    def _end(self, commit: bool) -> bytes:
        pending, self.pending = self.pending, []
        good = commit and self.status == b"T"
        self.status = b"I"
        if good and self.broken and self.broken.pop():
            return backend.error_response("23503", "deferred") + READY
        if good:
            self.committed += pending
        return (COMMITTED if good else UNDONE) + READY


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.one_of(st.integers(0, 9), st.sampled_from(["BEGIN", "COMMIT", "ROLLBACK"]))), st.lists(st.booleans())
)
def test_no_order_of_statements_keeps_more_than_a_ceiling(steps: list[int | str], broken: list[bool]) -> None:
    talk, server = talking("few"), Server(broken)
    texts = [
        step.encode() if isinstance(step, str) else f"UPDATE orders SET note = '{step}'".encode() for step in steps
    ]
    heard: list[bytes] = []
    waiting = talk.client(*map(query, texts))
    while waiting:
        heard += talk.server(server.answer(waiting.pop(0)))
        waiting += talk.served()
    assert all(rows <= 5 for rows in server.committed)
    # each was answered once, and no transaction of ours is left open
    states = [each for each in heard if each[:1] == b"Z"]
    assert len(states) == len(texts)
    assert not states or states[-1] == backend.ready(server.status)
    assert not set(heard) & {command_complete(f"UPDATE {rows}") for rows in range(6, 10)}
