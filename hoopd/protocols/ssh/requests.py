"""Requests on channels: each that makes the target do something is an operation, and is answered in its turn; pure.

What is not named here is refused. Specification: RFC 4254 section 6; OpenSSH's PROTOCOL, section 2, for those with its name in theirs.
"""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

from attrs import define, evolve

from hoopd.display import utc, visible
from hoopd.errors import PeerError
from hoopd.policy import commands, files
from hoopd.protocols.ssh import messages, operations, watched
from hoopd.protocols.ssh.channels import Channel, Kept
from hoopd.protocols.ssh.messages import ChannelRequest, Reader
from hoopd.protocols.ssh.operations import Refusal, Wanted
from hoopd.protocols.ssh.passage import Passage, Way
from hoopd.protocols.ssh.permission import BreakGlass, Granted
from hoopd.protocols.ssh.runs import Inside, Run, Runs
from hoopd.protocols.ssh.scp_passage import CountedPassage, ScpPassage
from hoopd.protocols.ssh.sftp_passage import SftpPassage
from hoopd.protocols.ssh.streams import Recorded
from hoopd.shell.far_end import FarEnd
from hoopd.values import Opening

#: the shell's for "found, and must not be executed" (POSIX.1-2017, XCU section 2.8.2)
REFUSED_STATUS = 126
#: a channel that waits for a decision keeps so many requests of its client
KEPT_MAX = 64
#: SetEnv HOOPD_REASON=… says why; it goes no further
REASON = "HOOPD_REASON"
REASON_MAX = 1000
#: SetEnv HOOPD_BREAK_GLASS=… breaks glass, for the reason that it says; it goes no further either
BREAK_GLASS = "HOOPD_BREAK_GLASS"
#: of what a target says about a signal
SIGNAL_TEXT_MAX = 200
#: of the environment that one channel may set
VARIABLES_MAX = 100

#: what whoever breaks glass is told
_LOUD = "everything is recorded, told to others, and will be reviewed"

_SIGNALS = frozenset("ABRT ALRM FPE HUP ILL INT KILL PIPE QUIT SEGV TERM USR1 USR2".split())


@define(eq=False)
class Reply:
    """An answer owed to a client for something that was forwarded. @ivar wanted: it asked for one."""

    wanted: bool
    accepted: Callable[[], None] | None = None
    refused: Callable[[], None] | None = None


