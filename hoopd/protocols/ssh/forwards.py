"""Forwards: what the client may reach through the host, and what may come back to it because it asked for it; pure.

Each connection is an operation of the record, with its destination, size and hash. What the target opens must be the fruit of
something that was permitted: a listening socket, the agent, X11. Specification: RFC 4254 section 7; OpenSSH's PROTOCOL, sections 2.2
and 2.4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field, frozen

from hoopd.protocols.ssh import operations
from hoopd.protocols.ssh.messages import GlobalRequest, Open, Reader
from hoopd.protocols.ssh.operations import Refusal, Wanted
from hoopd.protocols.ssh.permission import Granted

#: kinds of channels that a client opens to be connected somewhere
LOCAL = ("direct-tcpip", "direct-streamlocal@openssh.com")
#: requests to listen, and to stop
LISTEN = ("tcpip-forward", "streamlocal-forward@openssh.com")
CANCEL = ("cancel-tcpip-forward", "cancel-streamlocal-forward@openssh.com")
#: what comes of them
_TCP, _UNIX = "forwarded-tcpip", "forwarded-streamlocal@openssh.com"
_AGENT, _X11 = "auth-agent@openssh.com", "x11"

_WORDS = {_TCP: "forward-remote", _UNIX: "forward-remote", _AGENT: "forward-agent", _X11: "forward-x11"}


@frozen
class Listening:
    """A socket at the host that the client may be connected from.

    @ivar place: as policy has judged it.
    @ivar granted: the permission to listen.
    """

    place: str
    granted: Granted


def place(host: bytes, port: int) -> str:
    """Where to, as C{op.destination} has it: the name in small letters, IPv6 in brackets, and the port."""
    name = host.decode("utf-8", "backslashreplace").lower().removesuffix(".")
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


@define(eq=False)
class Forwards:
    """
    @ivar session: L{hoopd.protocols.ssh.session.Session}, whose they are.
    @ivar pending: connections that are being decided.
    """

    session: Any
    pending: int = 0
    _permitted: dict[str, Granted] = field(factory=dict, init=False)
    #: by channel type and port, or path
    _listening: dict[tuple[str, int | bytes], Listening] = field(factory=dict, init=False)
    #: asked of the target, and not answered yet
    _asked: int = field(default=0, init=False)

    def _wanted(self, word: str, text: str, destination: str = "", kind: str = "", details: bytes = b"") -> Wanted:
        """@param kind, details: of the request, where it can be approved"""
        session = self.session
        facts, objects = ({"destination": destination}, (destination,)) if destination else ({}, ())
        words = frozenset({word})
        exact = operations.exact(kind, details)
        return operations.wanted(words, text.encode(), session.login, session.reason, facts, objects, exact=exact)

    # -- from the client to somewhere --------------------------------------------------------------------------

    def connect(self, asked: Open, go: Callable[[Granted], None], stop: Callable[[Refusal], None]) -> None:
        """The client wants a connection from the host to elsewhere."""
        reader = Reader(asked.details)
        if asked.kind == "direct-tcpip":
            where = place(reader.string(), reader.number())
        else:
            where = reader.string().decode("utf-8", "backslashreplace")
        wanted = self._wanted("forward-local", f"forward to {where}", where, asked.kind, asked.details)
        self.pending += 1

        def released(granted: Granted) -> None:
            self.pending -= 1
            go(granted)

        def refused(refusal: Refusal) -> None:
            self.pending -= 1
            stop(refusal)

        self.session.permission.seek(wanted, released, refused)

    # -- from somewhere to the client --------------------------------------------------------------------------

    def permit(self, kind: str, granted: Granted) -> None:
        """The target has agreed to the agent or X11: it may open such channels. @param kind: their type"""
        self._permitted[kind] = granted

    def listen(
        self, request: GlobalRequest, go: Callable[[Callable[[bytes], None]], None], stop: Callable[[], None]
    ) -> None:
        """The client wants the host to listen.

        @param go: called when the target may be asked, with what is to be called with its answer if that is yes.
        """
        reader = Reader(request.details)
        host = reader.string()
        port = reader.number() if request.kind == "tcpip-forward" else 0
        where = place(host, port) if request.kind == "tcpip-forward" else host.decode("utf-8", "backslashreplace")
        if len(self._listening) + self._asked >= self.session.limits.channels:
            stop()
            return
        self._asked += 1

        def released(granted: Granted) -> None:
            def accepted(answer: bytes) -> None:
                self._asked -= 1
                self.session.runs.settle(granted.approval, "executed", "listening")
                key: tuple[str, int | bytes] = (_UNIX, host)
                if request.kind == "tcpip-forward":
                    # the host chooses where no port was asked for
                    key = (_TCP, port or Reader(answer).number())
                self._listening[key] = Listening(where, granted)

            go(accepted)

        def refused(refusal: Refusal) -> None:
            self._asked -= 1
            stop()

        wanted = self._wanted("forward-remote", f"listen on {where}", where, request.kind, request.details)
        self.session.permission.seek(wanted, released, refused)

    def not_listening(self) -> None:
        """The target has said no to what L{listen} let pass."""
        self._asked -= 1

    def cancel(self, request: GlobalRequest) -> bool:
        """The client wants the host to listen no more. @return: whether there is anything to ask the target for"""
        reader = Reader(request.details)
        host = reader.string()
        key: tuple[str, int | bytes] = (_UNIX, host)
        if request.kind == "cancel-tcpip-forward":
            key = (_TCP, reader.number())
        return self._listening.pop(key, None) is not None

    def opened(self, asked: Open, go: Callable[[Granted], None], stop: Callable[[Refusal], None]) -> None:
        """The target opens a channel: whether it may, by what was permitted before."""
        why = self._fruit(asked)
        if why is None:
            stop(Refusal("nobody has asked for that"))
            return
        granted, wanted = why
        self.session.permission.follow(granted, wanted, go, stop)

    def _fruit(self, asked: Open) -> tuple[Granted, Wanted] | None:
        """What permitted a channel of the target, and the operation that it is; None: nothing did."""
        word = _WORDS.get(asked.kind, "")
        granted = self._permitted.get(asked.kind)
        reader = Reader(asked.details)
        if granted is not None:
            origin = f"X11 from {place(reader.string(), reader.number())}" if asked.kind == _X11 else "use the agent"
            return granted, self._wanted(word, origin)
        if asked.kind not in {kind for kind, _ in self._listening}:
            return None
        where = reader.string()
        found = self._listening.get((asked.kind, reader.number() if asked.kind == _TCP else where))
        if found is None:
            return None
        origin = f" from {place(reader.string(), reader.number())}" if asked.kind == _TCP else ""
        return found.granted, self._wanted(word, f"connection to {found.place}{origin}", found.place)
