"""Processes that the broker asks, and that ask it nothing: the verifier and the notifier, as its services see them."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure
from zope.interface import implementer

from hoopd.errors import Unavailable
from hoopd.interfaces import INotifier, IVerifier
from hoopd.ipc import commands as c
from hoopd.ipc import wire
from hoopd.ipc.end import End
from hoopd.notices.deliveries import Delivery, Mail, Outcome, Post, Run
from hoopd.secret import Secret


@implementer(INotifier)
class RemoteNotifier:
    """L{INotifier} in the broker: whichever notifier lives. Fails with Unavailable while none does."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.end: End | None = None

    def deliver(self, delivery: Delivery) -> Deferred[Outcome]:
        if self.end is None or self.end.lost:
            return fail(Failure(Unavailable("the notifier is away")))
        kind = {Post: "post", Mail: "mail", Run: "run"}[type(delivery)]
        answer = self.end.ask(c.Deliver, **{kind: delivery})
        answer.addTimeout(c.Deliver.deadline, self._reactor, _notifier_silent)
        return answer.addCallback(lambda response: response["outcome"])


def _notifier_silent(failure: Any, seconds: float) -> Any:
    raise Unavailable("the notifier did not answer in time")


@implementer(IVerifier)
class RemoteVerifier:
    """L{IVerifier} in the broker: whichever verifier lives. Fails with Unavailable while none does."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.end: End | None = None

    def verify(self, token: Secret) -> Deferred[Any]:
        from hoopd.identity.values import VerifiedToken  # here, for the processes that never verify

        answer = self._ask(c.Verify, token=token)
        return answer.addCallback(lambda response: wire.decode(response["token"], VerifiedToken))

    def begin_device(self, provider: str, secret: Secret) -> Deferred[Any]:
        from hoopd.identity.values import DeviceRequest

        answer = self._ask(c.BeginDevice, provider=provider, secret=secret)
        return answer.addCallback(lambda response: wire.decode(response["request"], DeviceRequest))

    def poll_device(self, provider: str, code: Secret, secret: Secret) -> Deferred[Any]:
        from hoopd.identity.values import DeviceAnswer

        answer = self._ask(c.PollDevice, provider=provider, code=code, secret=secret)
        return answer.addCallback(lambda response: wire.decode(response["answer"], DeviceAnswer))

    def _ask(self, command: type[c.Call], **arguments: Any) -> Deferred[Any]:
        if self.end is None or self.end.lost:
            return fail(Failure(Unavailable("the verifier is away")))
        return self.end.ask(command, **arguments).addTimeout(command.deadline, self._reactor, _too_slow)


def _too_slow(failure: Any, seconds: float) -> Any:
    raise Unavailable("the verifier did not answer in time")
