"""Who is proven and in no session: people that come to the gateway itself, to decide or to go on from there. Broker only.

A pass says who somebody is, to the worker that brought their proof, while the connection lasts; it opens no target. What can be
asked with it are the verbs of L{VERBS}, under the same duties as with hoopctl.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from zope.interface import implementer

from hoopd.errors import Denied
from hoopd.flow.admission import TOKEN_BYTES, digest
from hoopd.interfaces import ILobby
from hoopd.secret import Secret
from hoopd.values import Identity, Pass, Proof

#: what people may ask without a session
VERBS = frozenset({"approvals.list", "approvals.show", "approvals.approve", "approvals.deny", "whoami"})
#: passes of one worker: more than its connections there cannot be
PASSES_MAX = 10_000


@frozen
class _Held:
    worker: str
    identity: Identity


@define(eq=False)
class Lobby:
    """
    @ivar identities: L{hoopd.interfaces.IIdentityProvider}.
    @ivar act: C{(identity, verb, arguments) -> awaitable}: L{hoopd.administration.Administration.act}.
    @ivar clock: IReactorTime.
    """

    identities: Any
    act: Callable[[Identity, str, Mapping[str, Any]], Any]
    clock: Any
    randomness: Callable[[int], bytes]
    _held: dict[str, _Held] = field(factory=dict, init=False, repr=False)

    async def enter(self, worker: str, proof: Proof) -> Pass:
        """See L{ILobby.enter}."""
        identity: Identity = await self.identities.authenticate(proof)
        if len(self._held) >= PASSES_MAX:
            raise Denied("too many people are here at once")
        token = Secret(self.randomness(TOKEN_BYTES).hex())
        self._held[digest(token)] = _Held(worker, identity)
        return Pass(identity, token)

    async def call(self, worker: str, token: Secret, verb: str, arguments: Mapping[str, Any]) -> Any:
        """See L{ILobby.call}."""
        held = self._find(worker, token)
        if verb not in VERBS:
            raise Denied(f"{verb} is not for here", hint="use hoopctl")
        expires = held.identity.expires_at
        if expires is not None and expires <= self.clock.seconds():
            raise Denied("the proof has lapsed", hint="connect again")
        return await self.act(held.identity, verb, arguments)

    def leave(self, worker: str, token: Secret) -> None:
        """See L{ILobby.leave}."""
        mark = digest(token)
        held = self._held.get(mark)
        if held is not None and held.worker == worker:
            del self._held[mark]

    def _find(self, worker: str, token: Secret) -> _Held:
        held = self._held.get(digest(token))
        if held is None or not hmac.compare_digest(held.worker, worker):
            raise Denied("the gateway does not know this connection any more", hint="connect again")
        return held

    def worker_gone(self, worker: str) -> None:
        """The passes of its people are void."""
        for mark in [mark for mark, held in self._held.items() if held.worker == worker]:
            del self._held[mark]

    def revoke(self, identity: str, id: str) -> None:
        """@param id: of the token, code or key that proved them; C{""} is all"""
        for mark, held in list(self._held.items()):
            mine = identity in (held.identity.name, held.identity.act)
            if mine and (not id or held.identity.proof.partition(":")[2] == id):
                del self._held[mark]


@implementer(ILobby)
@define(eq=False)
class WorkerLobby:
    """One worker's view."""

    worker: str
    lobby: Lobby

    def enter(self, proof: Proof) -> Deferred[Pass]:
        return Deferred.fromCoroutine(self.lobby.enter(self.worker, proof))

    def call(self, token: Secret, verb: str, arguments: Mapping[str, Any]) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.lobby.call(self.worker, token, verb, arguments))

    def leave(self, token: Secret) -> Deferred[None]:
        async def work() -> None:
            self.lobby.leave(self.worker, token)

        return Deferred.fromCoroutine(work())
