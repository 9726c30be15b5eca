"""Entry of every child process: C{python -m hoopd.roles.child ROLE NAME}; not what a role does.

Only the supervisor starts it, with the descriptors of L{hoopd.roles.launch}. It gives up what it does not need,
talks to the supervisor on the control socketpair, and runs one role (L{hoopd.ipc.interfaces.IRole}) through
starting, ready, draining and its end.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.protocol import connectionDone
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import (
    ILogObserver,
    LegacyLogObserverWrapper,
    Logger,
    formatEventAsClassicLogText,
    globalLogBeginner,
)
from twisted.python.failure import Failure
from zope.interface import provider

from hoopd.ipc.broker import Peers
from hoopd.ipc.end import End
from hoopd.ipc.link import Link
from hoopd.ipc.transport import adopt
from hoopd.roles import commands as c
from hoopd.roles import privileges
from hoopd.roles.context import ChildContext
from hoopd.roles.launch import CONTROL, LAUNCH, LISTENER, TABLE, Launch, read_launch
from hoopd.roles.sharing import Share

#: what each role is; fixed here, so that nothing from outside names code to run
ROLES: Mapping[str, str] = {
    "broker": "hoopd.roles.broker",
    "verifier": "hoopd.roles.verifier",
    "notifier": "hoopd.roles.notifier",
    "control": "hoopd.roles.control",
    "worker": "hoopd.roles.worker",
}

#: a role that does not end within so long after it was told to is ended
STOP_MAX = 10.0

#: a headless broker and verifier outlive the workers, which drain up to their limit, by this much
OUTLIVE = 5.0


class ControlEnd(End):
    """The child's end of its control socketpair."""

    def __init__(self, child: Child) -> None:
        super().__init__()
        self.child = child

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        if self.child.control is self:
            self.child.headless()

    @c.Attach.responder
    def attach(self, end: int, role: str, name: str, pid: int) -> dict[str, Any]:
        self.child.attach(end, role, name, pid)
        return {}

    @c.Renew.responder
    def renew(self, end: int) -> dict[str, Any]:
        # answered on this end, after which the supervisor reads the new one only
        self.child.take_control(end)
        return {}

    @c.Drain.responder
    def drain(self, limit: float) -> dict[str, Any]:
        self.child.drain(None if limit < 0 else limit)
        return {}

    @c.Stop.responder
    def stop(self) -> dict[str, Any]:
        self.child.stop()
        return {}


