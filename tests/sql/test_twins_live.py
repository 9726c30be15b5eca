"""The promise itself, against a real server: two databases that differ only in masked values look the same.

Every statement is analysed, planned and, unless refused, run on both twins; what masks leave of the rows must be equal and
without a raw value. Texts of errors count too, unless the plan says that something masked was touched: those are scrubbed.
"""

import io
import re
import unittest

import psycopg2

from hoopd.protocols.postgres.copied import CopyMasker
from hoopd.sql.analysis import SessionSettings, analyse
from hoopd.sql.catalogue import QUERIES, Catalogue
from hoopd.sql.lineage import Field, output_plan
from hoopd.values import Mask
from tests.integration.postgres import PostgresServer

SCHEMA = """
CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL, ssn text UNIQUE, card bigint, balance numeric, city text,
    initials text GENERATED ALWAYS AS (upper(ssn)) STORED);
CREATE TABLE customers_vip (tier int) INHERITS (customers);
CREATE TABLE vendors (id int PRIMARY KEY, ssn text);
CREATE TABLE people (id int, region text, ssn text) PARTITION BY LIST (region);
CREATE TABLE people_eu PARTITION OF people FOR VALUES IN ('eu');
INSERT INTO vendors VALUES (1, 'V-100');
INSERT INTO customers VALUES (1, 'Ann', '{s1}', {c1}, 10, 'Oslo'), (2, 'Bob', '{s2}', {c2}, 20, 'Rome');
INSERT INTO customers_vip VALUES (9, 'Vip', '{s9}', {c9}, 90, 'Bern', DEFAULT, 1);
INSERT INTO people VALUES (1, 'eu', '{s1}');
CREATE VIEW customers_v AS SELECT * FROM customers;
CREATE VIEW tax_refs AS SELECT id, ssn AS tax_ref FROM customers;
CREATE VIEW samples AS SELECT tablename, most_common_vals::text AS v, histogram_bounds::text AS h FROM pg_stats;
CREATE MATERIALIZED VIEW customers_mv AS SELECT id, name, ssn, card FROM customers;
CREATE VIEW over_view AS SELECT v.id, v.ssn, v.name || '!' AS loud, v.ssn || '!' AS shout FROM customers_v v;
CREATE VIEW telling AS SELECT id FROM customers WHERE ssn LIKE '1%';
CREATE VIEW counted AS SELECT city, count(*) AS n, max(ssn) AS top FROM customers GROUP BY city;
CREATE RECURSIVE VIEW deep (n, s) AS SELECT 1, 'x'::text UNION ALL SELECT n + 1, (SELECT ssn FROM customers LIMIT 1) FROM deep
    WHERE n < 3;
CREATE VIEW ruled AS SELECT id, name FROM customers;
CREATE RULE r AS ON UPDATE TO ruled DO INSTEAD UPDATE customers SET name = NEW.name WHERE id = OLD.id RETURNING id, ssn;
CREATE FUNCTION get_ssn(int) RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT ssn FROM customers WHERE id=$1';
CREATE FUNCTION tell(customers) RETURNS text LANGUAGE sql AS 'SELECT $1.ssn';
CREATE VIEW through_code AS SELECT id, tell(c) AS told, name FROM customers c;
CREATE FUNCTION imm_ssn() RETURNS text LANGUAGE plpgsql IMMUTABLE
    AS $$BEGIN RETURN (SELECT ssn FROM customers WHERE id=1); END$$;
ANALYZE;
"""
CHANGE = """
UPDATE ONLY customers SET ssn = '{s1}', card = {c1} WHERE id = 1;
UPDATE ONLY customers SET ssn = '{s2}', card = {c2} WHERE id = 2;
UPDATE customers_vip SET ssn = '{s9}', card = {c9};
UPDATE people SET ssn = '{s1}';
REFRESH MATERIALIZED VIEW customers_mv;
ANALYZE;
"""
TWINS = (
    {"s1": "123-45-6789", "c1": 4111111111111111, "s2": "987-65-4321", "c2": 5500005555555559, "s9": "901-02-0304",
     "c9": 6011000990139424},
    {"s1": "923-45-6781", "c1": 5111111111111118, "s2": "187-65-4320", "c2": 4500005555555551, "s9": "101-02-0309",
     "c9": 5011000990139429},
)  # fmt: skip
RAW = re.compile("|".join(str(value) for twin in TWINS for value in twin.values()))
MASKS = (
    Mask("m.ssn", ("customers.ssn", "people.ssn"), "last4"),
    Mask("m.card", ("customers.card",), "hash"),
)

