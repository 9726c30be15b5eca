"""How the gateway is, at three in the morning: who runs, what the record does, what room is left, and what is wrong.

Broker only. What is wrong is said in sentences, worst first; an empty list is well. Not the verb (L{hoopd.administration}).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred

from hoopd.config.schema import Config
from hoopd.errors import HoopdError
from hoopd.roles.commands import ProcessState
from hoopd.values import Approval

#: less than this of a file system free is told: recordings grow by megabytes, and a full disk stops everything
FREE_SHARE = 0.05
FREE_BYTES = 1 << 30
#: a place that was filled again so often since the last reload has a problem of its own
RESTARTS = 3
#: a process that takes longer to begin than this is stuck; its code takes a second or two to load
STARTING_MAX = 20.0
#: checkpoints may be late by so many intervals, and so many seconds on a slow disk
LATE_INTERVALS, LATE_SECONDS = 3, 30.0


@define(eq=False)
class Condition:
    """
    @ivar processes: asks the supervisor; Deferred of a list of L{ProcessState}.
    @ivar untold: gives sentences of what is wrong with notices; a coroutine function.
    @ivar exports: L{hoopd.emergency.exports.Exports}.
    @ivar since: when this policy came into force in this broker, seconds since the epoch.
    """

    config: Config
    ledger: Any
    admissions: Any
    clock: Any
    processes: Callable[[], Deferred[list[ProcessState]]]
    untold: Callable[[], Awaitable[list[str]]]
    since: float
    exports: Any
    system: Any = os

    async def describe(self, pending: Sequence[Approval]) -> dict[str, Any]:
        """@return: JSON-able: processes, ledger, space, targets, policy_since, oldest_pending, exports, problems."""
        problems: list[str] = []
        now = self.clock.seconds()
        processes = await self._family(now, problems)
        problems += await self.untold()
        return {
            "processes": processes,
            "ledger": self._record(now, problems),
            "space": self._space(problems),
            "targets": dict(Counter(each.target for each in self.admissions.live.values())),
            "policy_since": self.since,
            "exports": await self._exports(problems),
            "oldest_pending": min((each.requested_at for each in pending), default=None),
            "problems": problems,
        }

    async def _exports(self, problems: list[str]) -> list[Any]:
        problems += await self.exports.problems()
        found: list[Any] = await self.exports.outstanding()
        return found

    async def _family(self, now: float, problems: list[str]) -> list[ProcessState]:
        try:
            found = await self.processes()
        except HoopdError as error:
            problems.append(f"the supervisor does not answer: {error}; what dies now is not started again")
            return []
        current = max((each.generation for each in found), default=0)
        for name, listener in self.config.listen.items():
            serving = [each for each in found if each.name.startswith(f"worker/{name}/") and each.phase == "ready"]
            serving = [each for each in serving if each.generation == current]
            if len(serving) < listener.workers:
                problems.append(f"{len(serving)} of {listener.workers} workers of {name} take clients")
        for role in ("verifier", "control", *(["notifier"] if self.config.notify else [])):
            if not any(each.role == role and each.phase == "ready" for each in found):
                problems.append(f"the {role} is not there")
        for each in found:
            if each.restarts >= RESTARTS:
                problems.append(f"{each.name} was started again {each.restarts} times; the log says why it ended")
            if each.phase == "starting" and now - each.started > STARTING_MAX:
                problems.append(f"{each.name} ({each.pid}) has been starting for {now - each.started:.0f} s")
        return found

    def _record(self, now: float, problems: list[str]) -> dict[str, Any]:
        ledger = self.ledger
        unsigned = ledger.size - ledger.signed
        late = LATE_INTERVALS * self.config.audit.checkpoint_every + LATE_SECONDS
        if ledger.broken:
            problems.insert(0, f"the ledger takes nothing any more: {ledger.broken}")
        elif self.config.audit.checkpoint_every and now - ledger.signed_at > late and unsigned:
            problems.append(f"no checkpoint for {now - ledger.signed_at:.0f} s, and {unsigned} leaves wait for one")
        for witness in ledger.witnesses:
            if witness.conflict:
                problems.insert(0, f"the witness {witness.place} contradicts the record: {witness.conflict}")
            elif witness.attempts:
                problems.append(f"the witness {witness.place} has not taken {witness.behind} checkpoints")
        return {
            "origin": ledger.origin,
            "leaves": ledger.size,
            "signed": ledger.signed,
            "signed_at": ledger.signed_at or None,
            "witnesses": [{"place": each.place, "behind": each.behind} for each in ledger.witnesses],
        }

    def _space(self, problems: list[str]) -> dict[str, Any]:
        path = self.config.paths.state
        try:
            found = self.system.statvfs(path)
        except OSError as error:
            problems.insert(0, f"the state directory {path} cannot be looked at: {error.strerror}")
            return {"path": path, "free": None, "size": None}
        free, size = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
        if free < min(FREE_BYTES, size * FREE_SHARE):
            problems.insert(0, f"{free >> 20} MiB are free at {path}: when it is full nothing is forwarded any more")
        return {"path": path, "free": free, "size": size}