class Requests:
    """
    @param session: L{hoopd.protocols.ssh.session.Session}, whose channels they are on.
    """

    def __init__(self, session: Any, runs: Runs) -> None:
        self._session = session
        self._runs = runs

    def client_message(self, kind: int, payload: bytes) -> None:
        request = ChannelRequest.read(payload)
        channel = self._session.channel(request.recipient)
        if channel.client.close_received:
            raise PeerError("a request on a closed channel")
        if channel.paused:
            if len(channel.kept) >= KEPT_MAX:
                raise PeerError("too many requests while an operation is held")
            channel.kept.append((kind, payload))
            return
        known = _REQUESTS.get(request.kind)
        if known is None or channel.kind != "session":
            self._answer(channel, request, False)
            return
        known(self, channel, request)

    def _answer(self, channel: Channel, request: ChannelRequest, good: bool) -> None:
        """Answer a request that was not forwarded, behind the answers that come before it."""
        if request.want_reply:
            if channel.replies:
                channel.replies.append(good)
            else:
                self._reply(channel, good)

    def _reply(self, channel: Channel, good: bool) -> None:
        number = messages.number(channel.client.theirs)
        channel.client.tell(messages.SUCCESS if good else messages.FAILURE, number, self._session.to_client)

    def _pass_on(
        self,
        channel: Channel,
        request: ChannelRequest,
        accepted: Callable[[], None] | None = None,
        refused: Callable[[], None] | None = None,
        answered: bool = False,
    ) -> None:
        """Forward a request. @param answered: the client has its answer already."""
        wanted = request.want_reply or accepted is not None or refused is not None
        forwarded = ChannelRequest(channel.target.theirs, request.kind, wanted, request.details)
        channel.target.tell(messages.REQUEST, forwarded.encode(), self._session.to_target)
        if wanted:
            channel.replies.append(Reply(request.want_reply and not answered, accepted, refused))

    def target_answers(self, kind: int, payload: bytes) -> None:
        channel = self._session.channel(messages.read_recipient(payload))
        if not channel.replies or not isinstance(channel.replies[0], Reply):
            raise PeerError("an answer to no request")
        good = kind == messages.SUCCESS
        reply = channel.replies.popleft()
        if reply.wanted:
            self._reply(channel, good)
        then = reply.accepted if good else reply.refused
        if then is not None:
            then()
        while channel.replies and not isinstance(channel.replies[0], Reply):
            self._reply(channel, channel.replies.popleft())

    def _environment(self, channel: Channel, request: ChannelRequest) -> None:
        reader = Reader(request.details)
        name, value = reader.string().decode("utf-8", "backslashreplace"), reader.string()
        reader.end()
        if name == REASON:
            said = value.decode("utf-8", "replace")
            fits = len(said) <= REASON_MAX and visible(said) == said
            if fits:
                self._session.reason = said or None
            self._answer(channel, request, fits)
        elif name == BREAK_GLASS:
            self._glass(channel, request, value.decode("utf-8", "replace"))
        elif any(fnmatchcase(name, pattern) for pattern in operations.HARMLESS):
            self._pass_on(channel, request)
        else:
            self._variable(channel, request, name, value)

    def _glass(self, channel: Channel, request: ChannelRequest, reason: str) -> None:
        """What follows on the channel waits, and is refused if this is: whoever asks for it at the start must not learn in
        the middle that it is not there."""

        def opened(opening: Opening) -> None:
            skipped = ", ".join(opening.skip)
            self.say(
                channel, f"hoopd: break glass {opening.id} is open until {utc(opening.until)}: {skipped} are skipped"
            )
            self.say(channel, f"hoopd: {_LOUD}; hoopctl break-glass close {opening.id} ends it")
            self._answer(channel, request, True)
            self.resume(channel)

        def refused(refusal: Refusal) -> None:
            channel.glass = evolve(refusal, why=f"break glass: {refusal.why}")
            self._answer(channel, request, False)
            self.resume(channel)

        if len(reason) > REASON_MAX or visible(reason) != reason:
            refused(Refusal(f"a reason is one line of {REASON_MAX} characters at most"))
            return
        channel.paused = True
        self._session.permission.asks.append(BreakGlass(reason, opened, refused))

    def _variable(self, channel: Channel, request: ChannelRequest, name: str, value: bytes) -> None:
        """One that may change what a command means."""
        setting = f"{name}={shlex.quote(value.decode('utf-8', 'backslashreplace'))}"
        if len(channel.environment) >= VARIABLES_MAX:
            self._answer(channel, request, False)
            return
        words, text = frozenset({"environment"}), f"set {setting}".encode()
        set_ = functools.partial(channel.environment.append, setting)
        self._permit(channel, request, words, text, (name,), then=set_)

    def _terminal(self, channel: Channel, request: ChannelRequest) -> None:
        reader = Reader(request.details)
        terminal = reader.string()
        size = reader.number(), reader.number()
        reader.number(), reader.number()
        modes = reader.string()
        if channel.pty or channel.run is not None:
            self._answer(channel, request, False)
            return
        channel.size = size
        channel.terminal, channel.modes = terminal.decode("utf-8", "replace"), modes
        self._pass_on(channel, request)

    def _resized(self, channel: Channel, request: ChannelRequest) -> None:
        reader = Reader(request.details)
        size = reader.number(), reader.number()
        if channel.size is None:
            self._answer(channel, request, False)
            return
        channel.size = size
        self._runs.sized(channel)
        self._pass_on(channel, request)

    def _signal(self, channel: Channel, request: ChannelRequest) -> None:
        name = Reader(request.details).name()
        if name in _SIGNALS and channel.run is not None:
            self._pass_on(channel, request)
        else:
            self._answer(channel, request, False)

    def _unchanged(self, channel: Channel, request: ChannelRequest) -> None:
        self._pass_on(channel, request)

    def _agent(self, channel: Channel, request: ChannelRequest) -> None:
        words = frozenset({"forward-agent"})
        self._permit(channel, request, words, b"forward the agent", (), "auth-agent@openssh.com")

    def _x11(self, channel: Channel, request: ChannelRequest) -> None:
        self._permit(channel, request, frozenset({"forward-x11"}), b"forward X11", (), "x11")

    def _permit(
        self,
        channel: Channel,
        request: ChannelRequest,
        words: frozenset[str],
        text: bytes,
        objects: tuple[str, ...],
        opens: str = "",
        then: Callable[[], None] = lambda: None,
    ) -> None:
        """An operation that is over as soon as it is accepted.

        @param opens: type of the channels that the target may open once it has accepted.
        @param then: called when it is forwarded.
        """
        wanted = operations.wanted(
            words,
            text,
            self._session.login,
            self._session.reason,
            None,
            objects,
            exact=operations.exact(request.kind, text),
        )

        def go(granted: Granted) -> None:
            def accepted() -> None:
                self._runs.settle(granted.approval, "executed", "executed")
                if opens:
                    self._session.forwards.permit(opens, granted)

            def refused() -> None:
                self._runs.settle(granted.approval, "failed", "failed")

            then()
            self._pass_on(channel, request, accepted, refused)
            self.resume(channel)

        def stop(refusal: Refusal) -> None:
            self._answer(channel, request, False)
            self.resume(channel)

        channel.paused = True
        self._session.permission.seek(wanted, go, stop, None, channel.number)

    # -- what runs ---------------------------------------------------------------------------------------------

    def _execute(self, channel: Channel, request: ChannelRequest) -> None:
        command = Reader(request.details).string()
        moves = None if channel.pty else commands.far_end(command)
        inside = None if moves is None else functools.partial(_far_end, moves)
        self._start(channel, request, "exec", self._command(channel, command), inside)

    def _command(self, channel: Channel, command: bytes) -> Wanted:
        facts = {"pty": channel.pty, **commands.facts(command)}
        return self._runs_here(channel, "exec", commands.classes(command), command, facts)

    def _runs_here(
        self, channel: Channel, kind: str, words: frozenset[str], text: bytes, facts: dict[str, Any]
    ) -> Wanted:
        """What was set before it is part of what is approved, and whether it has a terminal: programs begin others there."""
        settings = [each.encode() for each in channel.environment]
        said = b"".join(each + b" " for each in settings) + text
        exact = operations.exact(kind, b"terminal" if channel.pty else b"", *settings, text)
        return operations.wanted(words, said, self._session.login, self._session.reason, facts, exact=exact)

    def _shell(self, channel: Channel, request: ChannelRequest) -> None:
        words, facts = frozenset({"shell"}), {"pty": channel.pty}
        self._start(channel, request, "shell", self._runs_here(channel, "shell", words, b"shell", facts))

    def _subsystem(self, channel: Channel, request: ChannelRequest) -> None:
        name = Reader(request.details).name()
        # what is done inside sftp is judged there
        words = files.OPENING if name == "sftp" else frozenset({"subsystem"})
        text = f"subsystem {name}".encode()
        wanted = self._runs_here(channel, "subsystem", words, text, {"subsystem": name})
        self._start(channel, request, "subsystem", wanted, _sftp if name == "sftp" else None)

    def _start(
        self, channel: Channel, request: ChannelRequest, kind: str, wanted: Wanted, inside: Inside | None = None
    ) -> None:
        if channel.run is not None:
            # RFC 4254 section 6.5: only one of them can succeed on a channel
            self._answer(channel, request, False)
            return
        answered = False

        def tell(text: str) -> None:
            # whoever waits reads no reply; drivers do, and would time out: it is taken now, and refused in words
            nonlocal answered
            if not answered:
                answered = True
                self._answer(channel, request, True)
            self.say(channel, text)

        def go(granted: Granted) -> None:
            if channel.target.close_sent:
                self._runs.settle(granted.approval, "failed", "the requester closed the channel")
                return
            unfit = watched.unfit(channel) if granted.decision.watched else ""
            if unfit:
                self._runs.settle(granted.approval, "failed", unfit)
                stop(Refusal(unfit))
                return
            run = self._runs.command(granted, kind, channel, inside)
            if granted.decision.watched:
                run.passage = watched.Watched(run.passage)
            self._pass_on(channel, request, None, lambda: self._not_started(channel, run, answered), answered)
            self.resume(channel)

        def stop(refusal: Refusal) -> None:
            self._refuse(channel, request, refusal, kind, answered)
            self.resume(channel)

        channel.paused = True
        if channel.glass is not None:
            self._session.permission.refuse(wanted, channel.glass, stop)
            return
        self._session.permission.seek(wanted, go, stop, tell, channel.number)

    def _refuse(self, channel: Channel, request: ChannelRequest, refusal: Refusal, kind: str, answered: bool) -> None:
        """Say why, and end the channel as a command that could not be executed does."""
        self.say(channel, refusal.line)
        if kind == "subsystem" and not answered:
            self._answer(channel, request, False)
        else:
            if not answered:
                self._answer(channel, request, True)
            self._status(channel, REFUSED_STATUS)
        self._close(channel)

    def _close(self, channel: Channel) -> None:
        channel.client.closing = True
        channel.target.closing = True
        channel.kept.clear()
        self._session.flow(channel)

    def _not_started(self, channel: Channel, run: Run, answered: bool) -> None:
        self._runs.finish(channel, "the target refused the request", failed=True)
        if answered:
            self.end(channel, "hoopd: the target refused the request", REFUSED_STATUS)
            self._close(channel)

    def _status(self, channel: Channel, status: int) -> None:
        # behind what was said before it: what waits for room goes first
        channel.client.drain(self._session.to_client)
        ended = ChannelRequest(channel.client.theirs, "exit-status", False, messages.number(status))
        channel.client.tell(messages.REQUEST, ended.encode(), self._session.to_client)

    def end(self, channel: Channel, text: str, status: int) -> None:
        """See L{hoopd.protocols.ssh.session.Session.end}."""
        self.say(channel, text)
        self._status(channel, status)

    def say(self, channel: Channel, text: str) -> None:
        """Tell the person at the client's end, on standard error."""
        end = "\r\n" if channel.pty else "\n"
        octets = (text.replace("\n", end) + end).encode("utf-8", "replace")
        channel.client.send(messages.STDERR, octets, self._session.to_client)

    def resume(self, channel: Channel) -> None:
        """What the client sent meanwhile, in its order."""
        channel.paused = False
        kept = channel.kept
        if channel.client.close_received:
            kept.clear()
        while kept and not channel.paused:
            one = kept.popleft()
            if isinstance(one, Kept):
                self._session.pass_data(channel, one.stream, bytes(one.octets))
            else:
                self._session.client_message(*one)
        self._session.flow(channel)

    def target_message(self, kind: int, payload: bytes) -> None:
        request = ChannelRequest.read(payload)
        channel = self._session.channel(request.recipient)
        if channel.target.close_received:
            raise PeerError("a request on a closed channel")
        run = channel.run
        if run is not None and run.cut:
            # how it ended was said already
            return
        if request.kind in ("exit-status", "exit-signal") and run is not None:
            if run.ended:
                # the first counts, on record and for the client
                return
            run.ended, request = _end(request)
        elif request.kind not in ("xon-xoff", "eow@openssh.com"):
            if request.want_reply:
                number = messages.number(channel.target.theirs)
                channel.target.tell(messages.FAILURE, number, self._session.to_target)
            return
        if run is not None and request.kind.startswith("exit-"):
            # the end is told behind all that came before it
            run.passage.target_ends()
        channel.client.drain(self._session.to_client)
        passed = ChannelRequest(channel.client.theirs, request.kind, False, request.details)
        channel.client.tell(messages.REQUEST, passed.encode(), self._session.to_client)
        if request.want_reply:
            channel.target.tell(messages.SUCCESS, messages.number(channel.target.theirs), self._session.to_target)


