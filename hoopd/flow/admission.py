"""The broker's side of the route: who may begin a session, and which sessions live.

Not here: where a cancellation goes (L{hoopd.flow.cancellation}), what one worker may ask (L{hoopd.flow.worker_views}),
the worker's side (decide, hold, record, forward), nor proof (L{hoopd.identity}) or rules (L{hoopd.policy}). Everything a
new broker must know of a session is in the store before the worker hears of it.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Callable
from typing import Any

from attrs import Factory, define, field
from twisted.internet.defer import Deferred

from hoopd.errors import AuthenticationFailed, Denied
from hoopd.flow.cancellation import Cancellations
from hoopd.identity import duties
from hoopd.ipc import wire
from hoopd.secret import Secret
from hoopd.values import Admission, Grant, Identity, Peer, Proof, SessionSummary, Target

log = logging.getLogger(__name__)

#: A grant is spent within the opening of one target connection; a minute covers a slow target and its TLS.
GRANT_LIFETIME = 60.0
#: 32 random bytes: nobody guesses a session or a grant.
TOKEN_BYTES = 32


def digest(token: Secret) -> str:
    """What is kept of a session token: it has 256 random bits, so a plain hash cannot be searched."""
    return hashlib.sha256(b"hoopd session token\0" + token.reveal()).hexdigest()


@define(eq=False)
class Live:
    """One session that some worker runs now."""

    id: str
    token_digest: str
    worker: str
    identity: Identity
    target: str
    protocol: str
    started_at: float


@define(eq=False)
class Admissions:
    """All sessions of this gateway, as the broker knows them.

    @ivar policy: callable giving the present L{hoopd.interfaces.IPolicyService}.
    @ivar recordings: L{hoopd.audit.sealing.Recordings}.
    @ivar index: L{hoopd.audit.index.SessionIndex}.
    @ivar randomness: callable of a number of bytes giving so many random ones.
    @ivar new_id: callable giving a fresh session id.
    @ivar reach_cancel, reach_end: callables that reach the worker of a session: C{(session)}, C{(session, why)}.
    """

    store: Any
    identities: Any
    policy: Callable[[], Any]
    vault: Any
    recordings: Any
    index: Any
    approvals: Any
    clock: Any
    event: Callable[[str, dict[str, Any]], None]
    randomness: Callable[[int], bytes]
    new_id: Callable[[], str]
    reach_cancel: Callable[[str], Any]
    reach_end: Callable[[str, str], Any]
    resume_within: float = 30.0
    live: dict[str, Live] = Factory(dict)
    _orphans: dict[str, Live] = Factory(dict)
    cancellations: Cancellations = Factory(Cancellations)
    _lost_call: Any = field(default=None)

    # -- life of the broker ------------------------------------------------------------------------------------

    async def recover(self) -> None:
        """Read which sessions the broker before us had; those that no worker resumes are ended as lost."""
        rows = await self.store.transact(
            lambda tx: tx.execute(
                "SELECT id, token_digest, worker, identity, target, protocol, started_at FROM live_sessions"
            )
        )
        for id, token_digest, worker, identity, target, protocol, started_at in rows:
            self._orphans[id] = Live(
                id, token_digest, worker, wire.decode(identity.encode(), Identity), target, protocol, started_at
            )
        if self._orphans:
            self._lost_call = self.clock.callLater(self.resume_within, self._end_orphans)

    def stop(self) -> None:
        """Forget the timer; sessions stay in the store for the next broker."""
        if self._lost_call is not None and self._lost_call.active():
            self._lost_call.cancel()

    def _end_orphans(self) -> None:
        lost, self._orphans = self._orphans, {}
        for session in lost.values():
            self._background(self._over(session, "lost: its worker was gone when the broker came back", 0, 0, 0))

    def _background(self, work: Any) -> None:
        Deferred.fromCoroutine(work).addErrback(lambda failure: log.error("session: %s", failure.getTraceback()))

    # -- admission ---------------------------------------------------------------------------------------------

    async def admit(self, worker: str, proof: Proof, target_name: str, protocol: str) -> Admission:
        """See L{hoopd.interfaces.ISessions.admit}."""
        try:
            identity: Identity = await self.identities.authenticate(proof)
        except AuthenticationFailed:
            # a certificate that does not count is not the end: the client is asked for something else
            if proof.method != "certificate":
                self.event(
                    "session.refused",
                    {"claimed": proof.claimed, "peer": proof.peer.address, "target": target_name, "why": "no proof"},
                )
            raise
        now = self.clock.seconds()
        try:
            target = self._authorise(identity, target_name, protocol, now)
        except Denied as denied:
            self.event(
                "session.refused",
                {"identity": identity.name, "peer": proof.peer.address, "target": target_name, "why": denied.why},
            )
            raise
        return await self._open(worker, identity, target, protocol, proof.peer, now)

    def _authorise(self, identity: Identity, name: str, protocol: str, now: float) -> Target:
        if duties.USER not in identity.duties:
            raise Denied(duties.explained(identity.name, identity.withheld), hint="use targets as somebody else")
        policy = self.policy()
        target = policy.targets().get(name)
        # One sentence for both, so that a proven outsider cannot list targets by trying names.
        refused = Denied(
            f"no target called {name!r} is open to {identity.name}",
            hint="ask whoever runs this gateway for an allow rule, or check the spelling of the database name",
        )
        if target is None or target.protocol != protocol:
            raise refused
        if policy.may_connect(identity, target, now).verdict == "deny":
            raise refused
        return target

    async def _open(
        self, worker: str, identity: Identity, target: Target, protocol: str, peer: Peer, now: float
    ) -> Admission:
        session = self.new_id()
        token = Secret(self.randomness(TOKEN_BYTES).hex())
        where = f"{peer.address}:{peer.port}"
        header = {
            "identity": identity.name,
            "kind": identity.kind,
            "act": identity.act,
            "groups": sorted(identity.groups),
            "proof": identity.proof,
            "target": target.name,
            "protocol": protocol,
            "peer": where,
            "policy": self.policy().version,
        }
        recording = await self._value(self.recordings.open(session, header))
        try:
            summary = SessionSummary(
                id=session,
                identity=identity.name,
                kind=identity.kind,
                act=identity.act,
                target=target.name,
                protocol=protocol,
                peer=where,
                started_at=now,
                recording=self.recordings.name(session),
            )
            await self.index.insert(summary)
            row = (session, digest(token), worker, wire.encode(identity).decode(), target.name, protocol, where, now)
            await self.store.transact(
                lambda tx: tx.execute("INSERT INTO live_sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            )
        except Exception:
            await self._value(self.recordings.close(session, "could not be stored"))
            raise
        self.live[session] = Live(session, row[1], worker, identity, target.name, protocol, now)
        self.event(
            "session.opened",
            {
                "session": session,
                "identity": identity.name,
                "target": target.name,
                "peer": where,
                "act": identity.act,
                "proof": identity.proof,
            },
        )
        return Admission(
            session=session,
            token=token,
            identity=identity,
            target=target,
            grant=self._grant(session, identity, target.name),
            recording=recording,
            started_at=now,
        )

    def _grant(self, session: str, identity: Identity, target: str) -> Grant:
        now = self.clock.seconds()
        grant = Grant(
            session=session,
            target=target,
            identity=identity.name,
            issued_at=now,
            expires_at=now + GRANT_LIFETIME,
            token=Secret(self.randomness(TOKEN_BYTES).hex()),
        )
        self.vault.register_grant(grant)
        return grant

    # -- sessions that live ------------------------------------------------------------------------------------

    def proven(self, worker: str, session: str, token: Secret) -> Live:
        """The live session that C{token} belongs to.

        @raise Denied: unknown session, wrong token, or another worker's.
        """
        found = self.live.get(session)
        if found is None or found.worker != worker or not hmac.compare_digest(found.token_digest, digest(token)):
            raise Denied("this session is not known to the broker")
        return found

    def identity_of(self, session: str) -> Identity | None:
        """Who runs C{session}, while it lives."""
        found = self.live.get(session) or self._orphans.get(session)
        return found.identity if found else None

    def target_of(self, session: str) -> str:
        """The target of a session that lives. @raise Denied: it does not"""
        found = self.live.get(session) or self._orphans.get(session)
        if found is None:
            raise Denied("this session is not known to the broker")
        return found.target

    def catalogue_grant(self, worker: str, session: str, token: Secret) -> Grant:
        """See L{hoopd.interfaces.ISessions.catalogue_grant}."""
        found = self.proven(worker, session, token)
        return self._grant(session, found.identity, found.target)

    async def ended(
        self, worker: str, session: str, token: Secret, why: str, operations: int, denied: int, held: int
    ) -> None:
        """See L{hoopd.interfaces.ISessions.ended}. Arrives twice when a broker died over it: then it is known."""
        if session not in self.live:
            return
        await self._over(self.proven(worker, session, token), why, operations, denied, held)

    async def _over(self, session: Live, why: str, operations: int, denied: int, held: int) -> None:
        self.live.pop(session.id, None)
        self.cancellations.forget(session.id)
        self.vault.forget_grant(session.id)
        await self._value(self.approvals.session_gone(session.id))
        await self._value(self.recordings.close(session.id, why))
        now = self.clock.seconds()
        await self._value(self.index.end(session.id, now, why, operations, denied, held))
        await self.store.transact(lambda tx: tx.execute("DELETE FROM live_sessions WHERE id = ?", (session.id,)))
        self.event("session.closed", {"session": session.id, "identity": session.identity.name, "why": why})

    async def resume(self, worker: str, sessions: list[tuple[str, Secret]]) -> list[str]:
        """See L{hoopd.interfaces.ISessions.resume}."""
        unknown = []
        for id, token in sessions:
            found = self._orphans.get(id) or self.live.get(id)
            mine = found is not None and found.worker == worker
            if found is None or not mine or not hmac.compare_digest(found.token_digest, digest(token)):
                unknown.append(id)
            elif id not in self.live:
                await self._value(self.recordings.adopt(id))
                self._orphans.pop(id, None)
                self.live[id] = found
        return unknown

    async def worker_gone(self, worker: str) -> None:
        """The worker died: its sessions are over, the others go on."""
        for session in [each for each in self.live.values() if each.worker == worker]:
            await self._over(session, "its worker process ended", 0, 0, 0)

    def recovered(self) -> frozenset[str]:
        """Sessions that the broker before us had and that a worker may still resume."""
        return frozenset(self._orphans)

    def revoke(self, identity: str, token: str, why: str) -> int:
        """End the live sessions of C{identity} (a name such as C{"user:priya"}), and of whoever acts for it.

        @param token: only those proven by the token, code or SSH key with this id; C{""} is all
        @return: how many were told to end.
        """
        mine = [
            each
            for each in self.live.values()
            if identity in (each.identity.name, each.identity.act)
            and (not token or each.identity.proof in (f"token:{token}", f"recovery:{token}", f"ssh:{token}"))
        ]
        for session in mine:
            self.reach_end(session.id, why)
        return len(mine)

    def end(self, session: str, by: str, reason: str) -> None:
        """An administrator ends C{session} now. @raise KeyError: it does not live."""
        found = self.live[session]
        self.event("session.revoked", {"session": session, "identity": found.identity.name, "by": by, "why": reason})
        self.reach_end(session, f"ended by {by}: {reason}")

    # -- cancellation ------------------------------------------------------------------------------------------

    def register_cancel(self, worker: str, session: str, token: Secret, key: bytes) -> None:
        """See L{hoopd.interfaces.ISessions.register_cancel}."""
        self.cancellations.register(self.proven(worker, session, token).id, key)

    def cancel(self, key: bytes, peer: Peer | str) -> None:
        """See L{hoopd.interfaces.ISessions.cancel}."""
        address = peer.address if isinstance(peer, Peer) else peer
        session = self.cancellations.session_of(key, address, self.clock.seconds())
        if session is not None:
            self.event("operation.cancel-requested", {"session": session, "peer": address})
            self.reach_cancel(session)

    @staticmethod
    async def _value(result: Any) -> Any:
        """C{result}, waited for where it is a Deferred."""
        return await result if isinstance(result, Deferred) else result
