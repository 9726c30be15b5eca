"""A recorder and a ledger that keep everything in memory, for tests of others; never for a gateway."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from hoopd.audit import events, recording
from hoopd.audit.leaves import Leaf, encode_leaf
from hoopd.audit.merkle import Tree
from hoopd.errors import RecordError
from hoopd.interfaces import ILedger, IRecorder


@implementer(IRecorder)
class MemoryRecorder:
    """
    @ivar frames: C{(kind, fields)} in order, as they would be read back.
    @ivar synced: how many of them a sync has covered.
    @ivar broken: set it to a text, and every later write fails with it.
    """

    def __init__(self, session: str = "S-TEST") -> None:
        self.session = session
        self.frames: list[tuple[str, dict[str, Any]]] = []
        self.synced = 0
        self.broken = ""
        self.closed = False

    def write(self, kind: str, fields: Mapping[str, Any]) -> int:
        """See L{IRecorder.write}."""
        events.frame_code(kind)
        if self.closed:
            raise RecordError(f"the recording of {self.session} is closed")
        if self.broken:
            raise RecordError(self.broken)
        self.frames.append((kind, msgspec.json.decode(recording.encode_payload(fields))))
        return len(self.frames)

    def write_many(self, records: Iterable[tuple[str, Mapping[str, Any]]]) -> int:
        """See L{IRecorder.write_many}."""
        first = len(self.frames) + 1
        for kind, fields in records:
            self.write(kind, fields)
        return first

    def sync(self) -> Deferred[None]:
        """See L{IRecorder.sync}."""
        if self.broken or self.closed:
            return fail(Failure(RecordError(self.broken or f"the recording of {self.session} is closed")))
        self.synced = len(self.frames)
        return succeed(None)

    def close(self) -> None:
        """See L{IRecorder.close}."""
        self.closed = True

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The fields of every frame of one kind."""
        return [fields for each, fields in self.frames if each == kind]


@implementer(ILedger)
class MemoryLedger:
    """
    @ivar leaves: C{(kind, fields)} in order.
    @ivar broken: set it to an exception, and every later append fails with it.
    """

    def __init__(self) -> None:
        self.leaves: list[tuple[str, dict[str, Any]]] = []
        self.broken: Exception | None = None
        self._tree = Tree()

    def append(self, kind: str, fields: Mapping[str, Any]) -> Deferred[int]:
        """See L{ILedger.append}."""
        events.check_leaf(kind)
        if self.broken is not None:
            return fail(Failure(self.broken))
        leaf = encode_leaf(kind, 0.0, fields)
        self._tree.append(leaf)
        self.leaves.append((kind, msgspec.json.decode(leaf)["fields"]))
        return succeed(len(self.leaves) - 1)

    def read(self) -> Iterator[Leaf]:
        """See L{hoopd.audit.ledger.Ledger.read}."""
        for index, (kind, fields) in enumerate(self.leaves):
            yield Leaf(index, kind, 0.0, fields)

    def checkpoint(self) -> Deferred[str]:
        """See L{ILedger.checkpoint}. Not signed: there is no key."""
        return succeed(f"memory\n{self._tree.size}\n{self._tree.root().hex()}\n\n— memory AAAA\n")

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The fields of every leaf of one kind."""
        return [fields for each, fields in self.leaves if each == kind]
