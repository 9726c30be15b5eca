"""SFTP between the two ends of a channel: each request that does something is an operation before it goes on; pure.

Paths are judged as the target resolves them: before a request is judged the gateway asks the target itself (REALPATH), and what goes
on names what was judged. Requests go on in the order in which they came, answers as they come; one that waits for the target's word or
for approval keeps the channel, as the channel keeps what the client sends meanwhile. Who changes a directory of that path into a link
in between has won a race: docs/ssh.md says so.

Not the packets (L{hoopd.protocols.ssh.sftp}), nor what goes through open files (L{hoopd.protocols.ssh.sftp_handles}).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator
from typing import Any

from hoopd.errors import PeerError
from hoopd.policy import files
from hoopd.protocols.ssh import operations, sftp
from hoopd.protocols.ssh.channels import WINDOW_MAX
from hoopd.protocols.ssh.operations import Refusal, Wanted
from hoopd.protocols.ssh.passage import Passage, Way
from hoopd.protocols.ssh.permission import Granted
from hoopd.protocols.ssh.sftp import Packets
from hoopd.protocols.ssh.sftp_handles import ON_HANDLES, Asked, Handles, Opened
from hoopd.protocols.ssh.sftp_requests import PATHS, PathRequest, opening, read_paths
from hoopd.protocols.ssh.sftp_resolving import Question, Resolver, Unresolved
from hoopd.protocols.ssh.streams import Recorded

#: requests of one client that the target has not answered; beyond, it is read on when half of them are. paramiko asks for a whole file
#: at once; one costs 300 bytes
ASKED_MAX = 1024
#: what may be listed is recorded once a path; then again
LISTED_MAX = 10_000
#: refusals that are said on standard error, beside the answer that each request gets
SAID_MAX = 10

#: octets that may wait for a client when the gateway itself has something to answer: those of the target are a window at most, and a
#: thousand refusals 300 kB
UNREAD_MAX = 2 * WINDOW_MAX

_LOOKING = files.ACTIONS["ls"].words

#: what a job asks for and is given: an own request for the target's answer, a wanted operation for a grant or refusal
Step = Question | Wanted
Job = Generator[Step, Any, None]


class SftpPassage(Passage):
    """
    @param way: the channel's two ends.
    @param route: L{hoopd.flow.route.Route}
    @param error: the recording of the target's standard error.
    """

    def __init__(self, way: Way, route: Any, error: Recorded) -> None:
        self.way = way
        self.outputs = {1: error}
        self.outgoing = 0
        self._route = route
        self._client = Packets()
        self._target = Packets()
        self._asked: dict[int, Asked] = {}
        self._handles = Handles(route, way.session.seconds, self._forward, self._answer)
        self._begun = self._spoken = False
        self._job: Job | None = None
        self._working = self._paused = False
        self._last = 0xFFFFFFFF
        self._paths = Resolver()
        self._listed: set[bytes] = set()
        self._said = 0

    # -- the two ends ------------------------------------------------------------------------------------------

    def from_client(self, stream: int, octets: bytes) -> None:
        """See L{Passage.from_client}. @raise PeerError: it is no SFTP"""
        if stream:
            return
        self._client.feed(octets)
        self._work()

    def from_target(self, stream: int, octets: bytes) -> None:
        if stream:
            super().from_target(stream, octets)
            return
        self.outgoing += len(octets)
        self._target.feed(octets)
        while (packet := self._target.next()) is not None:
            self._answered(packet)

    def finish(self) -> None:
        """It is over: what is open was cut off. @raise RecordError"""
        self._handles.finish()
        for stream in self.outputs.values():
            stream.finish()

    @property
    def octets(self) -> int:
        return self.outgoing

    # -- requests ----------------------------------------------------------------------------------------------

    def _work(self) -> None:
        """Take requests for as long as none of them waits."""
        if self._working:
            return
        self._working = True
        try:
            while self._job is None and len(self._asked) < ASKED_MAX:
                packet = self._client.next()
                if packet is None:
                    break
                self._request(packet)
        finally:
            self._working = False
        waits = self._job is not None or len(self._asked) >= ASKED_MAX
        if waits and not self._paused:
            self._paused = self.way.channel.paused = True
        elif not waits and self._paused:
            self._paused = False
            self.way.resume()

    def _request(self, packet: bytes) -> None:
        if not self._begun:
            self._begun = True
            self.way.to_target(0, sftp.init(packet))
            return
        kind, id = sftp.head(packet)
        if id in self._asked:
            raise PeerError("an SFTP request with the id of another")
        on_handle = ON_HANDLES.get(kind)
        if on_handle is not None:
            on_handle(self._handles, id, packet)
        elif kind == sftp.FSETSTAT:
            self._change(id, packet)
        elif kind == sftp.REALPATH:
            self._plain(id, packet, 1, sftp.NAME)
        elif kind in PATHS:
            self._begin(self._on_paths(id, PATHS[kind], packet))
        elif kind == sftp.EXTENDED:
            self._extended(id, packet)
        else:
            self._answer(id, sftp.OP_UNSUPPORTED, "the gateway does not know this request")

    def _extended(self, id: int, packet: bytes) -> None:
        name = sftp.body(packet).string()
        if name in PATHS:
            self._begin(self._on_paths(id, PATHS[name], packet))
        elif name in ON_HANDLES:
            ON_HANDLES[name](self._handles, id, packet)
        elif name in _ABOUT_NO_FILE:
            self._plain(id, packet, 1 + _ABOUT_NO_FILE[name], sftp.ANSWERS[name])
        else:
            self._answer(id, sftp.OP_UNSUPPORTED, "the gateway does not know this extension")

    def _forward(
        self,
        id: int,
        packet: bytes,
        answers: int = 0,
        opened: Opened | None = None,
        offset: int = 0,
        length: int = 0,
        then: Callable[[bytes], None] | None = None,
    ) -> None:
        if opened is not None:
            opened.asked += 1
        self._asked[id] = Asked(packet[4], answers, opened, offset, length, then)
        self.way.to_target(0, packet)

    def _answer(self, id: int, code: int, said: str) -> None:
        """Answer a request that is not forwarded. @raise PeerError: the client asks on and on, and takes no answers"""
        if self.way.channel.client.queued > UNREAD_MAX:
            raise PeerError("SFTP answers that nobody takes")
        self.way.to_client(0, sftp.status(id, code, said))

    def _plain(self, id: int, packet: bytes, strings: int, answers: int) -> None:
        """Where a path leads, and who has which name, is no secret of whoever may use sftp."""
        reader = sftp.body(packet)
        for _ in range(strings):
            reader.string()
        reader.end()
        self._forward(id, packet, answers)

    # -- on paths, and what changes a file by its handle --------------------------------------------

    def _change(self, id: int, packet: bytes) -> None:
        """FSETSTAT: part of an upload; of a file that is only read, or a directory, a change of its own."""
        reader = sftp.body(packet)
        handle = reader.string()
        at, said = reader.at, sftp.attributes(reader)
        reader.end()
        opened = self._handles.find(id, handle)
        if opened is None:
            return
        if opened.writes is None:
            self._begin(self._changed(id, packet, opened, said, packet[at:]))
            return
        if said.size is not None:
            opened.writes.spoilt()
        self._forward(id, packet, 0, opened)

    def _changed(self, id: int, packet: bytes, opened: Opened, said: sftp.Attributes, raw: bytes) -> Job:
        wanted = self._wanted("chmod", (opened.path,), said.text, raw)
        granted = yield wanted
        if self._may(id, granted):
            self._forward(id, packet, 0, opened, then=self._settling(granted))

    def _begin(self, job: Job) -> None:
        self._job = job
        self._drive(None)

    def _drive(self, value: Any) -> None:
        job = self._job
        if job is None:
            return
        try:
            step = job.send(value)
        except StopIteration:
            self._job = None
            self._work()
            return
        if isinstance(step, Wanted):
            known = self._known(step)
            self.way.seek(step, self._drive, self._drive, known)
        else:
            kind, content = step
            while self._last in self._asked:
                self._last -= 1
            own = Asked(kind, sftp.ANSWERS[kind], then=self._drive, own=True)
            self._asked[self._last] = own
            self.way.to_target(0, sftp.packet(kind, self._last, content))

    def _known(self, wanted: Wanted) -> bool:
        """Looking is recorded once for each path."""
        return wanted.operation.classes == _LOOKING and _mark(wanted) in self._listed

    def _on_paths(self, id: int, request: PathRequest, packet: bytes) -> Job:
        said = read_paths(request, packet)
        if isinstance(said, str):
            self._answer(id, sftp.FAILURE, said)
            return
        action, follows = request.action, request.follows
        flags = 0
        if request.opens:
            flags, action = opening(said.rest)
            if not action:
                self._answer(id, sftp.FAILURE, "it is opened for nothing")
                return
            # what must not be there yet is no link either
            follows = follows and not (flags & sftp.CREATE and flags & sftp.EXCLUSIVE)
        if request.handle and self._handles.full:
            self._answer(id, sftp.FAILURE, "too many open files")
            return
        yield from self._paths.begin()
        paths = yield from self._paths.resolved(request, said.paths, follows)
        if isinstance(paths, Unresolved):
            self._not_there(id, action, said.paths, paths)
            return
        tree = request.moves and (yield from self._paths.tree(paths[0]))
        wanted = self._wanted(action, paths, said.text, said.rest, tree)
        granted = yield wanted
        if not self._may(id, granted):
            return
        if granted.decision.verdict == "hold":
            # people decided on what the path was then
            again = yield from self._paths.resolved(request, said.paths, follows)
            if again != paths:
                self._settle(granted, "failed", "it is another file now")
                self._refuse(id, Refusal("the path leads to another file than the one that was approved"))
                return
        if wanted.operation.classes == _LOOKING:
            if len(self._listed) >= LISTED_MAX:
                self._listed.clear()
            self._listed.add(_mark(wanted))
        changed = request.encode(id, packet, paths, said)
        then = self._settling(granted, wanted.operation.classes == _LOOKING)
        if request.handle:
            then = self._handles.opens(granted, paths[0], self.way.shown(paths[0]), flags, then)
        self._forward(id, changed, request.answers, then=then)

    def _wanted(self, action: str, paths: tuple[bytes, ...], said: str, rest: bytes, tree: bool = False) -> Wanted:
        session = self.way.session
        known = tuple(path.decode("utf-8", "surrogateescape") for path in paths)
        home = (self._paths.home or b"").decode("utf-8", "surrogateescape")
        shown = tuple(operations.shown(path) for path in paths)
        exact = operations.exact("sftp", action.encode(), *paths, rest)
        return operations.wanted(
            files.ACTIONS[action].words,
            files.text(action, shown, said).encode(),
            session.login,
            session.reason,
            files.facts(action, known, home, tree=tree),
            shown,
            exact=exact,
        )

    def _may(self, id: int, granted: Granted | Refusal) -> bool:
        if isinstance(granted, Refusal):
            self._refuse(id, granted)
            return False
        if self.way.channel.target.close_sent:
            self._settle(granted, "failed", "the requester closed the channel")
            return False
        return True

    def _refuse(self, id: int, refusal: Refusal) -> None:
        """The answer has the rule; most clients show their own words for it, so it is said beside as well."""
        self._answer(id, sftp.PERMISSION_DENIED, refusal.line)
        self._said += 1
        if self._said <= SAID_MAX:
            self.way.say(refusal.line)
        elif self._said == SAID_MAX + 1:
            self.way.say("hoopd: more is refused: the answers and the record say what")

    def _not_there(self, id: int, action: str, paths: tuple[bytes, ...], why: Unresolved) -> None:
        """Nothing is forwarded. What is there or not is told to whom it would be open to; the others are refused."""
        known = tuple(self._paths.lexical(path) for path in paths)
        decision = self.way.session.permission.judged(self._wanted(action, known, "", b"").operation)
        if decision.verdict == "deny":
            self._refuse(id, Refusal(decision.why, decision.rules, decision.hint))
        else:
            self._answer(id, why.code, why.said)

    def _settle(self, granted: Granted, outcome: str, detail: str) -> None:
        if granted.approval is not None:
            self._route.settle(granted.approval, outcome, detail)

    def _settling(self, granted: Granted, looks: bool = False) -> Callable[[bytes], None]:
        """For what is over when it is answered: its result is recorded, unless it only looked."""
        began = self.way.session.seconds()

        def then(answer: bytes) -> None:
            good = answer[4] != sftp.STATUS or sftp.status_code(answer) == sftp.OK
            tag = "done" if good else f"the target answered {_CODES.get(sftp.status_code(answer), 'failure')}"
            if not looks:
                seconds = round(self.way.session.seconds() - began, 6)
                result = {"operation": granted.operation, "tag": tag, "bytes": 0}
                self._route.record("result", {**result, "duration": seconds})
                fields = {**result, "seconds": seconds, "approval": granted.approval}
                self._route.event("operation.finished", fields)
            self._settle(granted, "executed" if good else "failed", tag)

        return then

    # -- answers -----------------------------------------------------------------------------------------------

    def _answered(self, packet: bytes) -> None:
        if not self._spoken:
            if not self._begun:
                raise PeerError("SFTP before it was asked for")
            self._spoken = True
            self.way.to_client(0, sftp.version(packet))
            return
        kind, id = sftp.head(packet)
        asked = self._asked.get(id)
        if asked is None:
            raise PeerError("an SFTP answer to no request")
        if kind not in (sftp.STATUS, asked.answers):
            raise PeerError("an SFTP answer of a kind that is none to its request")
        del self._asked[id]
        opened = asked.opened
        if opened is not None:
            opened.asked -= 1
            self._handles.took(asked, opened, kind, packet)
            self._handles.settle(opened)
        elif kind == sftp.NAME and not asked.own:
            sftp.names(packet)
        if asked.then is not None:
            asked.then(packet)
        if not asked.own:
            self.way.to_client(0, packet)
        if self._paused and self._job is None and len(self._asked) <= ASKED_MAX // 2:
            self._work()


def _mark(wanted: Wanted) -> bytes:
    """Small, however long the path is."""
    return hashlib.sha256(wanted.exact).digest()


_CODES = {
    sftp.EOF: "end of file",
    sftp.NO_SUCH_FILE: "no such file",
    sftp.PERMISSION_DENIED: "permission denied",
    sftp.BAD_MESSAGE: "bad message",
    sftp.OP_UNSUPPORTED: "not supported",
}

#: extensions about names and limits: how many strings each has
_ABOUT_NO_FILE = {
    b"limits@openssh.com": 0,
    b"expand-path@openssh.com": 1,
    b"home-directory": 1,
    b"users-groups-by-id@openssh.com": 2,
}
