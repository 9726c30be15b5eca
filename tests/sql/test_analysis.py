import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoopd.sql.analysis import Effect, SessionSettings, analyse
from tests.sql.world import CATALOGUE

SESSION = SessionSettings(search_path=("public",))


def only(text: str, catalogue=CATALOGUE):
    analysis = analyse(text.encode(), SESSION, catalogue)
    assert len(analysis.statements) == 1, analysis
    return analysis.statements[0]


@pytest.mark.parametrize(
    ("text", "classes", "objects"),
    [
        ("SELECT 1", "introspect", ""),
        ("SELECT * FROM customers", "read", "public.customers"),
        ("TABLE customers", "read", "public.customers"),
        ("/*SELECT*/DELETE/**/FROM/**/orders", "write delete", "public.orders"),
        ("WITH d AS (DELETE FROM orders RETURNING *) SELECT count(*) FROM d", "read write delete", "public.orders"),
        ("EXPLAIN ANALYZE UPDATE orders SET note = 'x'", "explain read write update", "public.orders"),
        ("EXPLAIN (ANALYZE off) UPDATE orders SET note = 'x'", "explain read", "public.orders"),
        ("COPY customers TO STDOUT", "copy-out read", "public.customers"),
        ("COPY orders FROM STDIN", "copy-in write insert", "public.orders"),
        ("COPY orders TO '/tmp/x'", "copy-out copy-file file read", "public.orders"),
        (
            "COPY (DELETE FROM orders RETURNING 1) TO PROGRAM 'x'",
            "copy-out copy-program program read write delete",
            "public.orders",
        ),
        ("SELECT pg_read_file('x')", "introspect function file write", ""),
        ("SELECT purge_orders()", "introspect function write", ""),
        ("SELECT lower('x')", "introspect function write", ""),  # a user's function shadows the built-in one
        ("SELECT pg_catalog.lower('x')", "introspect", ""),
        ("SELECT 1 ?! 2", "introspect function write", ""),
        ("SELECT * FROM dblink('x', 'y') AS t(a int)", "introspect function network write", ""),
        ("SELECT * FROM pg_class", "introspect", "pg_catalog.pg_class"),
        ("SELECT * FROM pg_stats", "read-secret", "pg_catalog.pg_stats"),
        ("SELECT * FROM orders, pg_authid", "read read-secret", "pg_catalog.pg_authid public.orders"),
        ("SELECT 1 AS a INTO fresh FROM orders", "ddl create read", "public.fresh public.orders"),
        ("CREATE TEMP TABLE t AS SELECT * FROM orders", "ddl create read", "public.orders public.t"),
        ("DROP TABLE orders", "ddl drop", "public.orders"),
        ("TRUNCATE orders", "write truncate", "public.orders"),
        ("ALTER USER x PASSWORD 'y'", "role", ""),
        ("DECLARE c CURSOR FOR SELECT * FROM orders", "cursor read", "public.orders"),
        ("FETCH 10 FROM c", "cursor", ""),
        ("CALL purge()", "call", ""),
        ("DO $$BEGIN END$$", "do", ""),
        ("SELECT * FROM orders FOR UPDATE", "read lock", "public.orders"),
        ("LISTEN x", "listen", ""),
        ("NOTIFY x, 'y'", "notify", ""),
        ("VACUUM orders", "maintenance", "public.orders"),
        ("GRANT SELECT ON orders TO x", "ddl grant", "public.orders"),
        ("SET DateStyle = 'ISO'", "session", ""),
        ("BEGIN", "transaction", ""),
        ("ALTER SYSTEM SET work_mem = '1MB'", "session-privileged", ""),
        ("LOAD 'x'", "program", ""),
        ("SELECT set_config('jit', 'off', false)", "introspect session", ""),
        ("UNLISTEN *", "session", ""),
        ("SELECT o.purge_orders FROM orders o", "read function write", "public.orders"),
        ("SELECT (o).purge_orders FROM orders o", "read function write", "public.orders"),
        ("SELECT (WITH pg_stats AS (SELECT 1) SELECT 1), * FROM pg_stats", "read-secret", "pg_catalog.pg_stats"),
        ("SELECT * FROM pg_toast.pg_toast_16400", "read read-secret", "pg_toast.pg_toast_16400"),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'libc', 'x'", "ddl create program", ""),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "ddl create", ""),
        ("CREATE FOREIGN TABLE f (l text) SERVER s OPTIONS (program 'x')", "ddl create network program", "public.f"),
        ("SELECT nextval('s')", "introspect function write", ""),
        ("SELECT pg_advisory_unlock_all()", "introspect", ""),
        (
            "MERGE INTO orders o USING customers c ON o.id = c.id WHEN MATCHED THEN DELETE",
            "write merge",
            "public.customers public.orders",
        ),
    ],
)
def test_classes_and_objects(text: str, classes: str, objects: str) -> None:
    statement = only(text)
    assert statement.classes == frozenset(classes.split())
    assert statement.objects == tuple(objects.split())


