"""One SSH session between its client and its target: messages of either in, messages to both out; the core, pure.

Every request that makes the target do something is an operation and passes L{hoopd.protocols.ssh.permission} first; what is not
named here is refused. Windows and closing are L{hoopd.protocols.ssh.channels}'. Specification: RFC 4254; OpenSSH's PROTOCOL,
section 2, for the requests with its name in theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import Factory, define, field

from hoopd.display import visible
from hoopd.errors import PeerError, TargetError
from hoopd.protocols.ssh import messages
from hoopd.protocols.ssh.channels import PACKET, WINDOW, Channel, End, Leg
from hoopd.protocols.ssh.forwards import LOCAL, Forwards
from hoopd.protocols.ssh.global_requests import GlobalRequests
from hoopd.protocols.ssh.messages import Confirmation, Open
from hoopd.protocols.ssh.operations import Refusal
from hoopd.protocols.ssh.passage import Later
from hoopd.protocols.ssh.permission import Granted, Permission
from hoopd.protocols.ssh.requests import Requests
from hoopd.protocols.ssh.runs import Limits, Runs

_INTERRUPT = b"\x03"
#: of what one side says about a channel, to the other and to the record
TEXT_MAX = 200


@define(eq=False)
class Session:
    """
    @ivar login: the account at the target.
    @ivar to_client, to_target: messages to send, in order; the adapter empties them.
    @ivar seconds: C{() -> float}, monotonic.
    @ivar later: for what goes on by itself after a while.
    @ivar withdraw: C{(channel number, why)}: called when the client interrupts what waits for approval.
    """

    route: Any
    permission: Permission
    login: str
    seconds: Callable[[], float]
    later: Later
    withdraw: Callable[[int, str], Any]
    limits: Limits
    to_client: list[tuple[int, bytes]] = Factory(list)
    to_target: list[tuple[int, bytes]] = Factory(list)
    reason: str | None = None
    _channels: dict[int, Channel] = Factory(dict)
    _last: int = -1
    client_leg: Leg = Factory(Leg)
    target_leg: Leg = Factory(Leg)
    #: the client has said that it will open no more session channels
    no_more: bool = False
    runs: Runs = field(init=False)
    forwards: Forwards = field(init=False)
    _requests: Requests = field(init=False)
    _globals: GlobalRequests = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.runs = Runs(self.route, self, self.seconds, self.later, self.limits)
        self.forwards = Forwards(self)
        self._requests = Requests(self, self.runs)
        self._globals = GlobalRequests(self)

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

    def say(self, channel: Channel, text: str) -> None:
        """Tell the person at the client's end, on standard error."""
        self._requests.say(channel, text)

    def end(self, channel: Channel, text: str, status: int) -> None:
        """Tell the person why, and with which status what runs there has ended."""
        self._requests.end(channel, text, status)

    def resume(self, channel: Channel) -> None:
        """A channel that was paused goes on."""
        self._requests.resume(channel)

    def announce(self, text: str) -> None:
        """Tell whoever sits at a terminal."""
        for channel in list(self._channels.values()):
            if channel.ready and channel.pty and channel.run is not None and not channel.run.done:
                self._requests.say(channel, text)

    def context(self) -> str:
        """What the meaning of operations depends on, besides their own text."""
        return f"login={self.login}"

    # -- opening -----------------------------------------------------------------------------------------------

    def _client_opens(self, kind: int, payload: bytes) -> None:
        asked = Open.read(payload)
        if self._full:
            self._not_opened(self.to_client, asked.sender, messages.RESOURCE_SHORTAGE, "too many channels")
        elif asked.kind == "session":
            if self.no_more:
                raise PeerError("another session channel after no-more-sessions")
            self._open(asked, b"")
        elif asked.kind in LOCAL:
            self.forwards.connect(
                asked,
                lambda granted: self._open(asked, asked.details, granted),
                lambda refusal: self._not_opened(self.to_client, asked.sender, messages.PROHIBITED, refusal.line),
            )
        else:
            self._not_opened(self.to_client, asked.sender, messages.UNKNOWN_TYPE, "unknown channel type")

    def _not_opened(self, out: list[tuple[int, bytes]], theirs: int, reason: int, text: str) -> None:
        out.append((messages.OPEN_FAILURE, messages.open_failure(theirs, reason, text)))

    def _open(self, asked: Open, details: bytes, granted: Granted | None = None) -> None:
        channel = self._new(asked)
        self._size(channel.client, asked.sender, asked.window, asked.packet)
        if granted is not None:
            self.runs.forward(granted, asked.kind, channel)
        opening = Open(asked.kind, channel.number, WINDOW, PACKET, details)
        self.to_target.append((messages.OPEN, opening.encode()))

    def _new(self, asked: Open) -> Channel:
        # numbers are not used again: a late message of a closed channel cannot hit another
        self._last += 1
        ends = End(leg=self.client_leg), End(leg=self.target_leg)
        channel = self._channels[self._last] = Channel(self._last, asked.kind, *ends)
        return channel

    @staticmethod
    def _size(end: End, theirs: int, window: int, packet: int) -> None:
        end.theirs, end.room, end.packet = theirs, window, min(packet, PACKET)
        if packet < 1:
            raise PeerError("a channel that takes no bytes")

    def _target_opens(self, kind: int, payload: bytes) -> None:
        asked = Open.read(payload)

        def stop(refusal: Refusal) -> None:
            # why is the client's and the record's to know
            self._not_opened(self.to_target, asked.sender, messages.PROHIBITED, "not permitted by the gateway")

        if self._full:
            stop(Refusal("too many channels"))
        else:
            self.forwards.opened(asked, lambda granted: self._target_opened(asked, granted), stop)

    def _target_opened(self, asked: Open, granted: Granted) -> None:
        channel = self._new(asked)
        self._size(channel.target, asked.sender, asked.window, asked.packet)
        self.runs.forward(granted, asked.kind, channel)
        opening = Open(asked.kind, channel.number, WINDOW, PACKET, asked.details)
        self.to_client.append((messages.OPEN, opening.encode()))

    @property
    def _full(self) -> bool:
        return len(self._channels) + self.forwards.pending >= self.limits.channels

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
        number, reason, said = messages.read_open_failure(payload)
        text = visible(said[:TEXT_MAX])
        channel = self._unconfirmed(number)
        self.runs.finish(channel, f"not opened: {text}", failed=True)
        self._not_opened(out, asking(channel).theirs, reason, text)
        del self._channels[number]

    # -- data --------------------------------------------------------------------------------------------------

    def channel(self, number: int) -> Channel:
        channel = self._channels.get(number)
        if channel is None or not channel.ready:
            raise PeerError("a message for no channel")
        return channel

    def _client_data(self, kind: int, payload: bytes) -> None:
        number, stream, octets = messages.read_data(kind, payload)
        if stream:
            raise PeerError("extended data, of which clients have none")
        channel = self.channel(number)
        channel.client.received(len(octets))
        if channel.paused:
            if channel.pty and _INTERRUPT in octets:
                self.withdraw(channel.number, "the requester interrupted it")
            channel.keep(stream, octets)
        else:
            self.pass_data(channel, stream, octets)

    def pass_data(self, channel: Channel, stream: int, octets: bytes) -> None:
        run = channel.run
        if run is not None:
            run.passage.from_client(stream, octets)
        elif channel.kind != "session":
            channel.target.send(stream, octets, self.to_target)
        # else nothing runs that could read it
        self.flow(channel)

    def _target_data(self, kind: int, payload: bytes) -> None:
        number, stream, octets = messages.read_data(kind, payload)
        channel = self.channel(number)
        channel.target.received(len(octets))
        run = channel.run
        if run is not None:
            self.runs.from_target(channel, stream, octets)
        elif channel.kind != "session":
            channel.client.send(stream, octets, self.to_client)
        self.flow(channel)

    def takes(self, leg: Leg, now: bool) -> None:
        """@param now: whether data may go to C{leg} from now on; what waits goes at once"""
        leg.takes = now
        for channel in list(self._channels.values()) if now else ():
            self.flow(channel)

    def flow(self, channel: Channel) -> None:
        """Move what may be moved, both ways, and renew windows."""
        client, target = channel.client, channel.target
        client.drain(self.to_client)
        target.drain(self.to_target)
        client.refill(target.queued + channel.waiting, self.to_client)
        target.refill(client.queued, self.to_target)
        if channel.over and self._channels.pop(channel.number, None) is not None:
            client.over()
            target.over()

    def _client_widens(self, kind: int, payload: bytes) -> None:
        number, more = messages.read_window_adjust(payload)
        channel = self.channel(number)
        channel.client.widened(more)
        self.flow(channel)

    def _target_widens(self, kind: int, payload: bytes) -> None:
        number, more = messages.read_window_adjust(payload)
        channel = self.channel(number)
        channel.target.widened(more)
        self.flow(channel)

    # -- ends --------------------------------------------------------------------------------------------------

    def _client_eof(self, kind: int, payload: bytes) -> None:
        channel = self.channel(messages.read_recipient(payload))
        if channel.paused:
            if channel.client.eof_received:
                raise PeerError("the end of its data, said again while an operation is held")
            # nothing may come behind it, though it waits
            channel.client.eof_received = True
            channel.kept.append((kind, payload))
            return
        channel.client.eof_received = True
        if channel.run is not None:
            channel.run.passage.client_ends()
        channel.target.finished = True
        self.flow(channel)

    def _target_eof(self, kind: int, payload: bytes) -> None:
        channel = self.channel(messages.read_recipient(payload))
        channel.target.eof_received = True
        if channel.run is not None:
            channel.run.passage.target_ends()
        channel.client.finished = True
        self.flow(channel)

    def _client_closes(self, kind: int, payload: bytes) -> None:
        channel = self.channel(messages.read_recipient(payload))
        channel.client.close_received = True
        if channel.paused:
            self.withdraw(channel.number, "the requester closed the channel")
        # It takes no more data. Our CLOSE waits for the target's: OpenSSH's client closes once it has seen EOF, and how the command
        # ended comes behind that; without it, whoever waits for the status is told of a lost connection.
        channel.client.drop()
        channel.target.closing = True
        self.flow(channel)

    def _target_closes(self, kind: int, payload: bytes) -> None:
        channel = self.channel(messages.read_recipient(payload))
        channel.target.close_received = True
        if channel.run is not None:
            channel.run.passage.target_ends()
        self.runs.finish(channel, "closed without a status")
        channel.target.close(self.to_target)
        channel.client.closing = True
        self.flow(channel)

    def close(self) -> None:
        """The session is over: whatever runs is recorded as cut off. @raise RecordError"""
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            if channel.run is not None:
                # what it came to under an approval nobody knows: the route says so
                channel.run.approval = None
            self.runs.finish(channel, "the session ended")


