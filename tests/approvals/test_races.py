"""A thousand interleavings of approve, deny, claim, expire and withdraw on the real store: one winner of each."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from hoopd.approvals.states import FINAL
from hoopd.approvals.tables import MIGRATIONS
from hoopd.audit.leaves import Leaf
from hoopd.audit.transitions import check_approvals
from hoopd.config.schema import ApprovalsConfig
from hoopd.errors import Denied
from hoopd.store.sqlite import SqliteStore
from hoopd.values import Approval
from tests.approvals.parts import LARS, LEA, TOKEN, World, held

ROUNDS, AT_ONCE = 25, 40


class Races(TestCase):
    timeout = 120

    async def test_a_thousand_interleavings(self) -> None:
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        store = SqliteStore(str(Path(directory) / "store.sqlite"), reactor)
        self.addCleanup(store.close)
        await store.migrate(MIGRATIONS)
        world = World(store, config=ApprovalsConfig(pending_per_identity=10**6))
        self.addCleanup(lambda: Deferred.fromCoroutine(world.approvals.stop()))
        for session in ("S-1", "S-2"):
            await world.session(session)
        dice = random.Random(11)
        ended: Counter[str] = Counter()
        for number in range(ROUNDS):
            races = [self.race(world, f"{number}/{each}", dice) for each in range(AT_ONCE)]
            await gatherResults([Deferred.fromCoroutine(race) for race in races], consumeErrors=True)
            # what neither was claimed nor withdrawn lapses while others still decide
            world.clock.advance(2000)
        for approval in await store.transact(lambda tx: tx.execute("SELECT id, state FROM approvals")):
            ended[approval[1]] += 1
        assert sum(ended.values()) == ROUNDS * AT_ONCE
        assert set(ended) <= FINAL | {"claimed"}, ended
        assert {"claimed", "denied", "cancelled", "expired"} <= set(ended), ended
        leaves = [Leaf(index, kind, 0.0, fields) for index, (kind, fields) in enumerate(world.ledger.leaves)]
        claimed, problems = check_approvals(leaves)
        assert problems == []
        assert len(claimed) == ended["claimed"]
        assert (
            Counter(leaf.fields["approval"] for leaf in leaves if leaf.fields["event"] == "claim").most_common(1)[0][1]
            == 1
        )

    async def race(self, world: World, text: str, dice: random.Random) -> None:
        one, two = held(text=text), held("S-2", text=text)
        asked = await world.approvals.request("S-1", TOKEN, one)

        def decide(who: Any, approve: bool) -> Deferred[Any]:
            return world.approvals.decide(asked.id, who, approve, "a word")

        acts = [
            lambda: decide(LEA, True),
            lambda: decide(LARS, dice.random() < 0.7),
            lambda: world.approvals.claim("S-1", TOKEN, asked.id, one),
            lambda: world.approvals.claim("S-2", TOKEN, asked.id, two),
            lambda: world.approvals.claim("S-1", TOKEN, asked.id, one),
        ]
        if dice.random() < 0.4:
            acts.append(lambda: world.approvals.withdraw("S-1", TOKEN, asked.id, "enough"))
        dice.shuffle(acts)
        done = await gatherResults([act().addErrback(lambda failure: failure.trap(Denied)) for act in acts])
        won = [each for each in done if isinstance(each, Approval) and each.state == "claimed"]
        assert len(won) <= 1, f"{asked.id} was claimed {len(won)} times"