def _end(request: ChannelRequest) -> tuple[str, ChannelRequest]:
    """How a command ended. @return: in words; and as the client is told it, with nothing but visible text"""
    reader = Reader(request.details)
    if request.kind == "exit-status":
        status = reader.number()
        return f"exit {status}", evolve(request, details=messages.number(status))
    name, dumped = reader.name(), reader.flag()
    said = visible(reader.string().decode("utf-8", "replace")[:SIGNAL_TEXT_MAX])
    details = (
        messages.string(name.encode()) + messages.flag(dumped) + messages.string(said.encode()) + messages.string(b"")
    )
    return f"signal {name}", evolve(request, details=details)


def _sftp(way: Way, route: Any, operation: int, error: Recorded) -> Passage:
    return SftpPassage(way, route, error)


def _far_end(moves: FarEnd, way: Way, route: Any, operation: int, error: Recorded) -> Passage:
    made = ScpPassage if moves.program == "scp" else CountedPassage
    return made(way, route, operation, error, moves)


_REQUESTS: dict[str, Callable[[Requests, Channel, ChannelRequest], None]] = {
    "env": Requests._environment,
    "pty-req": Requests._terminal,
    "window-change": Requests._resized,
    "signal": Requests._signal,
    "break": Requests._unchanged,
    "eow@openssh.com": Requests._unchanged,
    "auth-agent-req@openssh.com": Requests._agent,
    "x11-req": Requests._x11,
    "exec": Requests._execute,
    "shell": Requests._shell,
    "subsystem": Requests._subsystem,
}
