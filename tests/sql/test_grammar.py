import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoopd.sql.analysis import SessionSettings, analyse
from hoopd.sql.grammar import INLINE_MAX, Unparsed, parse, walk
from hoopd.sql.lineage import output_plan
from hoopd.sql.scrub import redact
from tests.sql.world import CATALOGUE, MASKS

SESSION = SessionSettings(search_path=("public",))


def test_statements_are_located_in_bytes() -> None:
    text = "SELECT 'ü'; /* é */ DELETE FROM t ;;".encode()
    tree = parse(text)
    assert [(each.kind, text[each.start : each.end].strip()) for each in tree.statements] == [
        ("SelectStmt", "SELECT 'ü'".encode()),
        ("DeleteStmt", b"DELETE FROM t"),
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"SELECT 1\0; DROP TABLE t", "NUL"),
        (b"SELECT '\xff'", "UTF-8"),
        (b"SELECT 1" + b"+1" * 4000, "nested too deeply"),
        (b"SELECT " + b"(" * 4000 + b"1", "syntax error"),
        (b"SELECT " + b"-- x\n" * INLINE_MAX, "process of its own"),
        (b"SELECT " + b"(SELECT " * 900 + b"1" + b")" * 900, "nested too deeply"),
    ],
)
def test_what_cannot_be_read_is_refused(text: bytes, why: str) -> None:
    with pytest.raises(Unparsed) as caught:
        parse(text)
    assert why in str(caught.value)


def test_deep_trees_are_walked_without_python_stack() -> None:
    assert sum(1 for _ in walk(parse(b"SELECT 1" + b"+1" * 300).statements[0].node)) >= 600


WORDS = st.sampled_from(
    """
    SELECT FROM WHERE customers c card email id orders ( ) , ; * . = 'x' 1 AS x JOIN ON USING UNION ALL ORDER BY
    GROUP INSERT INTO VALUES UPDATE SET DELETE RETURNING WITH RECURSIVE q LATERAL unnest upper :: text int ARRAY [ ]
    $1 COPY TO STDOUT EXPLAIN ANALYZE DECLARE CURSOR FOR FETCH cards_v EXISTS IN CASE WHEN THEN END NULL DO $$a$$ MERGE
    CREATE TABLE VIEW INDEX TRUNCATE DISTINCT HAVING count(*) OVER () LIMIT NOT AND OR LIKE VACUUM CALL f()
    """.split()
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.lists(WORDS, max_size=14).map(" ".join), st.text(max_size=60)))
def test_any_text_is_judged_or_refused(text: str) -> None:
    encoded = text.encode("utf-8", "surrogatepass")
    analysis = analyse(encoded, SESSION, CATALOGUE)
    for statement in analysis.statements:
        assert statement.classes or analysis.refused
        output_plan(statement, MASKS, CATALOGUE, SESSION)
    redact(analysis, MASKS, CATALOGUE, SESSION)
