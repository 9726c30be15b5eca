"""What one worker may ask of the broker about sessions and approvals: its own, proven by their tokens; nothing is decided.

The services themselves are L{hoopd.flow.admission} and L{hoopd.approvals.service}; which worker asks is known from the
socketpair it asks over, never from what it says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, evolve
from twisted.internet.defer import Deferred
from zope.interface import implementer

from hoopd.flow.admission import Admissions
from hoopd.interfaces import ISessions
from hoopd.secret import Secret
from hoopd.values import Grant, Peer, Proof


def _deferred(work: Any) -> Deferred[Any]:
    return Deferred.fromCoroutine(work)


@implementer(ISessions)
@define(eq=False)
class WorkerSessions:
    """One worker's view on L{Admissions}: it can speak of its own sessions only."""

    worker: str
    admissions: Admissions

    def admit(self, proof: Proof, target: str, protocol: str) -> Deferred[Any]:
        return _deferred(self.admissions.admit(self.worker, proof, target, protocol))

    def catalogue_grant(self, session: str, token: Secret) -> Deferred[Any]:
        async def work() -> Grant:
            return self.admissions.catalogue_grant(self.worker, session, token)

        return _deferred(work())

    def ended(self, session: str, token: Secret, why: str, operations: int, denied: int, held: int) -> Deferred[Any]:
        return _deferred(self.admissions.ended(self.worker, session, token, why, operations, denied, held))

    def resume(self, sessions: list[tuple[str, Secret]]) -> Deferred[Any]:
        return _deferred(self.admissions.resume(self.worker, sessions))

    def register_cancel(self, session: str, token: Secret, key: bytes) -> Deferred[Any]:
        async def work() -> None:
            self.admissions.register_cancel(self.worker, session, token, key)

        return _deferred(work())

    def cancel(self, key: bytes, peer: Peer | str) -> Deferred[Any]:
        async def work() -> None:
            self.admissions.cancel(key, peer)

        return _deferred(work())


@define(eq=False)
class WorkerApprovals:
    """One worker's view on the approvals: the session token is checked before anything is done."""

    worker: str
    admissions: Admissions
    approvals: Any

    def _checked(self, session: str, token: Secret, call: Callable[[], Any]) -> Deferred[Any]:
        async def work() -> Any:
            self.admissions.proven(self.worker, session, token)
            return await call()

        return _deferred(work())

    def request(self, session: str, token: Secret, held: Any) -> Deferred[Any]:
        # The session in the value is what is stored: it must be the one that the token proves.
        return self._checked(
            session, token, lambda: self.approvals.request(session, token, evolve(held, session=session))
        )

    def covering(self, session: str, token: Secret, held: Any) -> Deferred[Any]:
        return self._checked(
            session, token, lambda: self.approvals.covering(session, token, evolve(held, session=session))
        )

    def request_several(self, session: str, token: Secret, plan: Any, shown: str) -> Deferred[Any]:
        own = [evolve(held, session=session) for held in plan]
        return self._checked(session, token, lambda: self.approvals.request_several(session, token, own, shown))

    def decided(self, approval: str) -> Deferred[Any]:
        waiting: Deferred[Any] = self.approvals.decided(approval)
        return waiting

    def claim(self, session: str, token: Secret, approval: str, held: Any) -> Deferred[Any]:
        return self._checked(
            session, token, lambda: self.approvals.claim(session, token, approval, evolve(held, session=session))
        )

    def settle(self, session: str, token: Secret, approval: str, outcome: str, detail: str) -> Deferred[Any]:
        return self._checked(session, token, lambda: self.approvals.settle(session, token, approval, outcome, detail))

    def withdraw(self, session: str, token: Secret, approval: str, why: str) -> Deferred[Any]:
        return self._checked(session, token, lambda: self.approvals.withdraw(session, token, approval, why))
