"""Requests of the connection itself: forwards that the target listens for, keep-alives; answered in their order; pure.

Specification: RFC 4254 sections 4 and 7; OpenSSH's PROTOCOL, section 2.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from attrs import define

from hoopd.errors import PeerError
from hoopd.protocols.ssh import forwards, messages
from hoopd.protocols.ssh.messages import GlobalRequest

#: answers that one client waits for: a tool asks for a dozen forwards and a keep-alive each few seconds
REPLIES_MAX = 1000


@define(eq=False)
class GlobalReply:
    """One answer owed for a global request, in its turn.

    @ivar answer: message and payload, once known.
    @ivar accepted, refused: called with what the target answers.
    """

    answer: tuple[int, bytes] | None = None
    accepted: Callable[[bytes], None] = lambda answer: None
    refused: Callable[[], None] = lambda: None


class GlobalRequests:
    """
    @param session: L{hoopd.protocols.ssh.session.Session}, whose connections' they are.
    """

    def __init__(self, session: Any) -> None:
        self._session = session
        self._replies: deque[GlobalReply] = deque()
        self._forwarded: deque[GlobalReply] = deque()

    def client_message(self, kind: int, payload: bytes) -> None:
        request = GlobalRequest.read(payload)
        reply = GlobalReply()
        if request.want_reply:
            if len(self._replies) >= REPLIES_MAX:
                raise PeerError("too many requests while one is being decided")
            self._replies.append(reply)
        if request.kind == "no-more-sessions@openssh.com":
            self._session.no_more = True
            self._answer_global(reply, True)
        elif request.kind in forwards.LISTEN:
            self._listen(request, reply)
        elif request.kind in forwards.CANCEL:
            if self._session.forwards.cancel(request):
                self._forward_global(request, reply)
            else:
                self._answer_global(reply, False)
        else:
            # keep-alives among them: any answer is a sign of life
            self._answer_global(reply, False)
            if request.want_reply and self._replies:
                # answers come in their order, and one may wait for people: this is a sign of life too
                self._session.to_client.append((messages.IGNORE, messages.string(b"")))

    def _listen(self, request: GlobalRequest, reply: GlobalReply) -> None:
        def go(accepted: Callable[[bytes], None]) -> None:
            reply.accepted, reply.refused = accepted, self._session.forwards.not_listening
            self._forward_global(request, reply)

        self._session.forwards.listen(request, go, lambda: self._answer_global(reply, False))

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
        if good:
            reply.accepted(payload)
        else:
            reply.refused()
        self._answer_global(reply, good, payload if good else b"")

    def target_message(self, kind: int, payload: bytes) -> None:
        request = GlobalRequest.read(payload)
        # its host keys are no business of our clients; a keep-alive is answered by any answer
        if request.want_reply:
            self._session.to_target.append((messages.REQUEST_FAILURE, b""))
