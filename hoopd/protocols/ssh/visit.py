"""A client that is at the gateway itself: its commands are asked of the broker, its jumps become connections of their own.

Thin Twisted over L{hoopd.protocols.ssh.lobby}; the counterpart of L{hoopd.protocols.ssh.relay} where there is no target.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from hoopd.errors import Denied, HoopdError
from hoopd.protocols.ssh import commands
from hoopd.protocols.ssh.inner import ChannelTransport
from hoopd.protocols.ssh.lobby import UNKNOWN_STATUS, Command, Jump, Lobby
from hoopd.protocols.ssh.operations import Refusal
from hoopd.values import Pass


@implementer(IPushProducer)
class Gate:
    """Says whether a client takes data: not while its socket is full, nor while its keys are exchanged."""

    def __init__(self, takes: Callable[[bool], None]) -> None:
        self._takes = takes
        self._full = self._busy = False

    def pauseProducing(self) -> None:
        self._full = True
        self._settle()

    def resumeProducing(self) -> None:
        self._full = False
        self._settle()

    def stopProducing(self) -> None:
        """The client is gone: its connectionLost ends everything."""

    def exchanging(self, busy: bool) -> None:
        self._busy = busy
        self._settle()

    def _settle(self) -> None:
        self._takes(not self._full and not self._busy)


class Visit:
    """
    @param user: L{hoopd.protocols.ssh.adapter.ClientConnection}
    @param plugin: L{hoopd.protocols.ssh.plugin.SshFactory}
    @param refusal: what whoever wants a shell is told.
    """

    log = Logger()

    def __init__(self, user: Any, plugin: Any, held: Pass, refusal: str) -> None:
        self._user = user
        self._plugin = plugin
        self._worker = plugin.worker
        self._held = held
        self._over = False
        self.core = Lobby(refusal)

    def begin(self) -> None:
        """The client may speak from now on."""
        gate = Gate(self._takes)
        self._user.transport.registerProducer(gate, True)
        self._user.exchanging = gate.exchanging
        gate.exchanging(self._user.busy)

    def _takes(self, now: bool) -> None:
        self.core.takes(now)
        if now and not self._over:
            self._pump()

    def client_message(self, kind: int, payload: bytes) -> None:
        """One message of the client. @raise PeerError"""
        if self._over:
            return
        self.core.client_message(kind, payload)
        self._pump()

    def _pump(self) -> None:
        core = self.core
        while core.asks and not self._over:
            ask = core.asks.pop(0)
            if isinstance(ask, Command):
                self._command(ask)
            else:
                self._jump(ask)
        waiting, core.to_client = core.to_client, []
        for kind, payload in waiting:
            self._user.sendPacket(kind, payload)

    # -- commands ----------------------------------------------------------------------------------------------

    def _command(self, ask: Command) -> None:
        wanted = commands.asked(ask.words)
        if not wanted.verb:
            # whoever types a command of the shell meant to be at a target
            before = f"{self.core.refusal}\n" if wanted.status == UNKNOWN_STATUS else ""
            self.core.answer(ask.channel, before + wanted.text, wanted.status, error=wanted.status != 0)
            return
        asked = self._worker.lobby.call(self._held.token, wanted.verb, wanted.arguments)
        asked.addCallback(lambda answer: self.core.answer(ask.channel, commands.told(wanted.verb, answer), 0))
        asked.addErrback(self._refused, ask.channel).addCallback(lambda _: self._pump())

    def _refused(self, failure: Failure, channel: int) -> None:
        error = failure.value
        if isinstance(error, KeyError):
            error = Denied(f"there is no {error.args[0] if error.args else 'such thing'}")
        elif isinstance(error, ValueError):
            error = Denied(str(error))
        elif not isinstance(error, HoopdError):
            self.log.failure("a command at the gateway failed", failure)
        self.core.answer(channel, Refusal.of(error or Denied("no cause")).line, 1, error=True)

    # -- going on ----------------------------------------------------------------------------------------------

    def _jump(self, ask: Jump) -> None:
        target = self._worker.policy.targets().get(ask.host)
        known = target is not None and target.protocol == "ssh" and ask.port in (22, target.port)
        # whether a name is a target is told by the inner connection, to whoever proves that it is theirs to know
        if not known and ask.port != 22:
            self.core.declined(ask.channel, f"hoopd: {ask.host}:{ask.port} is no target of this gateway")
            return
        place = self.core.connected(ask.channel)
        if place is None:
            return
        inner = self._plugin.inner(self._user.peer, ask.host, self._held.identity)
        inner.makeConnection(ChannelTransport(self.core, place, inner, self._user.peer, self._pump))

    # -- end ---------------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """The client says goodbye: nothing of theirs waits here."""

    def close(self, why: str) -> None:
        """Give everything back. Runs once."""
        if self._over:
            return
        self._over = True
        self.core.over()
        left: Deferred[Any] = self._worker.lobby.leave(self._held.token)
        left.addErrback(lambda failure: self.log.debug("not left: {why}", why=failure.getErrorMessage()))
