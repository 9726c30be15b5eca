import time

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from hoopd.config.schema import Limits
from hoopd.sql.grammar import Unparsed
from hoopd.sql.pool import ParserPool


class PoolTests(TestCase):
    def pool(self, **limits) -> ParserPool:
        pool = ParserPool(reactor, Limits(**limits))
        self.addCleanup(pool.stop)
        return pool

    async def test_parses_what_is_large(self) -> None:
        text = b"SELECT 1 WHERE 1 IN (" + b"1, " * 20000 + b"1)"
        tree = await self.pool().parse(text)
        self.assertEqual([statement.kind for statement in tree.statements], ["SelectStmt"])

    async def test_syntax_error(self) -> None:
        problem = await self.assertFailure(self.pool().parse(b"SELEC 1"), Unparsed)
        self.assertTrue(problem.syntax)
        self.assertIn('near "SELEC"', str(problem))

    async def test_a_text_that_crashes_the_parser_is_refused_and_others_go_on(self) -> None:
        pool = self.pool(parse_seconds=3.0)
        hostile = pool.parse(b"SELECT " + b"1+" * 300_000 + b"1")
        good = pool.parse(b"SELECT 1")
        self.assertEqual(len((await good).statements), 1)
        await self.assertFailure(hostile, Unparsed)
        self.assertEqual(len((await pool.parse(b"SELECT 2")).statements), 1)

    async def test_a_slow_text_is_killed(self) -> None:
        began = time.monotonic()
        # shorter than a child's start: the text never gets its turn
        slow = self.pool(parse_seconds=0.01).parse(b"SELECT 1")
        await self.assertFailure(slow, Unparsed)
        self.assertLess(time.monotonic() - began, 5)

    async def test_size_is_bounded(self) -> None:
        problem = await self.assertFailure(self.pool(statement_max=100).parse(b"SELECT " + b" " * 100), Unparsed)
        self.assertIn("100 bytes", str(problem))
