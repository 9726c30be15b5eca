"""The broker's services as other processes see them: the same interfaces, over a link.

What a process must not do is not offered by its broker end at all; here it fails with L{Denied} at once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure
from zope.interface import implementer

from hoopd.errors import Denied
from hoopd.interfaces import (
    IAdministration,
    IApprovals,
    IBreakGlass,
    ICredentialVault,
    ILobby,
    ILoginLinks,
    ISessions,
    ISshCredentials,
)
from hoopd.ipc import commands as c
from hoopd.ipc.end import unless_away
from hoopd.ipc.link import Link
from hoopd.secret import Secret
from hoopd.values import (
    Admission,
    Approval,
    Covering,
    Grant,
    HeldOperation,
    Identity,
    LoginLink,
    Opening,
    Pass,
    Peer,
    Proof,
    Scope,
    ScramServerFirst,
    SecretEntry,
    SshOffer,
    Target,
)


def _take(name: str) -> Any:
    return lambda response: response[name]


def _none(response: Mapping[str, Any]) -> None:
    return None


def _not_here(what: str) -> Deferred[Any]:
    return fail(Failure(Denied(f"{what} is not for this process")))


@implementer(ISessions)
class RemoteSessions:
    """L{ISessions} in a worker."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def admit(self, proof: Proof, target: str, protocol: str) -> Deferred[Admission]:
        def admitted(response: Mapping[str, Any]) -> Admission:
            return evolve(response["admission"], recording=response["recording"])

        def too_late(response: Mapping[str, Any]) -> None:
            # nobody waits for this session any more: give it back. A broker that dies before that learns from
            # resume() that nobody runs it.
            os.close(response["recording"])
            one = response["admission"]
            why = "the client was gone before it was admitted"
            self.ended(one.session, one.token, why, 0, 0, 0).addErrback(unless_away)

        return self._link.call(c.Admit, too_late, proof=proof, target=target, protocol=protocol).addCallback(admitted)

    def catalogue_grant(self, session: str, token: Secret) -> Deferred[Grant]:
        return self._link.call(c.CatalogueGrant, session=session, token=token).addCallback(_take("grant"))

    def ended(self, session: str, token: Secret, why: str, operations: int, denied: int, held: int) -> Deferred[None]:
        return self._link.call(
            c.Ended, session=session, token=token, why=why, operations=operations, denied=denied, held=held
        ).addCallback(_none)

    def resume(self, sessions: list[tuple[str, Secret]]) -> Deferred[list[str]]:
        return self._link.call(c.Resume, sessions=sessions).addCallback(_take("unknown"))

    def register_cancel(self, session: str, token: Secret, key: bytes) -> Deferred[None]:
        call = self._link.call(c.RegisterCancel, session=session, token=token, key=Secret(key))
        return call.addCallback(_none)

    def cancel(self, key: bytes, peer: Peer | str) -> Deferred[None]:
        return self._link.call(c.Cancel, key=Secret(key), peer=peer).addCallback(_none)


@implementer(IApprovals)
class RemoteApprovals:
    """L{IApprovals} in a worker: a requester's part. People decide through control, never through a worker."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def request(self, session: str, token: Secret, held: HeldOperation) -> Deferred[Approval]:
        call = self._link.call(c.RequestApproval, session=session, token=token, held=held)
        return call.addCallback(_take("approval"))

    def covering(self, session: str, token: Secret, held: HeldOperation) -> Deferred[Covering]:
        call = self._link.call(c.CoveringApproval, session=session, token=token, held=held)
        return call.addCallback(_take("covering"))

    def request_several(
        self, session: str, token: Secret, plan: Sequence[HeldOperation], shown: str
    ) -> Deferred[Approval]:
        call = self._link.call(c.RequestSeveral, session=session, token=token, plan=list(plan), shown=shown)
        return call.addCallback(_take("approval"))

    def decided(self, approval: str) -> Deferred[Approval]:
        return self._link.watches.wait(approval)

    def claim(self, session: str, token: Secret, approval: str, held: HeldOperation) -> Deferred[Approval]:
        call = self._link.call(c.Claim, session=session, token=token, approval=approval, held=held)
        return call.addCallback(_take("approval"))

    def settle(self, session: str, token: Secret, approval: str, outcome: str, detail: str) -> Deferred[Approval]:
        call = self._link.call(
            c.Settle, session=session, token=token, approval=approval, outcome=outcome, detail=detail
        )
        return call.addCallback(_take("approval"))

    def withdraw(self, session: str, token: Secret, approval: str, why: str) -> Deferred[Approval]:
        call = self._link.call(c.Withdraw, session=session, token=token, approval=approval, why=why)
        return call.addCallback(_take("approval"))

    def show(self, approval: str) -> Deferred[Approval]:
        return self._link.call(c.ShowApproval, approval=approval).addCallback(_take("approval"))

    def decide(
        self,
        approval: str,
        identity: Identity,
        approve: bool,
        reason: str,
        reach: Scope | None = None,
        lasts: float | None = None,
        max_rows: int | None = None,
    ) -> Deferred[Approval]:
        return _not_here("deciding")

    def find(
        self, states: Any = None, requester: str | None = None, target: str | None = None
    ) -> Deferred[list[Approval]]:
        return _not_here("listing approvals")


@implementer(IBreakGlass)
class RemoteBreakGlass:
    """L{IBreakGlass} in a worker."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def open(self, session: str, token: Secret, reason: str) -> Deferred[Opening]:
        call = self._link.call(c.BreakGlass, session=session, token=token, reason=reason)
        return call.addCallback(_take("opening"))

    def close(self, session: str, token: Secret) -> Deferred[list[str]]:
        return self._link.call(c.CloseGlass, session=session, token=token).addCallback(_take("closed"))

    def skip(self, session: str, token: Secret, held: HeldOperation) -> Deferred[None]:
        return self._link.call(c.SkipRules, session=session, token=token, held=held).addCallback(_none)


