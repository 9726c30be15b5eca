"""PostgreSQL as a worker's protocol: the factory of clients' connections and what they share in one process."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from zope.interface import implementer

from hoopd.config.schema import Limits
from hoopd.flow.judge import Judgements
from hoopd.interfaces import IProtocolPlugin
from hoopd.protocols.liveness import liveness
from hoopd.protocols.postgres import rows
from hoopd.protocols.postgres.adapter import ClientConnection
from hoopd.protocols.postgres.ahead import Ahead
from hoopd.protocols.postgres.catalogue_reader import Catalogues
from hoopd.protocols.postgres.judgement import Judgement
from hoopd.protocols.postgres.session import CoreLimits
from hoopd.protocols.tls import Gathered
from hoopd.protocols.unproven import Unproven
from hoopd.secret import Secret
from hoopd.sql.pool import ParserPool
from hoopd.values import Asked, Target


class PostgresFactory(Factory):
    """
    @param worker: L{hoopd.interfaces.IWorker}
    @ivar tls: of the client's leg, or None where there is none.
    @ivar cache: judgements, shared by all sessions of this worker.
    @ivar liveness: how peers that vanished are found, on both legs.
    @ivar unproven: clients without login.
    """

    noisy = False

    def __init__(self, worker: Any, limits: Limits) -> None:
        self.worker = worker
        self.tls = None if worker.tls is None else Gathered(worker.tls)
        self.cache: Judgements[Judgement] = Judgements(weigh=lambda made: made.weight)
        self.liveness = liveness(limits)
        self.catalogues = Catalogues(worker, limits.catalogue_poll, self.liveness)
        self.pool = ParserPool(worker.reactor, limits)
        self.random = os.urandom
        self.limits = CoreLimits(
            message=worker.config.max_message,
            statement_inline=limits.statement_inline,
            statement_max=limits.statement_max,
            queue=limits.queue_bytes,
            record_rows=worker.config.record_rows,
            record_bytes=worker.config.record_bytes,
            loud_rows=worker.config.break_glass_rows,
            loud_bytes=worker.config.break_glass_bytes,
        )
        self.unproven = Unproven(worker.config.max_unauthenticated)
        self._targets: dict[str, Target] = {}

    def known(self, target: Target) -> Target:
        """The same, as one object for all sessions: authorities alone are some KiB."""
        if self._targets.get(target.name) != target:
            self._targets[target.name] = target
        return self._targets[target.name]

    def buildProtocol(self, addr: Any) -> ClientConnection:
        return ClientConnection(self, addr)


@implementer(IProtocolPlugin)
class PostgresPlugin:
    """L{IProtocolPlugin} of C{[listen.postgres]}."""

    log = Logger()
    name = "postgres"

    def __init__(self) -> None:
        self._factories: list[PostgresFactory] = []

    def factory(self, worker: Any) -> PostgresFactory:
        """See L{IProtocolPlugin.factory}."""
        (self.log.info if rows.COMPILED else self.log.warn)("hoopd: {how}", how=rows.HOW)
        made = PostgresFactory(worker, getattr(worker, "limits", None) or Limits())
        self._factories.append(made)
        return made

    def ask_ahead(self, token: Secret, target: str, database: str, text: bytes, reason: str) -> Deferred[Asked]:
        """See L{hoopd.ipc.interfaces.IWorkerRole.ask_ahead}."""
        return Deferred.fromCoroutine(Ahead(self._factories[-1], target, database, reason).ask(token, text))

    def stop(self) -> Deferred[Any]:
        """End what the factories keep running. @return: Deferred of None"""
        pools = [each.pool for each in self._factories]
        self._factories = []
        return gatherResults([maybeDeferred(pool.stop) for pool in pools])
