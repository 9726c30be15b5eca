"""Every command between the broker and its peers; not who answers (L{hoopd.ipc.broker}, L{hoopd.ipc.link}).

One class a command, with its deadline and whether it may arrive twice. The wire names carry L{VERSION}: a peer of
another version finds no command of ours, is refused at C{Hello}, and drains. Raise the version when a command
changes meaning; adding an optional argument or a new command does not need it.
"""

from __future__ import annotations

from typing import Any, ClassVar

from twisted.protocols import amp

from hoopd.errors import HoopdError
from hoopd.ipc.arguments import Document, Given, Value
from hoopd.notices.deliveries import Mail, Outcome, Post, Run
from hoopd.secret import Secret
from hoopd.values import (
    Admission,
    Approval,
    Asked,
    Covering,
    Grant,
    HeldOperation,
    LoginLink,
    Opening,
    Pass,
    Peer,
    Proof,
    ScramServerFirst,
    SshOffer,
)

VERSION = 1


class Refused(HoopdError):
    """An error of L{hoopd.ipc.wire.ERRORS} on its way; its text is the written form."""


class Call(amp.Command):
    """A question to another process.

    @cvar deadline: seconds after which the caller gives up. 30 s is broker_grace: whoever waits longer than that
        for an answer is refused anyway.
    @cvar repeat: may be sent again to a new broker when the old one died before it answered.
    """

    arguments: ClassVar[Any] = ()
    response: ClassVar[Any] = ()
    errors: ClassVar[dict[Any, bytes]] = {Refused: b"HOOPD"}
    deadline: ClassVar[float] = 30.0
    repeat: ClassVar[bool] = False


# -- attachment ---------------------------------------------------------------------------------------------


class Hello(Call):
    """The first command on every end: who speaks, and which version."""

    commandName = b"hello"  # the one name without a version: it is where versions are compared
    arguments = ((b"version", amp.Integer()), (b"name", amp.Unicode()), (b"pid", amp.Integer()))
    response = ((b"version", amp.Integer()), (b"generation", amp.Integer()))


class Goodbye(Call):
    """A peer lets go of this broker for another one. Without it the end of a connection is the end of the peer."""

    commandName = b"goodbye"
    requiresAnswer = False


class Resume(Call):
    """ISessions.resume"""

    commandName = b"resume/1"
    arguments = ((b"sessions", Value(list[tuple[str, Secret]])),)
    response = ((b"unknown", Value(list[str])),)
    repeat = True


# -- ISessions ----------------------------------------------------------------------------------------------


class Admit(Call):
    commandName = b"admit/1"
    arguments = ((b"proof", Value(Proof)), (b"target", amp.Unicode()), (b"protocol", amp.Unicode()))
    response = ((b"admission", Value(Admission)), (b"recording", Given()))


class CatalogueGrant(Call):
    commandName = b"catalogue-grant/1"
    arguments = ((b"session", amp.Unicode()), (b"token", Value(Secret)))
    response = ((b"grant", Value(Grant)),)
    repeat = True  # one more that is never used opens nothing


class Ended(Call):
    commandName = b"ended/1"
    arguments = (
        (b"session", amp.Unicode()),
        (b"token", Value(Secret)),
        (b"why", Value(str)),
        (b"operations", amp.Integer()),
        (b"denied", amp.Integer()),
        (b"held", amp.Integer()),
    )
    repeat = True


class RegisterCancel(Call):
    commandName = b"register-cancel/1"
    arguments = ((b"session", amp.Unicode()), (b"token", Value(Secret)), (b"key", Value(Secret)))
    repeat = True


class Cancel(Call):
    commandName = b"cancel/1"
    arguments = ((b"key", Value(Secret)), (b"peer", Value(Peer | str)))
    deadline = 10.0  # whoever sends a CancelRequest waits for nothing, and later than this it hits the next one


# -- IApprovals, the worker's part --------------------------------------------------------------------------

_OF_SESSION = ((b"session", amp.Unicode()), (b"token", Value(Secret)))
_APPROVAL = ((b"approval", Value(Approval)),)


class RequestApproval(Call):
    commandName = b"approvals.request/1"
    arguments = (*_OF_SESSION, (b"held", Value(HeldOperation)))
    response = _APPROVAL
    repeat = True  # an identical operation is joined, not held twice


class CoveringApproval(Call):
    commandName = b"approvals.covering/1"
    arguments = (*_OF_SESSION, (b"held", Value(HeldOperation)))
    response = ((b"covering", Value(Covering)),)
    repeat = True


