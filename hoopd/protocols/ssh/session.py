"""One SSH session between its client and its target: messages of either in, messages to both out; the core, pure.

Every request that makes the target do something is an operation and passes L{hoopd.protocols.ssh.permission} first; what is not
named here is refused. Windows and closing are L{hoopd.protocols.ssh.channels}'. Specification: RFC 4254; OpenSSH's PROTOCOL,
section 2, for the requests with its name in theirs.
"""

from __future__ import annotations

import functools
import shlex
from collections import deque
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

from attrs import Factory, define, frozen

from hoopd.display import visible
from hoopd.errors import PeerError, TargetError
from hoopd.policy import commands
from hoopd.protocols.ssh import messages, operations
from hoopd.protocols.ssh.channels import PACKET, WINDOW, Channel, End, Kept
from hoopd.protocols.ssh.messages import ChannelRequest, Confirmation, GlobalRequest, Open, Reader
from hoopd.protocols.ssh.operations import Refusal, Wanted
from hoopd.protocols.ssh.permission import Permission
from hoopd.protocols.ssh.streams import NAMES, Recorded

#: the shell's for "found, and must not be executed" (POSIX.1-2017, XCU section 2.8.2)
REFUSED_STATUS = 126
#: a channel that waits for a decision keeps so many requests of its client
KEPT_MAX = 64
#: SetEnv HOOPD_REASON=… says why; it goes no further
REASON = "HOOPD_REASON"
REASON_MAX = 1000
#: of the environment that one channel may set
VARIABLES_MAX = 100

_INTERRUPT = b"\x03"
_SIGNALS = frozenset("ABRT ALRM FPE HUP ILL INT KILL PIPE QUIT SEGV TERM USR1 USR2".split())


@frozen
class Limits:
    """Bounds of one session. @ivar record_input: record what is typed at terminals too (passwords are)"""

    channels: int = 100
    record_bytes: int = 1024 * 1024
    record_input: bool = False


@define(eq=False)
class Run:
    """What runs in a channel. @ivar ended: what the target said of its end."""

    operation: int
    approval: str | None
    kind: str
    started: float
    outputs: dict[int, Recorded]
    input: Recorded
    ended: str = ""
    done: bool = False


@define(eq=False)
class Reply:
    """An answer owed to a client for something that was forwarded. @ivar wanted: it asked for one."""

    wanted: bool
    accepted: Callable[[], None] | None = None
    refused: Callable[[], None] | None = None


@define(eq=False)
class GlobalReply:
    """One answer owed for a global request, in its turn. @ivar answer: message and payload, once known"""

    answer: tuple[int, bytes] | None = None
    accepted: Callable[[], None] | None = None


