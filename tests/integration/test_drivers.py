"""Drivers that have no file of their own here, under a restrictive policy: SQLAlchemy and node-postgres."""

from __future__ import annotations

import json
import os
import subprocess
import unittest
from pathlib import Path

import psycopg
import pytest
import sqlalchemy
from sqlalchemy import orm

from tests.integration.installation import Gateway
from tests.integration.postgres import PostgresServer

pytestmark = pytest.mark.integration

NODE = Path(__file__).with_name("node")

POLICY = """
targets = ["orders"]
mask.card = { columns = ["*.card_number", "*.card"], show = "last4" }
allow.eng = { who = ["group:eng"], do = ["read", "insert"] }
deny.drop = { do = ["drop", "truncate"], why = "Schema changes go through migrations" }
"""


class DriverTests(unittest.TestCase):
    server: PostgresServer
    gateway: Gateway

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = cls.enterClassContext(PostgresServer())
        cls.gateway = cls.enterClassContext(Gateway(cls.server, POLICY))
        cls.gateway.identity("user:priya", groups=["eng"])

    def test_sqlalchemy_reflects_maps_and_is_refused_as_the_server_would(self) -> None:
        url = sqlalchemy.URL.create(
            "postgresql+psycopg", "priya", self.gateway.tokens["user:priya"], "127.0.0.1", self.gateway.port, "orders",
            {"sslmode": "verify-full", "sslrootcert": str(self.gateway.authorities)},
        )  # fmt: skip
        engine = sqlalchemy.create_engine(url, pool_size=2)
        self.addCleanup(engine.dispose)
        metadata = sqlalchemy.MetaData()
        metadata.reflect(engine)
        customers, orders = metadata.tables["customers"], metadata.tables["orders"]
        direct = sqlalchemy.MetaData()
        own = sqlalchemy.create_engine(
            "postgresql+psycopg://", creator=lambda: psycopg.connect(
                f"host=127.0.0.1 port={self.server.port} dbname=orders user=postgres "
                f"password={self.server.superuser_password}"
            ),
        )  # fmt: skip
        self.addCleanup(own.dispose)
        direct.reflect(own)
        shape = {
            name: [(each.name, str(each.type), each.primary_key, each.nullable) for each in table.columns]
            for name, table in metadata.tables.items()
        }
        self.assertEqual(
            shape,
            {
                name: [(each.name, str(each.type), each.primary_key, each.nullable) for each in table.columns]
                for name, table in direct.tables.items()
            },
        )
        registry = orm.registry()
        customer = type("Customer", (), {})
        registry.map_imperatively(customer, customers)
        with orm.Session(engine) as session:
            first = session.scalars(sqlalchemy.select(customer).order_by(customers.c.id)).first()
            self.assertRegex(first.card_number, r"^\*{4}\d{4}$")
            joined = sqlalchemy.select(customers.c.card_number, sqlalchemy.func.count()).join(
                orders, orders.c.customer_id == customers.c.id
            )
            with self.assertRaises(sqlalchemy.exc.ProgrammingError) as grouped:
                session.execute(joined.group_by(customers.c.card_number)).all()
            self.assertEqual(grouped.exception.orig.sqlstate, "42501")
            session.rollback()
            session.execute(
                sqlalchemy.insert(orders), [{"customer_id": 1, "total": n, "note": "many"} for n in range(50)]
            )
            session.rollback()
            note = sqlalchemy.select(sqlalchemy.func.count()).where(orders.c.note == "many")
            self.assertEqual(session.scalar(note), 0)
        with self.assertRaises(sqlalchemy.exc.ProgrammingError) as dropped:
            orders.drop(engine)
        self.assertIn("Schema changes go through migrations", str(dropped.exception))

    def test_node_postgres(self) -> None:
        assert (NODE / "node_modules" / "pg").exists(), "node-postgres is not installed: tools/setup.sh test does it"
        done = subprocess.run(
            ["node", "client.mjs", str(self.gateway.port), str(self.gateway.authorities)],
            cwd=NODE,
            env={**os.environ, "PGPASSWORD": self.gateway.tokens["user:priya"]},
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual(done.stderr, "")
        steps = [json.loads(line) for line in done.stdout.splitlines()]
        said = {each["step"]: each["value"] for each in steps}
        self.assertEqual([row["card_number"][:4] for row in said["simple"]], ["****"] * 2)
        self.assertEqual([each["value"][:4] for each in steps if each["step"] == "named"], ["****"] * 3)
        self.assertEqual(said["cursor"], [1, True])
        self.assertEqual(said["refused"][0], "42501")
        self.assertIn("example.deny.drop", said["refused"][2])
        self.assertEqual((said["in transaction"], said["then"]), ("42501", "25P02"))
        self.assertEqual((said["after"], said["pool"]), (0, 190))
