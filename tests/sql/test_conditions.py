import pytest

from hoopd.sql.analysis import SessionSettings, analyse

NONE = [
    "", "WHERE true", "WHERE 1=1", "WHERE 'a' = 'a'", "WHERE now() > '2000-01-01'", "WHERE $1", "WHERE id = id",
    "WHERE t.id >= t.id", "WHERE id = 3 OR true", "WHERE true AND 1 < 2", "WHERE NOT false", "WHERE (SELECT true)",
    "WHERE name LIKE name", "WHERE id IS NOT DISTINCT FROM id", "WHERE EXISTS (SELECT 1)",
    "WHERE (id = 3 AND a = 1) OR (1 = 1 AND 2 = 2)",
]  # fmt: skip
SOME = [
    "WHERE id = 3", "WHERE id = $1", "WHERE true AND id = 3", "WHERE CURRENT OF c", "WHERE id IN (SELECT x FROM y)",
    "WHERE a = b", "WHERE NOT (id = 3)", "WHERE id = 3 OR a = 4", "WHERE t = ROW(1)", "WHERE id < id",
]  # fmt: skip


@pytest.mark.parametrize(("clause", "where"), [(each, False) for each in NONE] + [(each, True) for each in SOME])
def test_where(clause: str, where: bool) -> None:
    for text in (
        f"DELETE FROM t {clause}",
        f"UPDATE t SET a = 1 {clause}",
        f"WITH d AS (DELETE FROM t {clause}) SELECT 1",
    ):
        (statement,) = analyse(text.encode(), SessionSettings(), None).statements
        assert statement.facts["where"] is where


def test_merge() -> None:
    for clause, where in (("ON true", False), ("ON t.id = s.id", True)):
        text = f"MERGE INTO t USING s {clause} WHEN MATCHED THEN DELETE"
        (statement,) = analyse(text.encode(), SessionSettings(), None).statements
        assert statement.facts["where"] is where