@define(eq=False)
class Session:
    """
    @ivar login: the account at the target.
    @ivar to_client, to_target: messages to send, in order; the adapter empties them.
    @ivar seconds: C{() -> float}, monotonic.
    @ivar withdraw: C{(channel number, why)}: called when the client interrupts what waits for approval.
    """

    route: Any
    permission: Permission
    login: str
    seconds: Callable[[], float]
    withdraw: Callable[[int, str], Any]
    limits: Limits = Limits()
    to_client: list[tuple[int, bytes]] = Factory(list)
    to_target: list[tuple[int, bytes]] = Factory(list)
    reason: str | None = None
    _channels: dict[int, Channel] = Factory(dict)
    _last: int = -1
    _replies: deque[GlobalReply] = Factory(deque)
    _forwarded: deque[GlobalReply] = Factory(deque)
    _no_more: bool = False
    #: what the client may be asked to open, because it asked for it and was permitted
    _expected: set[str] = Factory(set)

    # -- from the client ---------------------------------------------------------------------------------------

    def client_message(self, kind: int, payload: bytes) -> None:
        """One message of the client. @raise PeerError: it breaks the protocol. @raise RecordError: nothing goes on"""
        call = _CLIENT.get(kind)
        if call is None:
            raise PeerError(f"message {kind} is none of a client's")
        call(self, kind, payload)

    def target_message(self, kind: int, payload: bytes) -> None:
        """One message of the target. @raise TargetError: it breaks the protocol."""
        call = _TARGET.get(kind)
        if call is None:
            raise TargetError(f"the target sent message {kind}, which is none of a server's")
        try:
            call(self, kind, payload)
        except PeerError as error:
            raise TargetError(f"the target broke the protocol: {error}") from None

    def context(self) -> str:
        """What the meaning of operations depends on, besides their own text."""
        return f"login={self.login}"

    # -- opening -----------------------------------------------------------------------------------------------

    def _client_opens(self, kind: int, payload: bytes) -> None:
        asked = Open.read(payload)
        if len(self._channels) >= self.limits.channels:
            self._not_opened(self.to_client, asked.sender, messages.RESOURCE_SHORTAGE, "too many channels")
        elif asked.kind == "session":
            if self._no_more:
                raise PeerError("another session channel after no-more-sessions")
            self._open(asked, b"")
        elif asked.kind in ("direct-tcpip", "direct-streamlocal@openssh.com"):
            wanted = self._forward(asked)

            def refused(refusal: Refusal) -> None:
                self._not_opened(self.to_client, asked.sender, messages.PROHIBITED, refusal.line)

            self.permission.seek(wanted, lambda number, approval: self._open(asked, asked.details, number), refused)
        else:
            self._not_opened(self.to_client, asked.sender, messages.UNKNOWN_TYPE, "unknown channel type")

    def _forward(self, asked: Open) -> Wanted:
        reader = Reader(asked.details)
        where = reader.string().decode("utf-8", "backslashreplace")
        if asked.kind == "direct-tcpip":
            where = f"{where}:{reader.number()}"
        text = f"forward to {where}".encode()
        facts = {"destination": where}
        return operations.wanted(
            frozenset({"forward-local"}), text, self.login, self.reason, facts, (where,), asked.details
        )

    def _not_opened(self, out: list[tuple[int, bytes]], theirs: int, reason: int, text: str) -> None:
        out.append((messages.OPEN_FAILURE, messages.open_failure(theirs, reason, text)))

    def _open(self, asked: Open, details: bytes, operation: int | None = None) -> None:
        channel = self._new(asked)
        self._size(channel.client, asked.sender, asked.window, asked.packet)
        if operation is not None:
            # what goes through a forward is counted and hashed, not kept
            channel.run = self._run(operation, None, asked.kind, 0, 0)
        opening = Open(asked.kind, channel.number, WINDOW, PACKET, details)
        self.to_target.append((messages.OPEN, opening.encode()))

    def _new(self, asked: Open) -> Channel:
        # numbers are not used again: a late message of a closed channel cannot hit another
        self._last += 1
        channel = self._channels[self._last] = Channel(self._last, asked.kind)
        return channel

    @staticmethod
    def _size(end: End, theirs: int, window: int, packet: int) -> None:
        end.theirs, end.room, end.packet = theirs, window, min(packet, PACKET)
        if packet < 1:
            raise PeerError("a channel that takes no bytes")

    def _target_opens(self, kind: int, payload: bytes) -> None:
        asked = Open.read(payload)
        if asked.kind not in self._expected or len(self._channels) >= self.limits.channels:
            self._not_opened(self.to_target, asked.sender, messages.PROHIBITED, "not permitted by the gateway")
            return
        channel = self._new(asked)
        self._size(channel.target, asked.sender, asked.window, asked.packet)
        opening = Open(asked.kind, channel.number, WINDOW, PACKET, asked.details)
        self.to_client.append((messages.OPEN, opening.encode()))

    def _target_confirms(self, kind: int, payload: bytes) -> None:
        self._confirmed(payload, lambda channel: (channel.target, channel.client, self.to_client))

    def _client_confirms(self, kind: int, payload: bytes) -> None:
        self._confirmed(payload, lambda channel: (channel.client, channel.target, self.to_target))

    def _confirmed(self, payload: bytes, ends: Callable[[Channel], tuple[End, End, list[tuple[int, bytes]]]]) -> None:
        said = Confirmation.read(payload)
        channel = self._unconfirmed(said.recipient)
        end, other, out = ends(channel)
        self._size(end, said.sender, said.window, said.packet)
        channel.ready = True
        passed = Confirmation(other.theirs, channel.number, WINDOW, PACKET, said.details)
        out.append((messages.OPEN_CONFIRMATION, passed.encode()))

    def _unconfirmed(self, number: int) -> Channel:
        channel = self._channels.get(number)
        if channel is None or channel.ready:
            raise PeerError("an answer to no request for a channel")
        return channel

    def _target_declines(self, kind: int, payload: bytes) -> None:
        self._declined(payload, self.to_client, lambda channel: channel.client)

    def _client_declines(self, kind: int, payload: bytes) -> None:
        self._declined(payload, self.to_target, lambda channel: channel.target)

    def _declined(self, payload: bytes, out: list[tuple[int, bytes]], asking: Callable[[Channel], End]) -> None:
        number, reason, text = messages.read_open_failure(payload)
        channel = self._unconfirmed(number)
        self._finish_run(channel, f"not opened: {visible(text)}", failed=True)
        self._not_opened(out, asking(channel).theirs, reason, text)
        del self._channels[number]

    # -- data --------------------------------------------------------------------------------------------------

    def _channel(self, number: int) -> Channel:
        channel = self._channels.get(number)
        if channel is None or not channel.ready:
            raise PeerError("a message for no channel")
        return channel

    def _client_data(self, kind: int, payload: bytes) -> None:
        number, stream, octets = messages.read_data(kind, payload)
        channel = self._channel(number)
        channel.client.received(len(octets))
        if channel.paused:
            if channel.pty and _INTERRUPT in octets:
                self.withdraw(channel.number, "the requester interrupted it")
            channel.keep(stream, octets)
        else:
            self._to_target(channel, stream, octets)

    def _to_target(self, channel: Channel, stream: int, octets: bytes) -> None:
        run = channel.run
        if run is not None:
            run.input.take(octets)
        elif channel.kind == "session":
            # nothing runs that could read it
            return
        channel.target.send(stream, octets, self.to_target)
        self._flow(channel)

    def _target_data(self, kind: int, payload: bytes) -> None:
        number, stream, octets = messages.read_data(kind, payload)
        channel = self._channel(number)
        channel.target.received(len(octets))
        run = channel.run
        if run is not None and stream in run.outputs:
            run.outputs[stream].take(octets)
        if run is not None or channel.kind != "session":
            channel.client.send(stream, octets, self.to_client)
        self._flow(channel)

    def _flow(self, channel: Channel) -> None:
        """Move what may be moved, both ways, and renew windows."""
        client, target = channel.client, channel.target
        client.drain(self.to_client)
        target.drain(self.to_target)
        client.refill(target.queued, self.to_client)
        target.refill(client.queued, self.to_target)
        if channel.over:
            self._channels.pop(channel.number, None)

    def _client_widens(self, kind: int, payload: bytes) -> None:
        number, more = messages.read_window_adjust(payload)
        channel = self._channel(number)
        channel.client.widened(more)
        self._flow(channel)

    def _target_widens(self, kind: int, payload: bytes) -> None:
        number, more = messages.read_window_adjust(payload)
        channel = self._channel(number)
        channel.target.widened(more)
        self._flow(channel)

    # -- ends --------------------------------------------------------------------------------------------------

    def _client_eof(self, kind: int, payload: bytes) -> None:
        channel = self._channel(messages.read_recipient(payload))
        if channel.paused:
            channel.kept.append((kind, payload))
            return
        channel.client.eof_received = True
        channel.target.finished = True
        self._flow(channel)

    def _target_eof(self, kind: int, payload: bytes) -> None:
        channel = self._channel(messages.read_recipient(payload))
        channel.target.eof_received = True
        channel.client.finished = True
        self._flow(channel)

    def _client_closes(self, kind: int, payload: bytes) -> None:
        channel = self._channel(messages.read_recipient(payload))
        channel.client.close_received = True
        if channel.paused:
            self.withdraw(channel.number, "the requester closed the channel")
        # who closes takes nothing more
        channel.client.close(self.to_client)
        channel.target.closing = True
        self._flow(channel)

    def _target_closes(self, kind: int, payload: bytes) -> None:
        channel = self._channel(messages.read_recipient(payload))
        channel.target.close_received = True
        self._finish_run(channel, "closed without a status")
        channel.target.close(self.to_target)
        channel.client.closing = True
        self._flow(channel)

    def close(self) -> None:
        """The session is over: whatever runs is recorded as cut off. @raise RecordError"""
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            if channel.run is not None:
                # what it came to under an approval nobody knows: the route says so
                channel.run.approval = None
            self._finish_run(channel, "the session ended")

    # -- requests on channels ----------------------------------------------------------------------------------

    def _client_request(self, kind: int, payload: bytes) -> None:
        request = ChannelRequest.read(payload)
        channel = self._channel(request.recipient)
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
        self.to_client.append((messages.SUCCESS if good else messages.FAILURE, number))

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
        self.to_target.append((messages.REQUEST, forwarded.encode()))
        if wanted:
            channel.replies.append(Reply(request.want_reply and not answered, accepted, refused))

    def _target_answers(self, kind: int, payload: bytes) -> None:
        channel = self._channel(messages.read_recipient(payload))
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
                self.reason = said or None
            self._answer(channel, request, fits)
        elif any(fnmatchcase(name, pattern) for pattern in operations.HARMLESS):
            self._pass_on(channel, request)
        else:
            self._variable(channel, request, name, value)

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
        reader.string()
        size = reader.number(), reader.number()
        if channel.pty or channel.run is not None:
            self._answer(channel, request, False)
            return
        channel.size = size
        self._pass_on(channel, request)

    def _resized(self, channel: Channel, request: ChannelRequest) -> None:
        reader = Reader(request.details)
        size = reader.number(), reader.number()
        if channel.size is None:
            self._answer(channel, request, False)
            return
        channel.size = size
        self._sized(channel)
        self._pass_on(channel, request)

    def _sized(self, channel: Channel) -> None:
        """Have it on record how large the terminal is."""
        if channel.size is not None and channel.run is not None:
            columns, rows = channel.size
            self.route.record("resize", {"operation": channel.run.operation, "columns": columns, "rows": rows})

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
        """An operation that is over as soon as it is accepted. @param then: called when it is forwarded"""
        wanted = operations.wanted(words, text, self.login, self.reason, None, objects, request.kind.encode() + text)

        def go(number: int, approval: str | None) -> None:
            def settled(outcome: str) -> None:
                self._settle(approval, outcome, outcome)

            if opens:
                self._expected.add(opens)
            then()
            self._pass_on(channel, request, lambda: settled("executed"), lambda: settled("failed"))
            self._resume(channel)

        def stop(refusal: Refusal) -> None:
            self._answer(channel, request, False)
            self._resume(channel)

        channel.paused = True
        self.permission.seek(wanted, go, stop, None, channel.number)

    # -- what runs ---------------------------------------------------------------------------------------------

    def _execute(self, channel: Channel, request: ChannelRequest) -> None:
        command = Reader(request.details).string()
        self._start(channel, request, "exec", self._command(channel, command))

    def _command(self, channel: Channel, command: bytes) -> Wanted:
        facts = {"pty": channel.pty, **commands.facts(command)}
        # what was set before it is part of what is approved
        said = b"".join(f"{each} ".encode() for each in channel.environment) + command
        return operations.wanted(commands.classes(command), said, self.login, self.reason, facts)

    def _shell(self, channel: Channel, request: ChannelRequest) -> None:
        words, facts = frozenset({"shell"}), {"pty": channel.pty}
        self._start(channel, request, "shell", operations.wanted(words, b"shell", self.login, self.reason, facts))

    def _subsystem(self, channel: Channel, request: ChannelRequest) -> None:
        name = Reader(request.details).name()
        words = frozenset({"download", "upload"}) if name == "sftp" else frozenset({"subsystem"})
        text = f"subsystem {name}".encode()
        self._start(
            channel, request, "subsystem", operations.wanted(words, text, self.login, self.reason, {"subsystem": name})
        )

    def _start(self, channel: Channel, request: ChannelRequest, kind: str, wanted: Wanted) -> None:
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

        def go(number: int, approval: str | None) -> None:
            if channel.target.close_sent:
                self._settle(approval, "failed", "the requester closed the channel")
                return
            most: int | None = self.limits.record_bytes
            typed = most
            if channel.pty:
                # a terminal is kept whole: it is what people replay; what is typed there may be a password
                most, typed = None, None if self.limits.record_input else 0
            run = channel.run = self._run(number, approval, kind, most, typed)
            self._sized(channel)
            self._pass_on(channel, request, None, lambda: self._not_started(channel, run, answered), answered)
            self._resume(channel)

        def stop(refusal: Refusal) -> None:
            self._refuse(channel, request, refusal, kind, answered)
            self._resume(channel)

        channel.paused = True
        self.permission.seek(wanted, go, stop, tell, channel.number)

    def _refuse(self, channel: Channel, request: ChannelRequest, refusal: Refusal, kind: str, answered: bool) -> None:
        """Say why, and end the channel as a command that could not be executed does."""
        self.say(channel, refusal.line)
        if kind == "subsystem" and not answered:
            self._answer(channel, request, False)
        else:
            if not answered:
                self._answer(channel, request, True)
            self._status(channel, REFUSED_STATUS)
        channel.client.closing = True
        channel.target.closing = True
        channel.kept.clear()
        self._flow(channel)

    def _not_started(self, channel: Channel, run: Run, answered: bool) -> None:
        self._finish_run(channel, "the target refused the request", failed=True)
        if answered:
            self.say(channel, "hoopd: the target refused the request")
            self._status(channel, REFUSED_STATUS)
            channel.client.closing = True
            channel.target.closing = True
            self._flow(channel)

    def _status(self, channel: Channel, status: int) -> None:
        # behind what was said before it: what waits for room goes first
        channel.client.drain(self.to_client)
        ended = ChannelRequest(channel.client.theirs, "exit-status", False, messages.number(status))
        self.to_client.append((messages.REQUEST, ended.encode()))

    def say(self, channel: Channel, text: str) -> None:
        """Tell the person at the client's end, on standard error."""
        end = "\r\n" if channel.pty else "\n"
        octets = (text.replace("\n", end) + end).encode("utf-8", "replace")
        channel.client.send(messages.STDERR, octets, self.to_client)

    def _resume(self, channel: Channel) -> None:
        """What the client sent meanwhile, in its order."""
        channel.paused = False
        kept = channel.kept
        while kept and not channel.paused:
            one = kept.popleft()
            if isinstance(one, Kept):
                self._to_target(channel, one.stream, bytes(one.octets))
            else:
                _CLIENT[one[0]](self, *one)
        self._flow(channel)

    def _run(self, operation: int, approval: str | None, kind: str, most: int | None, typed: int | None) -> Run:
        """@param most, typed: bytes of output and input to keep; None is all"""
        outputs = {number: Recorded(self.route, operation, "output", name, most) for number, name in NAMES.items()}
        taken = Recorded(self.route, operation, "input", "in", typed)
        return Run(operation, approval, kind, self.seconds(), outputs, taken)

    def _finish_run(self, channel: Channel, tag: str, failed: bool = False) -> None:
        run: Run | None = channel.run
        if run is None or run.done:
            return
        run.done = True
        for stream in (*run.outputs.values(), run.input):
            stream.finish()
        duration = round(self.seconds() - run.started, 6)
        octets = sum(stream.octets for stream in run.outputs.values())
        tag = run.ended or tag
        self.route.record("result", {"operation": run.operation, "tag": tag, "bytes": octets, "duration": duration})
        fields = {"operation": run.operation, "tag": tag, "bytes": octets, "seconds": duration}
        self.route.event("operation.finished", {**fields, "approval": run.approval})
        self._settle(run.approval, "failed" if failed else "executed", tag)

    def _settle(self, approval: str | None, outcome: str, detail: str) -> None:
        if approval is not None:
            self.route.settle(approval, outcome, detail)

    def _target_request(self, kind: int, payload: bytes) -> None:
        request = ChannelRequest.read(payload)
        channel = self._channel(request.recipient)
        run = channel.run
        if request.kind == "exit-status" and run is not None:
            run.ended = f"exit {Reader(request.details).number()}"
        elif request.kind == "exit-signal" and run is not None:
            run.ended = f"signal {Reader(request.details).name()}"
        elif request.kind not in ("xon-xoff", "eow@openssh.com"):
            if request.want_reply:
                self.to_target.append((messages.FAILURE, messages.number(channel.target.theirs)))
            return
        channel.client.drain(self.to_client)
        passed = ChannelRequest(channel.client.theirs, request.kind, False, request.details)
        self.to_client.append((messages.REQUEST, passed.encode()))
        if request.want_reply:
            self.to_target.append((messages.SUCCESS, messages.number(channel.target.theirs)))

    # -- global requests ---------------------------------------------------------------------------------------

    def _client_global(self, kind: int, payload: bytes) -> None:
        request = GlobalRequest.read(payload)
        reply = GlobalReply()
        if request.want_reply:
            self._replies.append(reply)
        if request.kind == "no-more-sessions@openssh.com":
            self._no_more = True
            self._answer_global(reply, True)
        elif request.kind in _FORWARDS:
            self._listen(request, reply)
        elif request.kind in _CANCELS:
            self._forward_global(request, reply)
        else:
            # keep-alives among them: any answer is a sign of life
            self._answer_global(reply, False)

    def _listen(self, request: GlobalRequest, reply: GlobalReply) -> None:
        reader = Reader(request.details)
        where = reader.string().decode("utf-8", "backslashreplace")
        if request.kind == "tcpip-forward":
            where = f"{where}:{reader.number()}"
        words, text = frozenset({"forward-remote"}), f"listen on {where}".encode()
        wanted = operations.wanted(words, text, self.login, self.reason, {"destination": where}, (where,))

        def go(number: int, approval: str | None) -> None:
            self._expected.add(_FORWARDS[request.kind])
            reply.accepted = lambda: self._settle(approval, "executed", "listening")
            self._forward_global(request, reply)

        self.permission.seek(wanted, go, lambda refusal: self._answer_global(reply, False))

    def _forward_global(self, request: GlobalRequest, reply: GlobalReply) -> None:
        self._forwarded.append(reply)
        forwarded = GlobalRequest(request.kind, True, request.details)
        self.to_target.append((messages.GLOBAL_REQUEST, forwarded.encode()))

    def _answer_global(self, reply: GlobalReply, good: bool, details: bytes = b"") -> None:
        reply.answer = (messages.REQUEST_SUCCESS if good else messages.REQUEST_FAILURE, details)
        while self._replies and self._replies[0].answer is not None:
            answer = self._replies.popleft().answer
            assert answer is not None
            self.to_client.append(answer)

    def _target_answers_global(self, kind: int, payload: bytes) -> None:
        if not self._forwarded:
            raise PeerError("an answer to no request")
        reply = self._forwarded.popleft()
        good = kind == messages.REQUEST_SUCCESS
        if good and reply.accepted is not None:
            reply.accepted()
        self._answer_global(reply, good, payload if good else b"")

    def _target_global(self, kind: int, payload: bytes) -> None:
        request = GlobalRequest.read(payload)
        # its host keys are no business of our clients; a keep-alive is answered by any answer
        if request.want_reply:
            self.to_target.append((messages.REQUEST_FAILURE, b""))


