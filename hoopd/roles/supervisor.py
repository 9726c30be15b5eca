"""The supervisor: configuration, listeners, the family, reload in place, the end; parses nobody's bytes.

One life of it runs one generation of configuration and code. A reload is the next life: the same process executes
its own command line again (L{hoopd.roles.reexec}), with listeners and children kept. States: C{running},
C{checking} (a reload's configuration), C{leaving} (about to re-execute), C{stopping}.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from attrs import evolve, frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater
from twisted.logger import Logger

from hoopd.errors import ConfigError, HoopdError
from hoopd.ipc import wire
from hoopd.ipc.end import unless_away, unless_slow
from hoopd.ipc.transport import pair
from hoopd.roles import commands as c
from hoopd.roles import launch, listeners, privileges, reexec
from hoopd.roles.exits import Exit
from hoopd.roles.family import Family
from hoopd.roles.member import Member
from hoopd.roles.notify import notify
from hoopd.roles.settings import Settings

#: children answer within a heartbeat; one that does not finds its new end in its old one later
RENEW_MAX = 2.0

#: loading policies runs their tests
CHECK_MAX = 60.0

#: a supervisor that was killed leaves workers that close the listener within a moment: so long is tried again
BIND_AGAIN = 5.0


@frozen
class Program:
    """What runs: command lines, first their absolute program.

    @ivar child: a child, up to its role.
    @ivar check: the check of a new configuration, up to its directory; prints what is wrong, or L{Settings} as JSON.
    @ivar again: this process's own, to re-execute.
    @ivar pidfile: twistd's, or empty.
    @ivar log: the file that children log to; empty: they inherit our standard output and error.
    @ivar syslog: prefix, where twistd logs to syslog.
    """

    child: Sequence[str]
    check: Sequence[str]
    again: Sequence[str]
    pidfile: str = ""
    log: str = ""
    syslog: str = ""


def production(again: Sequence[str], **more: Any) -> Program:
    """@return: hoopd's own programs."""
    return Program(
        child=(sys.executable, "-m", "hoopd.roles.child"),
        check=(sys.executable, "-m", "hoopd.roles.check"),
        again=again,
        **more,
    )


def settle(directory: str, read: Callable[[str], Settings], before: reexec.State | None) -> Settings:
    """What this life runs with: what the life before had checked, or what is on disk; else what ran before.

    @raise hoopd.errors.ConfigError: it is wrong, and nothing ran before.
    """
    try:
        if before is None or not before.checked:
            return read(directory)
        checked: Settings = wire.decode(before.checked, Settings)
        return evolve(checked, by=before.by, author=before.author)
    except HoopdError as problem:
        if before is None or not before.settings:
            raise
        Logger().error("configuration refused, the one before stays: {problem}", problem=str(problem))
        kept: Settings = wire.decode(before.settings, Settings)
        return kept


