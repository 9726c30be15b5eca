"""Row ceilings of approvals: who may say which number, and what of it reaches the one who claims."""

from typing import Any

import pytest

from hoopd.administration import plain
from hoopd.approvals import ceiling
from hoopd.approvals.words import rows, warnings
from hoopd.errors import Denied
from hoopd.values import Approval, HoldTerms, Vote
from tests.approvals.test_service import LEE, TOKEN, Base, held, person

HARD = HoldTerms("p.hold.hard", ("group:leads",), max_rows=100)
GUESSED = HoldTerms("p.hold.guessed", ("group:leads",), max_rows_factor=2.0)
TWO = HoldTerms("p.hold.two", ("group:leads",), quorum=2)


def approval(**fields: Any) -> Approval:
    given: dict[str, Any] = {
        **{"id": "A-1", "state": "pending", "requester": "user:priya", "act": None, "target": "orders"},
        **{"session": "S-1", "redacted": "UPDATE t", "classes": (), "objects": (), "reason": None, "holds": (HARD,)},
        **{"policy": "v1", "requested_at": 0.0, "deadline": 9.0, **fields},
    }
    return Approval(**given)


def test_one_yes() -> None:
    assert ceiling.chosen(approval(), None) is None
    assert ceiling.chosen(approval(max_rows=40), None) == 40
    assert ceiling.chosen(approval(max_rows=40), 0) == 0
    # more than was proposed, not more than the rule says
    assert ceiling.chosen(approval(max_rows=40), 100) == 100
    with pytest.raises(ValueError, match=r"p.hold.hard lets nobody approve more than 100 rows"):
        ceiling.chosen(approval(max_rows=40), 101)
    with pytest.raises(ValueError, match="number of rows"):
        ceiling.chosen(approval(), -1)
    with pytest.raises(ValueError, match="could not be kept: nobody counts"):
        ceiling.chosen(approval(facts={"no_ceiling": "nobody counts"}), 5)


def test_without_an_estimate_a_number_has_to_be_said() -> None:
    with pytest.raises(ValueError, match=r"p.hold.guessed sets a ceiling .* say --max-rows"):
        ceiling.chosen(approval(holds=(GUESSED,)), None)
    assert ceiling.chosen(approval(holds=(GUESSED,)), 7) == 7
    assert ceiling.chosen(approval(holds=(GUESSED,), max_rows=9), None) == 9
    # each use of a window has an estimate of its own
    assert ceiling.chosen(approval(holds=(GUESSED,), kind="window"), None) is None


def test_several() -> None:
    def yes(rows: int | None, approve: bool = True) -> Vote:
        return Vote("x", approve, "r", 0.0, max_rows=rows)

    assert ceiling.agreed([yes(5), yes(None), yes(3), yes(1, False)]) == 3
    assert ceiling.agreed([yes(None)]) is None


def test_words() -> None:
    told = plain(approval(estimated_rows=12, max_rows=24, facts={"where": False, "in_transaction": True}))
    assert rows(told) == "about 12, as the target estimates; rolled back if it touches more than 24"
    assert len(warnings(told)) == 2
    told = plain(approval(facts={"no_ceiling": "nobody counts"}))
    assert rows(told) == "the target gives no estimate; no ceiling"
    assert warnings(told) == ["no row ceiling can be kept: nobody counts"]
    assert rows(plain(approval(kind="window"))) == ""


class CeilingTests(Base):
    async def test_the_lowest_that_was_said_is_claimed(self) -> None:
        operation = held(holds=(TWO,), estimated_rows=20, max_rows=40, facts={"where": False})
        request = await self.requested(operation)
        self.assertEqual((request.estimated_rows, request.max_rows, request.facts), (20, 40, {"where": False}))
        await self.approvals.decide(request.id, LEE, True, "few", max_rows=30)
        approved = await self.approvals.decide(request.id, person("ann", "leads"), True, "as it is")
        self.assertEqual((approved.state, approved.max_rows), ("approved", 30))
        self.assertEqual([leaf.get("max_rows") for leaf in self.ledger.leaves], [40, None, 30])
        # the estimate is no part of what was approved: the next may be another
        again = held(holds=(TWO,), estimated_rows=25, max_rows=50)
        claimed = await self.approvals.claim("S-1", TOKEN, request.id, again)
        self.assertEqual(claimed.max_rows, 30)

    async def test_a_number_that_may_not_be_is_no_vote(self) -> None:
        request = await self.requested(held(holds=(HARD,)))
        await self.assertFailure(self.approvals.decide(request.id, LEE, True, "many", max_rows=101), ValueError)
        self.assertEqual((await self.approvals.show(request.id)).votes, ())
        self.assertEqual((await self.approvals.decide(request.id, LEE, True, "few", max_rows=100)).state, "approved")

    async def test_a_number_is_no_help_to_who_may_not_decide(self) -> None:
        request = await self.requested()
        denied = await self.refused(self.approvals.decide(request.id, person("eve", "eng"), True, "mine", max_rows=1))
        self.assertIsInstance(denied, Denied)
