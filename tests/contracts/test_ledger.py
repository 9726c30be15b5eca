"""L{ILedger}: the file's and the one in memory are one to their callers."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from hoopd.audit.events import LEAVES, UnknownName
from hoopd.audit.ledger import Ledger
from hoopd.audit.memory import MemoryLedger
from hoopd.config.schema import AuditConfig
from hoopd.errors import RecordError
from hoopd.interfaces import ILedger
from hoopd.secret import Secret


class LedgerContract:
    """Subclasses make a ledger and break it. C{first}: index of the first leaf a caller adds."""

    first = 0

    def make(self) -> Any:
        raise NotImplementedError

    def break_it(self) -> None:
        raise NotImplementedError

    def setUp(self) -> None:
        self.ledger = self.make()

    def result(self, deferred: Any) -> Any:
        return self.successResultOf(deferred)  # type: ignore[attr-defined]

    def test_interface(self) -> None:
        verifyObject(ILedger, self.ledger)

    def test_leaves_are_numbered_and_kept_in_order(self) -> None:
        indices = [self.result(self.ledger.append(kind, {"n": kind, "list": ("a",)})) for kind in LEAVES]
        assert indices == list(range(self.first, self.first + len(LEAVES)))
        kept = [(leaf.kind, leaf.fields) for leaf in self.ledger.read()][self.first :]
        assert kept == [(kind, {"n": kind, "list": ["a"]}) for kind in LEAVES]

    def test_what_is_no_leaf_is_not_taken(self) -> None:
        for kind, fields, error in (("sgment", {}, UnknownName), ("vault", {"x": Secret("y")}, TypeError)):
            try:
                self.ledger.append(kind, fields)
            except error:
                continue
            raise AssertionError(f"no {error.__name__}")
        assert self.result(self.ledger.append("vault", {})) == self.first

    def test_a_checkpoint_is_of_all_leaves(self) -> None:
        self.result(self.ledger.append("vault", {"n": 1}))
        one = self.result(self.ledger.checkpoint())
        self.result(self.ledger.append("vault", {"n": 2}))
        two = self.result(self.ledger.checkpoint())
        assert one.splitlines()[1] == str(self.first + 1)
        assert two.splitlines()[1] == str(self.first + 2)
        assert one.splitlines()[2] != two.splitlines()[2]
        assert "\n\n\u2014 " in one

    def test_broken(self) -> None:
        self.break_it()
        self.failureResultOf(self.ledger.append("vault", {}), RecordError)  # type: ignore[attr-defined]


class File(LedgerContract, SynchronousTestCase):
    # its own verifier key is the first leaf
    first = 1

    def make(self) -> Any:
        directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, directory)
        made = Ledger(directory, bytes(32), AuditConfig(checkpoint_every=0), Clock(), in_thread=maybeDeferred)
        self.result(made.start())
        self.addCleanup(made.stop)
        return made

    def break_it(self) -> None:
        self.result(self.ledger.stop())


class Memory(LedgerContract, SynchronousTestCase):
    def make(self) -> Any:
        return MemoryLedger()

    def break_it(self) -> None:
        self.ledger.broken = RecordError("full")
