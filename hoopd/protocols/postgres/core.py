"""One PostgreSQL session between a client and a target, after both start-ups: bytes and answers in, outputs out.

Pure: no I/O. It cuts both streams into messages, has its halves treat them, and keeps what must wait. The adapter
empties C{state.to_client}, C{state.to_target} (after a sync of the recording where C{state.sync_needed}) and
C{state.asks} after each call. Order of the route: decide, hold, record, forward, mask, record, deliver.
"""

from __future__ import annotations

from collections import deque
from struct import Struct

from hoopd.errors import PeerError, TargetError
from hoopd.protocols.postgres import frontend
from hoopd.protocols.postgres.codec import HEADER_SIZE, MESSAGE_CEILING, SMALL, Framer
from hoopd.protocols.postgres.judgement import Refusal
from hoopd.protocols.postgres.replies import Replies
from hoopd.protocols.postgres.requests import Requests
from hoopd.protocols.postgres.rows import run_end
from hoopd.protocols.postgres.session import Run
from hoopd.protocols.postgres.state import State
from hoopd.sql.analysis import Reading
from hoopd.sql.catalogue import Catalogue
from hoopd.sql.grammar import Unparsed

_LENGTH = Struct(">I").unpack_from
_DATA_ROW = b"D"[0]
_COPY_DATA = b"d"[0]
#: what honest clients make too long: statements, parameters, arguments
_LONG = frozenset(b"QPBF")