#: run; the visible part must not depend on what is masked
SHOWN = """
SELECT ssn, card, name FROM customers
SELECT * FROM customers
(((TABLE customers)))
SELECT d FROM customers AS c(a, b, d)
SELECT a.id || '' FROM customers AS a(x, y, id, z)
SELECT a.name || '' FROM customers AS a(i, city, name, q, balance)
SELECT c.to_jsonb FROM customers c
SELECT c.tell FROM customers c
SELECT (c).tell FROM customers c
SELECT x.tell FROM (SELECT c.* FROM customers c) x
SELECT c FROM customers c
SELECT customers FROM customers
SELECT customers FROM generate_series(1, 2) g, customers
SELECT row_to_json(c), c.name FROM customers c
SELECT array_agg(ssn), json_object_agg(id, ssn), max(ssn), count(*) FROM customers
SELECT mode() WITHIN GROUP (ORDER BY ssn), percentile_disc(0.5) WITHIN GROUP (ORDER BY card) FROM customers
SELECT first_value(ssn) OVER (ORDER BY id), lag(ssn) OVER (ORDER BY id) FROM customers
SELECT reverse(ssn), md5(ssn), to_char(card, '9999999999999999'), to_hex(card), length(ssn) FROM customers
SELECT encode(ssn::bytea, 'base64'), ssn::bytea, ssn || name, ssn COLLATE "C" FROM customers
SELECT lpad(substr(ssn, 1, 3), 20, '0') FROM customers
SELECT translate(ssn, '0123456789', 'ABCDEFGHIJ'), overlay(ssn placing 'X' from 1 for 1) FROM customers
SELECT CASE WHEN id = 1 THEN ssn END, CASE WHEN id = 1 THEN name END FROM customers
SELECT x, x || '' FROM (SELECT ssn AS x FROM customers) s
SELECT "?column?", "?column?" || '' FROM (SELECT ssn || '' FROM customers) s
SELECT upper || '' FROM (SELECT upper(ssn) FROM customers) s
SELECT q.* FROM (SELECT upper(ssn), id FROM customers) q
SELECT y.* FROM (SELECT upper(ssn) AS n, c.* FROM customers c) y
SELECT z, z::text FROM (SELECT name, ssn FROM customers) AS z
SELECT (t).ssn || '' FROM (SELECT c AS t FROM customers c) s
SELECT (t).f1 FROM (SELECT ROW(ssn, id) AS t FROM customers) s
SELECT s.t ->> 'ssn' FROM (SELECT to_jsonb(c) AS t FROM customers c) s
WITH q AS MATERIALIZED (SELECT ssn AS x FROM customers) SELECT x, x || '' FROM q
WITH vendors AS (SELECT ssn AS id FROM customers) SELECT vendors.id || '' FROM vendors
WITH RECURSIVE a AS (SELECT s || '' AS s FROM b), b AS (SELECT ssn AS s FROM customers) SELECT s || '' FROM a
WITH RECURSIVE q(n, s) AS (SELECT 1, 'x' UNION ALL SELECT n + 1, (SELECT ssn FROM ONLY customers WHERE id = n) FROM q WHERE n < 3) SELECT s || '', n FROM q
WITH RECURSIVE q(n, s, t) AS (SELECT 1, 'x', 'y' UNION ALL SELECT n + 1, t, (SELECT ssn FROM ONLY customers WHERE id = n) FROM q WHERE n < 4) SELECT s || '' FROM q
SELECT x.a || '' FROM (VALUES ((SELECT ssn FROM customers LIMIT 1))) x(a)
SELECT column1 || '' FROM (VALUES ((SELECT ssn FROM customers LIMIT 1))) x
SELECT x.b || '' FROM (SELECT 'q' AS b UNION ALL SELECT ssn FROM customers) x
SELECT id::text FROM (SELECT id FROM customers UNION ALL SELECT ascii(ssn) FROM ONLY customers) s
SELECT j.id || '' FROM (customers c JOIN vendors v ON true) AS j(a, b, id, d, e, f, g, h)
SELECT v.ssn || '', l.ssn || '' FROM vendors v, LATERAL (SELECT v.ssn || c.ssn AS ssn FROM customers c) l
SELECT l.z || '' FROM vendors v, LATERAL (SELECT c.ssn FROM customers c) l(z)
SELECT * FROM vendors v JOIN customers c USING (id)
SELECT upper(ssn), * FROM vendors NATURAL JOIN (SELECT id, city FROM customers) c
SELECT ssn FROM ONLY public.customers
SELECT ssn, tableoid::regclass FROM customers_vip
SELECT ssn || '' FROM people_eu
SELECT * FROM people
SELECT ssn, id FROM customers_v
SELECT tax_ref FROM tax_refs
SELECT ssn, ssn || '' FROM customers_mv
SELECT ssn, name, ssn || '' FROM customers_v
SELECT v.loud, v.shout, v.ssn, v.id FROM over_view v
SELECT n, top, city FROM counted
SELECT told, told || '' FROM through_code
SELECT n, s, s || '' FROM deep
SELECT id, name || '' FROM customers_mv WHERE id = 1 ORDER BY name
SELECT to_jsonb(v), v FROM over_view v
UPDATE ruled SET name = 'y' WHERE id = 1 RETURNING name, name || '', id
SELECT initials, initials || '' FROM customers
SELECT unnest(ARRAY[ssn, name]) FROM customers
SELECT ROW(id, ssn), xmlelement(name a, ssn), coalesce(ssn, ''), least(ssn, 'zz') FROM customers
SELECT get_ssn(1)
SELECT get_ssn(id) || '', id FROM vendors
SELECT x FROM get_ssn(1) x
SELECT imm_ssn()
EXPLAIN SELECT * FROM vendors WHERE id = 1
EXPLAIN (VERBOSE) SELECT imm_ssn()
EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) SELECT ssn FROM customers
SELECT id, (SELECT string_agg(ssn, ',') FROM customers) FROM vendors
SELECT "123-45-6780" FROM customers
SELECT most_common_vals, tablename FROM pg_stats
SELECT stavalues1 FROM pg_statistic
SELECT tablename, v, h FROM samples
SELECT v || '', h || '' FROM samples
WITH pg_stats AS (SELECT 1) SELECT most_common_vals, histogram_bounds FROM pg_catalog.pg_stats
UPDATE customers SET city = 'x' WHERE id = 1 RETURNING ssn || '', name, *
DELETE FROM customers_vip RETURNING ssn, upper(ssn)
UPDATE vendors SET id = id RETURNING (SELECT ssn FROM customers LIMIT 1) || ''
""".strip().splitlines()

