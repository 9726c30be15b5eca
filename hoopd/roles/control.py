"""The control process: hoopctl's unix socket; it trusts nobody and holds nothing (see L{hoopd.control})."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError, maybeDeferred
from twisted.python.failure import Failure
from zope.interface import implementer

from hoopd.control.http import ControlSite
from hoopd.control.limits import Bounded
from hoopd.errors import Unavailable
from hoopd.interfaces import IAdministration
from hoopd.ipc.interfaces import IRole
from hoopd.ipc.link import Link
from hoopd.ipc.stubs import RemoteAdministration
from hoopd.roles.context import ChildContext

#: seconds that a question waits for a broker that is being restarted: usually one is there within half a second
PATIENCE = 5.0


@implementer(IAdministration)
class PresentAdministration:
    """The broker's administration; says soon that the broker is away, and then that nothing was done."""

    def __init__(self, link: Link, reactor: Any) -> None:
        self._link = link
        self._remote = RemoteAdministration(link)
        self._reactor = reactor

    def call(self, token: Any, verb: str, arguments: Mapping[str, Any]) -> Deferred[Any]:
        """See L{IAdministration.call}."""
        if self._link.attached:
            return self._remote.call(token, verb, arguments)
        there: Deferred[Any] = self._link.when_attached().addTimeout(PATIENCE, self._reactor)
        there.addErrback(_away)
        return there.addCallback(lambda _: self._remote.call(token, verb, arguments))


def _away(failure: Failure) -> None:
    failure.trap(TimeoutError)
    raise Unavailable("the broker is away; nothing was done")


@implementer(IRole)
class Control:
    """
    The socket is open to every user of the machine (mode 0666): who may connect is no proof of anything, every
    request carries a token. Where that is too many, the directory paths.run is made narrower.
    """

    def __init__(self, context: ChildContext) -> None:
        self._context = context
        self._port: Any = None
        self._open: Bounded | None = None
        run = Path(context.config.paths.run)
        self._path = run / "control.sock"
        self._own = run / f".control.{os.getpid()}.sock"

    def start(self) -> Deferred[None]:
        return maybeDeferred(self._start)

    def _start(self) -> None:
        assert self._context.link is not None
        reactor = self._context.reactor
        self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._clean()
        site = ControlSite(PresentAdministration(self._context.link, reactor), reactor)
        self._open = Bounded(site, reactor)
        self._port = reactor.listenUNIX(str(self._own), self._open, mode=0o666)
        # Under a name of our own, then linked over the known one: there is no moment without a socket, and our end
        # does not take away the socket of whoever came after us.
        beside = self._own.with_suffix(".link")
        beside.unlink(missing_ok=True)
        os.link(self._own, beside)
        os.rename(beside, self._path)

    def _clean(self) -> None:
        """Take away what killed processes left."""
        for path in self._path.parent.glob(".control.*.sock"):
            if path == self._own or not os.path.exists(f"/proc/{path.name.split('.')[2]}"):
                path.unlink(missing_ok=True)

    def drain(self, limit: float | None) -> Deferred[None]:
        return Deferred.fromCoroutine(self._drain(limit))

    async def _drain(self, limit: float | None) -> None:
        await self._close()
        if self._open is None:
            return
        lonely = self._open.when_lonely()
        if limit is not None:
            lonely.addTimeout(limit, self._context.reactor).addErrback(lambda failure: failure.trap(TimeoutError))
        await lonely

    def stop(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        port, self._port = self._port, None
        if port is None:
            return
        self._leave()
        await maybeDeferred(port.stopListening)

    def _leave(self) -> None:
        """Take the known name away if it is still ours."""
        try:
            if os.path.samefile(self._own, self._path):
                self._path.unlink()
        except FileNotFoundError:
            pass  # somebody emptied the directory: there is nothing of ours left to take away
        # Twisted takes away its socket's name as it closes, and fails where there is none
        self._own.touch()


def start(context: ChildContext) -> Control:
    return Control(context)
