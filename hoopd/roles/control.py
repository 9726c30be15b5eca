"""The control process: hoopctl's unix socket; it trusts nobody and holds nothing (see L{hoopd.control})."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from zope.interface import implementer

from hoopd.control.http import ControlSite
from hoopd.ipc.interfaces import IRole
from hoopd.ipc.stubs import RemoteAdministration
from hoopd.roles.context import ChildContext


@implementer(IRole)
class Control:
    def __init__(self, context: ChildContext) -> None:
        self._context = context
        self._port: Any = None

    def start(self) -> Deferred[None]:
        run = Path(self._context.config.paths.run)
        run.mkdir(mode=0o755, parents=True, exist_ok=True)
        path = run / "control.sock"
        # One left by a process that was killed would refuse us the name; a live predecessor keeps its descriptor.
        path.unlink(missing_ok=True)
        assert self._context.link is not None
        site = ControlSite(RemoteAdministration(self._context.link))
        self._port = self._context.reactor.listenUNIX(str(path), site)
        # Who may connect is no proof of anything: every request carries a token.
        os.chmod(path, 0o666)  # noqa: S103
        return succeed(None)

    def drain(self, limit: float | None) -> Deferred[None]:
        return succeed(None)

    def stop(self) -> Deferred[None]:
        port, self._port = self._port, None
        return maybeDeferred(port.stopListening) if port is not None else succeed(None)


def start(context: ChildContext) -> Control:
    return Control(context)
