"""The catalogue's queries and the analysis against a real server and psql's own introspection."""

import re
import subprocess
import unittest

import psycopg2

from hoopd.sql.analysis import SessionSettings, analyse
from hoopd.sql.catalogue import QUERIES, Catalogue
from hoopd.sql.catalogue_changes import WATCH, changed
from hoopd.sql.lineage import Field, output_plan
from hoopd.values import Mask
from tests.integration.postgres import PostgresServer

#: each of the ways in which a catalogue changes, as far as they differ for who reads it
CHANGES = (
    "CREATE TABLE watched (id int, card text)",
    "ALTER TABLE watched RENAME COLUMN card TO pan",
    "ALTER TABLE watched ADD COLUMN twice int GENERATED ALWAYS AS (id * 2) STORED",
    "ALTER TABLE watched DROP COLUMN twice",
    "ALTER TABLE watched ALTER COLUMN id TYPE bigint",
    "CREATE TABLE part_of (LIKE watched) PARTITION BY RANGE (id)",
    "CREATE TABLE part_1 PARTITION OF part_of FOR VALUES FROM (0) TO (10)",
    "ALTER TABLE part_of DETACH PARTITION part_1",
    "CREATE TABLE heir () INHERITS (watched)",
    "ALTER TABLE heir NO INHERIT watched",
    "CREATE VIEW over_watched AS SELECT id FROM watched",
    "CREATE OR REPLACE VIEW over_watched AS SELECT id, pan FROM watched",
    "CREATE OR REPLACE VIEW over_watched AS SELECT h.id, h.pan FROM heir h",
    "CREATE RULE silent AS ON UPDATE TO over_watched DO INSTEAD NOTHING",
    "DROP RULE silent ON over_watched",
    "CREATE FUNCTION trigger_of() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "CREATE TRIGGER instead INSTEAD OF UPDATE ON over_watched FOR EACH ROW EXECUTE FUNCTION trigger_of()",
    "DROP TRIGGER instead ON over_watched; DROP FUNCTION trigger_of()",
    "CREATE MATERIALIZED VIEW kept_watched AS SELECT * FROM over_watched",
    "CREATE FUNCTION own(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1'",
    "CREATE VIEW calling AS SELECT own(id::int) FROM watched",
    "CREATE OR REPLACE VIEW calling AS SELECT abs(id::int) AS own FROM watched",
    "ALTER FUNCTION own(int) RENAME TO owned",
    "ALTER EXTENSION plpgsql ADD FUNCTION owned(int)",
    "ALTER EXTENSION plpgsql DROP FUNCTION owned(int)",
    "CREATE OPERATOR ?# (LEFTARG = int, RIGHTARG = int, PROCEDURE = int4pl)",
    "DROP OPERATOR ?# (int, int)",
    "CREATE SCHEMA beside",
    "GRANT USAGE ON SCHEMA beside TO app",
    "ALTER TABLE watched SET SCHEMA beside",
    "ALTER SCHEMA beside RENAME TO aside",
    "REVOKE USAGE ON SCHEMA aside FROM app",
    "CREATE ROLE other; GRANT other TO app",
    "GRANT USAGE ON SCHEMA aside TO other",
    "ALTER ROLE other RENAME TO another",
    "REVOKE another FROM app",
    "ALTER TABLE aside.watched SET SCHEMA public",
    "CREATE SEQUENCE counting",
    "DROP TABLE watched CASCADE",
    "CREATE VIEW public.watched AS SELECT 1 AS id",
    "DROP FUNCTION owned(int)",
)

MASKS = (Mask("m.card", ("customers.card*",), "last4"),)


