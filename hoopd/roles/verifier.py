"""The verifier process: reads what identity providers say, in a process that holds nothing worth stealing."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from hoopd.identity.fetch import HttpsFetch
from hoopd.identity.verifier import Verifier
from hoopd.ipc.interfaces import IRole
from hoopd.roles.context import ChildContext


@implementer(IRole)
class VerifierRole:
    def __init__(self, context: ChildContext) -> None:
        assert context.link is not None
        context.link.offer_verifier(Verifier(context.config.identity, HttpsFetch(context.reactor), context.reactor))

    def start(self) -> Deferred[None]:
        return succeed(None)

    def drain(self, limit: float | None) -> Deferred[None]:
        return succeed(None)

    def stop(self) -> Deferred[None]:
        return succeed(None)


def start(context: ChildContext) -> VerifierRole:
    return VerifierRole(context)
