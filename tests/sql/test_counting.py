import pytest

from hoopd.sql.analysis import SessionSettings, analyse
from hoopd.sql.counting import counted, counting


@pytest.mark.parametrize(
    ("text", "which"),
    [
        ("UPDATE t SET a = 1", "changed"),
        ("INSERT INTO t SELECT * FROM u ON CONFLICT DO NOTHING", "changed"),
        ("DELETE FROM t USING u WHERE t.a = u.a RETURNING *", "changed"),
        ("MERGE INTO t USING u ON t.a = u.a WHEN MATCHED THEN DELETE", "changed"),
        ("COPY t FROM STDIN", "changed"),
        ("CREATE TABLE v AS SELECT * FROM t", "changed"),
        ("SELECT * INTO v FROM t", "changed"),
        ("SELECT * FROM t FOR UPDATE", "shown"),
        ("COPY (SELECT * FROM t) TO STDOUT", "shown"),
        ("EXPLAIN UPDATE t SET a = 1", "shown"),
        ("EXPLAIN (ANALYZE) UPDATE t SET a = 1", "untold"),
        ("PREPARE p AS UPDATE t SET a = 1", "none"),
        ("INSERT INTO t VALUES (pg_catalog.nextval('s'))", "changed"),
        ("INSERT INTO t VALUES (nextval('s'))", "untold"),
        ("WITH a AS (DELETE FROM t RETURNING *) SELECT * FROM a", "untold"),
        ("WITH a AS (DELETE FROM t RETURNING *) UPDATE u SET b = 1", "untold"),
        ("SELECT somebodys(1)", "untold"),
        ("UPDATE t SET a = somebodys(1)", "untold"),
        ("DO 'x'", "untold"),
        ("CALL p()", "untold"),
        ("TRUNCATE t", "untold"),
        ("COPY t FROM PROGRAM 'x'", "untold"),
        ("CREATE INDEX i ON t (a)", "none"),
        ("SET work_mem = '1MB'", "none"),
    ],
)
def test_who_counts(text: str, which: str) -> None:
    (statement,) = analyse(text.encode(), SessionSettings(), None).statements
    found, why = counting(statement)
    assert (found, bool(why)) == (which, which == "untold")


def test_tags() -> None:
    assert [counted(tag) for tag in ("UPDATE 5", "INSERT 0 12", "SELECT 3", "COPY 7", "MERGE 0")] == [5, 12, 3, 7, 0]
    assert [counted(tag) for tag in ("CREATE TABLE AS", "", "DO", "UPDATE ٣", "UPDATE -1")] == [0] * 5
