"""The way of a worker, verifier or control process to whichever broker lives; not the commands' meaning.

One broker follows another: the supervisor hands over a new end each time. Calls wait for a broker up to their
deadline. A new end takes all new calls from the moment it is there; what was asked on the old one is still
answered there, so that a broker that stops in good order loses no call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import connectionDone
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopd.errors import HoopdError, Unavailable
from hoopd.interfaces import INotifier, IVerifier
from hoopd.ipc import commands as c
from hoopd.ipc import wire
from hoopd.ipc.end import QUESTIONS_MAX, End, Lost
from hoopd.ipc.interfaces import IWorkerRole
from hoopd.ipc.transport import adopt
from hoopd.ipc.watches import Watches
from hoopd.values import Approval, Opening

#: how long a new broker's end waits for the last answers of the one before: its process has ended by then, and
#: only what lies in our own socket buffer is still to be read
_LAST_ANSWERS = 5.0


#: pause before sessions are offered again to a broker whose store did not answer
_RESUME_AGAIN = 1.0


class Incompatible(Unavailable):
    """The broker speaks another version of the commands."""


class LinkEnd(End):
    """Our end of one socketpair to one broker: what brokers may ask of us."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self.link = link
        self.finished: Deferred[None] = Deferred()
        self.asking = 0

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        # first, so that what is repeated is not repeated here
        self.link._lost(self)
        super().connectionLost(reason)
        self.finished.callback(None)

    def _worker(self) -> Any:
        if self.link.role is None:
            raise Unavailable("this process runs no sessions")
        return self.link.role

    @c.PushPolicy.responder
    def policy(self, document: bytes) -> dict[str, Any]:
        self._worker().take_policy(document)
        return {}

    @c.PushOpenings.responder
    def openings(self, openings: list[Opening]) -> dict[str, Any]:
        self._worker().take_openings(openings)
        return {}

    @c.Decided.responder
    def decided(self, id: str, approval: Approval | None = None, error: str | None = None) -> dict[str, Any]:
        if approval is not None:
            self.link.watches.settle(id, approval)
        else:
            self.link.watches.fail(id, wire.error_from_text(error or ""))
        return {}

    @c.AskAhead.responder
    async def ask_ahead(self, token: Any, target: str, database: str, text: bytes, reason: str) -> dict[str, Any]:
        return {"asked": await self._worker().ask_ahead(token, target, database, text, reason)}

    @c.CancelSession.responder
    def cancel(self, session: str) -> dict[str, Any]:
        self._worker().cancel(session)
        return {}

    @c.EndSession.responder
    def end(self, session: str, why: str) -> dict[str, Any]:
        self._worker().end(session, why)
        return {}

    @c.Leaving.responder
    def leaving(self) -> dict[str, Any]:
        self.link._left(self)
        return {}

    @c.Verify.responder
    async def verify(self, token: Any) -> dict[str, Any]:
        return {"token": wire.encode(await self._verifier().verify(token))}

    @c.BeginDevice.responder
    async def begin_device(self, provider: str, secret: Any) -> dict[str, Any]:
        return {"request": wire.encode(await self._verifier().begin_device(provider, secret))}

    @c.PollDevice.responder
    async def poll_device(self, provider: str, code: Any, secret: Any) -> dict[str, Any]:
        return {"answer": wire.encode(await self._verifier().poll_device(provider, code, secret))}

    def _verifier(self) -> Any:
        if self.link.verifier is None:
            raise Unavailable("this process verifies nothing")
        return self.link.verifier

    @c.Deliver.responder
    async def deliver(self, post: Any = None, mail: Any = None, run: Any = None) -> dict[str, Any]:
        if self.link.notifier is None:
            raise Unavailable("this process delivers nothing")
        return {"outcome": await self.link.notifier.deliver(post or mail or run)}


