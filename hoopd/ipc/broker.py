"""The broker's side: one conversation for each attached process, and what the broker may send them.

Who is at the other end the supervisor says, not the peer: a worker's end answers workers' commands only, control's
only administration, and a verifier asks nothing.
"""

from __future__ import annotations

import os
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopd.errors import Denied, Unavailable
from hoopd.ipc import commands as c
from hoopd.ipc import wire
from hoopd.ipc.asked import RemoteNotifier, RemoteVerifier
from hoopd.ipc.end import End, unless_away, unless_slow
from hoopd.ipc.interfaces import IBrokerRole
from hoopd.ipc.transport import adopt
from hoopd.secret import Secret
from hoopd.values import Approval, Asked, Grant, HeldOperation, Peer, Proof, ScramServerFirst, Target

#: approvals one worker may watch: one for each of its connections, and as many again that are being let go
WATCHES_MAX = 2000

#: stopping waits so long for answers under way; the slowest, an Argon2 proof, takes less than a second
ANSWERS_MAX = 5.0


class Conversation(End):
    """The broker's end towards one process."""

    def __init__(self, peers: Peers, worker: str, pid: int) -> None:
        super().__init__()
        self.peers = peers
        self.worker = worker
        self.pid = pid
        self.greeted = False
        self.left = False

    @c.Hello.responder
    def hello(self, version: int, name: str, pid: int) -> dict[str, Any]:
        # name and pid are what it says of itself, for the log; we go by what the supervisor said
        if version == c.VERSION and not self.greeted:
            self.greeted = True
            self.peers.reactor.callLater(0, self.begun)
        elif version != c.VERSION:
            self.log.error(
                "{worker} speaks version {theirs}, this broker {ours}: it drains",
                worker=self.worker,
                theirs=version,
                ours=c.VERSION,
            )
        return {"version": c.VERSION, "generation": self.peers.generation}

    @c.Goodbye.responder
    def goodbye(self) -> dict[str, Any]:
        self.left = True
        return {}

    def begun(self) -> None:
        """The peer has greeted us and our answer is on its way."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self.peers._gone(self)


class WorkerConversation(Conversation):
    """What a worker may ask."""

    def __init__(self, peers: Peers, worker: str, pid: int) -> None:
        super().__init__(peers, worker, pid)
        self.services = peers.role.worker_services(worker)
        self.watched: dict[str, Deferred[Any]] = {}

    def begun(self) -> None:
        self.push_policy()
        self.push_openings()

    def push_policy(self) -> None:
        if not self.greeted or self.lost:
            return
        try:
            document = self.peers.role.policy_document()
        except Exception:
            # the worker goes on with what it has; without any it does not accept
            self.log.failure("no policy for {worker}", worker=self.worker)
            return
        self.ask(c.PushPolicy, document=document).addErrback(self._not_taken)

    def push_openings(self) -> None:
        if self.greeted and not self.lost:
            self.ask(c.PushOpenings, openings=self.peers.role.openings()).addErrback(self._not_taken)

    def _not_taken(self, failure: Failure) -> None:
        if not self.lost:
            self.log.error("{worker} did not take the policy: {why}", worker=self.worker, why=str(failure.value))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        watched, self.watched = self.watched, {}
        for deferred in watched.values():
            deferred.cancel()
        super().connectionLost(reason)
        if not (self.left or self.peers.leaving):
            self.peers.role.worker_gone(self.worker)

    def _target(self, name: str) -> Target:
        try:
            target: Target = self.services.targets[name]
        except KeyError:
            raise Denied("no such target") from None
        return target

    # -- ISessions --------------------------------------------------------------------------------------------

    @c.Resume.responder
    async def resume(self, sessions: list[tuple[str, Secret]]) -> dict[str, Any]:
        unknown = list(await self.services.sessions.resume(list(sessions)))
        for session, _ in sessions:
            if session not in unknown:
                self.peers._runs(session, self)
        return {"unknown": unknown}

    @c.Admit.responder
    async def admit(self, proof: Proof, target: str, protocol: str) -> dict[str, Any]:
        admission = await self.services.sessions.admit(proof, target, protocol)
        if self.lost:
            # the worker died while its client was proven: nobody will ever run this session
            os.close(admission.recording)
            await self.services.sessions.ended(admission.session, admission.token, "the worker is gone", 0, 0, 0)
            raise Unavailable("the worker is gone")
        self.peers._runs(admission.session, self)
        return {"admission": evolve(admission, recording=-1), "recording": admission.recording}

    @c.CatalogueGrant.responder
    async def catalogue_grant(self, session: str, token: Secret) -> dict[str, Any]:
        return {"grant": await self.services.sessions.catalogue_grant(session, token)}

    @c.Ended.responder
    async def ended(
        self, session: str, token: Secret, why: str, operations: int, denied: int, held: int
    ) -> dict[str, Any]:
        await self.services.sessions.ended(session, token, why, operations, denied, held)
        self.peers._over(session, self)
        return {}

    @c.RegisterCancel.responder
    async def register_cancel(self, session: str, token: Secret, key: Secret) -> dict[str, Any]:
        await self.services.sessions.register_cancel(session, token, key.reveal())
        return {}

    @c.Cancel.responder
    async def cancel(self, key: Secret, peer: Peer | str) -> dict[str, Any]:
        await self.services.sessions.cancel(key.reveal(), peer)
        return {}

    # -- IApprovals -------------------------------------------------------------------------------------------

    @c.RequestApproval.responder
    async def request(self, session: str, token: Secret, held: HeldOperation) -> dict[str, Any]:
        return {"approval": await self.services.approvals.request(session, token, held)}

    @c.CoveringApproval.responder
    async def covering(self, session: str, token: Secret, held: HeldOperation) -> dict[str, Any]:
        return {"covering": await self.services.approvals.covering(session, token, held)}

    @c.RequestSeveral.responder
    async def several(self, session: str, token: Secret, plan: list[HeldOperation], shown: str) -> dict[str, Any]:
        return {"approval": await self.services.approvals.request_several(session, token, plan, shown)}

    @c.Claim.responder
    async def claim(self, session: str, token: Secret, approval: str, held: HeldOperation) -> dict[str, Any]:
        return {"approval": await self.services.approvals.claim(session, token, approval, held)}

    @c.Settle.responder
    async def settle(self, session: str, token: Secret, approval: str, outcome: str, detail: str) -> dict[str, Any]:
        return {"approval": await self.services.approvals.settle(session, token, approval, outcome, detail)}

    @c.Withdraw.responder
    async def withdraw(self, session: str, token: Secret, approval: str, why: str) -> dict[str, Any]:
        return {"approval": await self.services.approvals.withdraw(session, token, approval, why)}

    @c.ShowApproval.responder
    async def show(self, approval: str) -> dict[str, Any]:
        return {"approval": await self.services.approvals.show(approval)}

    @c.Watch.responder
    def watch(self, approval: str) -> dict[str, Any]:
        if approval in self.watched:
            return {}
        if len(self.watched) >= WATCHES_MAX:
            raise Unavailable("too many approvals are watched")
        deferred = self.services.approvals.decided(approval)
        self.watched[approval] = deferred
        deferred.addBoth(self._decided, approval)
        return {}

    @c.Unwatch.responder
    def unwatch(self, approval: str) -> dict[str, Any]:
        deferred = self.watched.pop(approval, None)
        if deferred is not None:
            deferred.cancel()
        return {}

    def _decided(self, result: Approval | Failure, approval: str) -> None:
        if self.watched.pop(approval, None) is None or self.lost:
            return  # let go, or the worker is gone: its next broker is asked again
        if isinstance(result, Failure):
            text = wire.error_to_text(result.value)
            if text is None:
                self.log.failure("watching {approval}", failure=result, approval=approval)
                text = wire.error_to_text(Unavailable("the gateway met an error of its own; its log says more"))
            pushed = self.ask(c.Decided, id=approval, error=text)
        else:
            pushed = self.ask(c.Decided, id=approval, approval=result)
        pushed.addErrback(self._not_taken)

    # -- IBreakGlass ------------------------------------------------------------------------------------------

    @c.BreakGlass.responder
    async def break_glass(self, session: str, token: Secret, reason: str) -> dict[str, Any]:
        return {"opening": await self.services.break_glass.open(session, token, reason)}

    @c.CloseGlass.responder
    async def close_glass(self, session: str, token: Secret) -> dict[str, Any]:
        return {"closed": await self.services.break_glass.close(session, token)}

    @c.SkipRules.responder
    async def skip_rules(self, session: str, token: Secret, held: HeldOperation) -> dict[str, Any]:
        await self.services.break_glass.skip(session, token, held)
        return {}

    # -- ICredentialVault -------------------------------------------------------------------------------------

    @c.StartChallenge.responder
    async def start_challenge(self, grant: Grant, target: str, offer: ScramServerFirst) -> dict[str, Any]:
        vault = self.services.vault
        mechanism, message = await vault.start_challenge(grant, self._target(target), offer)
        return {"mechanism": mechanism, "message": Secret(message)}

    @c.ContinueChallenge.responder
    async def continue_challenge(self, grant: Grant, message: bytes) -> dict[str, Any]:
        return {"message": Secret(await self.services.vault.continue_challenge(grant, message))}

    @c.FinishChallenge.responder
    async def finish_challenge(self, grant: Grant, message: bytes) -> dict[str, Any]:
        await self.services.vault.finish_challenge(grant, message)
        return {}

    @c.WeakAnswer.responder
    async def weak_answer(self, grant: Grant, target: str, method: str, salt: bytes) -> dict[str, Any]:
        answer = await self.services.vault.weak_answer(grant, self._target(target), method, salt)
        return {"message": Secret(answer)}

    # -- ISshCredentials --------------------------------------------------------------------------------------

    @c.CheckHost.responder
    async def check_host(self, grant: Grant, target: str, key: bytes) -> dict[str, Any]:
        await self.services.ssh.check_host(grant, self._target(target), key)
        return {}

    @c.OfferSsh.responder
    async def offer_ssh(self, grant: Grant, target: str, login: str) -> dict[str, Any]:
        return {"offer": await self.services.ssh.offer(grant, self._target(target), login)}

    @c.CertifyHost.responder
    async def certify_host(self, key: bytes) -> dict[str, Any]:
        return {"certificate": await self.services.ssh.certify_host(key)}

    # -- ILobby -----------------------------------------------------------------------------------------------

    @c.EnterLobby.responder
    async def enter_lobby(self, proof: Proof) -> dict[str, Any]:
        return {"entered": await self.services.lobby.enter(proof)}

    @c.CallFromLobby.responder
    async def call_from_lobby(self, token: Secret, verb: str, arguments: Any) -> dict[str, Any]:
        return {"result": await self.services.lobby.call(token, verb, arguments)}

    @c.LeaveLobby.responder
    async def leave_lobby(self, token: Secret) -> dict[str, Any]:
        await self.services.lobby.leave(token)
        return {}

    # -- ILoginLinks ------------------------------------------------------------------------------------------

    @c.BeginLogin.responder
    async def begin_login(self, provider: str, address: str) -> dict[str, Any]:
        link = await self.services.login_links.begin(provider, address)
        if self.lost:
            await self.services.login_links.leave(link.token)
            raise Unavailable("the worker is gone")
        return {"link": link}

    @c.LoginSettled.responder
    async def login_settled(self, token: Secret) -> dict[str, Any]:
        return {"proven": await self.services.login_links.settled(token)}

    @c.LeaveLogin.responder
    async def leave_login(self, token: Secret) -> dict[str, Any]:
        await self.services.login_links.leave(token)
        return {}

    @c.SignSsh.responder
    async def sign_ssh(self, grant: Grant, signed: bytes) -> dict[str, Any]:
        return {"signature": await self.services.ssh.sign(grant, signed)}


class ControlConversation(Conversation):
    """What control may ask."""

    @c.Administer.responder
    async def administer(self, token: Secret, verb: str, arguments: Any) -> dict[str, Any]:
        return {"result": await self.peers.role.control_services().call(token, verb, arguments)}


class VerifierConversation(Conversation):
    """A verifier asks nothing; it is asked."""

    def begun(self) -> None:
        self.peers._verifier_there(self)


class NotifierConversation(Conversation):
    """A notifier asks nothing; it is given deliveries."""

    def begun(self) -> None:
        self.peers._notifier_there(self)


_CONVERSATIONS: dict[str, type[Conversation]] = {
    "worker": WorkerConversation,
    "control": ControlConversation,
    "verifier": VerifierConversation,
    "notifier": NotifierConversation,
}


class Peers:
    """Everybody attached to this broker.

    @ivar role: the L{IBrokerRole}; set before the first L{attach}.
    """

    log = Logger()

    def __init__(self, reactor: Any, generation: int = 0) -> None:
        self.reactor = reactor
        self.generation = generation
        self.leaving = False
        self.role: IBrokerRole
        self._all: set[Conversation] = set()
        self._running: dict[str, WorkerConversation] = {}
        self._verifier = RemoteVerifier(reactor)
        self._notifier = RemoteNotifier(reactor)
        self._lonely: list[Deferred[None]] = []

    def attach(self, fd: int, role: str, name: str, pid: int) -> None:
        """Take the end C{fd} to a process that the supervisor vouches for."""
        conversation = _CONVERSATIONS[role](self, f"{name}:{pid}", pid)
        self._all.add(conversation)
        try:
            adopt(fd, conversation, self.reactor)
        except OSError as problem:
            self._all.discard(conversation)
            self.log.error("the end to {name} cannot be used: {problem}", name=name, problem=problem)

    @property
    def workers(self) -> list[str]:
        """Ids of the attached workers."""
        return sorted(peer.worker for peer in self._all if isinstance(peer, WorkerConversation))

    def policy_changed(self) -> None:
        """Send every worker the present policy document."""
        for peer in list(self._all):
            if isinstance(peer, WorkerConversation):
                peer.push_policy()

    def openings_changed(self) -> None:
        """Tell every worker what break glass is in use now."""
        for peer in list(self._all):
            if isinstance(peer, WorkerConversation):
                peer.push_openings()

    def cancel(self, session: str) -> Deferred[bool]:
        """@return: Deferred of whether a worker runs this session and was told to cancel its operation."""
        return self._tell(session, c.CancelSession)

    def end(self, session: str, why: str) -> Deferred[bool]:
        """@return: Deferred of whether a worker runs this session and has been told to end it."""
        return self._tell(session, c.EndSession, why=why)

    async def ask_ahead(
        self, protocol: str, token: Secret, target: str, database: str, text: bytes, reason: str
    ) -> Asked:
        """Have some worker of C{protocol} judge statements as a session would, and ask for what is held.

        @raise Unavailable: there is none, or it did not answer.
        """
        workers = [
            peer
            for peer in self._all
            if isinstance(peer, WorkerConversation)
            and peer.worker.startswith(f"worker/{protocol}/")
            and peer.greeted
            and not peer.lost
        ]
        if not workers:
            raise Unavailable(f"no worker serves {protocol} now")
        answer = (
            await workers[0]
            .ask(c.AskAhead, token=token, target=target, database=database, text=text, reason=reason)
            .addTimeout(c.AskAhead.deadline, self.reactor, _unanswered)
        )
        asked: Asked = answer["asked"]
        return asked

    def _tell(self, session: str, command: type[c.Call], **arguments: Any) -> Deferred[bool]:
        peer = self._running.get(session)
        if peer is None or peer.lost:
            return succeed(False)
        told = peer.ask(command, session=session, **arguments).addTimeout(command.deadline, self.reactor, _unanswered)
        return told.addCallback(lambda response: True)

    def when_lonely(self) -> Deferred[None]:
        """@return: Deferred of None once no worker is attached."""
        deferred: Deferred[None] = Deferred()
        self._lonely.append(deferred)
        self._check_lonely()
        return deferred

    async def leave(self) -> None:
        """Tell everybody that this broker stops, answer what was asked, and close every end."""
        self.leaving = True
        peers = [peer for peer in self._all if not peer.lost]
        told = [peer.ask(c.Leaving).addErrback(unless_away) for peer in peers]
        patience: Deferred[Any] = DeferredList(told).addTimeout(c.Leaving.deadline, self.reactor)
        await patience.addErrback(unless_slow)  # who does not answer loses its calls, and repeats them
        quiet: Deferred[Any] = DeferredList([peer.quiet() for peer in peers]).addTimeout(ANSWERS_MAX, self.reactor)
        await quiet.addErrback(unless_slow)
        for peer in peers:
            peer.close()

    # -- from the conversations -------------------------------------------------------------------------------

    def _runs(self, session: str, peer: WorkerConversation) -> None:
        self._running[session] = peer

    def _over(self, session: str, peer: WorkerConversation) -> None:
        if self._running.get(session) is peer:
            del self._running[session]

    def _verifier_there(self, peer: VerifierConversation) -> None:
        self._verifier.end = peer
        self.role.verifier_attached(self._verifier)

    def _notifier_there(self, peer: NotifierConversation) -> None:
        self._notifier.end = peer
        self.role.notifier_attached(self._notifier)

    def _gone(self, peer: Conversation) -> None:
        self._all.discard(peer)
        if isinstance(peer, WorkerConversation):
            for session in [session for session, who in self._running.items() if who is peer]:
                del self._running[session]
        self._check_lonely()

    def _check_lonely(self) -> None:
        if not any(isinstance(peer, WorkerConversation) for peer in self._all):
            waiting, self._lonely = self._lonely, []
            for deferred in waiting:
                deferred.callback(None)


def _unanswered(failure: Any, seconds: float) -> Any:
    raise Unavailable("the worker did not answer in time")
