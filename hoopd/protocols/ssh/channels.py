"""One channel across the gateway: its two ends, their windows, and what waits for room; pure.

The gateway is the other side of both ends, and gives both the same number of its own. It grants each end a window and keeps what
the other end has no room for, so that a slow reader costs one window and no more. Windows begin small and grow where what
they let in goes on at once; what all of a connection grow by is bounded. What passes may grow or shrink on its way (masks),
and text of ours may come in between. Specification: RFC 4254 section 5.2.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from attrs import Factory, define

from hoopd.errors import PeerError
from hoopd.protocols.ssh import messages

#: data in one packet; RFC 4253 section 6.1 has every implementation take 32,768
PACKET = 32 * 1024
#: what every channel has: a hundred that nobody reads hold 6 MiB for each direction
WINDOW = 2 * PACKET
#: what one may grow to: OpenSSH's own for sessions, 64 packets
WINDOW_MAX = 64 * PACKET
#: what the windows granted to one side may grow by, together: eight channels at full speed
GROWTH = 16 * 1024 * 1024
#: pieces of both streams that wait in their order; more than that, and each stream keeps its own order alone
PIECES_MAX = 64
_UINT32_MAX = 0xFFFFFFFF


@define(eq=False)
class Leg:
    """One side of a connection, for all of its channels.

    @ivar takes: data may go there now. It may not while keys are exchanged: it would only wait further on, beyond every window.
    @ivar left: what the windows granted to it may still grow by.
    """

    takes: bool = True
    left: int = GROWTH

    def grow(self, most: int) -> int:
        """@return: as much of C{most} as there is"""
        grown = min(most, self.left)
        self.left -= grown
        return grown


@define(eq=False)
class End:
    """The channel as one side knows it.

    @ivar theirs: its number there.
    @ivar room: bytes that this side still takes; C{packet} at most in one message.
    @ivar granted: bytes that this side may still send us, of C{window}.
    @ivar queue: what waits for room, by stream; many small messages become one.
    @ivar queued: bytes in C{queue}.
    """

    theirs: int = 0
    room: int = 0
    packet: int = PACKET
    granted: int = WINDOW
    window: int = WINDOW
    leg: Leg = Factory(Leg)
    queue: deque[tuple[int, bytearray]] = Factory(deque)
    queued: int = 0
    #: nothing more comes for it: EOF goes out behind the queue
    finished: bool = False
    #: the channel is to be closed behind the queue
    closing: bool = False
    eof_sent: bool = False
    close_sent: bool = False
    eof_received: bool = False
    close_received: bool = False

    def received(self, octets: int) -> None:
        """It sent so many. @raise PeerError: more than it may, or after it said that nothing would come."""
        if self.eof_received or self.close_received:
            raise PeerError("channel data after its end")
        if octets > self.granted:
            raise PeerError("channel data beyond the window")
        self.granted -= octets

    def widened(self, more: int) -> None:
        """It takes more. @raise PeerError: more than a window can be (section 5.2)"""
        if self.room + more > _UINT32_MAX:
            raise PeerError("a window larger than 2^32 - 1")
        self.room += more

    def send(self, stream: int, octets: bytes, out: list[tuple[int, bytes]]) -> None:
        """Send this now as far as there is room, and the rest when there is."""
        if self.finished or self.closing or self.close_sent or self.close_received:
            return
        if self.leg.takes and not self.queue and len(octets) <= self.room and len(octets) <= self.packet:
            self.room -= len(octets)
            out.append(messages.data(self.theirs, stream, octets))
            return
        self._wait(stream, octets)
        self.drain(out)

    def _wait(self, stream: int, octets: bytes) -> None:
        self.queued += len(octets)
        queue = self.queue
        if queue and queue[-1][0] == stream:
            queue[-1][1].extend(octets)
        elif len(queue) < PIECES_MAX:
            queue.append((stream, bytearray(octets)))
        else:
            # there are two streams, and neighbours differ
            queue[-2][1].extend(octets)

    def drain(self, out: list[tuple[int, bytes]]) -> None:
        """Move what there is room for into C{out}, as messages; then EOF and CLOSE where they are due."""
        queue = self.queue
        while queue and self.room > 0 and self.leg.takes and not self.close_sent:
            stream, waiting = queue[0]
            octets = bytes(waiting[: min(self.room, self.packet)])
            # cheap: a bytearray moves its start, not its bytes
            del waiting[: len(octets)]
            if not waiting:
                queue.popleft()
            self.room -= len(octets)
            self.queued -= len(octets)
            out.append(messages.data(self.theirs, stream, octets))
        if queue or self.close_sent:
            return
        if (self.finished or self.closing) and not self.eof_sent:
            self.eof_sent = True
            out.append((messages.EOF, messages.number(self.theirs)))
        if self.closing:
            self.close(out)

    def tell(self, kind: int, payload: bytes, out: list[tuple[int, bytes]]) -> None:
        """Send a message that is no data. Nothing follows CLOSE (section 5.3): its number may be another channel's by then."""
        if not self.close_sent:
            out.append((kind, payload))

    def close(self, out: list[tuple[int, bytes]]) -> None:
        """Close now; what waits is dropped."""
        if self.close_sent:
            return
        self.close_sent = True
        self.drop()
        out.append((messages.CLOSE, messages.number(self.theirs)))

    def drop(self) -> None:
        """What waits for room goes nowhere."""
        self.queue.clear()
        self.queued = 0

    def refill(self, waiting: int, out: list[tuple[int, bytes]]) -> None:
        """Let it send again what has been passed on.

        @param waiting: bytes of it that wait for room on the other side.
        """
        more = self.window - self.granted - waiting
        if more < self.window // 2 or self.eof_received or self.close_received or self.close_sent:
            return
        if not waiting and self.window < WINDOW_MAX:
            # whoever takes it keeps up
            grown = self.leg.grow(min(self.window, WINDOW_MAX - self.window))
            self.window += grown
            more += grown
        self.granted += more
        out.append((messages.WINDOW_ADJUST, messages.window_adjust(self.theirs, more)))

    def over(self) -> None:
        """The channel is no more: what its window has grown by is others'."""
        self.leg.left += self.window - WINDOW
        self.window = WINDOW


