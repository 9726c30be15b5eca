"""The notifier process: takes notices to their receivers, so that the broker, which holds the vault, talks to nobody."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from hoopd.ipc.interfaces import IRole
from hoopd.notices.courier import Courier
from hoopd.roles.context import ChildContext


@implementer(IRole)
class NotifierRole:
    def __init__(self, context: ChildContext) -> None:
        assert context.link is not None
        context.link.offer_notifier(Courier(context.reactor))

    def start(self) -> Deferred[None]:
        return succeed(None)

    def drain(self, limit: float | None) -> Deferred[None]:
        return succeed(None)

    def stop(self) -> Deferred[None]:
        return succeed(None)


def start(context: ChildContext) -> NotifierRole:
    return NotifierRole(context)
