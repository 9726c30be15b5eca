"""Control, with a socket that takes one verb and answers one line."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineOnlyReceiver

from hoopd.ipc.stubs import RemoteAdministration
from hoopd.secret import Secret


class Verbs(LineOnlyReceiver):
    delimiter = b"\n"

    def lineReceived(self, line: bytes) -> None:
        answer = self.factory.administration.call(Secret("t"), line.decode(), {})
        answer.addBoth(lambda result: self.sendLine(str(getattr(result, "value", result)).encode()))


class Control:
    def __init__(self, context: Any) -> None:
        self.context = context
        self.port: Any = None

    def start(self) -> Deferred[None]:
        path = os.path.join(self.context.config.paths.run, "control.sock")
        if os.path.exists(path):
            os.remove(path)
        factory = Factory.forProtocol(Verbs)
        factory.administration = RemoteAdministration(self.context.link)
        self.port = self.context.reactor.listenUNIX(path, factory)
        return succeed(None)

    def drain(self, limit: float | None) -> Deferred[None]:
        return self.stop()

    def stop(self) -> Deferred[None]:
        port, self.port = self.port, None
        return maybeDeferred(port.stopListening) if port is not None else succeed(None)


def start(context: Any) -> Control:
    return Control(context)
