"""A worker whose protocol is lines: C{who}, C{admit}, C{watch ID}, C{broker}, and anything else comes back."""

from __future__ import annotations

import json
import os
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.basic import LineOnlyReceiver

from hoopd.ipc.stubs import RemoteApprovals, RemoteSessions
from tests.ipc.family import PROOF, TOKEN


class Echo(LineOnlyReceiver):
    delimiter = b"\n"
    session: str | None = None

    def connectionMade(self) -> None:
        self.worker = self.factory.worker
        self.worker.connections.add(self)
        self.worker.serving.opened()

    def connectionLost(self, reason: Any = connectionDone) -> None:
        self.worker.serving.closed()
        self.worker.connections.discard(self)
        if self.session is not None:
            self.worker.sessions.ended(self.session, TOKEN, "", 0, 0, 0).addErrback(lambda failure: None)
        self.worker.check_drained()

    def lineReceived(self, line: bytes) -> None:
        Deferred.fromCoroutine(self.answer(line.decode())).addCallbacks(
            lambda text: self.sendLine(text.encode()),
            lambda failure: self.sendLine(f"error {failure.getErrorMessage()}".encode()),
        )

    async def answer(self, line: str) -> str:
        verb, _, rest = line.partition(" ")
        if verb == "who":
            context = self.worker.context
            return json.dumps(
                {
                    "pid": os.getpid(),
                    "name": context.name,
                    "generation": context.generation,
                    "policy": self.worker.documents[-1],
                    "descriptors": len(os.listdir("/proc/self/fd")),
                }
            )
        if verb == "admit":
            admitted = await self.worker.sessions.admit(PROOF, "orders", "echo")
            os.close(admitted.recording)
            self.session = admitted.session
            return admitted.session
        if verb == "watch":
            return (await self.worker.approvals.decided(rest)).state
        if verb == "broker":
            return (await self.worker.approvals.show("a1")).outcome
        return line


class Worker:
    def __init__(self, context: Any) -> None:
        self.context = context
        self.sessions = RemoteSessions(context.link)
        self.approvals = RemoteApprovals(context.link)
        self.connections: set[Echo] = set()
        self.documents: list[str] = []
        self.started: Deferred[None] = Deferred()
        self.drained: Deferred[None] | None = None
        self.factory = Factory.forProtocol(Echo)
        self.factory.worker = self
        self.factory.noisy = False

    def start(self) -> Deferred[None]:
        return self.started

    def take_openings(self, openings: list[Any]) -> None:
        """Nobody breaks glass here."""

    def take_policy(self, document: bytes) -> None:
        self.documents.append(document.decode())
        if not self.started.called:
            self.serving = self.context.serve(self.context.listener, self.factory, limit=200)
            self.started.callback(None)

    def live_sessions(self) -> list[Any]:
        return [(one.session, TOKEN) for one in self.connections if one.session is not None]

    def cancel(self, session: str) -> None:
        self.end(session, "cancelled")

    def end(self, session: str, why: str) -> None:
        for one in list(self.connections):
            if one.session == session:
                one.sendLine(f"ended {why}".encode())
                one.transport.loseConnection()

    def drain(self, limit: float | None) -> Deferred[None]:
        self.drained = Deferred()
        if limit is not None:
            self.context.reactor.callLater(limit, self.stop)
        self.check_drained()
        return self.drained

    def check_drained(self) -> None:
        if self.drained is not None and not self.drained.called and not self.connections:
            self.drained.callback(None)

    def stop(self) -> Deferred[None]:
        for one in list(self.connections):
            one.transport.abortConnection()
        return succeed(None)


def start(context: Any) -> Worker:
    return Worker(context)
