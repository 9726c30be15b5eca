"""What comes out of one run, without what masks hide: for its client and for the record, each as it may see it; pure.

What may be the beginning of a value is held back (L{hoopd.masking.streaming}). The client gets its harmless part after a moment; the
record waits, where it is another text than the client's. A masker that fails ends what runs: nothing goes on unmasked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hoopd.errors import HoopdError
from hoopd.masking.finders import Finders
from hoopd.masking.streaming import StreamMasker
from hoopd.protocols.ssh.passage import Passage, Way
from hoopd.protocols.ssh.streams import Recorded
from hoopd.protocols.ssh.views import NONE, Views

#: seconds that what may become a value is held from the client: at a terminal somebody waits for the echo of a key, and elsewhere a
#: network may pause in the middle of a value
REST_TERMINAL, REST = 0.1, 1.0

View = Callable[[], Views]


class Outward:
    """One stream of a run's output.

    @param recorded: None if it is not recorded.
    @param rest: seconds that what is held may be kept from the client.
    @param guarded: runs what is called later.
    """

    def __init__(
        self,
        way: Way,
        stream: int,
        recorded: Recorded | None,
        view: View,
        rest: float,
        guarded: Callable[[Callable[[], None]], None],
    ) -> None:
        self.octets = 0
        self._way = way
        self._stream = stream
        self._recorded = recorded
        self._view = view
        self._rest = rest
        self._guarded = guarded
        self._views = NONE
        self._client: StreamMasker | None = None
        self._record: StreamMasker | None = None
        self._cancel: Callable[[], None] | None = None

    def take(self, octets: bytes) -> None:
        """@raise RecordError"""
        self.octets += len(octets)
        views = self._view()
        if views is not self._views:
            client, record = self._client, self._record
            self.stop(views)
            self._views = views
            self._client = _masker(views.client, client)
            self._record = self._client if views.record is views.client else _masker(views.record, record)
        client, record = self._client, self._record
        shown = octets if client is None else client.feed(octets)
        self._send(shown, shown if record is client else octets if record is None else record.feed(octets))
        self._wait()

    def end(self) -> None:
        """Nothing follows: what is held is what it is. @raise RecordError"""
        self._wait_no_more()
        client, record = self._client, self._record
        shown = b"" if client is None else client.finish()
        self._send(shown, shown if record is client else b"" if record is None else record.finish())

    def stop(self, views: Views | None = None) -> None:
        """More may have followed: half a value is not shown, unless it may be seen from now on. @raise RecordError"""
        self._wait_no_more()
        client, record = self._client, self._record
        shown, seen = (b"", b"") if client is None else client.abandon()
        kept = shown if record is client else b"" if record is None else record.abandon()[0]
        self._send(seen if views is not None and views.client is None else shown, kept)
        self._client = self._record = None
        self._views = NONE

    def drop(self) -> None:
        """What is held goes nowhere."""
        self._wait_no_more()
        self._client = self._record = None
        self._views = NONE

    def _wait(self) -> None:
        client = self._client
        if client is not None and client.waiting:
            if self._cancel is None:
                self._cancel = self._way.session.later(self._rest, lambda: self._guarded(self._rested))
        else:
            self._wait_no_more()

    def _wait_no_more(self) -> None:
        cancel, self._cancel = self._cancel, None
        if cancel is not None:
            cancel()

    def _rested(self) -> None:
        self._cancel = None
        client = self._client
        if client is not None:
            shown = client.release()
            self._send(shown, shown if self._record is client else b"")

    def _send(self, shown: bytes, kept: bytes) -> None:
        if kept and self._recorded is not None:
            self._recorded.take(kept)
        if shown:
            self._way.to_client(self._stream, shown)


def _masker(finders: Finders | None, before: StreamMasker | None) -> StreamMasker | None:
    return None if finders is None else StreamMasker(finders, before)


class Masked(Passage):
    """
    @param view: what is to be masked now.
    @param failed: C{(error)}: called when masking failed; whoever made this ends what runs.
    """

    def __init__(
        self,
        way: Way,
        outputs: dict[int, Recorded],
        taken: Recorded,
        view: View,
        failed: Callable[[Exception], Any],
        rest: float = REST,
    ) -> None:
        super().__init__(way, outputs, taken)
        self._view = view
        self._failed = failed
        self._rest = rest
        self._over = False
        self._outward = {number: self._stream(number) for number in outputs}
        self._typed: StreamMasker | None = None
        self._typed_by: Finders | None = None

    def _stream(self, number: int) -> Outward:
        return Outward(self.way, number, self.outputs.get(number), self._view, self._rest, self._guarded)

    def from_client(self, stream: int, octets: bytes) -> None:
        """See L{Passage.from_client}: what is recorded of it is masked, and what the target gets is not."""
        if self._over:
            return
        self._guarded(lambda: self._input(octets))
        if not self._over:
            self.way.to_target(stream, octets)

    def _input(self, octets: bytes) -> None:
        finders = self._view().record
        if finders is not self._typed_by:
            before = self._typed
            self._input_ends()
            self._typed_by, self._typed = finders, _masker(finders, before)
        self.input.take(octets if self._typed is None else self._typed.feed(octets))

    def _input_ends(self) -> None:
        typed, self._typed = self._typed, None
        if typed is not None:
            self.input.take(typed.abandon()[0])

    def client_ends(self) -> None:
        """See L{Passage.client_ends}."""
        self._guarded(self._input_whole)

    def _input_whole(self) -> None:
        if self._typed is not None:
            self.input.take(self._typed.finish())

    def from_target(self, stream: int, octets: bytes) -> None:
        """See L{Passage.from_target}."""
        if self._over:
            return
        outward = self._outward.get(stream)
        if outward is None:
            outward = self._outward[stream] = self._stream(stream)
        self._guarded(lambda: outward.take(octets))

    def target_ends(self) -> None:
        """See L{Passage.target_ends}. How a command ended is told when it has; what it wrote may still be under way."""
        target = self.way.channel.target
        if target.eof_received or target.close_received:
            for outward in self._outward.values():
                self._guarded(outward.end)

    def drop(self) -> None:
        """Nothing more comes out, and what is held goes nowhere."""
        self._over = True
        for outward in self._outward.values():
            outward.drop()
        self._typed = None

    def finish(self) -> None:
        """See L{Passage.finish}."""
        self.target_ends()
        for outward in self._outward.values():
            self._guarded(outward.stop)
        self._guarded(self._input_ends)
        self._over = True
        super().finish()

    def _guarded(self, call: Callable[[], None]) -> None:
        if self._over:
            return
        try:
            call()
        except HoopdError:
            raise
        except Exception as error:
            # whatever it was, it is ours, and nothing may pass that was not looked at
            self.drop()
            self._failed(error)

    @property
    def octets(self) -> int:
        """How many the target sent."""
        return sum(outward.octets for outward in self._outward.values())
