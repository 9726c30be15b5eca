"""C{POST /v1/<verb>} with a bearer token (RFC 6750) and a JSON object, answered by a JSON value; not the doing.

Errors are C{{"error": class, "why": text, "rules": [], "hint": text}} with a fitting status. Nothing of a request is
logged but verb and status.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from hoopd.administration_verbs import VERBS
from hoopd.errors import AuthenticationFailed, ConfigError, Denied, RecordError, TargetError, Unavailable
from hoopd.interfaces import IAdministration
from hoopd.secret import Secret

#: the largest argument is a statement to explain (limits.statement_max: 1 MiB), some of it escaped in JSON
MAX_BODY = 2 * 1024 * 1024
#: seconds without a byte of a request
TIMEOUT = 20

_STATUS: tuple[tuple[type[Exception], int, str], ...] = (
    (AuthenticationFailed, http.UNAUTHORIZED, "authentication"),
    (Denied, http.FORBIDDEN, "denied"),
    (Unavailable, http.SERVICE_UNAVAILABLE, "unavailable"),
    (RecordError, http.SERVICE_UNAVAILABLE, "record"),
    (TargetError, http.BAD_GATEWAY, "target"),
    (ConfigError, http.CONFLICT, "configuration"),
    (KeyError, http.NOT_FOUND, "unknown"),
    (ValueError, http.BAD_REQUEST, "arguments"),
)


class Verbs(Resource):
    """@param administration: L{IAdministration}"""

    log = Logger()

    def __init__(self, administration: IAdministration) -> None:
        super().__init__()
        self._administration: Any = administration

    def getChild(self, path: bytes, request: Request) -> Resource:
        return _Verb(self, path.decode("ascii", "replace"))


class _Verb(Resource):
    isLeaf = True

    def __init__(self, verbs: Verbs, name: str) -> None:
        super().__init__()
        self._verbs = verbs
        self._name = name

    def render_POST(self, request: Request) -> Any:
        if self._name not in VERBS:
            return _answer(request, http.NOT_FOUND, {"error": "unknown", "why": f"no verb is called {self._name!r}"})
        kind, _, token = (request.getHeader("authorization") or "").partition(" ")
        if VERBS[self._name].proves:
            token = ""
        elif kind.lower() != "bearer" or not token:
            return _answer(request, http.UNAUTHORIZED, {"error": "authentication", "why": "no token was given"})
        try:
            body = request.content.read() if request.content is not None else b""
            arguments = json.loads(body or b"{}")
        except (ValueError, RecursionError):
            return _answer(request, http.BAD_REQUEST, {"error": "arguments", "why": "the body is not JSON"})
        if not isinstance(arguments, dict):
            return _answer(request, http.BAD_REQUEST, {"error": "arguments", "why": "the body is no JSON object"})
        gone = request.notifyFinish()
        asked: Deferred[Any] = self._verbs._administration.call(Secret(token), self._name, arguments)
        asked.addCallbacks(
            lambda result: _send(request, http.OK, result), lambda failure: self._failed(request, failure)
        )
        # who asked may be gone: the act is done and recorded all the same, and there is nobody to tell
        asked.addErrback(lambda failure: failure.trap(_Gone))
        gone.addErrback(lambda failure: setattr(request, "gone", True))
        return NOT_DONE_YET

    def _failed(self, request: Request, failure: Failure) -> None:
        for cls, status, word in _STATUS:
            if failure.check(cls):
                error = failure.value
                fields: dict[str, Any] = {"error": word, "why": str(error)}
                if isinstance(error, KeyError):
                    fields["why"] = f"there is no {error.args[0] if error.args else 'such thing'}"
                if isinstance(error, Denied):
                    fields |= {"rules": list(error.rules), "hint": error.hint}
                if status == http.SERVICE_UNAVAILABLE:
                    request.setHeader(b"retry-after", b"2")
                return _send(request, status, fields)
        self._verbs.log.failure("{verb} failed", failure=failure, verb=self._name)
        return _send(request, http.INTERNAL_SERVER_ERROR, {"error": "internal", "why": "the gateway's log says more"})


class _Gone(Exception):
    """The client went away before its answer."""


def _answer(request: Request, status: int, fields: Any) -> bytes:
    request.setResponseCode(status)
    request.setHeader(b"content-type", b"application/json")
    return json.dumps(fields).encode() + b"\n"


def _send(request: Request, status: int, fields: Any) -> None:
    if getattr(request, "gone", False):
        raise _Gone
    request.write(_answer(request, status, fields))
    request.finish()


class BoundedRequest(Request):
    """A request whose body ends at L{MAX_BODY}; Twisted's own would fill the disk."""

    _size = 0

    def handleContentChunk(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= MAX_BODY:
            super().handleContentChunk(data)
        elif self._size - len(data) <= MAX_BODY:
            transport: Any = self.channel.transport
            transport.write(b"HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            self.channel.loseConnection()

    def gotLength(self, length: int | None) -> None:
        # a small one is kept in memory; what is announced too large is not made room for
        super().gotLength(min(length or 0, MAX_BODY))


class ControlSite(Site):
    """L{TIMEOUT} seconds for a request that stalls, nothing logged by request; see L{hoopd.control.limits} for the rest."""

    def __init__(self, administration: IAdministration, reactor: Any = None) -> None:
        root = Resource()
        root.putChild(b"v1", Verbs(administration))
        super().__init__(root, requestFactory=BoundedRequest, timeout=TIMEOUT, reactor=reactor)

    def log(self, request: Any) -> None:
        """No access log: the broker's events say who did what."""