@implementer(ICredentialVault)
class RemoteVault:
    """L{ICredentialVault} in a worker: the answering of challenges, by grant."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def start_challenge(self, grant: Grant, target: Target, offer: ScramServerFirst) -> Deferred[tuple[str, bytes]]:
        call = self._link.call(c.StartChallenge, grant=grant, target=target.name, offer=offer)
        return call.addCallback(lambda response: (response["mechanism"], response["message"].reveal()))

    def continue_challenge(self, grant: Grant, server_first: bytes) -> Deferred[bytes]:
        call = self._link.call(c.ContinueChallenge, grant=grant, message=server_first)
        return call.addCallback(_revealed)

    def finish_challenge(self, grant: Grant, server_final: bytes) -> Deferred[None]:
        return self._link.call(c.FinishChallenge, grant=grant, message=server_final).addCallback(_none)

    def weak_answer(self, grant: Grant, target: Target, method: str, salt: bytes) -> Deferred[bytes]:
        call = self._link.call(c.WeakAnswer, grant=grant, target=target.name, method=method, salt=salt)
        return call.addCallback(_revealed)

    def put(self, name: str, secret: Secret, by: str) -> Deferred[SecretEntry]:
        return _not_here("keeping secrets")

    def entries(self) -> Deferred[list[SecretEntry]]:
        return _not_here("listing secrets")

    def remove(self, name: str, by: str) -> Deferred[None]:
        return _not_here("removing secrets")

    def rotate_master_key(self, by: str) -> Deferred[int]:
        return _not_here("rotating keys")

    def check(self) -> Deferred[list[str]]:
        return _not_here("opening secrets")


def _revealed(response: Mapping[str, Any]) -> bytes:
    message: Secret = response["message"]
    return message.reveal()


@implementer(ISshCredentials)
class RemoteSshCredentials:
    """L{ISshCredentials} in a worker."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def check_host(self, grant: Grant, target: Target, key: bytes) -> Deferred[None]:
        return self._link.call(c.CheckHost, grant=grant, target=target.name, key=key).addCallback(_none)

    def offer(self, grant: Grant, target: Target, login: str) -> Deferred[SshOffer]:
        return self._link.call(c.OfferSsh, grant=grant, target=target.name, login=login).addCallback(_take("offer"))

    def certify_host(self, key: bytes) -> Deferred[bytes]:
        return self._link.call(c.CertifyHost, key=key).addCallback(_take("certificate"))

    def sign(self, grant: Grant, signed: bytes) -> Deferred[bytes]:
        return self._link.call(c.SignSsh, grant=grant, signed=signed).addCallback(_take("signature"))


@implementer(ILobby)
class RemoteLobby:
    """L{ILobby} in a worker."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def enter(self, proof: Proof) -> Deferred[Pass]:
        return self._link.call(c.EnterLobby, proof=proof).addCallback(_take("entered"))

    def call(self, token: Secret, verb: str, arguments: Mapping[str, Any]) -> Deferred[Any]:
        call = self._link.call(c.CallFromLobby, token=token, verb=verb, arguments=dict(arguments))
        return call.addCallback(_take("result"))

    def leave(self, token: Secret) -> Deferred[None]:
        return self._link.call(c.LeaveLobby, token=token).addCallback(_none)


@implementer(ILoginLinks)
class RemoteLoginLinks:
    """L{ILoginLinks} in a worker."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def begin(self, provider: str, address: str) -> Deferred[LoginLink]:
        # one that comes too late is shown to nobody
        call = self._link.call(c.BeginLogin, late=self._unwanted, provider=provider, address=address)
        return call.addCallback(_take("link"))

    def settled(self, token: Secret) -> Deferred[bool]:
        return self._link.call(c.LoginSettled, token=token).addCallback(_take("proven"))

    def leave(self, token: Secret) -> Deferred[None]:
        return self._link.call(c.LeaveLogin, token=token).addCallback(_none)

    def _unwanted(self, response: Mapping[str, Any]) -> None:
        self.leave(response["link"].token).addErrback(unless_away)


@implementer(IAdministration)
class RemoteAdministration:
    """L{IAdministration} in control."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def call(self, token: Secret, verb: str, arguments: Mapping[str, Any]) -> Deferred[Any]:
        call = self._link.call(c.Administer, token=token, verb=verb, arguments=dict(arguments))
        return call.addCallback(_take("result"))