class Child:
    """One child process."""

    log = Logger()

    def __init__(self, reactor: Any, context: ChildContext, role: Any, heartbeat: float) -> None:
        self.reactor = reactor
        self.context = context
        self.role = role
        self.heartbeat = heartbeat
        self.phase = "starting"
        self.control: ControlEnd | None = None
        self._waiting: list[tuple[int, str, str, int]] | None = []
        self._beat = LoopingCall(self._alive)
        self._beat.clock = reactor
        self._lock: int | None = None

    # -- control ----------------------------------------------------------------------------------------------

    def take_control(self, fd: int) -> None:
        """Talk to the supervisor on C{fd} from now on."""
        end, old = ControlEnd(self), self.control
        self.control = end
        try:
            adopt(fd, end, self.reactor)
        except OSError:
            self.control = old
            raise
        end.tell(c.Report, phase=self.phase)
        if old is not None:
            self.reactor.callLater(1.0, old.close)  # the supervisor's end closes when it re-executes itself

    def _alive(self) -> None:
        if self.control is not None:
            self.control.tell(c.Alive)

    def _enter(self, phase: str) -> None:
        self.phase = phase
        if self.control is not None:
            self.control.tell(c.Report, phase=phase)

    def headless(self) -> None:
        """The supervisor is gone: nobody restarts or replaces anything any more."""
        if self.phase != "stopping":
            self.log.warn("the supervisor is gone: accepting nothing more, draining")
            self.drain(self.context.config.processes.drain)

    def ask_reload(self, by: str, author: str) -> Deferred[None]:
        """ChildContext.reload"""

        def checked(answer: Mapping[str, Any]) -> None:
            if answer["problems"]:
                raise ValueError("\n".join(answer["problems"]))

        assert self.control is not None
        asked = self.control.ask(c.Reload, by=by, author=author)
        return asked.addTimeout(c.Reload.deadline, self.reactor).addCallback(checked)

    def ask_processes(self) -> Deferred[list[c.ProcessState]]:
        """ChildContext.processes"""
        assert self.control is not None
        asked = self.control.ask(c.Processes).addTimeout(c.Processes.deadline, self.reactor)
        return asked.addCallback(lambda answer: answer["processes"])

    # -- attachment -------------------------------------------------------------------------------------------

    def attach(self, fd: int, role: str, name: str, pid: int) -> None:
        """An end to another process. The broker takes its peers once it has started; they wait in the socket."""
        if self.context.link is not None:
            self.context.link.attach(fd)
        elif self._waiting is not None:
            self._waiting.append((fd, role, name, pid))
        else:
            assert self.context.peers is not None
            self.context.peers.attach(fd, role, name, pid)

    # -- life -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Start the role, and report."""
        self._beat.start(self.heartbeat)
        if self.context.role == "broker":
            await self._only_broker()
        if self.context.peers is not None:
            self.context.peers.role = self.role
        await self.role.start()
        waiting, self._waiting = self._waiting or [], None
        for end in waiting:
            self.attach(*end)
        if self.phase == "starting":
            self._enter("ready")

    async def _only_broker(self) -> None:
        """Wait until no other broker runs on this state directory: two would fork its history."""
        state = self.context.config.paths.state
        os.makedirs(state, 0o700, exist_ok=True)
        self._lock = os.open(os.path.join(state, "broker.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        said = False
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if not said:
                    self.log.info("waiting for the broker before this one to end")
                    said = True
                await deferLater(self.reactor, 0.02)

    def started_badly(self, failure: Failure) -> None:
        """The role could not start."""
        if self.phase == "starting":
            self.log.failure("{name} cannot start", failure=failure, name=self.context.name)
            self._end(1)

    def drain(self, limit: float | None) -> None:
        """Take nothing new; end when what runs has ended, or after C{limit} seconds. May be called again, to end
        sooner: a worker that drains after a reload without limit still ends with SIGTERM's."""
        if self.phase == "draining" and limit is not None:
            self.reactor.callLater(limit, self.stop)
        if self.phase in ("draining", "stopping"):
            return
        starting = self.phase == "starting"
        self._enter("draining")
        if starting:
            self.stop()
        else:
            Deferred.fromCoroutine(self._drain(limit)).addErrback(self._drained_badly)

    async def _drain(self, limit: float | None) -> None:
        for serving in self.context.serving:
            await serving.stop()
        if self.context.peers is not None:
            await self._within(self.context.peers.when_lonely(), limit)
        elif self.context.role in ("verifier", "notifier"):
            await self._within(self._unlinked(), limit)
        await self._within(self.role.drain(limit), limit)
        self.stop()

    async def _within(self, deferred: Deferred[Any], limit: float | None) -> None:
        if limit is None:
            await deferred
            return
        try:
            await deferred.addTimeout(limit + OUTLIVE, self.reactor)
        except TimeoutError:
            self.log.warn("{name} still has something running after its limit", name=self.context.name)

    def _unlinked(self) -> Deferred[None]:
        async def wait() -> None:
            assert self.context.link is not None
            while self.context.link.attached:
                await deferLater(self.reactor, 0.1)

        return Deferred.fromCoroutine(wait())

    def _drained_badly(self, failure: Failure) -> None:
        self.log.failure("{name} could not drain", failure=failure, name=self.context.name)
        self.stop()

    def stop(self) -> None:
        """End in order."""
        if self.phase == "stopping":
            return
        self.phase = "stopping"
        self.reactor.callLater(STOP_MAX, self._end, 1)
        stopping = Deferred.fromCoroutine(self._stop())
        stopping.addErrback(lambda f: self.log.failure("{name} stopped badly", failure=f, name=self.context.name))
        stopping.addBoth(lambda _: self._end(0))

    async def _stop(self) -> None:
        for serving in self.context.serving:
            await serving.stop()
        if self.context.peers is not None:
            await self.context.peers.leave()
        if self._waiting is None:  # it had started
            await self.role.stop()
        if self.context.link is not None:
            self.context.link.close()
        # one turn, for what the closing has written
        await deferLater(self.reactor, 0)

    def _end(self, status: int) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        if status:
            os._exit(status)
        if self.reactor.running:
            self.reactor.stop()


def _observe(name: str, syslog: str) -> None:
    prefix = f"[{name} {os.getpid()}] "

    @provider(ILogObserver)
    def observer(event: Any) -> None:
        line = formatEventAsClassicLogText(event)
        if line:
            try:
                head, _, rest = line.partition(" ")
                sys.stderr.write(f"{head} {prefix}{rest}")
                sys.stderr.flush()
            except (OSError, ValueError):
                return  # whoever read our messages is gone; sessions go on

    if syslog:
        from twisted.python.syslog import SyslogObserver

        legacy: Any = SyslogObserver(f"{syslog}:{name}").emit
        globalLogBeginner.beginLoggingTo([LegacyLogObserverWrapper(legacy)], redirectStandardIO=False)
    else:
        globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)


def give_up(launch: Launch) -> None:
    """Give up user, capabilities and dumps, as far as this process may."""
    user = privileges.user_of(launch.role, launch.name, launch.config.processes.users)
    if user is not None and privileges.may_change_user():
        privileges.become(user)
    privileges.drop_capabilities()
    privileges.harden()


def build(reactor: Any, launch: Launch, start: Callable[[ChildContext], Any]) -> Child:
    """Make the child of C{launch} from its inherited descriptors."""
    context = ChildContext(
        role=launch.role,
        name=launch.name,
        generation=launch.generation,
        config=launch.config,
        reactor=reactor,
        rules=launch.rules,
    )
    if launch.role == "broker":
        context.peers = Peers(reactor, launch.generation)
    else:
        context.link = Link(reactor, launch.name, os.getpid())
    if launch.listener:
        context.listeners = {launch.listener: LISTENER}
        context.share = Share(TABLE, launch.slot, time.monotonic)
    role = start(context)
    child = Child(reactor, context, role, launch.heartbeat)
    if launch.role == "broker":
        context.reload = child.ask_reload
        context.processes = child.ask_processes
    elif launch.role == "worker":
        assert context.link is not None
        context.link.role = role
        # a broker of another version will never serve this worker: what runs may end, nothing new begins
        context.link.incompatible = lambda why: child.drain(context.config.processes.broker_grace)
    return child


def main(argv: list[str], roles: Mapping[str, str] = ROLES) -> None:
    """Run one child until its end.

    @param argv: program, role and name; for C{ps} only, everything is in the launch file.
    @param roles: role to module; other programs than ours pass their own.
    """
    # before anything else: the supervisor speaks for the family
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    launch = read_launch(LAUNCH)
    for fd in (CONTROL, LAUNCH, *((TABLE, LISTENER) if launch.listener else ())):
        os.set_inheritable(fd, False)
    os.close(LAUNCH)
    give_up(launch)
    privileges.set_name(f"hoopd:{launch.name.replace('worker/', '')}")
    _observe(launch.name, launch.syslog)

    from twisted.internet import epollreactor

    epollreactor.install()
    from twisted.internet import reactor as installed

    reactor: Any = installed
    child = build(reactor, launch, importlib.import_module(roles[launch.role]).start)
    child.take_control(CONTROL)

    def begin() -> None:
        signal.signal(signal.SIGTERM, on_sigterm)
        Deferred.fromCoroutine(child.run()).addErrback(child.started_badly)

    def on_sigterm(number: int, frame: Any) -> None:
        reactor.callFromThread(child.drain, launch.config.processes.drain)

    reactor.callWhenRunning(begin)
    reactor.run(installSignalHandlers=True)
    # everything is closed; taking the interpreter apart costs 0.1 s, for which the next broker would wait
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv)