class RequestSeveral(Call):
    commandName = b"approvals.several/1"
    arguments = (*_OF_SESSION, (b"plan", Value(list[HeldOperation])), (b"shown", Value(str)))
    response = _APPROVAL
    repeat = True


class Claim(Call):
    """Never repeated: an answer that was lost may be a claim that was made, and it is made once."""

    commandName = b"approvals.claim/1"
    arguments = (*_OF_SESSION, (b"approval", amp.Unicode()), (b"held", Value(HeldOperation)))
    response = _APPROVAL


class Settle(Call):
    commandName = b"approvals.settle/1"
    arguments = (
        *_OF_SESSION,
        (b"approval", amp.Unicode()),
        (b"outcome", amp.Unicode()),
        (b"detail", Value(str)),
    )
    response = _APPROVAL
    repeat = True


class Withdraw(Call):
    commandName = b"approvals.withdraw/1"
    arguments = (*_OF_SESSION, (b"approval", amp.Unicode()), (b"why", Value(str)))
    response = _APPROVAL
    repeat = True


class ShowApproval(Call):
    commandName = b"approvals.show/1"
    arguments = ((b"approval", amp.Unicode()),)
    response = _APPROVAL
    repeat = True


class Watch(Call):
    """Tell me by L{Decided} once this is no longer pending. Answered as soon as the watch stands."""

    commandName = b"approvals.watch/1"
    arguments = ((b"approval", amp.Unicode()),)
    repeat = True


class Unwatch(Call):
    commandName = b"approvals.unwatch/1"
    arguments = ((b"approval", amp.Unicode()),)


# -- IBreakGlass --------------------------------------------------------------------------------------------


class BreakGlass(Call):
    commandName = b"break-glass.open/1"
    arguments = (*_OF_SESSION, (b"reason", Value(str)))
    response = ((b"opening", Value(Opening)),)
    repeat = True  # what is open already is answered, not opened twice


class CloseGlass(Call):
    commandName = b"break-glass.close/1"
    arguments = _OF_SESSION
    response = ((b"closed", Value(list[str])),)
    repeat = True


class SkipRules(Call):
    """Not repeated: an answer that was lost may be a leaf that was written, and one operation has one."""

    commandName = b"break-glass.skip/1"
    arguments = (*_OF_SESSION, (b"held", Value(HeldOperation)))


# -- ICredentialVault, the answering of challenges ----------------------------------------------------------


class StartChallenge(Call):
    """The target goes by its name: the broker uses its own entry."""

    commandName = b"vault.start/1"
    arguments = ((b"grant", Value(Grant)), (b"target", amp.Unicode()), (b"offer", Value(ScramServerFirst)))
    response = ((b"mechanism", amp.Unicode()), (b"message", Value(Secret)))


class ContinueChallenge(Call):
    commandName = b"vault.continue/1"
    arguments = ((b"grant", Value(Grant)), (b"message", Value(bytes)))
    response = ((b"message", Value(Secret)),)


class FinishChallenge(Call):
    commandName = b"vault.finish/1"
    arguments = ((b"grant", Value(Grant)), (b"message", Value(bytes)))


class WeakAnswer(Call):
    commandName = b"vault.weak/1"
    arguments = (
        (b"grant", Value(Grant)),
        (b"target", amp.Unicode()),
        (b"method", amp.Unicode()),
        (b"salt", Value(bytes)),
    )
    response = ((b"message", Value(Secret)),)


# -- ISshCredentials ----------------------------------------------------------------------------------------


class CheckHost(Call):
    commandName = b"check-host/1"
    arguments = ((b"grant", Value(Grant)), (b"target", amp.Unicode()), (b"key", Document()))
    repeat = True


class OfferSsh(Call):
    commandName = b"offer-ssh/1"
    arguments = ((b"grant", Value(Grant)), (b"target", amp.Unicode()), (b"login", amp.Unicode()))
    response = ((b"offer", Value(SshOffer)),)


class CertifyHost(Call):
    commandName = b"certify-host/1"
    arguments = ((b"key", Document()),)
    response = ((b"certificate", Document()),)
    repeat = True


class EnterLobby(Call):
    commandName = b"enter-lobby/1"
    arguments = ((b"proof", Value(Proof)),)
    response = ((b"entered", Value(Pass)),)


class CallFromLobby(Call):
    commandName = b"call-from-lobby/1"
    arguments = ((b"token", Value(Secret)), (b"verb", amp.Unicode()), (b"arguments", Value(Any)))
    response = ((b"result", Value(Any)),)


