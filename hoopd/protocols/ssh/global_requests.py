"""Requests of the connection itself: forwards that the target listens for, keep-alives; answered in their order; pure.

Specification: RFC 4254 sections 4 and 7; OpenSSH's PROTOCOL, section 2.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from attrs import define

from hoopd.errors import PeerError
from hoopd.protocols.ssh import messages, operations
from hoopd.protocols.ssh.messages import GlobalRequest, Reader
from hoopd.protocols.ssh.permission import Granted
from hoopd.protocols.ssh.runs import Runs

_FORWARDS = {
    "tcpip-forward": "forwarded-tcpip",
    "streamlocal-forward@openssh.com": "forwarded-streamlocal@openssh.com",
}
_CANCELS = frozenset({"cancel-tcpip-forward", "cancel-streamlocal-forward@openssh.com"})


@define(eq=False)
class GlobalReply:
    """One answer owed for a global request, in its turn. @ivar answer: message and payload, once known"""

    answer: tuple[int, bytes] | None = None
    accepted: Callable[[], None] | None = None


class GlobalRequests:
    """
    @param session: L{hoopd.protocols.ssh.session.Session}, whose connections' they are.
    """

    def __init__(self, session: Any, runs: Runs) -> None:
        self._session = session
        self._runs = runs
        self._replies: deque[GlobalReply] = deque()
        self._forwarded: deque[GlobalReply] = deque()

    def client_message(self, kind: int, payload: bytes) -> None:
        request = GlobalRequest.read(payload)
        reply = GlobalReply()
        if request.want_reply:
            self._replies.append(reply)
        if request.kind == "no-more-sessions@openssh.com":
            self._session.no_more = True
            self._answer_global(reply, True)
        elif request.kind in _FORWARDS:
            self._listen(request, reply)
        elif request.kind in _CANCELS:
            self._forward_global(request, reply)
        else:
            # keep-alives among them: any answer is a sign of life
            self._answer_global(reply, False)

    def _listen(self, request: GlobalRequest, reply: GlobalReply) -> None:
        reader = Reader(request.details)
        where = reader.string().decode("utf-8", "backslashreplace")
        if request.kind == "tcpip-forward":
            where = f"{where}:{reader.number()}"
        words, text = frozenset({"forward-remote"}), f"listen on {where}".encode()
        wanted = operations.wanted(
            words, text, self._session.login, self._session.reason, {"destination": where}, (where,)
        )

        def go(granted: Granted) -> None:
            self._session.expected.add(_FORWARDS[request.kind])
            reply.accepted = lambda: self._runs.settle(granted.approval, "executed", "listening")
            self._forward_global(request, reply)

        self._session.permission.seek(wanted, go, lambda refusal: self._answer_global(reply, False))

    def _forward_global(self, request: GlobalRequest, reply: GlobalReply) -> None:
        self._forwarded.append(reply)
        forwarded = GlobalRequest(request.kind, True, request.details)
        self._session.to_target.append((messages.GLOBAL_REQUEST, forwarded.encode()))

    def _answer_global(self, reply: GlobalReply, good: bool, details: bytes = b"") -> None:
        reply.answer = (messages.REQUEST_SUCCESS if good else messages.REQUEST_FAILURE, details)
        while self._replies and self._replies[0].answer is not None:
            answer = self._replies.popleft().answer
            assert answer is not None
            self._session.to_client.append(answer)

    def target_answers(self, kind: int, payload: bytes) -> None:
        if not self._forwarded:
            raise PeerError("an answer to no request")
        reply = self._forwarded.popleft()
        good = kind == messages.REQUEST_SUCCESS
        if good and reply.accepted is not None:
            reply.accepted()
        self._answer_global(reply, good, payload if good else b"")

    def target_message(self, kind: int, payload: bytes) -> None:
        request = GlobalRequest.read(payload)
        # its host keys are no business of our clients; a keep-alive is answered by any answer
        if request.want_reply:
            self._session.to_target.append((messages.REQUEST_FAILURE, b""))
