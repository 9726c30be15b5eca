import pytest

from hoopd.sql.analysis import SessionSettings, analyse
from hoopd.sql.catalogue import Catalogue, Column, Relation

NONE = [
    "", "WHERE true", "WHERE 1=1", "WHERE 'a' = 'a'", "WHERE now() > '2000-01-01'", "WHERE $1", "WHERE id = id",
    "WHERE t.id >= t.id", "WHERE id = 3 OR true", "WHERE true AND 1 < 2", "WHERE NOT false", "WHERE (SELECT true)",
    "WHERE name LIKE name", "WHERE id IS NOT DISTINCT FROM id", "WHERE EXISTS (SELECT 1)",
    "WHERE (id = 3 AND a = 1) OR (1 = 1 AND 2 = 2)", "WHERE id < id", "WHERE NOT (id <> id)", "WHERE id IN (1, id)",
    "WHERE id = ANY (ARRAY[id, 2])", "WHERE id BETWEEN id AND 3", "WHERE name LIKE '%'", "WHERE name ILIKE '%%'",
    "WHERE EXISTS (SELECT 1 FROM y WHERE y.id = 3)", "WHERE EXISTS (SELECT 1 FROM y AS t WHERE t.id = 3)",
    "WHERE 3 = (SELECT max(x) FROM y)", "WHERE id IN (SELECT id FROM t)", "WHERE t.id IN (SELECT t.id FROM t ORDER BY 1)",
    "WHERE EXISTS (SELECT 1 FROM y WHERE x = id)",
]  # fmt: skip
SOME = [
    "WHERE id = 3", "WHERE id = $1", "WHERE true AND id = 3", "WHERE CURRENT OF c", "WHERE id IN (SELECT x FROM y)",
    "WHERE a = b", "WHERE NOT (id = 3)", "WHERE id = 3 OR a = 4", "WHERE t = ROW(1)",
    "WHERE EXISTS (SELECT 1 FROM y WHERE y.x = t.id)", "WHERE id IN (SELECT id FROM t WHERE a = 3)", "WHERE t.* IS NULL",
    "WHERE id IN (SELECT id FROM t LIMIT 3)", "WHERE id IN (SELECT x FROM t)", "WHERE name LIKE 'a%'",
    "WHERE EXISTS (SELECT 1 WHERE id = 3)", "WHERE deleted IS NOT NULL",
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
    for clause, where in (
        ("USING s ON true WHEN MATCHED THEN DELETE", False),
        ("USING s ON s.id = 3 WHEN MATCHED THEN DELETE", False),
        ("USING t AS s ON t.id = s.id WHEN MATCHED THEN DELETE", False),
        ("USING s ON t.id = s.id WHEN MATCHED THEN DELETE", True),
        ("USING s ON t.id = s.id WHEN NOT MATCHED BY SOURCE THEN DELETE", False),
    ):
        text = f"MERGE INTO t {clause}"
        (statement,) = analyse(text.encode(), SessionSettings(), None).statements
        assert statement.facts["where"] is where


def _table(name: str, oid: int, *columns: str) -> Relation:
    return Relation(oid, "public", name, "r", tuple(Column(at, each, 25) for at, each in enumerate(columns, 1)))


def test_joins() -> None:
    relations = {each.oid: each for each in (_table("t", 20000, "id", "a"), _table("s", 20001, "ref", "b"))}
    known = Catalogue(("public",), "app", 150000, relations, version="v1")
    for clause, where, offline in (
        ("", False, False),
        ("WHERE s.ref = 3", False, False),
        ("WHERE ref = 3", False, False),
        ("WHERE t.id = s.ref", True, True),
        # whose column it is tells the catalogue
        ("WHERE id = ref", True, False),
        ("WHERE s.ref = 3 AND a = 1", True, False),
        ("WHERE t.id = 3 OR s.ref = 3", False, False),
        ("WHERE EXISTS (SELECT 1 FROM s AS z WHERE z.ref = t.id)", True, True),
    ):
        for text in (f"DELETE FROM t USING s {clause}", f"UPDATE public.t SET a = '1' FROM s {clause}"):
            for catalogue, expected in ((known, where), (None, offline)):
                (statement,) = analyse(text.encode(), SessionSettings(), catalogue).statements
                assert statement.facts["where"] is expected, (text, catalogue is None)


@pytest.mark.parametrize(
    "text",
    [
        "DELETE FROM t USING t AS other WHERE t.id = other.id",
        "UPDATE t AS x SET a = 1 FROM t WHERE t.id = x.id",
        "DELETE FROM t AS x USING s WHERE t.id = s.id",
        "DELETE FROM t USING s, LATERAL (SELECT s.ref) AS q(id) WHERE q.id = 3",
    ],
)
def test_a_table_joined_with_itself_or_with_another(text: str) -> None:
    (statement,) = analyse(text.encode(), SessionSettings(), None).statements
    assert statement.facts["where"] is False
