"""Break glass for one worker's sessions: the session token is checked before anything is done; implements IBreakGlass."""

from __future__ import annotations

from typing import Any

from attrs import define, evolve
from twisted.internet.defer import Deferred
from zope.interface import implementer

from hoopd.interfaces import IBreakGlass
from hoopd.secret import Secret
from hoopd.values import HeldOperation, Opening


@implementer(IBreakGlass)
@define(eq=False)
class WorkerBreakGlass:
    """
    @ivar admissions: L{hoopd.flow.admission.Admissions}. @ivar glass: L{hoopd.breakglass.service.BreakGlass}.
    """

    worker: str
    admissions: Any
    glass: Any

    def open(self, session: str, token: Secret, reason: str) -> Deferred[Opening]:
        async def work() -> Opening:
            live = self.admissions.proven(self.worker, session, token)
            use = await self.glass.open(live.identity, live.target, reason)
            opening: Opening = use.opening
            return opening

        return Deferred.fromCoroutine(work())

    def close(self, session: str, token: Secret) -> Deferred[list[str]]:
        async def work() -> list[str]:
            live = self.admissions.proven(self.worker, session, token)
            closed: list[str] = await self.glass.close_on(live.identity, live.target)
            return closed

        return Deferred.fromCoroutine(work())

    def skip(self, session: str, token: Secret, held: HeldOperation) -> Deferred[None]:
        async def work() -> None:
            live = self.admissions.proven(self.worker, session, token)
            # what is stored is the session that the token proves
            await self.glass.skip(live.identity, live.target, evolve(held, session=session))

        return Deferred.fromCoroutine(work())
