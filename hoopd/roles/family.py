"""The children: started, watched, attached to the broker, replaced and ended; not configured or re-executed
(L{hoopd.roles.supervisor}).

Order: the broker first. Every worker, verifier and control process has one socketpair to the broker that is to
serve it; when either of the two is new, both get new ends. One that crashes again and again waits longer each
time, and takes nobody with it.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from hoopd.errors import Unavailable
from hoopd.ipc.end import unless_away
from hoopd.ipc.transport import pair
from hoopd.roles import commands as c
from hoopd.roles import launch, privileges, sharing
from hoopd.roles.child import OUTLIVE, STOP_MAX
from hoopd.roles.exits import Exit
from hoopd.roles.listeners import Bound
from hoopd.roles.member import Backoff, Member, Place
from hoopd.roles.settings import Settings

#: from its start to its first sign of life a child imports its code: a second when idle, more on a busy machine
STARTUP_MAX = 30.0

#: signs of life come this often, or four times in the time after which a child counts as silent
HEARTBEAT = 2.0


class Family:
    """
    @ivar listeners: name to L{Bound}.
    @ivar began: when (reactor seconds) this generation did.
    @ivar reload: what a broker's wish to reload does, given who asks and the person behind that; returns problems. Set by the supervisor.
    @ivar ready: called with each member that becomes ready. Set by the supervisor.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        program: Sequence[str],
        settings: Settings,
        generation: int,
        listeners: Mapping[str, Bound],
        output: int | None = None,
        syslog: str = "",
    ) -> None:
        self.reactor = reactor
        self.generation = generation
        self.listeners = listeners
        self.members: list[Member] = []
        self.reload: Callable[[str, str], Awaitable[list[str]]] = self._cannot_reload
        self.ready: Callable[[Member], None] = lambda member: None
        self._program = program
        self._settings = settings
        self._output = output
        self._syslog = syslog
        self._tables: dict[str, int] = {}
        self._places: list[Place] = []
        self._held = False
        self._stopping = False
        self._empty: list[tuple[Callable[[Member], bool], Deferred[None]]] = []
        self._watch = LoopingCall(self._look)
        self._watch.clock = reactor
        self._looked = self.began = reactor.seconds()

    async def _cannot_reload(self, by: str, author: str) -> list[str]:
        raise Unavailable("no reload now")

    # -- starting ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Fill every place, the broker's first."""
        for role in ("broker", "verifier", "control"):
            self._place(role, role)
        if self._settings.config.notify:
            self._place("notifier", "notifier")
        for name, listener in self._settings.config.listen.items():
            self._tables[name] = sharing.create(max(1, listener.workers))
            for slot in range(listener.workers):
                self._place("worker", f"worker/{name}/{slot + 1}", name, slot)
        for place in self._places:
            self._fill(place)
        self._watch.start(min(1.0, self._settings.config.processes.silent / 4), now=False)

    def _place(self, role: str, name: str, listener: str = "", slot: int = 0) -> None:
        times = self._settings.config.processes
        backoff = Backoff(times.restart_delay, times.restart_delay_max)
        self._places.append(Place(role, name, backoff, listener, slot))

    def _wanted(self, place: Place) -> bool:
        if self._held or place.member is not None:
            return False
        if self._stopping:
            # sessions that drain need their broker, nothing else
            return place.role == "broker" and any(member.role == "worker" for member in self.members)
        if place.role in ("control", "verifier", "notifier"):
            # one at a time: the one before has the control socket's path
            return not any(member.role == place.role for member in self.members)
        return not place.listener or place.listener in self.listeners

    def _fill(self, place: Place) -> None:
        place.timer = None
        if not self._wanted(place):
            return
        ours, theirs = pair()
        settings = self._settings
        order = launch.Launch(
            role=place.role,
            name=place.name,
            generation=self.generation,
            config=settings.config,
            rules=launch.Rules(settings.policies, settings.papers, settings.by, settings.author)
            if place.role == "broker"
            else launch.Rules(),
            listener=place.listener,
            slot=place.slot,
            heartbeat=min(HEARTBEAT, settings.config.processes.silent / 4),
            syslog=self._syslog,
        )
        try:
            pid = launch.spawn(
                self._program,
                order,
                theirs.fileno(),
                self._tables[place.listener] if place.listener else None,
                self.listeners[place.listener].fd if place.listener else None,
                self._output,
            )
        except OSError as problem:
            ours.close()
            self.log.error("{name} cannot be started: {problem}", name=place.name, problem=problem)
            self._later(place, 0.0)
            return
        finally:
            theirs.close()
        user = privileges.user_to_be(place.role, place.name, self._settings.config.processes.users)
        now = self.reactor.seconds()
        member = Member(place.role, place.name, self.generation, pid, now, place.listener, user, place=place)
        place.member = member
        place.filled += 1
        self.adopt(member, ours.detach())
        self._attach_new(member)

    def _later(self, place: Place, lived: float) -> None:
        if place.timer is None:
            place.timer = self.reactor.callLater(place.backoff.after(lived), self._fill, place)

    def adopt(self, member: Member, control: int) -> None:
        """Count C{member} in and watch it; also one from before a re-exec."""
        self.members.append(member)
        member.connect(control, self)
        Exit(self.reactor, member.pid, lambda how: self._ended(member, how))

    # -- the broker and the others ----------------------------------------------------------------------------

    @property
    def broker(self) -> Member | None:
        """The broker that serves, or will once it has started."""
        return next((one for one in self.members if one.role == "broker" and not one.retiring), None)

    def _attach_new(self, member: Member) -> None:
        if member.role == "broker":
            for other in self.members:
                if other.role != "broker":
                    self._attach(other, member)
        elif self.broker is not None:
            self._attach(member, self.broker)

    def _attach(self, member: Member, broker: Member) -> None:
        for_broker, for_member = pair()
        for receiver, end, about in ((broker, for_broker, member), (member, for_member, broker)):
            given = receiver.give(c.Attach, end.detach(), role=about.role, name=about.name, pid=about.pid)
            # one that dies now is replaced, and attached then
            given.addErrback(unless_away)

    def processes(self) -> list[c.ProcessState]:
        """Who there is: the supervisor first, then everybody, those that drain too."""
        now = self.reactor.seconds()
        own = privileges.own_user()
        us = c.ProcessState("supervisor", "supervisor", os.getpid(), own, self.generation, "ready", self.began)
        return [us] + [
            c.ProcessState(
                one.role,
                one.name,
                one.pid,
                one.user,
                one.generation,
                one.phase,
                one.started,
                one.place.filled - 1 if one.place is not None else 0,
                None if one.heard is None else max(0.0, now - one.heard),
            )
            for one in self.members
        ]

    # -- watching ---------------------------------------------------------------------------------------------

    def heard(self, member: Member) -> None:
        """A sign of life."""
        member.heard = self.reactor.seconds()

    def reported(self, member: Member, phase: str) -> None:
        """A child says in which phase it is."""
        before, member.phase = member.phase, phase
        if phase == "ready" and before != "ready":
            self.ready(member)

    def _look(self) -> None:
        now = self.reactor.seconds()
        late, self._looked = now - self._looked, now
        silent = self._settings.config.processes.silent
        if late > silent / 2:
            # it was us who slept: what they said meanwhile is still to be read
            for member in self.members:
                if member.heard is not None:
                    member.heard = now
            return
        for member in self.members:
            if member.heard is None:
                quiet, most = now - member.started, STARTUP_MAX
            else:
                quiet, most = now - member.heard, silent
            if quiet > most:
                self.log.error("{name} ({pid}) is silent: killed", name=member.name, pid=member.pid)
                member.kill()

    def _ended(self, member: Member, how: str) -> None:
        self.members.remove(member)
        if member.end is not None:
            member.end.close()
        expected = member.retiring or member.told_to_drain
        say = self.log.info if expected else self.log.error
        say("{name} ({pid}) {how}", name=member.name, pid=member.pid, how=how)
        place, lived = member.place, self.reactor.seconds() - member.started
        if place is not None:
            place.member = None
            if not self._held and not self._stopping:
                self._later(place, lived)
        for other in self._places:
            # somebody may have waited for this one to go
            if other.role == member.role and other.member is None and other.timer is None and other is not place:
                self._fill(other)
        if self._stopping and place is not None and self._wanted(place):
            self._later(place, lived)
        self._check_empty()

    # -- retiring ---------------------------------------------------------------------------------------------

    def drain(self, member: Member, limit: float | None) -> None:
        """Let one accept nothing more and end when its sessions have; again, to bound what had no limit."""
        if member.told_to_drain and limit is None:
            return
        member.told_to_drain = True
        member.tell(c.Drain, limit=-1.0 if limit is None else float(limit))

    def retire(self, member: Member) -> None:
        """Stop one in order, and kill it if it does not."""
        member.retiring = True
        member.tell(c.Stop)
        self.reactor.callLater(STOP_MAX + 1, self._kill_if_there, member)

    def _kill_if_there(self, member: Member) -> None:
        if member in self.members:
            self.log.error("{name} ({pid}) does not stop: killed", name=member.name, pid=member.pid)
            member.kill()

    def hold(self) -> None:
        """Start nothing until L{release}: the supervisor is about to re-execute itself."""
        self._held = True

    def release(self) -> None:
        """Go on after all."""
        self._held = False
        for place in self._places:
            if place.timer is None:
                self._fill(place)

    # -- the end ----------------------------------------------------------------------------------------------

    async def stop(self, limit: float) -> None:
        """End everybody: workers and control drain for up to C{limit} seconds, then the verifier and broker stop."""
        self._stopping = True
        for place in self._places:
            if place.timer is not None and place.role != "broker":
                place.timer.cancel()
                place.timer = None
        for member in self.members:
            if member.role in ("worker", "control"):
                self.drain(member, limit)
        # a child bounds its own draining: this is for those that cannot
        await self._gone(lambda member: member.role in ("worker", "control"), limit + OUTLIVE + STOP_MAX)
        self._held = True
        for place in self._places:
            if place.timer is not None:
                place.timer.cancel()
                place.timer = None
        for member in list(self.members):
            if not member.retiring:
                self.retire(member)
        await self._gone(lambda member: True, STOP_MAX + 2)
        if self._watch.running:
            self._watch.stop()

    async def _gone(self, which: Callable[[Member], bool], limit: float) -> None:
        """Wait until none of C{which} is left; after C{limit} seconds kill them."""
        waiting: Deferred[None] = Deferred()
        timer = self.reactor.callLater(limit, self._kill_all, which)
        self._empty.append((which, waiting))
        self._check_empty()
        await waiting
        if timer.active():
            timer.cancel()

    def _kill_all(self, which: Callable[[Member], bool]) -> None:
        for member in self.members:
            if which(member):
                self.log.warn("{name} ({pid}) has not ended in time: killed", name=member.name, pid=member.pid)
                member.kill()

    def _check_empty(self) -> None:
        for entry in list(self._empty):
            which, waiting = entry
            if not any(which(member) for member in self.members):
                self._empty.remove(entry)
                waiting.callback(None)

    def close(self) -> None:
        """Close what this process holds for the family."""
        for fd in self._tables.values():
            os.close(fd)
        self._tables.clear()
