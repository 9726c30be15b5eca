"""What becomes of the octets of one operation between the two ends of its channel: recorded, then passed on; pure.

This one changes nothing. Others read the protocol inside, or mask what comes out; they take its place in L{Passage}'s words. Not the
windows (L{hoopd.protocols.ssh.channels}).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define

from hoopd.protocols.ssh.channels import Channel
from hoopd.protocols.ssh.operations import Wanted
from hoopd.protocols.ssh.permission import Go, Stop
from hoopd.protocols.ssh.streams import Recorded

#: C{(seconds, call) -> cancel}: have C{call} run later, and what it sends go out; C{cancel} takes it back, any time
Later = Callable[[float, Callable[[], None]], Callable[[], None]]


#: of what one end broke off by what it sent: as a command that cannot be executed
BROKEN_STATUS = 126


@define(eq=False)
class Way:
    """The two ends of a channel, for what works between them.

    @ivar session: L{hoopd.protocols.ssh.session.Session}
    """

    session: Any
    channel: Channel

    def to_client(self, stream: int, octets: bytes) -> None:
        """@param stream: 0, or the number of EXTENDED_DATA"""
        self.channel.client.send(stream, octets, self.session.to_client)

    def to_target(self, stream: int, octets: bytes) -> None:
        self.channel.target.send(stream, octets, self.session.to_target)

    def shown(self, name: bytes) -> str:
        """The name of a file as it may be recorded and logged."""
        return self.session.permission.shown(name)

    def seek(self, wanted: Wanted, go: Go, stop: Stop, known: bool = False) -> None:
        """As L{hoopd.protocols.ssh.permission.Permission.seek}; whoever waits is told on standard error."""
        self.session.permission.seek(wanted, go, stop, self.say, self.channel.number, known)

    def say(self, text: str) -> None:
        """Tell the person at the client's end, on standard error."""
        self.session.say(self.channel, text)

    def cut(self, why: str) -> None:
        """End what runs in the channel, here and at the target: one of the two does not behave."""
        self.session.runs.cut(self.channel, why, (), BROKEN_STATUS, "protocol")

    def resume(self) -> None:
        """What C{channel.paused} kept goes on."""
        self.session.resume(self.channel)


@define(eq=False)
class Passage:
    """Records and passes on.

    @ivar outputs: by the number of the stream; what is on none of them is passed on unrecorded.
    """

    way: Way
    outputs: dict[int, Recorded]
    input: Recorded

    def from_client(self, stream: int, octets: bytes) -> None:
        """The client sent this. @raise RecordError: it cannot be written, so it must not go on"""
        self.input.take(octets)
        self.way.to_target(stream, octets)

    def from_target(self, stream: int, octets: bytes) -> None:
        """The target sent this. @raise RecordError"""
        output = self.outputs.get(stream)
        if output is not None:
            output.take(octets)
        self.way.to_client(stream, octets)

    def sized(self, columns: int, rows: int) -> None:
        """The terminal has another size from now on."""

    def client_ends(self) -> None:
        """The client sends no more: what was kept back for more to come goes on now."""

    def target_ends(self) -> None:
        """The target sends no more, or says how its command ended: as above. May be called more than once."""

    def finish(self) -> None:
        """It is over. @raise RecordError"""
        for stream in (*self.outputs.values(), self.input):
            stream.finish()

    @property
    def octets(self) -> int:
        """How many the target sent."""
        return sum(stream.octets for stream in self.outputs.values())