#: must not run: by rows, by order, by failing or by where values go they would tell
REFUSED = """
SELECT ssn(c) FROM customers c
SELECT id FROM customers WHERE ssn = '123-45-6789'
SELECT id FROM customers WHERE ssn LIKE '1%'
SELECT id FROM customers WHERE ssn BETWEEN '1' AND '2'
SELECT id FROM customers WHERE ssn IN (SELECT '123-45-6789')
SELECT id FROM customers WHERE (ssn, id) = ('123-45-6789', 1)
SELECT id FROM customers WHERE customers = ROW(1, 'Ann', '1', 4, 10, 'Oslo', '1')::customers
SELECT id FROM customers WHERE to_jsonb(customers) ->> 'ssn' LIKE '1%'
SELECT id FROM customers c WHERE (c).ssn LIKE '1%'
SELECT id FROM customers c WHERE c.tell LIKE '1%'
SELECT id FROM customers WHERE get_ssn(id) LIKE '1%'
SELECT id FROM vendors WHERE get_ssn(id) LIKE '1%'
SELECT id FROM customers WHERE initials LIKE '1%'
SELECT id FROM customers AS c(id, x, name) WHERE name LIKE '1%'
SELECT id FROM customers_v WHERE ssn LIKE '1%'
SELECT id FROM over_view WHERE shout LIKE '1%'
SELECT id FROM customers_mv ORDER BY ssn
SELECT n FROM deep WHERE s LIKE '1%'
SELECT n FROM counted WHERE top LIKE '1%'
SELECT id FROM telling WHERE id = 1
SELECT id FROM through_code WHERE told LIKE '1%'
SELECT id FROM tax_refs WHERE tax_ref LIKE '1%'
SELECT id FROM (SELECT id, ssn s FROM customers) x WHERE s > '5'
SELECT id FROM (SELECT id, upper(ssn) FROM customers) x WHERE upper > '5'
WITH RECURSIVE a AS (SELECT 1 AS x FROM b WHERE s LIKE '1%'), b AS (SELECT ssn AS s FROM customers) SELECT x FROM a
SELECT id FROM customers c WHERE EXISTS (SELECT FROM vendors v WHERE v.ssn = c.ssn)
SELECT EXISTS (SELECT FROM customers WHERE ssn ~ '^1')
SELECT '123-45-6789' IN (SELECT ssn FROM customers)
SELECT c.id FROM customers c JOIN people p ON p.ssn < c.ssn
SELECT id FROM customers JOIN people USING (ssn)
SELECT 1 FROM customers NATURAL JOIN people
SELECT id FROM customers ORDER BY ssn
SELECT name, ssn FROM customers ORDER BY 2
SELECT name, ssn AS x FROM customers ORDER BY x
SELECT * FROM customers ORDER BY 3
SELECT name FROM customers ORDER BY substr(ssn, 1, 1)
SELECT max(id) FROM customers GROUP BY ssn
SELECT max(id) FROM customers GROUP BY (customers).ssn
SELECT max(id) FROM customers GROUP BY ROLLUP (city, ssn)
SELECT DISTINCT ssn FROM customers
SELECT DISTINCT ON (ssn) id FROM customers
SELECT ssn FROM customers UNION SELECT 'x'
SELECT ssn FROM customers EXCEPT ALL SELECT '123-45-6789'
SELECT id, rank() OVER (ORDER BY ssn) FROM customers
SELECT id, rank() OVER w FROM customers WINDOW w AS (PARTITION BY ssn)
SELECT count(*) FILTER (WHERE ssn > '5') FROM customers
SELECT string_agg(name, ',' ORDER BY ssn) FROM customers
SELECT sum(CASE WHEN ssn > '5' THEN 1 ELSE 0 END) FROM customers
SELECT coalesce(nullif(ssn, '123-45-6789'), (1 / (id - id))::text) FROM customers
SELECT 1 / (length(ssn) - 11) FROM customers
SELECT ssn::date FROM customers
SELECT (ssn || '')::int FROM customers
SELECT ssn::text[] FROM customers
SELECT to_number(ssn, '999') FROM customers
SELECT ('{"a":' || ssn || '}')::json FROM customers
SELECT xmlparse(document '<a>' || ssn) FROM customers
SELECT width_bucket(card, 0, 6000000000000000, 1000) FROM customers
SELECT unnest(string_to_array(ssn, '1')) FROM customers
SELECT x FROM json_to_recordset((SELECT json_agg(c) FROM customers c)) AS t(ssn int, x text)
SELECT jsonb_path_query::text FROM customers c, jsonb_path_query(to_jsonb(c), '$.*')
SELECT regexp_split_to_table FROM customers, regexp_split_to_table(ssn, '1')
SELECT x FROM customers c, xmltable('/a' passing xmlelement(name a, ssn) columns x text path '.')
SELECT id FROM customers LIMIT (SELECT substr(ssn, 1, 1)::int FROM ONLY customers WHERE id = 1)
SELECT setval('x', card) FROM customers
SELECT set_config('application_name', ssn, false) FROM customers
SELECT set_config('application_name', get_ssn(1), false)
SELECT pg_sleep(length(ssn)) FROM customers
SELECT ssn INTO t FROM customers
CREATE TABLE t AS SELECT ssn FROM customers
CREATE TABLE t AS SELECT get_ssn(1)
CREATE VIEW v AS SELECT ssn FROM customers
CREATE INDEX ON customers ((ssn || ''))
CREATE INDEX ON customers (id) WHERE ssn > '5'
ALTER TABLE customers RENAME ssn TO s
ALTER TABLE customers ADD CHECK (ssn <> '123-45-6789')
INSERT INTO vendors SELECT id + 10, ssn FROM customers
INSERT INTO vendors VALUES (7, (SELECT ssn FROM customers LIMIT 1))
INSERT INTO vendors VALUES (7, get_ssn(1))
INSERT INTO customers (id, name, ssn) VALUES (1, 'x', '123-45-6789') ON CONFLICT (ssn) DO NOTHING
INSERT INTO customers (id, name) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET name = customers.ssn
UPDATE customers SET name = ssn
UPDATE vendors SET ssn = c.ssn FROM customers c
UPDATE vendors SET (id, ssn) = (SELECT id, ssn FROM customers LIMIT 1)
MERGE INTO vendors v USING customers c ON v.id = c.id WHEN MATCHED THEN UPDATE SET ssn = c.ssn
MERGE INTO vendors v USING customers c ON v.ssn = c.ssn WHEN MATCHED THEN DELETE
WITH d AS (DELETE FROM customers WHERE ssn > '5' RETURNING id) SELECT count(*) FROM d
WITH i AS (INSERT INTO vendors SELECT id, ssn FROM customers RETURNING id) SELECT 1
DELETE FROM customers WHERE ssn LIKE '4%'
EXPLAIN SELECT FROM customers WHERE ssn < '5'
EXPLAIN ANALYZE SELECT FROM customers WHERE ssn LIKE '1%'
DECLARE c CURSOR FOR SELECT 1 FROM customers WHERE ssn < '5'
SELECT count(*) FROM pg_stats WHERE most_common_vals::text LIKE '%123%'
""".strip().splitlines()

