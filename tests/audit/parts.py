"""What the tests of the record share: threads that run at once, a system that fails where it is told to."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from hoopd.audit.ledger import Ledger
from hoopd.config.schema import AuditConfig

SEED = bytes(range(32))
START = 1_790_000_000.0


def at_once(function: Callable[..., Any], *args: Any) -> Deferred[Any]:
    """In place of deferToThread."""
    return maybeDeferred(function, *args)


def clock() -> Clock:
    made = Clock()
    made.advance(START)
    return made


def now(deferred: Deferred[Any]) -> Any:
    """The result of a Deferred that has fired; its failure is raised."""
    results: list[Any] = []
    deferred.addBoth(results.append)
    assert results, "has not fired"
    if hasattr(results[0], "raiseException"):
        results[0].raiseException()
    return results[0]


class System:
    """The C{os} module, but for calls that are told to fail.

    @ivar fail: name of a function to its number of calls that go well; after them it raises C{error}.
    @ivar short: as C{fail} for C{write}: then half of the bytes are taken, once.
    """

    def __init__(self, fail: dict[str, int] | None = None, error: int = errno.ENOSPC, short: int | None = None) -> None:
        self.fail = dict(fail or {})
        self.error = error
        self.short = short
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)

        def call(*args: Any, **named: Any) -> Any:
            self.calls.append(name)
            if name in self.fail:
                if self.fail[name] <= 0:
                    raise OSError(self.error, os.strerror(self.error))
                self.fail[name] -= 1
            if name == "write" and self.short is not None:
                self.short -= 1
                if self.short < 0:
                    self.short = None
                    return real(args[0], bytes(args[1])[: len(args[1]) // 2])
            return real(*args, **named)

        return call


def ledger(directory: Path, time: Clock | None = None, **options: Any) -> Ledger:
    """A started ledger."""
    config = options.pop("config", None) or AuditConfig(witness=tuple(options.pop("witness", ())), checkpoint_every=0)
    made = Ledger(
        directory,
        options.pop("seed", SEED),
        config,
        time or clock(),
        in_thread=at_once,
        **options,
    )
    now(made.start())
    return made
