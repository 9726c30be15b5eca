"""What runs in channels: its recording from beginning to end, and what became of it; pure. Not the judging of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, frozen

from hoopd.protocols.ssh.channels import Channel
from hoopd.protocols.ssh.passage import Later, Passage, Way
from hoopd.protocols.ssh.permission import Granted
from hoopd.protocols.ssh.streams import NAMES, Recorded

#: makes what reads a protocol inside: C{(way, route, operation, recording of standard error) -> passage}
Inside = Callable[[Way, Any, int, Recorded], Passage]


@frozen
class Limits:
    """Bounds of one session. @ivar record_input: record what is typed at terminals too (passwords are)"""

    channels: int = 100
    record_bytes: int = 1024 * 1024
    record_input: bool = False


@define(eq=False)
class Run:
    """What runs in a channel. @ivar passage: what its octets go through. @ivar ended: what the target said of its end."""

    operation: int
    approval: str | None
    kind: str
    started: float
    passage: Passage
    ended: str = ""
    done: bool = False


@define(eq=False)
class Runs:
    """
    @ivar route: L{hoopd.flow.route.Route}
    @ivar session: L{hoopd.protocols.ssh.session.Session}, whose channels they are in.
    @ivar seconds: C{() -> float}, monotonic.
    """

    route: Any
    session: Any
    seconds: Callable[[], float]
    later: Later
    limits: Limits

    def command(self, granted: Granted, kind: str, channel: Channel, inside: Inside | None = None) -> Run:
        """A command, shell or subsystem begins in C{channel}. @param inside: reads the protocol that it speaks"""
        if inside is not None:
            error = Recorded(self.route, granted.operation, "output", NAMES[1], self.limits.record_bytes)
            passage = inside(Way(self.session, channel), self.route, granted.operation, error)
            run = channel.run = Run(granted.operation, granted.approval, kind, self.seconds(), passage)
            return run
        most: int | None = self.limits.record_bytes
        typed = most
        if channel.pty:
            # a terminal is kept whole: it is what people replay; what is typed there may be a password, and of a watched one
            # the lines are recorded that were seen
            keys = self.limits.record_input and not granted.decision.watched
            most, typed = None, None if keys else 0
        run = self._begin(granted, kind, channel, most, typed)
        self.sized(channel)
        return run

    def forward(self, granted: Granted, kind: str, channel: Channel) -> None:
        """A forward begins: what goes through it is counted and hashed, not kept."""
        self._begin(granted, kind, channel, 0, 0)

    def sized(self, channel: Channel) -> None:
        """Have it on record how large the terminal is."""
        if channel.size is not None and channel.run is not None:
            columns, rows = channel.size
            channel.run.passage.sized(columns, rows)
            self.route.record("resize", {"operation": channel.run.operation, "columns": columns, "rows": rows})

    def _begin(self, granted: Granted, kind: str, channel: Channel, most: int | None, typed: int | None) -> Run:
        """@param most, typed: bytes of output and input to keep; None is all"""
        operation = granted.operation
        outputs = {number: Recorded(self.route, operation, "output", name, most) for number, name in NAMES.items()}
        taken = Recorded(self.route, operation, "input", "in", typed)
        passage = Passage(Way(self.session, channel), outputs, taken)
        run = channel.run = Run(operation, granted.approval, kind, self.seconds(), passage)
        return run

    def finish(self, channel: Channel, tag: str, failed: bool = False) -> None:
        run: Run | None = channel.run
        if run is None or run.done:
            return
        run.done = True
        run.passage.finish()
        duration = round(self.seconds() - run.started, 6)
        octets = run.passage.octets
        tag = run.ended or tag
        self.route.record("result", {"operation": run.operation, "tag": tag, "bytes": octets, "duration": duration})
        fields = {"operation": run.operation, "tag": tag, "bytes": octets, "seconds": duration}
        self.route.event("operation.finished", {**fields, "approval": run.approval})
        self.settle(run.approval, "failed" if failed else "executed", tag)

    def settle(self, approval: str | None, outcome: str, detail: str) -> None:
        if approval is not None:
            self.route.settle(approval, outcome, detail)
