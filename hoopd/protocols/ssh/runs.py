"""What runs in channels: its recording from beginning to end, and what became of it; pure. Not the judging of it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from attrs import define, frozen

from hoopd.display import spoken
from hoopd.protocols.ssh import messages
from hoopd.protocols.ssh.channels import Channel
from hoopd.protocols.ssh.masked import REST, REST_TERMINAL, Masked
from hoopd.protocols.ssh.messages import ChannelRequest
from hoopd.protocols.ssh.passage import Later, Passage, Way
from hoopd.protocols.ssh.permission import Granted
from hoopd.protocols.ssh.streams import NAMES, Recorded
from hoopd.values import Limits as Obligations

#: as timeout(1) says that time is over, a shell that SIGXFSZ ended a program, sysexits.h that software failed
TIME_STATUS, OUTPUT_STATUS, FAILED_STATUS = 124, 153, 70
#: seconds that a program has between SIGTERM and SIGKILL
KILL_AFTER = 2.0

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
    limits: Obligations
    ended: str = ""
    done: bool = False
    #: it was ended here: nothing of it goes on
    cut: bool = False
    #: octets that the target sent
    came: int = 0
    #: takes back what would end it in time
    in_time: Callable[[], None] | None = None


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
            return self._began(granted, kind, channel, passage)
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
        way = Way(self.session, channel)
        outputs = {number: Recorded(self.route, operation, "output", name, most) for number, name in NAMES.items()}
        taken = Recorded(self.route, operation, "input", "in", typed)
        viewing, wanted = self.session.permission.viewing, granted.wanted
        if viewing is None or wanted is None or channel.kind != "session":
            return self._began(granted, kind, channel, Passage(way, outputs, taken))
        view = functools.partial(viewing, wanted.operation)
        rest = REST_TERMINAL if channel.pty else REST
        masked = Masked(way, outputs, taken, view, lambda error: self._unmaskable(channel, error), rest)
        return self._began(granted, kind, channel, masked)

    def _began(self, granted: Granted, kind: str, channel: Channel, passage: Passage) -> Run:
        limits = granted.decision.limits
        run = channel.run = Run(granted.operation, granted.approval, kind, self.seconds(), passage, limits)
        if limits.max_time is not None:
            run.in_time = self.later(limits.max_time, lambda: self._late(channel))
        return run

    # -- limits ------------------------------------------------------------------------------------------------

    def from_target(self, channel: Channel, stream: int, octets: bytes) -> None:
        """The target sent this, as far as it may. @raise RecordError"""
        run: Run = channel.run
        most = run.limits.max_bytes
        run.came += len(octets)
        if run.cut:
            return
        if most is None or run.came <= most:
            run.passage.from_target(stream, octets)
            return
        within = len(octets) - (run.came - most)
        if within > 0:
            run.passage.from_target(stream, octets[:within])
        self.cut(channel, f"more than {most} bytes of output", (run.limits.bytes_rule,), OUTPUT_STATUS, "bytes")

    def _late(self, channel: Channel) -> None:
        limits = channel.run.limits
        why = f"it took longer than {spoken(limits.max_time)}"
        self.cut(channel, why, (limits.time_rule,), TIME_STATUS, "time")

    def _unmaskable(self, channel: Channel, error: Exception) -> None:
        why = f"its output could not be masked: {type(error).__name__}"
        self.cut(channel, why, (), FAILED_STATUS, "masking")

    def cut(self, channel: Channel, why: str, rules: tuple[str, ...], status: int, limit: str) -> None:
        """End what runs in C{channel}, here and at the target. @raise RecordError"""
        run: Run = channel.run
        if run.done or run.cut:
            return
        run.cut = True
        self.route.record(
            "decision", {"operation": run.operation, "decision": "deny", "rules": list(rules), "why": why}
        )
        fields = {"operation": run.operation, "rules": list(rules), "limit": limit, "bytes": run.came, "why": why}
        self.route.event("operation.limited", fields)
        run.ended = f"ended by the gateway: {why}"
        if channel.kind == "session":
            self.session.end(channel, f"hoopd: ended: {why}" + (f" [rule {', '.join(rules)}]" if rules else ""), status)
        self._kill(channel, "TERM")
        self.later(KILL_AFTER, lambda: self._killed(channel))
        self.finish(channel, run.ended, failed=True)
        channel.client.closing = True
        self.session.flow(channel)

    def _kill(self, channel: Channel, name: str) -> None:
        """Ask the target to end what runs: closing alone only takes its terminal or its output away."""
        if channel.kind == "session" and not channel.target.close_sent and not channel.target.close_received:
            asked = ChannelRequest(channel.target.theirs, "signal", False, messages.string(name.encode()))
            channel.target.tell(messages.REQUEST, asked.encode(), self.session.to_target)

    def _killed(self, channel: Channel) -> None:
        self._kill(channel, "KILL")
        channel.target.close(self.session.to_target)
        self.session.flow(channel)

    def finish(self, channel: Channel, tag: str, failed: bool = False) -> None:
        run: Run | None = channel.run
        if run is None or run.done:
            return
        run.done = True
        if run.in_time is not None:
            run.in_time()
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