@define(eq=False)
class _Question:
    """One call of ours, from its asking to its answer or its end."""

    command: type[c.Call]
    arguments: dict[str, Any]
    answer: Deferred[Any]
    late: Callable[[Any], Any] | None
    timer: Any = None
    open: bool = field(default=True)


class Link:
    """
    @ivar role: the L{IWorkerRole} that the broker may reach, or None.
    @ivar away_since: None while a broker has answered and is there; else when (reactor seconds) it was last so.
    @ivar incompatible: called with a text when a broker refuses our version.
    """

    log = Logger()

    def __init__(self, reactor: Any, name: str, pid: int, role: IWorkerRole | None = None) -> None:
        self.reactor = reactor
        self.name = name
        self.pid = pid
        self.role = role
        self.verifier: IVerifier | None = None
        self.notifier: INotifier | None = None
        self.incompatible: Callable[[str], None] = lambda why: None
        self.away_since: float | None = reactor.seconds()
        self.watches = Watches(self)
        self._newest: LinkEnd | None = None
        self._ends: set[LinkEnd] = set()
        self._queue: deque[_Question] = deque()
        self._first: list[Deferred[None]] = []

    def offer_verifier(self, verifier: IVerifier) -> None:
        """Answer brokers' L{c.Verify} with C{verifier}."""
        self.verifier = verifier

    def offer_notifier(self, notifier: INotifier) -> None:
        """Answer brokers' L{c.Deliver} with C{notifier}."""
        self.notifier = notifier

    @property
    def attached(self) -> bool:
        """Whether a broker is there that has greeted us and knows our sessions."""
        return self.away_since is None

    def when_attached(self) -> Deferred[None]:
        """@return: Deferred of None once a broker is there; no deadline."""
        deferred: Deferred[None] = Deferred(self._first_cancelled)
        if self.attached:
            deferred.callback(None)
        else:
            self._first.append(deferred)
        return deferred

    def _first_cancelled(self, deferred: Deferred[None]) -> None:
        self._first.remove(deferred)

    # -- brokers come and go ----------------------------------------------------------------------------------

    def attach(self, fd: int) -> None:
        """Take the end C{fd} to a new broker; calls that wait go there once it has greeted us."""
        end = LinkEnd(self)
        try:
            adopt(fd, end, self.reactor)
        except OSError as problem:
            self.log.error("the end to a new broker cannot be used: {problem}", problem=problem)
            return
        self._away()
        self._newest = end
        old = [other for other in self._ends if not other.lost]
        self._ends.add(end)
        for other in old:
            self._let_go(other)
        Deferred.fromCoroutine(self._greet(end, old)).addErrback(self._not_greeted, end)

    async def _greet(self, end: LinkEnd, old: list[LinkEnd]) -> None:
        # no deadline: a new broker opens its store first, and one that hangs is killed by the supervisor
        answer = await end.ask(c.Hello, version=c.VERSION, name=self.name, pid=self.pid)
        if answer["version"] != c.VERSION:
            raise Incompatible(f"the broker speaks version {answer['version']}, this process {c.VERSION}")
        if self.role is not None:
            # The one before is gone (two brokers never run on one store). Its last answers may still lie unread:
            # an admission among them is a session that the new broker must hear of.
            for other in old:
                await self._bounded(other.finished, _LAST_ANSWERS)
            await self._resume(end)
        if self._newest is end and not end.lost:
            self.away_since = None
            self.watches.renew()
            waiting, self._first = self._first, []
            for deferred in waiting:
                deferred.callback(None)
            self._pump()

    async def _resume(self, end: LinkEnd) -> None:
        assert self.role is not None
        while True:
            try:
                answer = await end.ask(c.Resume, sessions=list(self.role.live_sessions()))
                break
            except Lost:
                raise
            except Unavailable as why:
                self.log.warn("the broker cannot resume our sessions yet: {why}", why=str(why))
                await deferLater(self.reactor, _RESUME_AGAIN)
        for session in answer["unknown"]:
            self.role.end(session, "the broker does not know this session")

    def _bounded(self, deferred: Deferred[None], seconds: float) -> Deferred[None]:
        if deferred.called:
            return deferLater(self.reactor, 0)
        either: Deferred[None] = Deferred()
        timer = self.reactor.callLater(seconds, either.callback, None)

        def done(result: None) -> None:
            if timer.active():
                timer.cancel()
                either.callback(None)

        deferred.addCallback(done)
        return either

    def _not_greeted(self, failure: Failure, end: LinkEnd) -> None:
        if not failure.check(Lost):
            self.log.error("a broker could not be attached: {why}", why=failure.getErrorMessage())
        if failure.check(Incompatible):
            self.incompatible(failure.getErrorMessage())
        end.close()

    def _left(self, end: LinkEnd) -> None:
        """The broker stops: nothing new goes there."""
        if end is self._newest:
            self._newest = None
            self._away()
        self._let_go(end)

    def _let_go(self, end: LinkEnd) -> None:
        """Close C{end} once everything that was asked on it has been answered."""
        if end.asking == 0 and end is not self._newest and not end.lost:
            end.tell(c.Goodbye)
            end.close()

    def _lost(self, end: LinkEnd) -> None:
        self._ends.discard(end)
        if end is self._newest:
            self._newest = None
            self._away()

    def _away(self) -> None:
        if self.away_since is None:
            self.away_since = self.reactor.seconds()

    def close(self) -> None:
        """Let go of every broker; calls that wait fail."""
        self._newest = None
        self._away()
        for end in list(self._ends):
            end.close()
        while self._queue:
            self._fail(self._queue.popleft(), Unavailable("this process is ending"))

    # -- calls ------------------------------------------------------------------------------------------------

    def call(self, command: type[c.Call], late: Callable[[Any], Any] | None = None, **arguments: Any) -> Deferred[Any]:
        """Ask the broker; wait for one if none is there.

        @param late: called with an answer that comes after the deadline or after the caller has cancelled, for
            what must then be given back.
        @return: Deferred of the response mapping; may be cancelled.
        @raise Unavailable: no answer within C{command.deadline} seconds.
        """
        question = _Question(command, arguments, Deferred(lambda _: self._cancelled(question)), late)
        question.timer = self.reactor.callLater(command.deadline, self._expired, question)
        self._queue.append(question)
        self._pump()
        return question.answer

    def _pump(self) -> None:
        end = self._newest
        while self._queue and end is not None and self.attached and end.asking < QUESTIONS_MAX:
            question = self._queue.popleft()
            end.asking += 1
            answer = end.ask(question.command, **question.arguments)
            answer.addBoth(self._answered, question, end)

    def _answered(self, result: Any, question: _Question, end: LinkEnd) -> None:
        end.asking -= 1
        self._let_go(end)
        failed = isinstance(result, Failure)
        if not question.open:
            if not failed and question.late is not None:
                question.late(result)
        elif failed and result.check(Lost) and question.command.repeat:
            self._queue.appendleft(question)
        else:
            question.open = False
            question.timer.cancel()
            if failed and not result.check(HoopdError, KeyError, ValueError):
                self.log.failure("{command} failed", failure=result, command=question.command.__name__)
                result = Failure(Unavailable("the gateway met an error of its own; its log says more"))
            question.answer.callback(result)
        self._pump()

    def _expired(self, question: _Question) -> None:
        if question in self._queue:
            self._queue.remove(question)
            why = "the broker is away"
        else:
            why = "the broker did not answer in time"
        question.open = False
        question.answer.errback(Failure(Unavailable(why)))

    def _cancelled(self, question: _Question) -> None:
        if question in self._queue:
            self._queue.remove(question)
        question.open = False
        if question.timer.active():
            question.timer.cancel()
        question.answer.errback(Failure(CancelledError()))

    def _fail(self, question: _Question, error: Exception) -> None:
        question.open = False
        if question.timer.active():
            question.timer.cancel()
        question.answer.errback(Failure(error))
