"""What every IStore does, run against all of them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from hoopd.errors import ConfigError, Unavailable
from hoopd.interfaces import IStore
from hoopd.store.connection import Conflict
from hoopd.store.memory import MemoryStore
from hoopd.store.settings import installation_id
from hoopd.store.sqlite import SqliteStore

TABLES = (
    ("people-1", "CREATE TABLE people (name TEXT PRIMARY KEY, age INTEGER NOT NULL);"),
    ("pets-1", "CREATE TABLE pets (name TEXT PRIMARY KEY, owner TEXT REFERENCES people (name)); SELECT 1"),
)


class Contract:
    """Subclasses give C{make()}."""

    def make(self) -> Any:
        raise NotImplementedError

    async def ready(self: Any) -> Any:
        store = self.make()
        self.addCleanup(store.close)
        await store.migrate(TABLES)
        return store

    async def test_provides_the_interface(self: Any) -> None:
        verifyObject(IStore, await self.ready())

    async def test_rows_come_back_as_tuples(self: Any) -> None:
        store = await self.ready()
        await store.transact(lambda tx: tx.execute("INSERT INTO people VALUES (?, ?)", ("ann", 30)))
        rows = await store.transact(lambda tx: tx.execute("SELECT name, age FROM people"))
        self.assertEqual(rows, [("ann", 30)])

    async def test_an_exception_rolls_back_and_is_the_failure(self: Any) -> None:
        store = await self.ready()

        def work(tx: Any) -> None:
            tx.execute("INSERT INTO people VALUES ('ann', 30)")
            raise ZeroDivisionError

        with self.assertRaises(ZeroDivisionError):
            await store.transact(work)
        self.assertEqual(await store.transact(lambda tx: tx.execute("SELECT * FROM people")), [])

    async def test_one_bad_work_does_not_harm_its_neighbours(self: Any) -> None:
        store = await self.ready()

        def insert(name: str, fail: bool) -> Any:
            def work(tx: Any) -> None:
                tx.execute("INSERT INTO people VALUES (?, 1)", (name,))
                if fail:
                    raise KeyError(name)

            return store.transact(work)

        made = [insert(f"p{i}", i % 3 == 1) for i in range(9)]
        failed = 0
        for one in made:
            try:
                await one
            except KeyError:
                failed += 1
        rows = await store.transact(lambda tx: tx.execute("SELECT name FROM people ORDER BY name"))
        self.assertEqual(failed, 3)
        self.assertEqual([name for (name,) in rows], ["p0", "p2", "p3", "p5", "p6", "p8"])

    async def test_constraints_are_conflicts(self: Any) -> None:
        store = await self.ready()
        await store.transact(lambda tx: tx.execute("INSERT INTO people VALUES ('ann', 30)"))
        for statement in ("INSERT INTO people VALUES ('ann', 31)", "INSERT INTO pets VALUES ('rex', 'nobody')"):
            with self.assertRaises(Conflict):
                await store.transact(lambda tx, statement=statement: tx.execute(statement))

    async def test_a_conflict_may_be_caught_and_the_work_go_on(self: Any) -> None:
        store = await self.ready()

        def work(tx: Any) -> Any:
            tx.execute("INSERT INTO people VALUES ('ann', 30)")
            try:
                tx.execute("INSERT INTO people VALUES ('ann', 31)")
            except Conflict:
                return tx.execute("UPDATE people SET age = 32 RETURNING age")

        self.assertEqual(await store.transact(work), [(32,)])

    async def test_transactions_are_one_after_the_other(self: Any) -> None:
        store = await self.ready()
        await store.transact(lambda tx: tx.execute("INSERT INTO people VALUES ('ann', 0)"))

        def older(tx: Any) -> None:
            ((age,),) = tx.execute("SELECT age FROM people")
            tx.execute("UPDATE people SET age = ?", (age + 1,))

        await gatherResults([store.transact(older) for _ in range(100)])
        self.assertEqual(await store.transact(lambda tx: tx.execute("SELECT age FROM people")), [(100,)])

    async def test_migrations_run_once(self: Any) -> None:
        store = await self.ready()
        self.assertEqual(await store.migrate(TABLES), [])
        self.assertEqual(await store.migrate([*TABLES, ("more-1", "CREATE TABLE more (x INTEGER)")]), ["more-1"])

    async def test_an_edited_migration_is_refused(self: Any) -> None:
        store = await self.ready()
        with self.assertRaisesRegex(ConfigError, "people-1"):
            await store.migrate([("people-1", "CREATE TABLE people (name TEXT PRIMARY KEY)")])

    async def test_a_failing_migration_leaves_nothing(self: Any) -> None:
        store = await self.ready()
        with self.assertRaisesRegex(Exception, "syntax"):
            await store.migrate([("a-1", "CREATE TABLE a (x INTEGER)"), ("b-1", "CREATE NONSENSE")])
        self.assertEqual(await store.migrate([("a-1", "CREATE TABLE a (x INTEGER)")]), ["a-1"])

    async def test_the_installation_id_is_made_once(self: Any) -> None:
        store = await self.ready()
        ids = await gatherResults([installation_id(store, lambda n, i=i: bytes([i]) * n) for i in range(5)])
        self.assertEqual(set(ids), {"00" * 16})

    async def test_a_closed_store_is_unavailable(self: Any) -> None:
        store = await self.ready()
        await store.close()
        await store.close()
        with self.assertRaises(Unavailable):
            await store.transact(lambda tx: None)


class MemoryStoreTests(Contract, TestCase):
    def make(self) -> Any:
        return MemoryStore()


class SqliteStoreTests(Contract, TestCase):
    def make(self) -> Any:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        return SqliteStore(str(Path(directory.name) / "store"), reactor)
