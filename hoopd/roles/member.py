"""One child as the supervisor sees it: its process, its control end, its phase; and when it is started again."""

from __future__ import annotations

import os
import pwd
import signal
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from hoopd.errors import Unavailable
from hoopd.ipc.end import End, unless_away
from hoopd.ipc.transport import adopt
from hoopd.roles import commands as c

if TYPE_CHECKING:
    from hoopd.roles.family import Family

#: a child that lived for so long was well: the next pause is the first one again
STABLE = 10.0

PHASES = ("starting", "ready", "draining")


class Backoff:
    """How long to wait before a place is filled again; pure.

    @param first: the first pause; each next one is twice as long.
    @param most: the longest.
    """

    def __init__(self, first: float, most: float) -> None:
        self._first = first
        self._most = most
        self._next = first

    def after(self, lived: float) -> float:
        """@param lived: seconds the child lived. @return: seconds to wait now."""
        if lived >= STABLE:
            self._next = self._first
        pause, self._next = self._next, min(self._next * 2, self._most)
        return min(pause, self._most)


class MemberEnd(End):
    """The supervisor's end of one control socketpair.

    That it closes means nothing by itself: the child's exit is seen elsewhere, and one that closed its end and lives
    on is silent, and killed for that.
    """

    def __init__(self, member: Member, family: Family) -> None:
        super().__init__()
        self.member = member
        self.family = family

    @c.Alive.responder
    def alive(self) -> dict[str, Any]:
        self.family.heard(self.member)
        return {}

    @c.Report.responder
    def report(self, phase: str) -> dict[str, Any]:
        self.family.heard(self.member)
        if phase in PHASES:
            self.family.reported(self.member, phase)
        return {}

    @c.Reload.responder
    async def reload(self, by: str, author: str) -> dict[str, Any]:
        if self.member.role != "broker":
            raise Unavailable("only the broker may ask for a reload")
        return {"problems": await self.family.reload(by, author)}

    @c.Processes.responder
    def processes(self) -> dict[str, Any]:
        if self.member.role != "broker":
            raise Unavailable("only the broker may ask for the processes")
        return {"processes": self.family.processes()}


@define(eq=False)
class Place:
    """A position in the family that should be filled.

    @ivar filled: how many members it has had.
    """

    role: str
    name: str
    backoff: Backoff
    listener: str = ""
    slot: int = 0
    filled: int = 0
    member: Member | None = None
    timer: Any = None


@define(eq=False)
class Member:
    """
    @ivar heard: when (reactor seconds) it last gave a sign of life; None before its first.
    @ivar user: the system user it has become, empty where that is ours.
    @ivar retiring: of an earlier generation, or told to stop: not to be replaced, gets no new ends.
    """

    role: str
    name: str
    generation: int
    pid: int
    started: float
    listener: str = ""
    user: str = ""
    phase: str = "starting"
    heard: float | None = None
    retiring: bool = False
    end: MemberEnd | None = None
    told_to_drain: bool = False
    place: Place | None = field(default=None, repr=False)

    def connect(self, fd: int, family: Family) -> None:
        """Talk to it on the control end C{fd}, which is consumed."""
        end, old = MemberEnd(self, family), self.end
        self.end = end
        if old is not None:
            old.close()
        adopt(fd, end, family.reactor)

    def give(self, command: type[c.Attach] | type[c.Renew], fd: int, **arguments: Any) -> Deferred[Any]:
        """Pass the descriptor C{fd}, which is consumed."""
        if self.end is None or self.end.lost:
            os.close(fd)
            answer: Deferred[Any] = Deferred()
            answer.errback(Failure(Unavailable(f"{self.name} has no control end")))
            return answer
        return self.end.ask(command, end=fd, **arguments)

    def tell(self, command: Any, **arguments: Any) -> None:
        """Order something. A child that does not take it is silent or dead, which is seen elsewhere."""
        if self.end is not None:
            self.end.ask(command, **arguments).addErrback(unless_away)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Signal it. Only while its exit has not been seen: so the process id is still its own."""
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return
        except PermissionError:
            if not self.user:
                raise
            self._kill_as_its_user(number)

    def _kill_as_its_user(self, number: int) -> None:
        # Our user may not signal another's processes, but we may become its user for a moment (CAP_SETUID): one
        # capability less than CAP_KILL would be.
        uid = pwd.getpwnam(self.user).pw_uid
        ours = os.geteuid()
        os.seteuid(uid)
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return
        finally:
            os.seteuid(ours)