class Core:
    """
    @ivar backlog: bytes of the client that wait to be treated.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self._requests = Requests(state)
        self._replies = Replies(state)
        self._client = Framer()
        self._target = Framer()
        self._behind: deque[bytes] = deque()
        self._behind_size = 0
        self._buffer = b""
        self._at = 0
        self._streaming = 0
        self._uploading = 0
        #: type and length of a message that goes by unread, and how much of it is still to come
        self._too_long: tuple[int, int] | None = None
        self._passing = 0
        #: the next message of the client cannot be treated before the server, or somebody who was asked, has answered
        self._waiting = False

    @property
    def backlog(self) -> int:
        return self._behind_size + len(self._buffer) - self._at

    @property
    def holding(self) -> bool:
        """An operation waits for approval."""
        return self.state.held is not None

    @property
    def busy(self) -> bool:
        """The target owes an answer."""
        return bool(self.state.fifo)

    # -- from the client ---------------------------------------------------------------------------------------

    def client_bytes(self, chunk: bytes) -> None:
        """@raise PeerError: the session must end. @raise RecordError: likewise, with nothing more forwarded."""
        self._behind.append(chunk)
        self._behind_size += len(chunk)
        if self.holding and self.backlog > self.state.limits.queue:
            raise PeerError(f"more than {self.state.limits.queue} bytes were sent ahead of a held operation")
        if not self._waiting:
            # what comes behind changes nothing of that; to look again for each byte would be dear, and up to the client
            self.pump()

    def pump(self) -> None:
        """Treat what waits, as far as it can be treated."""
        self._waiting = False
        while True:
            if self._too_long is not None and not self._passing:
                if not self._requests.too_long(*self._too_long):
                    self._waiting = True
                    return
                self._too_long = None
            if self._at >= len(self._buffer):
                if not self._behind:
                    return
                chunk = self._behind.popleft()
                self._behind_size -= len(chunk)
                chunk = self._upload(chunk) if self._uploading else chunk
                if self._passing:
                    passed = min(self._passing, len(chunk))
                    self._passing -= passed
                    chunk = chunk[passed:]
                self._buffer, self._at = self._client.take(chunk) if chunk else b"", 0
                continue
            if not self._client_messages():
                self._waiting = True
                return

    def _client_messages(self) -> bool:
        """@return: False if a message has to wait."""
        buffer, at, size = self._buffer, self._at, len(self._buffer)
        limits = frontend.LIMITS
        needed = HEADER_SIZE
        treat = self._requests.treat
        while size - at >= HEADER_SIZE:
            kind, length = buffer[at], _LENGTH(buffer, at + 1)[0]
            if kind not in limits:
                raise PeerError(f"invalid frontend message type {kind}")
            most = limits[kind] or self.state.limits.message
            if length > most and kind in _LONG and length <= MESSAGE_CEILING:
                # refused like any statement, once it has gone by: a client that writes does not hear of an end
                self._too_long = kind, length
                self._passing = max(0, at + 1 + length - size)
                self._buffer, self._at = buffer[at + 1 + length :], 0
                return True
            if length < 4 or (length > most and (kind != _COPY_DATA or length > MESSAGE_CEILING)):
                raise PeerError(f"invalid length of message {chr(kind)!r}: {length} bytes (at most {most})")
            end = at + 1 + length
            if end > size:
                if kind == _COPY_DATA and length > SMALL and self.state.copy_in is not None:
                    self._begin_upload(buffer, at, end)
                    return True
                if length > most:
                    raise PeerError("COPY data that no COPY reads")
                needed = 1 + length
                break
            self._at = at
            if not treat(kind, buffer, at, end):
                return False
            at = end
        self._buffer, self._at = b"", 0
        self._client.keep(buffer, at, needed)
        return True

    def _begin_upload(self, buffer: bytes, at: int, end: int) -> None:
        """A long CopyData passes in pieces: nothing in it is judged, it is counted and hashed."""
        state = self.state
        assert state.copy_in is not None
        self._uploading = end - len(buffer)
        state.copied(state.copy_in, buffer[at + HEADER_SIZE :])
        state.to_target.append(buffer[at:])
        self._buffer, self._at = b"", 0

    def _upload(self, chunk: bytes) -> bytes:
        state = self.state
        part = chunk[: self._uploading]
        self._uploading -= len(part)
        if state.copy_in is not None:
            state.copied(state.copy_in, part)
        # begun is begun: an error of the server meanwhile makes it drop the rest of this message itself
        state.to_target.append(part)
        return chunk[len(part) :]

    # -- from the target ---------------------------------------------------------------------------------------

    def target_bytes(self, chunk: bytes) -> None:
        """@raise TargetError: the target broke its protocol; the session must end. @raise RecordError: likewise."""
        if self._streaming:
            part = chunk[: self._streaming]
            self._streaming -= len(part)
            self.state.to_client.append(part)
            chunk = chunk[len(part) :]
            if not chunk:
                return
        buffer = self._target.take(chunk)
        at, size, needed = 0, len(buffer), HEADER_SIZE
        replies = self._replies
        answered = False
        while size - at >= HEADER_SIZE:
            kind, length = buffer[at], _LENGTH(buffer, at + 1)[0]
            if not 4 <= length <= MESSAGE_CEILING:
                raise TargetError("the target broke the protocol: length of message")
            end = at + 1 + length
            if end > size:
                if kind == _DATA_ROW and length > SMALL and replies.streams():
                    self._stream(buffer, at, end)
                    return
                if length > self.state.limits.message:
                    raise TargetError(f"the target sent a message of {length} bytes, too long to be judged")
                needed = 1 + length
                break
            if kind == _DATA_ROW:
                start = at
                at, count = run_end(buffer, at, _DATA_ROW)
                replies.rows(buffer, start, at, count)
                continue
            if kind == _COPY_DATA:
                start = at
                at, count = run_end(buffer, at, _COPY_DATA)
                replies.copy_data(buffer, start, at, count)
                continue
            replies.treat(kind, buffer, at, end)
            answered = True
            at = end
        self._target.keep(buffer, at, needed)
        if answered:
            # rows and COPY output alone are no answer that anything waits for
            self.pump()

    def _stream(self, buffer: bytes, at: int, end: int) -> None:
        self._streaming = end - len(buffer)
        run = self.state.fifo[0].runs[0]
        run.rows += 1
        run.octets += end - at
        run.digest = None
        self.state.to_client.append(buffer[at:] if at else buffer)

    # -- answers to asks ---------------------------------------------------------------------------------------

    def parsed(self, reading: Reading | Unparsed) -> None:
        """The answer to AskParse."""
        self.state.parsed(reading)
        self.pump()

    def estimated(self, rows: tuple[int | None, ...]) -> None:
        """The answer to AskEstimate."""
        estimate = self.state.estimate
        if estimate is not None:
            estimate.rows = rows
            self.pump()

    def late(self, run: Run) -> None:
        """The time of C{run} is over: the server is to stop it."""
        due = self.state.due()
        if due is not None and due[0] is run:
            self._replies.results.passed(run, "time")

    def released(self, approval: str, ceiling: int | None = None) -> None:
        """The held operation was approved and claimed; it may touch C{ceiling} rows."""
        held = self.state.held
        if held is not None:
            held.state, held.approval, held.ceiling = "released", approval, ceiling
            self.pump()

    def refused(self, refusal: Refusal) -> None:
        """The held operation does not run."""
        held = self.state.held
        if held is not None:
            held.state, held.refusal = "refused", refusal
            self.pump()

    def glass_answered(self, refusal: Refusal | None) -> None:
        """The broker's answer to AskBreakGlass."""
        glass = self.state.glass
        if glass is not None:
            glass.answered, glass.refusal = True, refusal
            self.pump()

    def refreshed(self, catalogue: Catalogue) -> None:
        """The present catalogue; also when nobody asked."""
        self.state.catalogue = catalogue
        self.state.stale = False
        self.pump()

    def cancelled(self) -> None:
        """The CancelRequest was delivered."""
        self.state.cancelling = False
        self.pump()
