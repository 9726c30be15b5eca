"""The oldest and the newest PostgreSQL that hoopd serves do what Debian's does: psql, drivers, holds, masks, cancels.

The tests are those of L{tests.integration.test_postgres_core}, L{tests.integration.test_scram_live} and
L{tests.sql.test_catalogue_live}; what only the newest has is tested here.
"""

from __future__ import annotations

from typing import Any

import psycopg

from tests.integration import test_postgres_core as core
from tests.integration import test_scram_live as scram
from tests.integration.postgres import NEWEST, OLDEST
from tests.sql import test_catalogue_live as catalogue


def tearDownModule() -> None:
    core.tearDownModule()


class OldestPsqlTests(core.PsqlTests):
    version = OLDEST


class OldestHoldTests(core.HoldTests):
    version = OLDEST


class OldestDriverTests(core.DriverTests):
    version = OLDEST


class OldestScramTests(scram.ScramLiveTests):
    version = OLDEST


class OldestCatalogueTests(catalogue.LiveCatalogueTests):
    version = OLDEST


class NewestPsqlTests(core.PsqlTests):
    version = NEWEST
    # \\l of Debian's psql asks for a column that 17 renamed: it fails without hoopd as well
    introspection = tuple(each for each in core.PsqlTests.introspection if each != "\\l")


class NewestHoldTests(core.HoldTests):
    version = NEWEST


class NewestDriverTests(core.DriverTests):
    version = NEWEST


class NewestScramTests(scram.ScramLiveTests):
    version = NEWEST


class NewestCatalogueTests(catalogue.LiveCatalogueTests):
    version = NEWEST


class ServedTests(core.GatewayCase):
    """That the servers are what they are taken for; protocol 3.2, whose cancel keys are longer."""

    version = NEWEST

    async def test_newest(self) -> None:
        out, err, _ = await self.psql("SHOW server_version_num")
        self.assertEqual((out[:2], err), (NEWEST, ""))

    async def test_protocol_3_2_and_its_cancel_key(self) -> None:
        def work() -> Any:
            import threading

            with psycopg.connect(self.conninfo(max_protocol_version="3.2"), autocommit=True) as connection:
                version = connection.pgconn.full_protocol_version
                threading.Timer(0.3, connection.cancel_safe).start()
                try:
                    connection.execute("SELECT pg_sleep(20)")
                except psycopg.Error as error:
                    return version, error.sqlstate, connection.execute("SELECT 3").fetchone()
            return None

        self.assertEqual(await self.thread(work), (30002, "57014", (3,)))

    async def test_a_newer_protocol_is_negotiated_down(self) -> None:
        # libpq 18 asks so (a grease value) where it is told to take the latest
        def work() -> Any:
            with psycopg.connect(self.conninfo(max_protocol_version="latest"), autocommit=True) as connection:
                return connection.pgconn.full_protocol_version, connection.execute("SELECT 1").fetchone()

        self.assertEqual(await self.thread(work), (30002, (1,)))

    async def test_new_grammar(self) -> None:
        """OLD and NEW in RETURNING came with 18: masked like the column itself."""
        self.server.query("UPDATE orders SET note = 'a' WHERE id = 1")
        out, err, _ = await self.psql(
            "INSERT INTO customers (id, name, card_number) VALUES (41, 'x', '4012888888881881') RETURNING new.card_number"
        )
        self.server.query("DELETE FROM customers WHERE id = 41")
        self.assertNotIn("4012888888881881", out)
        self.assertEqual((out.splitlines()[0], err), ("****1881", ""))


class OldestServedTests(core.GatewayCase):
    version = OLDEST

    async def test_oldest(self) -> None:
        out, err, _ = await self.psql("SHOW server_version_num")
        self.assertEqual((out[:2], err), (OLDEST, ""))

    async def test_protocol_3_2_in_front_of_an_old_server(self) -> None:
        def work() -> Any:
            with psycopg.connect(self.conninfo(max_protocol_version="3.2"), autocommit=True) as connection:
                return connection.pgconn.full_protocol_version, connection.execute("SELECT 1").fetchone()

        self.assertEqual(await self.thread(work), (30002, (1,)))