#: COPY is masked row by row
COPIED = """
COPY customers TO STDOUT
COPY customers TO STDOUT (FORMAT csv, HEADER, FORCE_QUOTE *)
COPY customers TO STDOUT (FORMAT csv, DELIMITER '|', QUOTE '''', NULL '-')
COPY customers TO STDOUT (DELIMITER '-')
COPY (SELECT * FROM customers WHERE id = 1) TO STDOUT (FORMAT binary)
COPY (SELECT ssn, name, upper(ssn) FROM ONLY customers) TO STDOUT
COPY (SELECT get_ssn(1), 1) TO STDOUT
COPY (SELECT * FROM customers_v, counted) TO STDOUT CSV
COPY (UPDATE customers SET city = 'y' RETURNING ssn, id) TO STDOUT
""".strip().splitlines()

#: what people do all day beside masked columns
CLEAR = """
SELECT count(*), min(id), sum(balance), max(name) || '' FROM customers WHERE city = 'Oslo' OR balance > 5
SELECT upper(c.name), v.ssn || '' FROM customers c JOIN vendors v ON v.id = c.id ORDER BY 1
WITH q AS (SELECT id, name || '' AS n FROM customers) SELECT n || '!', count(*) FROM q GROUP BY n ORDER BY n
SELECT x.n || '' FROM (SELECT name AS n, ssn FROM customers) x
SELECT DISTINCT city || '' FROM customers
SELECT city || '' FROM customers UNION SELECT 'x'
SELECT row_number() OVER (PARTITION BY city ORDER BY id) FROM customers
SELECT g, c.name || '' FROM generate_series(1, 2) g, customers c WHERE c.id = g
SELECT extract(year FROM now()) > 2000, c.id::text, CASE WHEN c.id > 1 THEN 'a' ELSE 'b' END FROM customers c
SELECT id, name || '!' FROM customers_v WHERE city = 'Oslo' ORDER BY name
SELECT loud || '', id + 1 FROM over_view WHERE loud LIKE 'A%'
SELECT city || '', n + 1 FROM counted WHERE n > 0 GROUP BY city, n
SELECT id + 0, name || '' FROM through_code WHERE name = 'Ann'
SELECT name || '' FROM customers_mv m JOIN vendors v USING (id) WHERE m.name <> 'x'
SELECT n + 0 FROM deep WHERE n = 1
WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 3) SELECT sum(n) FROM t, customers
SELECT c.relname || '', v.id + 1 FROM pg_class c, vendors v WHERE c.relname = 'vendors'
UPDATE customers SET balance = balance + 1, ssn = '1' WHERE id = 1 RETURNING balance + 0, id + 0
EXPLAIN (COSTS off) SELECT v.ssn FROM vendors v JOIN customers c ON c.id = v.id
SELECT v, to_jsonb(v), row_to_json(v) ->> 'ssn', v::text, (v).ssn || '' FROM vendors v JOIN customers c USING (id)
SELECT json_agg(v), jsonb_object_agg(v.id, v), array_agg(v), xmlagg(xmlelement(name v, v.ssn)) FROM vendors v, customers c
SELECT jsonb_build_object('n', c.name, 'i', c.id), json_build_array(c.city), ROW(c.id, c.name), xmlforest(c.name) FROM customers c
SELECT json_agg(c.name), jsonb_object_agg(c.id, c.name), array_agg(c.city), json_agg(ROW(c.id, c.name)) FROM customers c
SELECT s, to_jsonb(s), row_to_json(s) ->> 'name', (s).name || '' FROM (SELECT id, name FROM customers) s
SELECT json_agg(s), jsonb_agg(to_jsonb(s) - 'id') FROM (SELECT id, name, city FROM customers) s
SELECT to_jsonb(l) FROM customers c, LATERAL (SELECT c.id, c.name) l
WITH q AS (SELECT id, name, ssn FROM customers) SELECT json_agg(jsonb_build_object('id', q.id, 'name', q.name)) FROM q
""".strip().splitlines()


