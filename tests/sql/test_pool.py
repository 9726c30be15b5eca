import time

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from hoopd.config.schema import Limits
from hoopd.sql.analysis import Question, Reading, SessionSettings
from hoopd.sql.grammar import Unparsed
from hoopd.sql.lineage import Field, output_plan
from hoopd.sql.pool import ParserPool
from hoopd.sql.reading import NAMES_MAX, STATEMENTS_MAX
from hoopd.values import Mask
from tests.sql.world import CARD, CATALOGUE, EMAIL, OID

FIELD = Field(b"card", OID["customers"], 3, 25, 0)


class PoolTests(TestCase):
    def pool(self, **limits) -> ParserPool:
        pool = ParserPool(reactor, Limits(**limits))
        self.addCleanup(pool.stop)
        return pool

    def read(self, pool: ParserPool, text: bytes, masks: tuple[Mask, ...] = (CARD,)) -> Deferred[Reading]:
        question = Question(SessionSettings(), CATALOGUE.version, (), False, (masks,), masks, ())
        return pool.read(text, question, CATALOGUE)

    async def test_reads_what_is_large(self) -> None:
        reading = await self.read(self.pool(), b"SELECT card FROM customers WHERE id IN (" + b"1, " * 20000 + b"1)")
        (statement,) = reading.analysis.statements
        self.assertEqual((statement.kind, statement.objects), ("SelectStmt", ("public.customers",)))
        self.assertIs(statement.relations[0], CATALOGUE.find("public", "customers"))
        plan = output_plan(statement, (CARD,), CATALOGUE, SessionSettings())
        self.assertEqual([mask and mask.show for mask in plan.for_fields([FIELD])], ["last4"])
        # of masks that were not asked about nothing is known
        other = output_plan(statement, (EMAIL,), CATALOGUE, SessionSettings())
        self.assertEqual([mask and mask.show for mask in other.for_fields([FIELD])], ["full"])

    async def test_cuts_what_is_large(self) -> None:
        self.assertEqual(await self.pool().split(b"SELECT 1; SELECT 22"), [(0, 8), (10, 19)])

    async def test_syntax_error(self) -> None:
        problem = await self.assertFailure(self.read(self.pool(), b"SELEC 'hunter2'"), Unparsed)
        self.assertTrue(problem.syntax)
        self.assertIn('near "SELEC"', str(problem))
        self.assertEqual(problem.redacted, "SELEC '…'")

    async def test_too_many_statements_and_names(self) -> None:
        pool = self.pool()
        problem = await self.assertFailure(self.read(pool, b"SELECT 1;" * (STATEMENTS_MAX + 1)), Unparsed)
        self.assertIn("statements", str(problem))
        calls = b",".join(b"f%d()" % number for number in range(NAMES_MAX + 1))
        problem = await self.assertFailure(self.read(pool, b"SELECT " + calls), Unparsed)
        self.assertIn("names", str(problem))

    async def test_a_text_that_crashes_the_parser_is_refused_and_others_go_on(self) -> None:
        pool = self.pool(parse_seconds=3.0)
        hostile = self.read(pool, b"SELECT " + b"1+" * 300_000 + b"1")
        good = self.read(pool, b"SELECT 1")
        self.assertEqual(len((await good).analysis.statements), 1)
        await self.assertFailure(hostile, Unparsed)
        self.assertEqual(len((await self.read(pool, b"SELECT 2")).analysis.statements), 1)

    async def test_a_slow_text_is_killed(self) -> None:
        began = time.monotonic()
        # shorter than a child's start: the text never gets its turn
        slow = self.read(self.pool(parse_seconds=0.01), b"SELECT 1")
        await self.assertFailure(slow, Unparsed)
        self.assertLess(time.monotonic() - began, 60)

    async def test_size_is_bounded(self) -> None:
        problem = await self.assertFailure(self.read(self.pool(statement_max=100), b"SELECT " + b" " * 100), Unparsed)
        self.assertIn("100 bytes", str(problem))
