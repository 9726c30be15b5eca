"""Whole turns of the reactor, for tests that wait until what was written between two ends in one process is read."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater


def turns(count: int = 20) -> Deferred[None]:
    """Let C{count} turns pass. In each what can be read is read, which no number of seconds promises: on a busy machine
    a pause is over before the reactor has looked at its sockets at all.
    """

    async def pass_by() -> None:
        for _ in range(count):
            await deferLater(reactor, 0)

    return Deferred.fromCoroutine(pass_by())
