"""What runs in channels: its recording from beginning to end, and what became of it; pure. Not the judging of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, frozen

from hoopd.protocols.ssh.channels import Channel
from hoopd.protocols.ssh.streams import NAMES, Recorded


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
class Runs:
    """
    @ivar route: L{hoopd.flow.route.Route}
    @ivar seconds: C{() -> float}, monotonic.
    """

    route: Any
    seconds: Callable[[], float]
    limits: Limits

    def command(self, operation: int, approval: str | None, kind: str, channel: Channel) -> Run:
        """A command, shell or subsystem begins in C{channel}."""
        most: int | None = self.limits.record_bytes
        typed = most
        if channel.pty:
            # a terminal is kept whole: it is what people replay; what is typed there may be a password
            most, typed = None, None if self.limits.record_input else 0
        run = channel.run = self._begin(operation, approval, kind, most, typed)
        self.sized(channel)
        return run

    def forward(self, operation: int, kind: str, channel: Channel) -> None:
        """A forward begins: what goes through it is counted and hashed, not kept."""
        channel.run = self._begin(operation, None, kind, 0, 0)

    def sized(self, channel: Channel) -> None:
        """Have it on record how large the terminal is."""
        if channel.size is not None and channel.run is not None:
            columns, rows = channel.size
            self.route.record("resize", {"operation": channel.run.operation, "columns": columns, "rows": rows})

    def _begin(self, operation: int, approval: str | None, kind: str, most: int | None, typed: int | None) -> Run:
        """@param most, typed: bytes of output and input to keep; None is all"""
        outputs = {number: Recorded(self.route, operation, "output", name, most) for number, name in NAMES.items()}
        taken = Recorded(self.route, operation, "input", "in", typed)
        return Run(operation, approval, kind, self.seconds(), outputs, taken)

    def finish(self, channel: Channel, tag: str, failed: bool = False) -> None:
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
        self.settle(run.approval, "failed" if failed else "executed", tag)

    def settle(self, approval: str | None, outcome: str, detail: str) -> None:
        if approval is not None:
            self.route.settle(approval, outcome, detail)
