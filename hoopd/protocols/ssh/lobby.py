"""A connection to the gateway itself: commands of the gateway, and channels to targets for C{ssh -J}; the core, pure.

There is no target behind it and nothing of it is recorded but what is done: what is decided here is on the ledger as ever, and
whoever goes on to a target begins a session there with a proof of their own. Specification: RFC 4254.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from attrs import Factory, define, frozen

from hoopd.errors import PeerError
from hoopd.protocols.ssh import messages
from hoopd.protocols.ssh.channels import PACKET, WINDOW, End, Leg
from hoopd.protocols.ssh.messages import ChannelRequest, Confirmation, GlobalRequest, Open, Reader

CHANNELS_MAX = 100
#: words of a command: an id and a reason
COMMAND_MAX = 4096

#: the shell's for a command that is not there (POSIX.1-2017, XCU section 2.8.2)
UNKNOWN_STATUS = 127


@frozen
class Command:
    """Somebody typed C{ssh gateway WORDS}; answer with L{Lobby.answer}."""

    channel: int
    words: tuple[str, ...]


@frozen
class Jump:
    """Somebody wants to go on to C{host}; answer with L{Lobby.connected} or L{Lobby.declined}."""

    channel: int
    host: str
    port: int


@define(eq=False)
class Place:
    """One channel. @ivar arrived: takes what comes through it, once it is connected; C{gone}: called at its end"""

    number: int
    kind: str
    client: End = Factory(End)
    pty: bool = False
    busy: bool = False
    open: bool = False
    arrived: Callable[[bytes], None] | None = None
    gone: Callable[[], None] | None = None
    #: what comes is not taken now
    paused: bool = False
    #: called when C{client} has room again
    drained: Callable[[], None] | None = None


@define(eq=False)
class Lobby:
    """
    @ivar refusal: what whoever wants a shell is told.
    @ivar to_client: messages to send, in order; the adapter empties it.
    @ivar asks: what the adapter has to see to; it empties the list.
    """

    refusal: str
    to_client: list[tuple[int, bytes]] = Factory(list)
    asks: list[Command | Jump] = Factory(list)
    _places: dict[int, Place] = Factory(dict)
    _last: int = -1
    _leg: Leg = Factory(Leg)

    def client_message(self, kind: int, payload: bytes) -> None:
        """One message of the client. @raise PeerError: it breaks the protocol"""
        call = _CLIENT.get(kind)
        if call is None:
            raise PeerError(f"message {kind} is none of a client's here")
        call(self, kind, payload)

    def _opens(self, kind: int, payload: bytes) -> None:
        asked = Open.read(payload)
        if asked.packet < 1:
            raise PeerError("a channel that takes no bytes")
        if len(self._places) >= CHANNELS_MAX:
            self._decline(asked.sender, messages.RESOURCE_SHORTAGE, "too many channels")
        elif asked.kind == "session":
            self._confirm(self._place(asked))
        elif asked.kind == "direct-tcpip":
            place = self._place(asked)
            reader = Reader(asked.details)
            host, port = reader.string().decode("utf-8", "replace"), reader.number()
            self.asks.append(Jump(place.number, host, port))
        else:
            self._decline(asked.sender, messages.UNKNOWN_TYPE, "unknown channel type")

    def _decline(self, theirs: int, reason: int, text: str) -> None:
        self.to_client.append((messages.OPEN_FAILURE, messages.open_failure(theirs, reason, text)))

    def _place(self, asked: Open) -> Place:
        self._last += 1
        place = self._places[self._last] = Place(self._last, asked.kind)
        place.client = End(asked.sender, asked.window, min(asked.packet, PACKET), leg=self._leg)
        return place

    def _confirm(self, place: Place) -> None:
        place.open = True
        confirmed = Confirmation(place.client.theirs, place.number, WINDOW, PACKET)
        self.to_client.append((messages.OPEN_CONFIRMATION, confirmed.encode()))

    def _find(self, number: int) -> Place:
        place = self._places.get(number)
        if place is None or not place.open:
            raise PeerError("a message for no channel")
        return place

    # -- going on ----------------------------------------------------------------------------------------------

    def connected(self, channel: int) -> Place | None:
        """What a jump asked for is there. @return: its channel, to be wired; None: the client has gone"""
        place = self._places.get(channel)
        if place is not None:
            self._confirm(place)
        return place

    def declined(self, channel: int, text: str) -> None:
        """It is not to be had."""
        place = self._places.pop(channel, None)
        if place is not None:
            self._decline(place.client.theirs, messages.PROHIBITED, text)

    def send(self, place: Place, octets: bytes) -> None:
        """Through a channel to the client, as it has room."""
        for start in range(0, len(octets), PACKET):
            place.client.send(0, octets[start : start + PACKET], self.to_client)

    def close(self, place: Place) -> None:
        """Nothing more goes through this channel."""
        place.client.closing = True
        self._settle(place)

    def resume(self, place: Place) -> None:
        """What comes through it is taken again."""
        place.paused = False
        self._settle(place)

    def _settle(self, place: Place) -> None:
        place.client.drain(self.to_client)
        if not place.paused:
            place.client.refill(0, self.to_client)
        if place.client.close_sent and place.client.close_received and self._places.pop(place.number, None) is not None:
            place.client.over()

    def _data(self, kind: int, payload: bytes) -> None:
        number, _, octets = messages.read_data(kind, payload)
        place = self._find(number)
        place.client.received(len(octets))
        if place.arrived is not None:
            place.arrived(octets)
        self._settle(place)

    def _widens(self, kind: int, payload: bytes) -> None:
        number, more = messages.read_window_adjust(payload)
        place = self._find(number)
        place.client.widened(more)
        self._drain(place)

    def _drain(self, place: Place) -> None:
        """There is room again."""
        self._settle(place)
        if place.drained is not None and not place.client.queue:
            place.drained()

    def takes(self, now: bool) -> None:
        """@param now: whether data may go to the client from now on; what waits goes at once"""
        self._leg.takes = now
        for place in list(self._places.values()) if now else ():
            self._drain(place)

    def _eof(self, kind: int, payload: bytes) -> None:
        place = self._find(messages.read_recipient(payload))
        place.client.eof_received = True
        if place.kind != "session":
            self._gone(place)

    def _closes(self, kind: int, payload: bytes) -> None:
        place = self._find(messages.read_recipient(payload))
        place.client.close_received = True
        place.client.close(self.to_client)
        self._settle(place)
        self._gone(place)

    @staticmethod
    def _gone(place: Place) -> None:
        gone, place.gone = place.gone, None
        if gone is not None:
            gone()

    # -- commands ----------------------------------------------------------------------------------------------

    def _request(self, kind: int, payload: bytes) -> None:
        request = ChannelRequest.read(payload)
        place = self._find(request.recipient)
        known = place.kind == "session" and not place.client.close_received
        if request.kind == "pty-req" and known:
            place.pty = True
        elif request.kind in ("exec", "shell") and known and not place.busy:
            place.busy = True
            self._reply(place, request, True)
            self._command(place, request)
            return
        elif request.kind not in ("env", "window-change", "signal"):
            known = False
        self._reply(place, request, known)

    def _reply(self, place: Place, request: ChannelRequest, good: bool) -> None:
        if request.want_reply:
            number = messages.number(place.client.theirs)
            self.to_client.append((messages.SUCCESS if good else messages.FAILURE, number))

    def _command(self, place: Place, request: ChannelRequest) -> None:
        if request.kind == "shell":
            self.answer(place.number, self.refusal, UNKNOWN_STATUS, error=True)
            return
        line = Reader(request.details).string()
        try:
            words = tuple(shlex.split(line.decode()))
        except ValueError as problem:
            # UnicodeDecodeError is one
            self.answer(place.number, f"hoopd: {problem}", UNKNOWN_STATUS, error=True)
            return
        if not words or len(line) > COMMAND_MAX:
            self.answer(place.number, self.refusal, UNKNOWN_STATUS, error=True)
        else:
            self.asks.append(Command(place.number, words))

    def answer(self, channel: int, text: str, status: int, error: bool = False) -> None:
        """A command is done."""
        place = self._places.get(channel)
        if place is None or place.client.close_sent:
            return
        end = "\r\n" if place.pty else "\n"
        octets = (text.replace("\n", end) + end).encode("utf-8", "replace")
        place.client.send(messages.STDERR if error else 0, octets, self.to_client)
        ended = ChannelRequest(place.client.theirs, "exit-status", False, messages.number(status))
        self.to_client.append((messages.REQUEST, ended.encode()))
        self.close(place)

    def _global(self, kind: int, payload: bytes) -> None:
        if GlobalRequest.read(payload).want_reply:
            self.to_client.append((messages.REQUEST_FAILURE, b""))

    def over(self) -> None:
        """The connection has ended: so has what went through it."""
        for place in list(self._places.values()):
            self._gone(place)
        self._places.clear()


_CLIENT: dict[int, Callable[[Lobby, int, bytes], Any]] = {
    messages.GLOBAL_REQUEST: Lobby._global,
    messages.OPEN: Lobby._opens,
    messages.WINDOW_ADJUST: Lobby._widens,
    messages.DATA: Lobby._data,
    messages.EXTENDED_DATA: Lobby._data,
    messages.EOF: Lobby._eof,
    messages.CLOSE: Lobby._closes,
    messages.REQUEST: Lobby._request,
}
