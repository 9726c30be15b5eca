"""Whole sessions that nobody wrote, on twin databases through a whole gateway: what hand-written cases did not think of.

Hypothesis makes up statements over masked tables and sends them in every way that there is: simple, extended, prepared, in parts,
by PREPARE and cursor, by COPY, in transactions that fail. The invariant is that of the cases: no byte of a raw value in any
message, and the same bytes from both twins. The same sessions each time; C{HOOPD_SESSIONS} asks for more, at random.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, note, seed, settings
from hypothesis import strategies as st

from tests.integration import wire
from tests.integration.twins import Twins, raw_forms
from tests.integration.wire import Wire, messages

pytestmark = pytest.mark.integration

#: about 15 s
SESSIONS = int(os.environ.get("HOOPD_SESSIONS", "100"))

COLUMNS = ("c.ssn", "c.ssn", "c.card", "c.card", "c.name", "c.id", "c.city", "c.balance")
SOURCES = (
    "customers c", "customers c", "ONLY customers c", "customers_v c", "(SELECT * FROM customers) c",
    "(SELECT id, name, upper(ssn) AS ssn, card, balance, city FROM customers) c", "customers c JOIN vendors v USING (id)",
    "(customers x LEFT JOIN vendors v ON v.id = x.id) AS c(id, name, ssn, card, balance, city)", "q c",
    "(VALUES (1, 'n', (SELECT ssn FROM ONLY customers LIMIT 1), 2, 3, 'o')) c(id, name, ssn, card, balance, city)",
    "customers c, LATERAL (SELECT c.ssn || '' AS z) l", "customers c TABLESAMPLE SYSTEM (100)",
    "customers c CROSS JOIN generate_series(1, 2) g", "(TABLE customers UNION ALL TABLE customers) c",
)  # fmt: skip
CASTS = (
    "text",
    "varchar(4)",
    "int",
    "bigint",
    "numeric",
    "jsonb",
    "bytea",
    "date",
    "text[]",
    "bool",
    "name",
    '"char"',
    "xml",
)
ONE = (
    "upper({})", "reverse({}::text)", "md5({}::text)", "length({}::text)", "to_jsonb({})", "to_json({})", "quote_literal({})",
    "pg_typeof({})", "coalesce({}, NULL)", "left({}::text, 3)", "substr({}::text, 2)", "{}::text || 'x'", "({})",
    "ARRAY[{}]", "ROW({}, 1)", "jsonb_build_object('k', {})", "json_build_array({})", "xmlelement(name a, {})",
    "format('%s', {})", "concat('x', {})", "1 / (length({}::text) - 11)", "encode({}::text::bytea, 'base64')", "ascii({}::text)",
    "(SELECT {})", "CASE WHEN c.id = 1 THEN {} END", "lpad({}::text, 20, '.')", "to_char({}, '9999')", "hashtext({}::text)",
    "unnest(ARRAY[{}])", "(ARRAY[{}])[1]", "to_hex({})", "translate({}::text, '-', '.')", "row_to_json(ROW({}))",
    "regexp_replace({}::text, '1', 'x')", "string_to_array({}::text, '-')", "setseed(length({}::text))", "num_nulls({})",
    "pg_column_size({})", "width_bucket({}, 0, 9, 3)", "{} IS NULL", "starts_with({}::text, '1')", "{} COLLATE \"C\"",
)  # fmt: skip
WHOLE = (
    "c", "to_json(c)", "row_to_json(c)", "to_jsonb(c) ->> 'ssn'", "to_jsonb(c) #>> '{ssn}'", "c.*::text", "(c).ssn", "c::text",
    "to_jsonb(c) - 'name'", "jsonb_each_text(to_jsonb(c))", "(to_jsonb(c)).*", "hstore(c)", "xmlforest(c.ssn, c.id)", "c.ctid",
    "c.tableoid::regclass", "get_ssn(c.id)", "imm_ssn()", "jsonb_path_query(to_jsonb(c), '$.*')", "c IS NOT NULL", "num_nonnulls(c.*)",
)  # fmt: skip
TOTAL = (
    "max({}::text)", "min({})", "count({})", "array_agg({})", "json_agg(c)", "string_agg({}::text, ',')", "sum(length({}::text))",
    "jsonb_object_agg(c.id, {})", "count(DISTINCT {})", "mode() WITHIN GROUP (ORDER BY {})", "bool_or({} IS NULL)", "xmlagg(xmlelement(name a, {}))",
    "count(*) FILTER (WHERE {} IS NULL)", "max({}::text) OVER ()", "first_value({}) OVER (ORDER BY c.id)", "row_number() OVER (ORDER BY {})",
)  # fmt: skip
CONDITIONS = (
    "", "", "", "", "", "", "", "", " WHERE c.id < 3", " WHERE c.city = 'Oslo'", " WHERE {} IS NOT NULL", " WHERE {}::text LIKE '1%'",
    " WHERE {} = {}", " WHERE c.id IN (SELECT id FROM customers)", " WHERE EXISTS (SELECT {})", " WHERE c.name || 'x' <> ''",
)  # fmt: skip
ENDS = (
    "", "", "", "", "", "", " ORDER BY c.id", " ORDER BY 1", " ORDER BY {}", " LIMIT 2", " LIMIT length({}::text)", " FETCH FIRST ROW ONLY",
    " UNION ALL SELECT NULL", " UNION SELECT NULL", " EXCEPT SELECT NULL", " GROUP BY c.id, c.name", " OFFSET 1", " FOR UPDATE",
    " UNION ALL SELECT {} FROM customers c",
)  # fmt: skip
HEADS = ("", "", "", "", "EXPLAIN (COSTS off) ", "EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off, VERBOSE) ")
OTHERS = (
    "TABLE customers", "SELECT * FROM people", "SELECT tax_ref, tax_ref || '' FROM tax_refs", "SELECT * FROM customers_vip",
    "SELECT most_common_vals FROM pg_stats", "SELECT doc, doc -> 'ssn' FROM hist", "SELECT lo_get(777001)", "SELECT * FROM nowhere",
    "SELECT ssn, FROM customers", "UPDATE customers SET name = ssn", "INSERT INTO customers (id, name) VALUES (1, 'x')", "SELECT 1 / 0",
    "SELECT query FROM pg_stat_activity WHERE false", "SELECT '901-0' || 'x'", "SELECT c.ssn c, c.name c FROM customers c; SELECT 2",
    "SELECT get_ssn(1)", "SELECT run_sql('SELECT ssn FROM customers')", "DELETE FROM customers RETURNING ssn", "SHOW search_path",
    "DO $$BEGIN RAISE NOTICE '%', (SELECT ssn FROM customers LIMIT 1); END$$", "SELECT * FROM customers_mv ORDER BY 1",
)  # fmt: skip
SETTINGS = (
    "SET client_encoding = 'LATIN1'", "SET client_min_messages = 'debug1'", "SET bytea_output = 'escape'", "SET search_path = pg_catalog, public",
    "SET DateStyle = 'SQL'", "SET xmloption = 'document'", "SET enable_seqscan = off", "SET extra_float_digits = 0", "RESET ALL", "DISCARD PLANS",
    "SET client_encoding = 'UTF8'", "SET application_name = 'generated'", "SET plan_cache_mode = 'force_generic_plan'", "DEALLOCATE ALL",
)  # fmt: skip
FORMATS = ("", " (FORMAT csv, HEADER)", " (FORMAT binary)", " (DELIMITER '|', NULL '-')")


@st.composite
def expression(draw: st.DrawFn, depth: int = 2) -> str:
    """Of one column: mostly built on one that is masked."""
    made: str = draw(st.sampled_from(COLUMNS))
    for _ in range(draw(st.integers(0, depth))):
        kind = draw(st.integers(0, 9))
        if kind == 0:
            made = draw(st.sampled_from(WHOLE))
        elif kind == 1:
            made = f"{made} || {draw(st.sampled_from(COLUMNS))}"
        elif kind < 5:
            made = f"({made})::{draw(st.sampled_from(CASTS))}"
        else:
            made = draw(st.sampled_from(ONE)).replace("{}", made)
    return made


@st.composite
def statement(draw: st.DrawFn) -> str:
    if draw(st.integers(0, 5)) == 0:
        return str(draw(st.sampled_from(OTHERS)))
    parts = [draw(expression()) for _ in range(draw(st.integers(1, 3)))]
    if draw(st.integers(0, 4)) == 0:
        parts = [draw(st.sampled_from(TOTAL)).replace("{}", each) for each in parts]
    if draw(st.integers(0, 4)) == 0:
        parts.append(draw(st.sampled_from((*WHOLE, "*", "c.*"))))
    if draw(st.integers(0, 19)) == 0:
        parts[0] = f"DISTINCT {parts[0]}"
    source = draw(st.sampled_from(SOURCES))
    made = f"SELECT {', '.join(parts)} FROM {source}{draw(st.sampled_from(CONDITIONS))}{draw(st.sampled_from(ENDS))}"
    while "{}" in made:
        made = made.replace("{}", draw(expression(depth=1)), 1)
    if source == "q c":
        recursive = draw(st.sampled_from(("", "RECURSIVE ", "MATERIALIZED ")))
        kept = recursive if recursive == "MATERIALIZED " else ""
        made = f"WITH {recursive.removeprefix('MATERIALIZED ')}q AS {kept}(SELECT * FROM customers) {made}"
    return str(draw(st.sampled_from(HEADS))) + made


#: C{(way, text, more)}: how a statement is sent
Step = tuple[str, str, Any]


@st.composite
def step(draw: st.DrawFn) -> Step:
    way = draw(
        st.sampled_from(
            ("simple", "simple", "extended", "binary", "parts", "named", "prepare", "cursor", "copy", "set", "block")
        )
    )
    if way == "set":
        return way, draw(st.sampled_from(SETTINGS)), None
    if way == "block":
        # a transaction that failed answers nothing: most steps are outside of any
        ways = ("BEGIN", "COMMIT", "COMMIT", "ROLLBACK", "ROLLBACK", "SAVEPOINT s", "ROLLBACK TO s", "CLOSE ALL")
        return way, draw(st.sampled_from(ways)), None
    more: Any = None
    if way == "copy":
        more = draw(st.sampled_from(FORMATS))
    elif way in ("parts", "cursor"):
        more = draw(st.sampled_from((1, 2, 100)))
    return way, draw(statement()), more


def said(session: Wire, way: str, text: str, more: Any) -> bytes:
    """All that the server answers to one step."""
    if way == "copy":
        return session.query(f"COPY ({text}) TO STDOUT{more}")
    if way == "prepare":
        return session.query(f"PREPARE p AS {text}") + session.query("EXECUTE p") + session.query("DEALLOCATE p")
    if way == "cursor":
        lines = (f"DECLARE k SCROLL CURSOR FOR {text}", f"FETCH {more} FROM k", "FETCH LAST FROM k", "CLOSE k")
        return b"".join(session.query(each) for each in ("BEGIN", *lines, "COMMIT"))
    if way in ("extended", "binary"):
        formats = (1,) if way == "binary" else ()
        sent = wire.parse(text) + wire.bind(formats=formats) + wire.describe("P", "") + wire.execute()
        return session.ask(sent + wire.SYNC)
    if way == "parts":
        sent = wire.parse(text) + wire.bind(portal="w") + wire.describe("P", "w")
        return session.ask(sent + wire.execute("w", more) * 2 + wire.execute("w") + wire.SYNC)
    if way == "named":
        first = session.ask(wire.parse(text, "n") + wire.describe("S", "n") + wire.SYNC)
        used = session.ask((wire.bind("n") + wire.execute()) * 2 + wire.SYNC)
        return first + used + session.ask(wire.message(b"C", b"Sn\0") + wire.SYNC)
    return session.query(text)


@pytest.fixture(scope="module")
def twins() -> Iterator[Twins]:
    made = Twins()
    yield made
    made.close()


def conversation(twins: Twins, database: str, steps: list[Step]) -> list[bytes]:
    with twins.through(database) as session:
        heard = [said(session, *each) for each in steps]
        assert not session.closed, "no statement ends a session"
    return heard


def test_no_session_tells_the_twins_apart(twins: Twins) -> None:
    counted = {"steps": 0, "rows": 0, "errors": 0}

    @settings(
        max_examples=SESSIONS,
        deadline=None,
        database=None,
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @seed(random.randrange(2**32) if "HOOPD_SESSIONS" in os.environ else 20260101)
    @given(st.lists(step(), min_size=4, max_size=10))
    def run(steps: list[Step]) -> None:
        heard = [conversation(twins, each, steps) for each in (twins.a, twins.b)]
        for number, (one, other) in enumerate(zip(*heard, strict=True)):
            note(f"step {number}: {steps[number]}\n  {one[:600]!r}\n  {other[:600]!r}")
            for twin, octets in (("a", one), ("b", other)):
                found = [each for each in raw_forms(twin) if each in octets]
                assert not found, (steps[number], found)
            assert one == other, steps[number]
            counted["steps"] += 1
            kinds = {kind for kind, _ in messages(one)}
            counted["rows"] += bool(kinds & {"D", "d"})
            counted["errors"] += "E" in kinds

    run()
    # what never gets an answer shows nothing
    assert counted["rows"] > counted["steps"] // 8, counted
    print(counted)