_CLIENT: dict[int, Callable[[Session, int, bytes], None]] = {
    messages.GLOBAL_REQUEST: lambda session, kind, payload: session._globals.client_message(kind, payload),
    messages.OPEN: Session._client_opens,
    messages.OPEN_CONFIRMATION: Session._client_confirms,
    messages.OPEN_FAILURE: Session._client_declines,
    messages.WINDOW_ADJUST: Session._client_widens,
    messages.DATA: Session._client_data,
    messages.EXTENDED_DATA: Session._client_data,
    messages.EOF: Session._client_eof,
    messages.CLOSE: Session._client_closes,
    messages.REQUEST: lambda session, kind, payload: session._requests.client_message(kind, payload),
}

_TARGET: dict[int, Callable[[Session, int, bytes], None]] = {
    messages.GLOBAL_REQUEST: lambda session, kind, payload: session._globals.target_message(kind, payload),
    messages.REQUEST_SUCCESS: lambda session, kind, payload: session._globals.target_answers(kind, payload),
    messages.REQUEST_FAILURE: lambda session, kind, payload: session._globals.target_answers(kind, payload),
    messages.OPEN: Session._target_opens,
    messages.OPEN_CONFIRMATION: Session._target_confirms,
    messages.OPEN_FAILURE: Session._target_declines,
    messages.WINDOW_ADJUST: Session._target_widens,
    messages.DATA: Session._target_data,
    messages.EXTENDED_DATA: Session._target_data,
    messages.EOF: Session._target_eof,
    messages.CLOSE: Session._target_closes,
    messages.REQUEST: lambda session, kind, payload: session._requests.target_message(kind, payload),
    messages.SUCCESS: lambda session, kind, payload: session._requests.target_answers(kind, payload),
    messages.FAILURE: lambda session, kind, payload: session._requests.target_answers(kind, payload),
}