class LeaveLobby(Call):
    commandName = b"leave-lobby/1"
    arguments = ((b"token", Value(Secret)),)


# -- ILoginLinks --------------------------------------------------------------------------------------------


class BeginLogin(Call):
    commandName = b"login.begin/1"
    arguments = ((b"provider", amp.Unicode()), (b"address", amp.Unicode()))
    response = ((b"link", Value(LoginLink)),)
    deadline = 20.0  # the client shows nothing meanwhile


class LoginSettled(Call):
    commandName = b"login.settled/1"
    arguments = ((b"token", Value(Secret)),)
    response = ((b"proven", Value(bool)),)
    # LoginLinks.PATIENCE and the provider's answer take less
    repeat = True


class LeaveLogin(Call):
    commandName = b"login.leave/1"
    arguments = ((b"token", Value(Secret)),)


class SignSsh(Call):
    commandName = b"sign-ssh/1"
    arguments = ((b"grant", Value(Grant)), (b"signed", Document()))
    response = ((b"signature", Document()),)


# -- control ------------------------------------------------------------------------------------------------


class Administer(Call):
    commandName = b"administer/1"
    arguments = ((b"token", Value(Secret)), (b"verb", amp.Unicode()), (b"arguments", Value(Any)))
    response = ((b"result", Value(Any)),)
    deadline = 120.0  # rotating the master key or verifying the ledger takes its time


# -- broker to verifier -------------------------------------------------------------------------------------


class Verify(Call):
    """The answer is L{hoopd.identity.values.VerifiedToken}, read by the stub, so that a process that never
    verifies does not import it."""

    commandName = b"verify/1"
    arguments = ((b"token", Value(Secret)),)
    response = ((b"token", Document()),)
    deadline = 20.0  # less than Admit's: a provider that is away must not become a broker that is away
    repeat = True


class BeginDevice(Call):
    """The answer is L{hoopd.identity.values.DeviceRequest}."""

    commandName = b"begin-device/1"
    arguments = ((b"provider", amp.Unicode()), (b"secret", Value(Secret)))
    response = ((b"request", Document()),)
    deadline = 15.0  # discovery and the request itself, 5 s each


class PollDevice(Call):
    """The answer is L{hoopd.identity.values.DeviceAnswer}."""

    commandName = b"poll-device/1"
    arguments = ((b"provider", amp.Unicode()), (b"code", Value(Secret)), (b"secret", Value(Secret)))
    response = ((b"answer", Document()),)
    deadline = 15.0


# -- broker to notifier -------------------------------------------------------------------------------------


class Deliver(Call):
    """INotifier.deliver: one of the three. Never repeated by itself: the broker tries again at its own pace."""

    commandName = b"deliver/1"
    arguments = (
        (b"post", Value(Post, optional=True)),
        (b"mail", Value(Mail, optional=True)),
        (b"run", Value(Run, optional=True)),
    )
    response = ((b"outcome", Value(Outcome)),)
    deadline = 75.0  # a command has a minute at most


# -- broker to worker ---------------------------------------------------------------------------------------


class PushPolicy(Call):
    commandName = b"policy/1"
    arguments = ((b"document", Document()),)


class PushOpenings(Call):
    """Every use of break glass there is now; what is not among them is over."""

    commandName = b"openings/1"
    arguments = ((b"openings", Value(list[Opening])),)


class Decided(Call):
    """The end of a L{Watch}: an approval, or the error (its written form) that the watch met."""

    commandName = b"decided/1"
    arguments = (
        (b"id", amp.Unicode()),
        (b"approval", Value(Approval, optional=True)),
        (b"error", amp.Unicode(optional=True)),
    )


class AskAhead(Call):
    """Judge these statements as a session of the token's identity would, and ask for what is held."""

    commandName = b"ask-ahead/1"
    arguments = (
        (b"token", Value(Secret)),
        (b"target", amp.Unicode()),
        (b"database", amp.Unicode()),
        (b"text", Value(bytes)),
        (b"reason", Value(str)),
    )
    response = ((b"asked", Value(Asked)),)
    deadline = 60.0  # it opens a session at the target: a slow one, and a long file


class CancelSession(Call):
    commandName = b"session.cancel/1"
    arguments = ((b"session", amp.Unicode()),)


class EndSession(Call):
    commandName = b"session.end/1"
    arguments = ((b"session", amp.Unicode()), (b"why", Value(str)))


class Leaving(Call):
    """The broker stops: send nothing more on this end. What was sent is still answered; then close it."""

    commandName = b"leaving/1"
    deadline = 5.0
