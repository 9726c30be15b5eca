"""What is worked out of a text in another process is what would be worked out here, and nothing else comes back."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from hoopd.sql.analysis import Analysis, Question, Reading, SessionSettings, analyse
from hoopd.sql.counting import counting
from hoopd.sql.estimates import unsafe
from hoopd.sql.grammar import Unparsed
from hoopd.sql.known import UNREAD
from hoopd.sql.lineage import output_plan
from hoopd.sql.named import Definition
from hoopd.sql.packed import (
    pack_catalogue,
    pack_question,
    pack_reading,
    unpack_catalogue,
    unpack_question,
    unpack_reading,
)
from hoopd.sql.reading import read
from hoopd.sql.scrub import parameters_to_redact, redact
from tests.sql.world import CARD, CATALOGUE, EMAIL

SETTINGS = SessionSettings()
BOTH = (CARD, EMAIL)
CASES = Path(__file__).parents[1] / "cases" / "postgres" / "cases.jsonl"
TEXTS = [
    "SELECT * FROM customers",
    "SELECT c.card, upper(email) FROM customers c JOIN orders o ON true",
    "UPDATE customers SET card = '4111111111111111' WHERE id = 7",
    "ALTER USER app PASSWORD 'hunter2'; SELECT 1",
    "COPY customers TO STDOUT",
    "SET search_path = other; SELECT name FROM customers",
    "SET LOCAL hoopd.reason = 'because'; DELETE FROM orders",
    "BEGIN; SAVEPOINT a; ROLLBACK TO a; COMMIT",
    "PREPARE p AS SELECT card FROM customers; EXECUTE p",
    "EXPLAIN ANALYZE INSERT INTO orders SELECT * FROM nowhere",
    "SELECT * FROM names_v, cards_v, pan_v2",
    "SELECT purge_orders(), lower('x')",
    "VACUUM customers; CREATE TEMP TABLE t AS SELECT card FROM customers",
    "SELECT 'unread' FROM pg_authid",
    "WITH w AS (DELETE FROM orders RETURNING *) SELECT * FROM w",
    "UPDATE orders SET id = 1 WHERE id = '7'::strange",
    "",
]


def everything() -> list[str]:
    """Those above, and the statements of the acceptance cases."""
    found = list(TEXTS)
    for line in filter(None, CASES.read_text().split("\n")):
        for value in json.loads(line).values():
            found += [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str)]
    return list(dict.fromkeys(found))


def question(names: tuple[tuple[str, str, Definition | None], ...] = ()) -> Question:
    sets = (BOTH, (CARD,), (EMAIL,))
    return Question(SETTINGS, CATALOGUE.version, (), False, sets, BOTH, (), names)


def through(text: bytes, asked: Question) -> Reading:
    """The way there and back."""
    there, told = unpack_question(pack_question(text, asked))
    catalogue = unpack_catalogue(pack_catalogue(CATALOGUE))
    assert catalogue == CATALOGUE
    return unpack_reading(pack_reading(read(there, told, catalogue), catalogue), asked, CATALOGUE)


def test_it_is_what_it_is_here() -> None:
    compared = 0
    for each in everything():
        text = each.encode()
        here = analyse(text, SETTINGS, CATALOGUE)
        if here.refused and not here.statements:
            with pytest.raises(Unparsed) as caught:
                through(text, question())
            assert (str(caught.value), caught.value.syntax) == (here.refused, here.syntax), each
            continue
        reading = through(text, question())
        if reading.missing:
            continue
        there = reading.analysis
        assert [evolve(one, node={}, known=None) for one in there.statements] == [
            evolve(one, node={}) for one in here.statements
        ], each
        assert (there.refused, there.syntax, there.text) == (here.refused, here.syntax, here.text)
        assert redact(there, BOTH, CATALOGUE, SETTINGS) == redact(here, BOTH, CATALOGUE, SETTINGS)
        for mine, other in zip(here.statements, there.statements, strict=True):
            for masks in (BOTH, (CARD,), (EMAIL,), ()):
                assert output_plan(mine, masks, CATALOGUE, SETTINGS) == output_plan(other, masks, CATALOGUE, SETTINGS)
            hidden = parameters_to_redact(mine, BOTH, CATALOGUE, SETTINGS)
            assert parameters_to_redact(other, BOTH, CATALOGUE, SETTINGS) == hidden, each
            assert counting(other) == counting(mine), each
            assert unsafe(other, SETTINGS, CATALOGUE) == unsafe(mine, SETTINGS, CATALOGUE), each
            compared += 1
    assert compared > 150


def test_masks_that_were_not_asked_about_hide_everything() -> None:
    (statement,) = through(b"SELECT name FROM customers", evolve(question(), masks=((EMAIL,),))).analysis.statements
    plan = output_plan(statement, BOTH, CATALOGUE, SETTINGS)
    assert not plan.untouched
    assert plan.suspicious
    assert parameters_to_redact(statement, (CARD,), CATALOGUE, SETTINGS) == "all"


def test_names_are_asked_for_and_stand_for_what_the_session_has() -> None:
    text = b"EXECUTE p(1); FETCH c"
    first = through(text, question())
    assert first.missing == (("statement", "p"), ("cursor", "c"))
    with pytest.raises(ValueError, match="other circumstances"):
        analyse(text, SETTINGS, CATALOGUE, first)
    live = object()
    names = (
        ("statement", "p", Definition(b"SELECT card FROM customers WHERE id = $1", False)),
        ("cursor", "c", Definition(b"DECLARE c CURSOR FOR SELECT email FROM customers", True, SETTINGS, live)),
    )
    executed, fetched = through(text, question(names)).analysis.statements
    assert executed.objects == ("public.customers",)
    assert fetched.source is names[1][2]
    assert fetched.source is not None
    assert fetched.source.source is live
    assert not output_plan(executed, BOTH, CATALOGUE, SETTINGS).untouched


def test_a_name_that_is_not_there() -> None:
    reading = through(b"EXECUTE p", question((("statement", "p", None),)))
    assert reading.missing == ()
    assert reading.analysis.refused == 'prepared statement "p" does not exist'


def test_a_reading_is_good_under_its_own_circumstances_only() -> None:
    reading = through(b"SELECT 1", question())
    assert analyse(b"SELECT 1", SETTINGS, CATALOGUE, reading) is reading.analysis
    with pytest.raises(ValueError, match="other circumstances"):
        analyse(b"SELECT 1", evolve(SETTINGS, search_path=("other",)), CATALOGUE, reading)


def test_nobody_takes_a_tree_that_is_elsewhere_for_an_empty_one() -> None:
    (statement,) = through(b"SELECT 1", question()).analysis.statements
    assert statement.node is UNREAD
    for look in (len, list, dict, lambda node: node.get("x"), lambda node: "x" in node, lambda node: node.items()):
        with pytest.raises(AssertionError):
            look(statement.node)


class Evil:
    """What a child that a hostile text has taken over might answer."""

    def __reduce__(self) -> object:
        import os

        return os.system, ("touch /tmp/hoopd-evil",)


def test_answers_can_make_nothing_but_values() -> None:
    asked = question()
    for hostile in (Evil(), Path("/etc"), Reading(asked, Analysis(())), b"", {"a": 1}, Question):
        with pytest.raises(Unparsed):
            unpack_reading(pickle.dumps(hostile), asked, CATALOGUE)
    assert not Path("/tmp/hoopd-evil").exists()


@given(st.binary(max_size=200))
def test_garbage(octets: bytes) -> None:
    with pytest.raises(Unparsed):
        unpack_reading(octets, question(), CATALOGUE)


@given(st.data())
def test_a_damaged_answer(data: st.DataObject) -> None:
    good = bytearray(pack_reading(read(b"SELECT card FROM customers", question(), CATALOGUE), CATALOGUE))
    at = data.draw(st.integers(0, len(good) - 1))
    good[at] = data.draw(st.integers(0, 255))
    try:
        made = unpack_reading(bytes(good), question(), CATALOGUE)
    except Unparsed:
        return
    assert isinstance(made, Reading)