_FORWARDS = {
    "tcpip-forward": "forwarded-tcpip",
    "streamlocal-forward@openssh.com": "forwarded-streamlocal@openssh.com",
}
_CANCELS = frozenset({"cancel-tcpip-forward", "cancel-streamlocal-forward@openssh.com"})

_REQUESTS: dict[str, Callable[[Session, Channel, ChannelRequest], None]] = {
    "env": Session._environment,
    "pty-req": Session._terminal,
    "window-change": Session._resized,
    "signal": Session._signal,
    "break": Session._unchanged,
    "eow@openssh.com": Session._unchanged,
    "auth-agent-req@openssh.com": Session._agent,
    "x11-req": Session._x11,
    "exec": Session._execute,
    "shell": Session._shell,
    "subsystem": Session._subsystem,
}

_CLIENT: dict[int, Callable[[Session, int, bytes], None]] = {
    messages.GLOBAL_REQUEST: Session._client_global,
    messages.OPEN: Session._client_opens,
    messages.OPEN_CONFIRMATION: Session._client_confirms,
    messages.OPEN_FAILURE: Session._client_declines,
    messages.WINDOW_ADJUST: Session._client_widens,
    messages.DATA: Session._client_data,
    messages.EXTENDED_DATA: Session._client_data,
    messages.EOF: Session._client_eof,
    messages.CLOSE: Session._client_closes,
    messages.REQUEST: Session._client_request,
}

_TARGET: dict[int, Callable[[Session, int, bytes], None]] = {
    messages.GLOBAL_REQUEST: Session._target_global,
    messages.REQUEST_SUCCESS: Session._target_answers_global,
    messages.REQUEST_FAILURE: Session._target_answers_global,
    messages.OPEN: Session._target_opens,
    messages.OPEN_CONFIRMATION: Session._target_confirms,
    messages.OPEN_FAILURE: Session._target_declines,
    messages.WINDOW_ADJUST: Session._target_widens,
    messages.DATA: Session._target_data,
    messages.EXTENDED_DATA: Session._target_data,
    messages.EOF: Session._target_eof,
    messages.CLOSE: Session._target_closes,
    messages.REQUEST: Session._target_request,
    messages.SUCCESS: Session._target_answers,
    messages.FAILURE: Session._target_answers,
}