class TwinTests(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.server = PostgresServer(sample="", tls=False)
        cls.server.start()
        cls.addClassCleanup(cls.server.stop)
        cls.twins = []
        password = cls.server.app_password
        cls.server.query(SCHEMA.format(**TWINS[0]), "orders", "app", password)
        # a copy has the same oids
        cls.server.query("CREATE DATABASE orders_twin TEMPLATE orders OWNER app", "postgres")
        cls.server.query(CHANGE.format(**TWINS[1]), "orders_twin", "app", password)
        for name in ("orders", "orders_twin"):
            twin = psycopg2.connect(host="127.0.0.1", port=cls.server.port, user="app", password=password, dbname=name)
            cls.addClassCleanup(twin.close)
            cls.twins.append(twin)
        rows = {}
        with cls.twins[0].cursor() as cursor:
            for name, query in QUERIES:
                cursor.execute(query)
                rows[name] = [tuple(None if value is None else str(value) for value in row) for row in cursor]
                # as the gateway reads them
                cursor.execute("SET LOCAL search_path = pg_catalog")
        cls.twins[0].rollback()
        cls.catalogue = Catalogue.from_rows(rows)
        cls.session = SessionSettings(search_path=cls.catalogue.search_path)

    def plan(self, text: str):
        analysis = analyse(text.encode(), self.session, self.catalogue)
        self.assertEqual(analysis.refused, "", text)
        (statement,) = analysis.statements
        return output_plan(statement, MASKS, self.catalogue, self.session)

    def run_on(self, twin, text: str, plan) -> list[object]:
        """What a client would see of it."""
        try:
            with twin.cursor() as cursor:
                cursor.execute(text)
                fields = [
                    Field(each.name.encode(), each.table_oid or 0, each.table_column or 0, each.type_code, 0)
                    for each in cursor.description
                ]
                masks = plan.for_fields(fields)
                rows = [
                    tuple("*" if mask else str(value) for value, mask in zip(row, masks, strict=True)) for row in cursor
                ]
                return [*rows, tuple(mask is not None for mask in masks)]
        except psycopg2.Error as problem:
            return [problem.pgcode, "" if not plan.untouched else str(problem)]
        finally:
            twin.rollback()

    def test_what_is_shown_does_not_depend_on_masked_values(self) -> None:
        for text in SHOWN:
            with self.subTest(text):
                plan = self.plan(text)
                self.assertIsNone(plan.refused)
                first, second = (self.run_on(twin, text, plan) for twin in self.twins)
                self.assertEqual(first, second)
                self.assertNotRegex(repr(first), RAW)
                self.assertFalse(plan.untouched and "EXPLAIN" not in text, "it does touch something masked")

    def test_copy_does_not_depend_on_masked_values(self) -> None:
        for text in COPIED:
            with self.subTest(text):
                plan = self.plan(text)
                self.assertIsNone(plan.refused)
                first, second = (self.copied(twin, text, plan) for twin in self.twins)
                self.assertEqual(first, second)
                self.assertTrue(first)
                self.assertNotRegex(first.decode("latin-1"), RAW)

    def copied(self, twin, text: str, plan) -> bytes:
        """What a client would see of it."""
        whole = io.BytesIO()
        with twin.cursor() as cursor:
            cursor.copy_expert(text, whole)
        twin.rollback()
        masks = [mask and (lambda value: b"*") for mask in plan.copy.masks]
        masker = CopyMasker(plan.copy.format, masks, plan.copy.names)
        octets = whole.getvalue()
        if plan.copy.format.kind == "binary":
            # messages are not told apart here: one row each
            head, rest = octets[:19], octets[19:-2]
            return masker.message(head + rest)
        return b"".join(masker.message(line) for line in octets.splitlines(keepends=True))

    def test_derived_values_show_nothing_at_all(self) -> None:
        text = "SELECT ssn, ssn || '', x.s FROM customers, (SELECT upper(ssn) AS s FROM customers) x"
        plan = self.plan(text)
        with self.twins[0].cursor() as cursor:
            cursor.execute(text)
            fields = [
                Field(each.name.encode(), each.table_oid or 0, each.table_column or 0, each.type_code, 0)
                for each in cursor.description
            ]
        self.twins[0].rollback()
        self.assertEqual([mask.show for mask in plan.for_fields(fields)], ["last4", "full", "full"])

    def test_what_would_tell_is_refused(self) -> None:
        for text in REFUSED:
            with self.subTest(text):
                refused = self.plan(text).refused
                self.assertIsNotNone(refused)
                self.assertTrue(set(refused[1]) <= {"m.ssn", "m.card"} and refused[1])

    def test_unmasked_columns_stay_clear(self) -> None:
        for text in CLEAR:
            with self.subTest(text):
                plan = self.plan(text)
                self.assertIsNone(plan.refused)
                *rows, masked = self.run_on(self.twins[0], text, plan)
                self.assertTrue(rows)
                self.assertFalse(any(masked), masked)

    def test_a_description_unlike_the_plan_is_masked(self) -> None:
        plan = self.plan("SELECT c.*, name || '' FROM customers c")
        clear = Field(b"?column?", 0, 0, 25, 0)
        self.assertIsNotNone(plan.for_fields([clear, clear])[1])
