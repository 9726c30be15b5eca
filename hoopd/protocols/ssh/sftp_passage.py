"""SFTP between the two ends of a channel: each request that does something is an operation before it goes on; pure.

Paths are judged as the target resolves them: before a request is judged the gateway asks the target itself (REALPATH), and what goes
on names what was judged. Requests go on in the order in which they came, answers as they come; one that waits for the target's word or
for approval keeps the channel, as the channel keeps what the client sends meanwhile. Who changes a directory of that path into a link
in between has won a race: docs/ssh.md says so.

Not the packets (L{hoopd.protocols.ssh.sftp}), nor what is asked of which path (L{hoopd.protocols.ssh.sftp_requests}).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator
from typing import Any

from attrs import define, frozen

from hoopd.errors import PeerError
from hoopd.policy import files
from hoopd.protocols.ssh import operations, sftp
from hoopd.protocols.ssh.channels import WINDOW_MAX
from hoopd.protocols.ssh.operations import Refusal, Wanted
from hoopd.protocols.ssh.passage import Passage, Way
from hoopd.protocols.ssh.permission import Granted
from hoopd.protocols.ssh.sftp import Packets
from hoopd.protocols.ssh.sftp_requests import PATHS, PathRequest, opening, read_paths
from hoopd.protocols.ssh.streams import Recorded
from hoopd.protocols.ssh.transfers import Ahead, Transfer, told

#: requests of one client that the target has not answered; beyond, it is read on when half of them are. paramiko asks for a whole file
#: at once; one costs 300 bytes
ASKED_MAX = 1024
#: files and directories open at once; OpenSSH's server has 1,024 descriptors at most
OPENED_MAX = 1024
#: what may be listed is recorded once a path; then again
LISTED_MAX = 10_000
#: refusals that are said on standard error, beside the answer that each request gets
SAID_MAX = 10

#: octets that may wait for a client when the gateway itself has something to answer: those of the target are a window at most, and a
#: thousand refusals 300 kB
UNREAD_MAX = 2 * WINDOW_MAX

_LOOKING = files.ACTIONS["ls"].words

#: what a job asks for and is given: an own request for the target's answer, a wanted operation for a grant or refusal
Step = tuple[int, bytes] | Wanted
Job = Generator[Step, Any, None]


@define(eq=False)
class Opened:
    """A handle.

    @ivar reads, writes: what it was opened for; neither of a directory.
    @ivar closing: CLOSE was forwarded.
    @ivar asked: requests on it that are not answered.
    """

    path: bytes
    reads: Transfer | None
    writes: Transfer | None
    approval: str | None
    closing: bool = False
    asked: int = 0
    tag: str = ""
    #: CLOSE was answered well, or not; other answers may come behind
    closed: bool | None = None


@define(eq=False)
class Asked:
    """A request that was forwarded. @ivar answers: the kind of answer, beside STATUS. @ivar then: called with the answer"""

    kind: int
    answers: int
    opened: Opened | None = None
    offset: int = 0
    length: int = 0
    then: Callable[[bytes], None] | None = None
    own: bool = False


@frozen
class Unresolved:
    """The target could not say what a path is. @ivar code, said: its words"""

    code: int
    said: str


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
        self._opened: dict[bytes, Opened] = {}
        # closed before all was answered
        self._ending: list[Opened] = []
        self._begun = self._spoken = False
        self._job: Job | None = None
        self._working = self._paused = False
        self._last = 0xFFFFFFFF
        self._home: bytes | None = None
        self._listed: set[bytes] = set()
        self._said = 0
        self._ahead = Ahead()

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
        left = [*self._ending, *self._opened.values()]
        self._ending, self._opened = [], {}
        for each in left:
            self._closed(each, "cut off", False)
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
        known = _REQUESTS.get(kind)
        if known is not None:
            known(self, id, packet)
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
        elif name in _EXTENDED:
            _EXTENDED[name](self, id, packet)
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

    def _real_path(self, id: int, packet: bytes) -> None:
        self._plain(id, packet, 1, sftp.NAME)

    def _plain(self, id: int, packet: bytes, strings: int, answers: int) -> None:
        """Where a path leads, and who has which name, is no secret of whoever may use sftp."""
        reader = sftp.body(packet)
        for _ in range(strings):
            reader.string()
        reader.end()
        self._forward(id, packet, answers)

    # -- on handles --------------------------------------------------------------------------------------------

    def _find(self, id: int, handle: bytes) -> Opened | None:
        opened = self._opened.get(handle)
        if opened is None or opened.closing:
            self._answer(id, sftp.FAILURE, "no such handle")
            return None
        return opened

    def _read(self, id: int, packet: bytes) -> None:
        handle, offset, length = sftp.read_request(packet)
        opened = self._find(id, handle)
        if opened is None:
            return
        if opened.reads is None:
            self._answer(id, sftp.PERMISSION_DENIED, "it was not opened for reading")
            return
        self._forward(id, packet, sftp.DATA, opened, offset, length)

    def _write(self, id: int, packet: bytes) -> None:
        handle, offset, piece = sftp.write_request(packet)
        opened = self._find(id, handle)
        if opened is None:
            return
        if opened.writes is None:
            self._answer(id, sftp.PERMISSION_DENIED, "it was not opened for writing")
            return
        opened.writes.moved(offset, piece)
        self._forward(id, packet, 0, opened)

    def _close(self, id: int, packet: bytes) -> None:
        opened = self._find(id, handle := sftp.handle(packet))
        if opened is None:
            return
        opened.closing = True

        def then(answer: bytes) -> None:
            # the target may give the same handle to another file from now on
            self._opened.pop(handle, None)
            opened.closed = sftp.status_code(answer) == sftp.OK
            self._ending.append(opened)
            self._close_is_over(opened)

        self._forward(id, packet, 0, then=then)

    def _close_is_over(self, opened: Opened) -> None:
        if opened in self._ending and not opened.asked:
            self._ending.remove(opened)
            self._closed(opened, "closed" if opened.closed else "the target failed to close it", bool(opened.closed))

    def _closed(self, opened: Opened, tag: str, good: bool) -> None:
        now = self.way.session.seconds()
        for transfer in (opened.reads, opened.writes):
            if transfer is not None:
                told(self._route, transfer, opened.tag or tag, now, opened.approval, good and not opened.tag)
        if opened.approval is not None:
            self._route.settle(opened.approval, "executed" if good else "unknown", opened.tag or tag)

    def _on_handle(self, id: int, packet: bytes) -> None:
        """FSTAT, READDIR, and what else only looks."""
        reader = sftp.body(packet)
        name = reader.string() if packet[4] == sftp.EXTENDED else b""
        handle = reader.string()
        reader.end()
        opened = self._find(id, handle)
        if opened is not None:
            self._forward(id, packet, sftp.ANSWERS.get(name or packet[4], 0), opened)

    def _change(self, id: int, packet: bytes) -> None:
        """FSETSTAT: part of an upload; of a file that is only read, or a directory, a change of its own."""
        reader = sftp.body(packet)
        handle = reader.string()
        at, said = reader.at, sftp.attributes(reader)
        reader.end()
        opened = self._find(id, handle)
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

    def _copy(self, id: int, packet: bytes) -> None:
        """copy-data: from one opened file to another, at the target."""
        reader = sftp.body(packet)
        reader.string()
        source = reader.string()
        sftp.long(reader), sftp.long(reader)
        drain = reader.string()
        sftp.long(reader)
        reader.end()
        read, written = self._opened.get(source), self._opened.get(drain)
        if read is None or written is None or read.closing or written.closing:
            self._answer(id, sftp.FAILURE, "no such handle")
        elif read.reads is None or written.writes is None:
            self._answer(id, sftp.PERMISSION_DENIED, "it was not opened for that")
        else:
            written.writes.unplaced()
            self._forward(id, packet, 0, written)

    # -- on paths ----------------------------------------------------------------------------------------------

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
        if (request.opens or request.lists) and len(self._opened) >= OPENED_MAX:
            self._answer(id, sftp.FAILURE, "too many open files")
            return
        if self._home is None:
            home = yield from self._real(b".")
            self._home = home if isinstance(home, bytes) else b""
        paths = yield from self._resolved(request, said.paths, follows)
        if isinstance(paths, Unresolved):
            self._not_there(id, action, said.paths, paths)
            return
        tree = request.moves and (yield from self._tree(paths[0]))
        wanted = self._wanted(action, paths, said.text, said.rest, tree)
        granted = yield wanted
        if not self._may(id, granted):
            return
        if granted.decision.verdict == "hold":
            # people decided on what the path was then
            again = yield from self._resolved(request, said.paths, follows)
            if again != paths:
                self._settle(granted, "failed", "it is another file now")
                self._refuse(id, Refusal("the path leads to another file than the one that was approved"))
                return
        if wanted.operation.classes == _LOOKING:
            if len(self._listed) >= LISTED_MAX:
                self._listed.clear()
            self._listed.add(_mark(wanted))
        changed = request.encode(id, packet, paths, said)
        then = self._opens(request, granted, paths[0], flags) if request.handle else self._settling(granted)
        self._forward(id, changed, request.answers, then=then)

    def _wanted(self, action: str, paths: tuple[bytes, ...], said: str, rest: bytes, tree: bool = False) -> Wanted:
        session = self.way.session
        known = tuple(path.decode("utf-8", "surrogateescape") for path in paths)
        home = (self._home or b"").decode("utf-8", "surrogateescape")
        shown = tuple(operations.shown(path) for path in paths)
        exact = b"\0".join((b"sftp", action.encode(), *paths, rest))
        return operations.wanted(
            files.ACTIONS[action].words,
            files.text(action, shown, said).encode(),
            session.login,
            session.reason,
            files.facts(action, known, home, tree=tree),
            shown,
            exact,
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
        known = tuple(self._lexical(path) for path in paths)
        decision = self.way.session.permission.judged(self._wanted(action, known, "", b"").operation)
        if decision.verdict == "deny":
            self._refuse(id, Refusal(decision.why, decision.rules, decision.hint))
        else:
            self._answer(id, why.code, why.said)

    def _lexical(self, path: bytes) -> bytes:
        if not path.startswith(b"/"):
            path = (self._home or b"/") + b"/" + path
        return files.normal(path.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")

    def _settle(self, granted: Granted, outcome: str, detail: str) -> None:
        if granted.approval is not None:
            self._route.settle(granted.approval, outcome, detail)

    def _settling(self, granted: Granted) -> Callable[[bytes], None]:
        """For what is over when it is answered: its result is recorded, unless nobody recorded it or it only looked."""
        began = self.way.session.seconds()

        def then(answer: bytes) -> None:
            good = answer[4] != sftp.STATUS or sftp.status_code(answer) == sftp.OK
            tag = "done" if good else f"the target answered {_CODES.get(sftp.status_code(answer), 'failure')}"
            if granted.operation:
                seconds = round(self.way.session.seconds() - began, 6)
                result = {"operation": granted.operation, "tag": tag, "bytes": 0}
                self._route.record("result", {**result, "duration": seconds})
                fields = {**result, "seconds": seconds, "approval": granted.approval}
                self._route.event("operation.finished", fields)
            self._settle(granted, "executed" if good else "failed", tag)

        return then

    def _opens(self, request: PathRequest, granted: Granted, path: bytes, flags: int) -> Callable[[bytes], None]:
        settled = self._settling(granted)
        shown, began, number = self.way.shown(path), self.way.session.seconds(), granted.operation

        def then(answer: bytes) -> None:
            if answer[4] == sftp.STATUS:
                settled(answer)
                return
            handle = sftp.handle(answer)
            if handle in self._opened:
                raise PeerError("an SFTP handle that is open already")
            reads = writes = None
            if flags & sftp.FOR_READING:
                reads = Transfer(number, "download", "sftp", shown, began, ahead=self._ahead)
            if flags & (sftp.FOR_WRITING | sftp.APPEND):
                fresh = bool(flags & sftp.TRUNCATE or (flags & sftp.CREATE and flags & sftp.EXCLUSIVE))
                writes = Transfer(number, "upload", "sftp", shown, began, fresh, ahead=self._ahead)
                if flags & sftp.APPEND:
                    # at the end, wherever that is; clients that go on with a file say where they think it is
                    writes.spoilt()
            self._opened[handle] = Opened(path, reads, writes, granted.approval)
            if request.lists and granted.approval is not None:
                self._settle(granted, "executed", "opened")

        return then

    # -- what a path is ----------------------------------------------------------------------------------------

    def _resolved(
        self, request: PathRequest, paths: tuple[bytes, ...], follows: bool
    ) -> Generator[Step, bytes, tuple[bytes, ...] | Unresolved]:
        found: list[bytes] = []
        for number, path in enumerate(paths):
            if request.links and number == 0:
                continue
            one = yield from (self._real(path, True) if follows else self._entry(path))
            if isinstance(one, Unresolved):
                return one
            found.append(one)
        if request.links:
            # what a link says is relative to where it is; where that leads to may not be there yet
            said = paths[0] if paths[0].startswith(b"/") else found[0].rpartition(b"/")[0] + b"/" + paths[0]
            leads = yield from self._real(said, True)
            found.insert(0, self._lexical(said) if isinstance(leads, Unresolved) else leads)
        return tuple(found)

    def _real(self, path: bytes, new: bool = False) -> Generator[Step, bytes, bytes | Unresolved]:
        """What C{path} leads to. @param new: it need not be there yet"""
        answer = yield sftp.REALPATH, sftp.string(path)
        if answer[4] == sftp.STATUS:
            code = sftp.status_code(answer)
            if new and code == sftp.NO_SUCH_FILE:
                # servers other than OpenSSH's know only what is there
                return (yield from self._entry(path))
            known = code in (sftp.NO_SUCH_FILE, sftp.PERMISSION_DENIED)
            return Unresolved(code if known else sftp.FAILURE, "the target cannot tell what the path is")
        found = sftp.names(answer)
        if len(found) != 1:
            raise PeerError("a real path that is several, or none")
        if not found[0].startswith(b"/") or b"\0" in found[0]:
            return Unresolved(sftp.FAILURE, "the target's own name of the path is not absolute")
        return self._lexical(found[0])

    def _entry(self, path: bytes) -> Generator[Step, bytes, bytes | Unresolved]:
        """The entry that C{path} names, and not what it leads to if it is a link."""
        parent, _, name = (path.rstrip(b"/") or b"/").rpartition(b"/")
        if name in (b"", b".", b".."):
            return (yield from self._real(path))
        above = yield from self._real(parent or (b"/" if path.startswith(b"/") else b"."))
        return above if isinstance(above, Unresolved) else above.rstrip(b"/") + b"/" + name

    def _tree(self, path: bytes) -> Generator[Step, bytes, bool]:
        """Whether more than one file may be under a name."""
        answer = yield sftp.LSTAT, sftp.string(path)
        return answer[4] == sftp.STATUS or sftp.attributes(sftp.body(answer)).tree

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
            self._took(asked, opened, kind, packet)
            self._close_is_over(opened)
        elif kind == sftp.NAME and not asked.own:
            sftp.names(packet)
        if asked.then is not None:
            asked.then(packet)
        if not asked.own:
            self.way.to_client(0, packet)
        if self._paused and self._job is None and len(self._asked) <= ASKED_MAX // 2:
            self._work()

    def _took(self, asked: Asked, opened: Opened, kind: int, packet: bytes) -> None:
        """The answer to a request on a handle."""
        if kind == sftp.DATA:
            piece = sftp.data(packet)
            if len(piece) > asked.length:
                raise PeerError("more SFTP data than was asked for")
            if opened.reads is not None:
                opened.reads.moved(asked.offset, piece)
        elif kind == sftp.NAME:
            if any(b"/" in name or b"\0" in name or not name for name in sftp.names(packet)):
                raise PeerError("a name in a directory that is none")
        elif kind == sftp.STATUS:
            code = sftp.status_code(packet)
            if asked.kind == sftp.READ and opened.reads is not None:
                if code == sftp.EOF:
                    opened.reads.ended(asked.offset)
                else:
                    opened.tag = opened.tag or "the target failed to read it"
            elif asked.kind == sftp.WRITE and opened.writes is not None and code != sftp.OK:
                opened.writes.spoilt()
                opened.tag = opened.tag or "the target failed to write it"


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

_REQUESTS: dict[int, Callable[[SftpPassage, int, bytes], None]] = {
    sftp.READ: SftpPassage._read,
    sftp.WRITE: SftpPassage._write,
    sftp.CLOSE: SftpPassage._close,
    sftp.FSTAT: SftpPassage._on_handle,
    sftp.READDIR: SftpPassage._on_handle,
    sftp.FSETSTAT: SftpPassage._change,
    sftp.REALPATH: SftpPassage._real_path,
}

_EXTENDED: dict[bytes, Callable[[SftpPassage, int, bytes], None]] = {
    b"fstatvfs@openssh.com": SftpPassage._on_handle,
    b"fsync@openssh.com": SftpPassage._on_handle,
    b"copy-data": SftpPassage._copy,
}

#: extensions about names and limits: how many strings each has
_ABOUT_NO_FILE = {
    b"limits@openssh.com": 0,
    b"expand-path@openssh.com": 1,
    b"home-directory": 1,
    b"users-groups-by-id@openssh.com": 2,
}