class Supervisor(Service):
    """
    @param settings: what this life runs with.
    @param before: what a life before this one left, or None.
    """

    log = Logger()
    name = "hoopd"

    def __init__(
        self,
        reactor: Any,
        directory: str,
        settings: Settings,
        program: Program,
        before: reexec.State | None = None,
    ) -> None:
        self.reactor = reactor
        self.directory = directory
        self.settings = settings
        self.program = program
        self.state = "running"
        self.generation = before.generation + 1 if before else 1
        self.bound: dict[str, listeners.Bound] = {}
        self.family: Family
        self._before = before
        self._said_ready = False
        self._told_systemd = False
        self._again = False
        self._output: int | None = None
        self._checked, self._by, self._author = b"", "", ""

    # -- the beginning ----------------------------------------------------------------------------------------

    def privilegedStartService(self) -> None:
        """Bind what is not bound yet, while low ports may still be bound."""
        kept = {one.name: one for one in self._before.listeners} if self._before else {}
        for name, listener in self.settings.config.listen.items():
            one = kept.pop(name, None)
            if one is not None and (one.address, one.port) == (listener.address, listener.port):
                self.bound[name] = listeners.Bound(name, one.address, one.port, one.fd)
                continue
            if one is not None:
                os.close(one.fd)
            self._bind(name)
        for one in kept.values():
            os.close(one.fd)

    def _bind(self, name: str) -> None:
        listener = self.settings.config.listen[name]
        until = time.monotonic() + BIND_AGAIN
        while True:
            try:
                self.bound[name] = listeners.bind(name, listener)
                return
            except OSError as problem:
                if self._before is not None:
                    # the rest of the family goes on; this listener has no workers
                    self.log.error("{name} cannot listen: {problem}", name=name, problem=problem)
                    return
                if time.monotonic() > until:
                    where = f"{listener.address}:{listener.port}"
                    raise ConfigError(
                        f"cannot listen on {where}: {problem.strerror}", key=f"listen.{name}"
                    ) from problem
                time.sleep(0.1)  # nothing runs yet that could wait for us

    def startService(self) -> None:
        super().startService()
        if self.program.log:
            self._output = os.open(self.program.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.family = Family(
            self.reactor,
            self.program.child,
            self.settings,
            self.generation,
            self.bound,
            self._output,
            self.program.syslog,
        )
        self.family.reload = self.reload
        self.family.ready = self._ready
        self._say_users()
        old = self._adopt()
        self.family.start()
        for member in old:
            self._succeed(member)
        self.reactor.callWhenRunning(self._take_signals)

    def _take_signals(self) -> None:
        # our own for the end, too: twistd would end itself by the same signal, and look as if it had been killed
        signal.signal(signal.SIGHUP, self._signalled)
        signal.signal(signal.SIGTERM, self._signalled)
        signal.signal(signal.SIGINT, self._signalled)
        reexec.accept_signals()

    def _signalled(self, number: int, frame: Any) -> None:
        self.reactor.callFromThread(self.hang_up if number == signal.SIGHUP else self._end)

    def _end(self) -> None:
        if self.state != "stopping" and self.reactor.running:
            self.reactor.stop()

    def _say_users(self) -> None:
        if not self.settings.config.processes.users:
            self.log.warn("hoopd: all processes run as one user: the separation between them is void")
        elif not privileges.may_change_user():
            self.log.warn(
                "hoopd: processes.users cannot be followed without CAP_SETUID and CAP_SETGID: all processes run as "
                "one user, and the separation between them is void"
            )

    # -- the life before --------------------------------------------------------------------------------------

    def _adopt(self) -> list[Member]:
        if self._before is None:
            return []
        adopted = []
        now = self.reactor.seconds()
        for one in self._before.members:
            member = Member(
                one.role, one.name, one.generation, one.pid, one.started or now, one.listener, one.user, one.phase
            )
            member.heard = now
            member.retiring = True
            self.family.adopt(member, one.control)
            adopted.append(member)
        self.log.info(
            "hoopd: generation {generation}, {count} processes of earlier ones",
            generation=self.generation,
            count=len(adopted),
        )
        return adopted

    def _succeed(self, member: Member) -> None:
        """Let a member of an earlier life make room. Workers go on accepting until new ones do."""
        if member.role != "worker":
            self.family.retire(member)
        elif member.phase == "starting" or not self._has_workers(member.listener):
            # one that never accepted anything has nothing to wait for
            self.family.drain(member, self._reload_limit)

    def _has_workers(self, listener: str) -> bool:
        configured = self.settings.config.listen.get(listener)
        return configured is not None and configured.workers > 0 and listener in self.bound

    @property
    def _reload_limit(self) -> float | None:
        return self.settings.config.processes.reload_drain or None

    def _ready(self, member: Member) -> None:
        if member.generation != self.generation or not (member.role == "worker" or not self.bound):
            return
        if not self._told_systemd:
            # when the first worker accepts: one listener whose workers cannot start must not end the others
            self._told_systemd = True
            notify("READY=1")
        for other in self.family.members:
            if other.role == "worker" and other.listener == member.listener and other.generation < self.generation:
                self.family.drain(other, self._reload_limit)
        present = {
            one.listener
            for one in self.family.members
            if one.role == "worker" and one.phase == "ready" and one.generation == self.generation
        }
        if not self._said_ready and present >= set(self.bound):
            self._said_ready = True
            self.log.info("hoopd: ready: {where}", where=", ".join(self._where()))

    def _where(self) -> list[str]:
        described = []
        for name, bound in sorted(self.bound.items()):
            count = self.settings.config.listen[name].workers
            described.append(f"{name} on {bound.where} ({count} worker{'' if count == 1 else 's'})")
        return described

    # -- reload -----------------------------------------------------------------------------------------------

    def hang_up(self) -> None:
        """SIGHUP."""
        Deferred.fromCoroutine(self.reload()).addErrback(lambda f: self.log.failure("reload", failure=f))

    async def reload(self, by: str = "", author: str = "") -> list[str]:
        """Check the new configuration with the new code; if both are good, become them.

        @param by, author: who asks, and the person behind that; empty where it is not known.
        @return: problems, which changed nothing; empty: the reload begins.
        """
        if self.state == "checking":
            self._again = True
            return ["a reload is being checked already; it will be checked once more"]
        if self.state != "running":
            return [f"the gateway is {self.state}"]
        self.state = "checking"
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            problems, checked = await self._check()
        except OSError as failed:
            problems, checked = [f"the check could not run: {failed}"], b""
        if self.state != "checking":
            return ["the gateway is stopping"]
        if problems:
            for problem in problems:
                self.log.error("hoopd: reload refused: {problem}", problem=problem)
            self.state = "running"
            notify("READY=1")
            if self._again:
                self._again = False
                self.reactor.callLater(0, self.hang_up)
            return problems
        self.state = "leaving"
        self._checked, self._by, self._author = checked, by, author
        # whoever asked gets the answer first
        deferLater(self.reactor, 0.05, lambda: Deferred.fromCoroutine(self._leave())).addErrback(
            lambda failure: self.log.failure("reload", failure=failure)
        )
        return []

    async def _check(self) -> tuple[list[str], bytes]:
        """@return: what is wrong, empty is well; and what the check printed, which is the new settings then."""
        output = os.memfd_create("hoopd-check", os.MFD_CLOEXEC)
        errors = os.memfd_create("hoopd-check-errors", os.MFD_CLOEXEC)
        try:
            present = [text for one in self.bound.values() for text in (one.address, str(one.port))]
            ended: Deferred[str] = Deferred()
            pid = launch.run([*self.program.check, self.directory, *present], [(output, 1), (errors, 2)])
            Exit(self.reactor, pid, ended.callback)
            timer = self.reactor.callLater(CHECK_MAX, os.kill, pid, signal.SIGKILL)
            how = await ended
            if timer.active():
                timer.cancel()
            said = os.pread(output, os.fstat(output).st_size, 0)
            complained = os.pread(errors, 65536, 0)
        finally:
            os.close(output)
            os.close(errors)
        if how == "exited with status 0":
            return [], said
        lines = (said[:65536] + b"\n" + complained).decode("utf-8", "replace").splitlines()
        return [line for line in lines if line.strip()] or [f"the check {how}"], b""

    async def _leave(self) -> None:
        """Give every child a fresh control end, write down what is, and become the new life."""
        self.family.hold()
        ends: dict[Member, int] = {}
        answers = []
        for member in list(self.family.members):
            ours, theirs = pair()
            ends[member] = ours.detach()
            # the old end may hold half a box; nobody will read the rest of it
            answers.append(member.give(c.Renew, theirs.detach()).addErrback(unless_away))
        taken: Deferred[Any] = DeferredList(answers).addTimeout(RENEW_MAX, self.reactor)
        await taken.addErrback(unless_slow)
        if self.state != "leaving":
            # SIGTERM came: it goes before
            for member, fd in ends.items():
                self._take_back(member, fd)
            return
        for member in [member for member in ends if member not in self.family.members]:
            os.close(ends.pop(member))
        self.log.info("hoopd: configuration is good: reloading")
        try:
            reexec.execute(list(self.program.again), self._state(ends), self.program.pidfile)
        except OSError as problem:
            self.log.error("hoopd: reload failed, going on as before: {problem}", problem=problem)
            for member, fd in ends.items():
                self._take_back(member, fd)
            self.state = "running"
            self.family.release()
            notify("READY=1")

    def _take_back(self, member: Member, fd: int) -> None:
        if member in self.family.members:
            member.connect(fd, self.family)
        else:
            os.close(fd)

    def _state(self, ends: dict[Member, int]) -> reexec.State:
        return reexec.State(
            version=reexec.VERSION,
            pid=os.getpid(),
            generation=self.generation,
            members=[
                reexec.MemberState(
                    one.role, one.name, one.generation, one.listener, one.pid, fd, one.phase, one.user, one.started
                )
                for one, fd in ends.items()
            ],
            listeners=[reexec.ListenerState(one.name, one.address, one.port, one.fd) for one in self.bound.values()],
            settings=wire.encode(self.settings),
            checked=self._checked,
            by=self._by,
            author=self._author,
        )

    # -- the end ----------------------------------------------------------------------------------------------

    def stopService(self) -> Deferred[None]:
        """Close the listeners, drain, end everybody. @return: Deferred of None once nobody is left."""
        self.state = "stopping"
        notify("STOPPING=1")
        self.log.info("hoopd: stopping")
        # workers have their own descriptors of them, and close those as they begin to drain
        for one in self.bound.values():
            os.close(one.fd)
        self.bound.clear()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self.family.stop(self.settings.config.processes.drain)
        self.family.close()
        if self._output is not None:
            os.close(self._output)
        super().stopService()
        self.log.info("hoopd: stopped")