@pytest.mark.parametrize(
    "text",
    [
        "SET search_path = a, pg_catalog",
        "SET SESSION AUTHORIZATION postgres",
        "SET session_replication_role = replica",
        "SET standard_conforming_strings = off",
        "SET client_encoding = 'SJIS'",
        "SELECT set_config('search_path', name, false) FROM t",
        "SELECT set_config('search_path', 'a,,b', false)",
        "DECLARE c CURSOR FOR SELECT set_config('work_mem', '1', false)",
        "EXECUTE p",
        "PREPARE TRANSACTION 'x'",
        "SET TRANSACTION SNAPSHOT 'x'",
        "EXPLAIN EXECUTE p",
        "SELEC 1",
        "SELECT '\udcff'",
        "SELECT 1\0; DROP TABLE x",
        "SELECT " + "NOT " * 2000 + "true",
    ],
)
def test_what_cannot_be_followed_is_refused(text: str) -> None:
    assert analyse(text.encode(errors="surrogateescape"), SESSION, CATALOGUE).refused


@pytest.mark.parametrize(
    ("encoding", "text", "good"),
    [
        ("UTF8", "SELECT 'é'", True),
        ("SQL_ASCII", "SELECT 'é'", True),
        ("LATIN1", "SELECT 'é'", False),
        ("SJIS", "SELECT 'x'", True),
    ],
)
def test_only_texts_that_the_server_reads_alike(encoding: str, text: str, good: bool) -> None:
    session = SessionSettings(client_encoding=encoding)
    assert (analyse(text.encode(), session, CATALOGUE).refused == "") is good


def test_every_statement_of_a_text_is_seen() -> None:
    analysis = analyse(b";;SELECT 1; DELETE FROM orders WHERE id = 1;;", SESSION, CATALOGUE)
    assert [statement.text for statement in analysis.statements] == [b"SELECT 1", b"DELETE FROM orders WHERE id = 1"]
    assert [statement.facts["where"] for statement in analysis.statements] == [True, True]
    assert analyse(b"DELETE FROM orders", SESSION, CATALOGUE).statements[0].facts["where"] is False


def test_effects() -> None:
    assert only("SET hoopd.reason = 'OPS-1'").effect == Effect("set", "hoopd.reason", "OPS-1")
    assert only("ROLLBACK TO a").effect == Effect("rollback-to", "a")
    assert only("DEALLOCATE ALL").effect == Effect("deallocate", None)
    assert only("CREATE INDEX ON orders (id)").effect == Effect("ddl")


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.sampled_from("abSELECT'\"();$-/*\\,.=1 \n\u202e\xa0"), max_size=60))
def test_any_text_is_judged_or_refused(text: str) -> None:
    analysis = analyse(text.encode(), SESSION, CATALOGUE)
    assert analysis.refused or all(statement.classes for statement in analysis.statements)
