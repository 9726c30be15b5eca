"""Far ends of copies between the two ends of a channel: scp's files read and listed, rsync's octets counted; pure.

What neither honest scp does ends the copy before it arrives. Whether the command may run at all was judged before
(L{hoopd.policy.files}); this opens and refuses nothing.
"""

from __future__ import annotations

import posixpath
from typing import Any, Literal

from hoopd.errors import PeerError
from hoopd.protocols.ssh.passage import Passage, Way
from hoopd.protocols.ssh.scp import Began, Copy, Event, Piece
from hoopd.protocols.ssh.streams import Recorded
from hoopd.protocols.ssh.transfers import Transfer, told
from hoopd.shell.far_end import FarEnd


class CountedPassage(Passage):
    """Passes on and counts: the octets are a protocol, and no text.

    @param error: the recording of the far end's standard error.
    """

    def __init__(self, way: Way, route: Any, operation: int, error: Recorded, moves: FarEnd) -> None:
        self.way = way
        self.outputs = {1: error}
        self._route = route
        self._operation = operation
        self._moves = moves
        self._began = way.session.seconds()
        self.incoming = self.outgoing = 0

    def from_client(self, stream: int, octets: bytes) -> None:
        """See L{Passage.from_client}."""
        self.incoming += len(octets)
        self.way.to_target(stream, octets)

    def from_target(self, stream: int, octets: bytes) -> None:
        if stream:
            super().from_target(stream, octets)
            return
        self.outgoing += len(octets)
        self.way.to_client(stream, octets)

    def finish(self) -> None:
        """It is over. @raise RecordError"""
        transfer = self._transfer(" ".join(self._moves.paths))
        transfer.octets = self.incoming if self._moves.upload else self.outgoing
        transfer.unplaced()
        told(self._route, transfer, "its own protocol, which is not read", self.way.session.seconds(), None, False)
        for stream in self.outputs.values():
            stream.finish()

    def _transfer(self, path: str, name: str = "") -> Transfer:
        moves, now, shown = self._moves, self.way.session.seconds(), self.way.shown(path.encode())
        direction: Literal["upload", "download"] = "upload" if moves.upload else "download"
        return Transfer(self._operation, direction, moves.program, shown, now, moves.upload, name)

    @property
    def octets(self) -> int:
        return self.outgoing


class ScpPassage(CountedPassage):
    """Reads scp inside."""

    def __init__(self, way: Way, route: Any, operation: int, error: Recorded, moves: FarEnd) -> None:
        super().__init__(way, route, operation, error, moves)
        self._copy = Copy(moves.recursive, None if moves.upload else _expected(moves.paths))
        self._file: Transfer | None = None
        self._cut = False

    def from_client(self, stream: int, octets: bytes) -> None:
        if not stream and self._read(self._moves.upload, octets):
            super().from_client(stream, octets)

    def from_target(self, stream: int, octets: bytes) -> None:
        if stream or self._read(not self._moves.upload, octets):
            super().from_target(stream, octets)

    def finish(self) -> None:
        if self._file is not None:
            self._end("cut off", False)
        for stream in self.outputs.values():
            stream.finish()

    def _read(self, sends: bool, octets: bytes) -> bool:
        """@param sends: they are of the end that sends files. @return: whether they may go on"""
        if self._cut:
            return False
        try:
            events = self._copy.sent(octets) if sends else self._copy.answered(octets)
        except PeerError as error:
            self._cut = True
            self.way.cut(str(error))
            return False
        for event in events:
            self._happened(event)
        return True

    def _happened(self, event: Event) -> None:
        if isinstance(event, Began):
            names = b"/".join(event.names)
            self._file = self._transfer(self._whose(event.names[0]), self.way.shown(names))
        elif isinstance(event, Piece):
            if self._file is not None:
                self._file.moved(event.offset, event.octets)
        else:
            self._end(event.problem or "closed", not event.problem)

    def _end(self, tag: str, good: bool) -> None:
        ended, self._file = self._file, None
        if ended is None:
            return
        if good:
            # its sender said how long it is, and its receiver cuts it there
            ended.ended(ended.octets)
        told(self._route, ended, tag, self.way.session.seconds(), None, good)

    def _whose(self, top: bytes) -> str:
        """The path of the command that a file belongs to."""
        paths = self._moves.paths
        mine = [path for path in paths if posixpath.basename(path).encode("utf-8", "surrogateescape") == top]
        return (mine or list(paths))[0]


def _expected(paths: tuple[str, ...]) -> frozenset[bytes] | None:
    """Names that may come on top; None where the host alone knows them."""
    if any(path in ("/", "~") for path in paths):
        return None
    return frozenset(posixpath.basename(path).encode("utf-8", "surrogateescape") for path in paths)