class LiveCatalogueTests(unittest.TestCase):
    version = ""

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = PostgresServer(version=cls.version)
        cls.server.start()
        cls.addClassCleanup(cls.server.stop)
        cls.connection = psycopg2.connect(
            host="127.0.0.1", port=cls.server.port, user="app", password=cls.server.app_password, dbname="orders"
        )
        cls.connection.autocommit = True
        cls.addClassCleanup(cls.connection.close)

    def rows(self, names: tuple[str, ...]) -> dict[str, list[tuple[str | None, ...]]]:
        rows = {}
        with self.connection.cursor() as cursor:
            for name, query in QUERIES:
                if name in names:
                    # as the gateway reads them
                    cursor.execute("RESET search_path" if name == "session" else "SET search_path = pg_catalog")
                    cursor.execute(query)
                    rows[name] = [tuple(None if value is None else str(value) for value in row) for row in cursor]
            cursor.execute("RESET search_path")
        return rows

    def snapshot(self) -> Catalogue:
        return Catalogue.from_rows(self.rows(tuple(name for name, _ in QUERIES)))

    def watch(self) -> tuple[str | None, ...]:
        with self.connection.cursor() as cursor:
            cursor.execute(WATCH)
            return cursor.fetchone()

    def test_snapshot_and_its_version(self) -> None:
        first = self.snapshot()
        self.assertEqual(first.role, "app")
        self.assertEqual(first.search_path, ("public",))
        customers = first.find("", "customers", first.search_path)
        assert customers is not None
        self.assertEqual([column.name for column in customers.columns][:3], ["id", "name", "email"])
        self.assertEqual(self.snapshot().version, first.version)
        before = self.watch()
        self.assertEqual(changed(before, self.watch()), ())
        self.server.query("ALTER TABLE orders ADD COLUMN extra int", user="app", password=self.server.app_password)
        self.assertNotEqual(self.snapshot().version, first.version)
        self.assertEqual(changed(before, self.watch()), ("relations", "columns", "definitions"))

    def test_what_is_read_again_is_all_that_changed(self) -> None:
        """After each of these a catalogue that was read in part is the one that is read whole."""
        catalogue, watched = self.snapshot(), self.watch()
        self.assertEqual(changed((), watched), tuple(name for name, _ in QUERIES[1:]))
        for text in CHANGES:
            self.server.query(text, "orders")
            now = self.watch()
            again = changed(watched, now)
            part = Catalogue.from_rows(self.rows(("session", *again)), catalogue)
            whole = self.snapshot()
            self.assertEqual(part, whole, text)
            self.assertEqual(part.version, whole.version, text)
            for name in (
                "relations",
                "usable",
                "parents",
                "readers",
                "opaque_views",
                "functions",
                "operators",
                "definitions",
                "ruled",
            ):
                self.assertEqual(getattr(part, name), getattr(whole, name), (text, name))
            self.assertLess(len(again), len(QUERIES) - 1, text)
            seen = whole.find("", "watched", whole.search_path)
            self.assertEqual(seen, part.find("", "watched", part.search_path), text)
            catalogue, watched = part, now
        self.assertEqual(changed(watched, self.watch()), ())

    def test_masks_on_real_row_descriptions(self) -> None:
        catalogue = self.snapshot()
        session = SessionSettings(search_path=catalogue.search_path)
        with self.connection.cursor() as cursor:
            for text, expected in (
                ("SELECT * FROM customers", [None, None, None, "last4", "last4"]),
                ("SELECT x.c FROM (SELECT card_number AS c FROM customers) x", ["last4"]),
                ("SELECT count(*), name FROM customers GROUP BY name", [None, None]),
                ("SELECT * FROM customer_cards", [None, "last4"]),
                ("SELECT upper(card_number) FROM customers", ["full"]),
                ("SELECT * FROM orders", [None] * 4),
            ):
                cursor.execute(text)
                fields = [
                    Field(column.name.encode(), column.table_oid or 0, column.table_column or 0, column.type_code, 0)
                    for column in cursor.description
                ]
                (statement,) = analyse(text.encode(), session, catalogue).statements
                shown = output_plan(statement, MASKS, catalogue, session).for_fields(fields)
                self.assertEqual([mask and mask.show for mask in shown][: len(expected)], expected, text)

    def test_psql_introspection_is_introspection_and_untouched(self) -> None:
        commands = [
            "\\d",
            "\\d customers",
            "\\d+ orders",
            "\\df",
            "\\l",
            "\\du",
            "\\dp",
            "\\dn",
            "\\dv",
            "\\dt+",
            "\\di",
        ]
        commands += ["\\dT", "\\sv customer_names", "\\d customer_cards", "\\dx", "\\db", "\\dg", "\\conninfo"]
        done = subprocess.run(
            ["psql", "-X", "-E", "-h", "127.0.0.1", "-p", str(self.server.port), "-U", "app", "-d", "orders"],
            input="\n".join(commands) + "\n",
            env={"PGPASSWORD": self.server.app_password, "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        )
        queries = re.findall(r"\*+ QUERY \*+\n(.*?)\n\*+\n", done.stdout, re.DOTALL)
        self.assertGreater(len(queries), 25)
        catalogue = self.snapshot()
        session = SessionSettings(search_path=catalogue.search_path)
        for query in queries:
            analysis = analyse(query.encode(), session, catalogue)
            self.assertEqual(analysis.refused, "", query)
            for statement in analysis.statements:
                self.assertEqual(statement.classes, {"introspect"}, query)
                self.assertTrue(output_plan(statement, MASKS, catalogue, session).untouched, query)
