"""The catalogue's queries and the analysis against a real server and psql's own introspection."""

import re
import subprocess
import unittest

import psycopg2

from hoopd.sql.analysis import SessionSettings, analyse
from hoopd.sql.catalogue import CHANGES, QUERIES, Catalogue
from hoopd.sql.lineage import Field, output_plan
from hoopd.values import Mask
from tests.integration.postgres import PostgresServer

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

    def snapshot(self) -> Catalogue:
        rows = {}
        with self.connection.cursor() as cursor:
            for name, query in QUERIES:
                cursor.execute(query)
                rows[name] = [tuple(None if value is None else str(value) for value in row) for row in cursor]
        return Catalogue.from_rows(rows)

    def change(self) -> str:
        with self.connection.cursor() as cursor:
            cursor.execute(CHANGES)
            return cursor.fetchone()[0]

    def test_snapshot_and_its_version(self) -> None:
        first = self.snapshot()
        self.assertEqual(first.role, "app")
        self.assertEqual(first.search_path, ("public",))
        customers = first.find("", "customers", first.search_path)
        assert customers is not None
        self.assertEqual([column.name for column in customers.columns][:3], ["id", "name", "email"])
        self.assertEqual(self.snapshot().version, first.version)
        before = self.change()
        self.server.query("ALTER TABLE orders ADD COLUMN extra int", user="app", password=self.server.app_password)
        self.assertNotEqual(self.snapshot().version, first.version)
        self.assertNotEqual(self.change(), before)

    def test_masks_on_real_row_descriptions(self) -> None:
        catalogue = self.snapshot()
        session = SessionSettings(search_path=catalogue.search_path)
        with self.connection.cursor() as cursor:
            for text, expected in (
                ("SELECT * FROM customers", [None, None, None, "last4", "last4"]),
                ("SELECT x.c FROM (SELECT card_number AS c FROM customers) x", ["last4"]),
                ("SELECT count(*), name FROM customers GROUP BY name", [None, None]),
                ("SELECT * FROM customer_cards", ["full", "full"]),
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
