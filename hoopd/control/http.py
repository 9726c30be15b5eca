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

#: the largest argument is a secret of 64 KiB, in JSON
MAX_BODY = 256 * 1024
#: hoopctl asks and leaves; people and scripts together need a few
MAX_CONNECTIONS = 64
#: seconds for a request to arrive
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
        if kind.lower() != "bearer" or not token:
            return _answer(request, http.UNAUTHORIZED, {"error": "authentication", "why": "no token was given"})
        try:
            body = request.content.read(MAX_BODY + 1) if request.content is not None else b""
            arguments = json.loads(body or b"{}")
        except (ValueError, RecursionError):
            return _answer(request, http.BAD_REQUEST, {"error": "arguments", "why": "the body is not JSON"})
        if len(body) > MAX_BODY or not isinstance(arguments, dict):
            return _answer(request, http.BAD_REQUEST, {"error": "arguments", "why": "the body is no small JSON object"})
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


class ControlSite(Site):
    """At most L{MAX_CONNECTIONS} at once, L{TIMEOUT} seconds for a request, nothing logged by request."""

    def __init__(self, administration: IAdministration) -> None:
        root = Resource()
        root.putChild(b"v1", Verbs(administration))
        super().__init__(root, timeout=TIMEOUT)
        self._open = 0

    def log(self, request: Any) -> None:
        """No access log: the broker's events say who did what."""

    def buildProtocol(self, addr: Any) -> Any:
        if self._open >= MAX_CONNECTIONS:
            return None
        protocol = super().buildProtocol(addr)
        if protocol is not None:
            self._open += 1
            lost = protocol.connectionLost

            def closed(reason: Any) -> None:
                self._open -= 1
                lost(reason)

            protocol.connectionLost = closed
        return protocol
