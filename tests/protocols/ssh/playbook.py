"""One core session with a scripted policy, for transcripts: what each side sends, and what each is sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hoopd.errors import RecordError, Unavailable
from hoopd.protocols.ssh import messages
from hoopd.protocols.ssh.channels import PACKET, WINDOW_MAX
from hoopd.protocols.ssh.messages import ChannelRequest, Confirmation, Open, string
from hoopd.protocols.ssh.permission import Judged, Permission
from hoopd.protocols.ssh.runs import Limits
from hoopd.protocols.ssh.session import Session
from hoopd.values import Decision, HoldTerms, Operation
from hoopd.values import Limits as Obligations

HOLD = (HoldTerms("web.hold.x", ("group:leads",)),)


class Route:
    """What L{hoopd.flow.route.Route} is to the core: everything that it is told is in C{story}, in order."""

    def __init__(self, story: list[Any]) -> None:
        self.story = story
        self.frames: list[tuple[str, Mapping[str, Any]]] = []
        self.events: list[tuple[str, Mapping[str, Any]]] = []
        self.settled: list[tuple[str, str, str]] = []
        self.operations = self.denied = 0
        self.away = ""
        self.broken = ""
        self.synced = False
        self._last = 0

    def gate(self) -> None:
        if self.away:
            raise Unavailable(self.away)

    def next_operation(self) -> int:
        self._last += 1
        return self._last

    def record(self, kind: str, fields: Mapping[str, Any]) -> int:
        if self.broken:
            raise RecordError(self.broken)
        self.frames.append((kind, fields))
        self.story.append(kind)
        return len(self.frames)

    def event(self, name: str, fields: Mapping[str, Any]) -> None:
        self.events.append((name, fields))

    def durable(self, classes: frozenset[str], approved: bool) -> bool:
        return self.synced

    def settle(self, approval: str, outcome: str, detail: str) -> None:
        self.settled.append((approval, outcome, detail))


class Play:
    """@ivar verdicts: word of a class to verdict; what is not named is allowed."""

    def __init__(
        self,
        verdicts: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        viewing: Any = None,
        obligations: Obligations | None = None,
    ) -> None:
        self.story: list[Any] = []
        self.route = Route(self.story)
        self.verdicts = dict(verdicts or {})
        self.withdrawn: list[tuple[int, str]] = []
        self.now = 0.0
        self.waiting: list[tuple[float, Callable[[], None]]] = []
        self.obligations = obligations or Obligations()
        permission = Permission("S-1", self.route, self._judge, lambda: "login=app", viewing)
        self.core = Session(
            self.route,
            permission,
            "app",
            lambda: self.now,
            self._later,
            lambda *words: self.withdrawn.append(words),
            limits or Limits(),
        )

    def _judge(self, operation: Operation) -> Judged:
        verdict = next((self.verdicts[word] for word in sorted(operation.classes) if word in self.verdicts), "allow")
        holds = HOLD if verdict == "hold" else ()
        return Judged(Decision(verdict, ("web.rule",), f"because {verdict}", "ask us", holds, self.obligations))  # type: ignore[arg-type]

    def _later(self, seconds: float, call: Callable[[], None]) -> Callable[[], None]:
        waiting = (self.now + seconds, call)
        self.waiting.append(waiting)
        return lambda: self.waiting.remove(waiting) if waiting in self.waiting else None

    def advance(self, seconds: float) -> None:
        """Let time pass: what is due runs."""
        self.now += seconds
        for waiting in [each for each in self.waiting if each[0] <= self.now]:
            # what ran before may have taken it back
            if waiting in self.waiting:
                self.waiting.remove(waiting)
                waiting[1]()

    # -- what the sides do -------------------------------------------------------------------------------------

    def client(self, kind: int, payload: bytes) -> None:
        self.core.client_message(kind, payload)

    def target(self, kind: int, payload: bytes) -> None:
        self.core.target_message(kind, payload)

    def to_client(self) -> list[tuple[int, bytes]]:
        """What has been sent to the client since the last look."""
        sent, self.core.to_client = self.core.to_client, []
        return sent

    def to_target(self) -> list[tuple[int, bytes]]:
        sent, self.core.to_target = self.core.to_target, []
        return sent

    def opened(self, theirs: int = 7, target: int = 40, room: int = WINDOW_MAX) -> int:
        """A session channel, open at both ends. @return: our number"""
        self.client(messages.OPEN, Open("session", theirs, room, PACKET, b"").encode())
        ((kind, payload),) = self.to_target()
        assert kind == messages.OPEN
        number = Open.read(payload).sender
        self.target(messages.OPEN_CONFIRMATION, Confirmation(number, target, WINDOW_MAX, PACKET).encode())
        assert [kind for kind, _ in self.to_client()] == [messages.OPEN_CONFIRMATION]
        return number

    def request(self, number: int, kind: str, details: bytes = b"", want_reply: bool = True) -> None:
        self.client(messages.REQUEST, ChannelRequest(number, kind, want_reply, details).encode())

    def exec(self, number: int, command: bytes) -> None:
        self.request(number, "exec", string(command))

    def running(self, number: int, command: bytes = b"ls") -> None:
        """A command that the target has begun."""
        self.exec(number, command)
        self.target(messages.SUCCESS, messages.number(number))
        self.to_client()
        self.to_target()

    def data_to_client(self) -> dict[int, bytes]:
        """Stream to what came on it."""
        found = {0: b"", 1: b""}
        for kind, payload in self.to_client():
            if kind in (messages.DATA, messages.EXTENDED_DATA):
                _, stream, octets = messages.read_data(kind, payload)
                found[stream] += octets
        return found
