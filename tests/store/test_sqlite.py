"""The store's thread: one commit for many, and what a kill -9 leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.trial.unittest import TestCase

from hoopd.store.sqlite import SqliteStore
from tests.scratch import scratch

_WRITER = """
import sys
from twisted.internet import reactor
from hoopd.store.sqlite import SqliteStore
store = SqliteStore(sys.argv[1], reactor)
def write(number):
    def work(tx):
        tx.execute("INSERT INTO t VALUES (?)", (number,))
    def told(done):
        sys.stdout.write(f"{number}\\n"); sys.stdout.flush()
        write(number + 1)
    store.transact(work).addCallback(told)
store.migrate([("t-1", "CREATE TABLE t (x INTEGER)")]).addCallback(lambda done: write(0))
reactor.run()
"""


class ThreadTests(TestCase):
    def make(self) -> Any:
        self.path = str(scratch(self) / "store")
        store = SqliteStore(self.path, reactor)
        self.addCleanup(store.close)
        return store

    async def test_works_that_wait_share_a_commit(self) -> None:
        store = self.make()
        await store.migrate([("t-1", "CREATE TABLE t (x INTEGER)")])
        batches: list[int] = []
        run = store._connection.run

        def counted(works: Any) -> Any:
            batches.append(len(works))
            return run(works)

        store._connection = type("Counted", (), {"run": staticmethod(counted), "close": store._connection.close})()
        await gatherResults(
            [store.transact(lambda tx, i=i: tx.execute("INSERT INTO t VALUES (?)", (i,))) for i in range(200)]
        )
        self.assertEqual(sum(batches), 200)
        self.assertLess(len(batches), 100)
        self.assertLessEqual(max(batches), 64)

    async def test_close_finishes_what_was_accepted(self) -> None:
        store = self.make()
        await store.migrate([("t-1", "CREATE TABLE t (x INTEGER)")])
        pending = [store.transact(lambda tx: tx.execute("INSERT INTO t VALUES (1)")) for _ in range(20)]
        await store.close()
        await gatherResults(pending)
        again = SqliteStore(self.path, reactor)
        self.assertEqual(await again.transact(lambda tx: tx.execute("SELECT count(*) FROM t")), [(20,)])
        await again.close()

    async def test_kill_9_loses_nothing_that_was_answered(self) -> None:
        path, answered = self._written_until_killed()
        store = SqliteStore(path, reactor)
        rows = await store.transact(lambda tx: tx.execute("SELECT x FROM t ORDER BY x"))
        await store.close()
        kept = [x for (x,) in rows]
        self.assertEqual(kept, list(range(len(kept))))
        self.assertGreaterEqual(len(kept), len(answered))

    def _written_until_killed(self) -> tuple[str, list[int]]:
        path = str(scratch(self) / "store")
        process = subprocess.Popen(
            [sys.executable, "-c", _WRITER, path], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
        )
        assert process.stdout is not None
        answered = [int(process.stdout.readline()) for _ in range(40)]
        os.kill(process.pid, signal.SIGKILL)
        answered += [int(line) for line in process.stdout.read().split()]
        process.stdout.close()
        process.wait()
        return path, answered
