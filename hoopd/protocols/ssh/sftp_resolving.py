"""What the paths of SFTP's requests are at the target: questions of the gateway's own, as generators that are sent the answers; pure.

Whoever drives them sends each question with an id of its own and keeps the client's next requests back meanwhile
(L{hoopd.protocols.ssh.sftp_passage}).
"""

from __future__ import annotations

from collections.abc import Generator

from attrs import define, frozen

from hoopd.errors import PeerError
from hoopd.policy import files
from hoopd.protocols.ssh import sftp
from hoopd.protocols.ssh.sftp_requests import PathRequest

#: kind and content of a request
Question = tuple[int, bytes]


@frozen
class Unresolved:
    """The target could not say what a path is. @ivar code, said: its words"""

    code: int
    said: str


@define
class Resolver:
    """@ivar home: the account's own directory; empty where the target does not say, None before it was asked."""

    home: bytes | None = None

    def begin(self) -> Generator[Question, bytes, None]:
        """Ask for the home, once."""
        if self.home is None:
            home = yield from self.real(b".")
            self.home = home if isinstance(home, bytes) else b""

    def resolved(
        self, request: PathRequest, paths: tuple[bytes, ...], follows: bool
    ) -> Generator[Question, bytes, tuple[bytes, ...] | Unresolved]:
        found: list[bytes] = []
        for number, path in enumerate(paths):
            if request.links and number == 0:
                continue
            one = yield from (self.real(path, True) if follows else self._entry(path))
            if isinstance(one, Unresolved):
                return one
            found.append(one)
        if request.links:
            # what a link says is relative to where it is; where that leads to may not be there yet
            said = paths[0] if paths[0].startswith(b"/") else found[0].rpartition(b"/")[0] + b"/" + paths[0]
            leads = yield from self.real(said, True)
            found.insert(0, self.lexical(said) if isinstance(leads, Unresolved) else leads)
        return tuple(found)

    def real(self, path: bytes, new: bool = False) -> Generator[Question, bytes, bytes | Unresolved]:
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
        return self.lexical(found[0])

    def _entry(self, path: bytes) -> Generator[Question, bytes, bytes | Unresolved]:
        """The entry that C{path} names, and not what it leads to if it is a link."""
        parent, _, name = (path.rstrip(b"/") or b"/").rpartition(b"/")
        if name in (b"", b".", b".."):
            return (yield from self.real(path))
        above = yield from self.real(parent or (b"/" if path.startswith(b"/") else b"."))
        return above if isinstance(above, Unresolved) else above.rstrip(b"/") + b"/" + name

    def tree(self, path: bytes) -> Generator[Question, bytes, bool]:
        """Whether more than one file may be under a name."""
        answer = yield sftp.LSTAT, sftp.string(path)
        return answer[4] == sftp.STATUS or sftp.attributes(sftp.body(answer)).tree

    def lexical(self, path: bytes) -> bytes:
        """Without asking: no link is known."""
        if not path.startswith(b"/"):
            path = (self.home or b"/") + b"/" + path
        return files.normal(path.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
