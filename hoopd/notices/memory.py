"""Notices that go nowhere: L{INotices} in memory, for tests of those who post; never for a gateway."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from hoopd.interfaces import INotices
from hoopd.notices.notice import Notice


@implementer(INotices)
class MemoryNotices:
    """@ivar posted: each notice with the channels it was posted to, in order."""

    def __init__(self) -> None:
        self.posted: list[tuple[Notice, tuple[str, ...]]] = []
        self.woken = 0

    def post(self, tx: Any, notice: Notice, channels: Iterable[str] = ()) -> None:
        named = tuple(sorted(set(channels)))
        known = {(one.kind, one.subject, one.revision, to) for one, to in self.posted}
        if (notice.kind, notice.subject, notice.revision, named) not in known:
            self.posted.append((notice, named))

    def tell(self, notice: Notice, channels: Iterable[str] = ()) -> Deferred[None]:
        self.post(None, notice, channels)
        self.wake()
        return succeed(None)

    def wake(self) -> None:
        self.woken += 1