@define(eq=False)
class Kept:
    """Data that waits for a decision."""

    stream: int
    octets: bytearray


@define(eq=False)
class Channel:
    """
    @ivar number: ours, at both ends.
    @ivar kind: its type, such as C{session}.
    @ivar ready: both ends have confirmed.
    @ivar run: what runs in it: L{hoopd.protocols.ssh.session.Run}, or None yet.
    @ivar paused: an operation of it is being decided; what its client sends meanwhile is kept.
    @ivar kept: what came meanwhile, in order: requests and ends as messages, data as its stream and bytes.
    @ivar replies: what is owed to the client for requests forwarded to the target, in their order.
    """

    number: int
    kind: str
    client: End = Factory(End)
    target: End = Factory(End)
    ready: bool = False
    run: Any = None
    paused: bool = False
    kept: deque[Any] = Factory(deque)
    replies: deque[Any] = Factory(deque)
    #: variables that policy let through, beyond harmless ones, as NAME=value
    environment: list[str] = Factory(list)
    #: why break glass, which was asked for in it, is not open: nothing runs in it then
    glass: Any = None
    #: columns and rows, where it has a terminal
    size: tuple[int, int] | None = None
    #: its kind, and its modes as pty-req encodes them (RFC 4254 section 8)
    terminal: str = ""
    modes: bytes = b""

    @property
    def pty(self) -> bool:
        """It has a terminal."""
        return self.size is not None

    def keep(self, stream: int, octets: bytes) -> None:
        """Data that came while the channel is paused."""
        last = self.kept[-1] if self.kept else None
        if isinstance(last, Kept) and last.stream == stream:
            last.octets.extend(octets)
        else:
            self.kept.append(Kept(stream, bytearray(octets)))

    @property
    def waiting(self) -> int:
        """Bytes of the client that wait for a decision."""
        return sum(len(one.octets) for one in self.kept if isinstance(one, Kept)) if self.kept else 0

    @property
    def over(self) -> bool:
        """Both ends have said and heard that it is closed."""
        client, target = self.client, self.target
        # asked after each message: no loop
        return client.close_sent and client.close_received and target.close_sent and target.close_received
