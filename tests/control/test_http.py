"""Control's HTTP, asked by hoopctl's own connection and by hostile bytes, on a real unix socket."""

from __future__ import annotations

import http.client
import json
import os
import socket
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from hoopd.control import http as control
from hoopd.control import limits
from hoopd.ctl.connection import Gateway
from hoopd.ctl.failures import Failure
from hoopd.errors import AuthenticationFailed, ConfigError, Denied, RecordError, Unavailable
from hoopd.secret import Secret


class Administration:
    """Answers with what the test says; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, str, dict[str, Any]]] = []
        self.answer: Callable[[], Deferred[Any]] = lambda: succeed({"done": True})

    def call(self, token: Secret, verb: str, arguments: Mapping[str, Any]) -> Deferred[Any]:
        self.asked.append((token.reveal(), verb, dict(arguments)))
        return self.answer()


class HttpCase(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.directory = tempfile.mkdtemp(prefix="hoopd-control-")
        self.path = os.path.join(self.directory, "s")
        self.administration = Administration()
        self.bounded = limits.Bounded(control.ControlSite(self.administration, reactor), reactor)
        port = reactor.listenUNIX(self.path, self.bounded)  # type: ignore[attr-defined]

        async def stop() -> None:
            await port.stopListening()
            await self.bounded.when_lonely()
            os.rmdir(self.directory)

        self.addCleanup(lambda: Deferred.fromCoroutine(stop()))
        self.gateway = Gateway(self.path, Path("none"), Secret("tok"))

    def call(self, verb: str, **arguments: Any) -> Deferred[Any]:
        return deferToThread(lambda: self.gateway.call(verb, **arguments))

    def raw(self, data: bytes) -> Deferred[bytes]:
        """Send C{data} and read until the other end closes."""

        def talk() -> bytes:
            with socket.socket(socket.AF_UNIX) as line:
                line.settimeout(10)
                line.connect(self.path)
                got = b""
                try:
                    line.sendall(data)
                    while piece := line.recv(65536):
                        got += piece
                except (BrokenPipeError, ConnectionResetError):
                    pass  # the other end had heard enough
                return got

        return deferToThread(talk)

    # -- questions and answers -------------------------------------------------------------------------------

    async def test_a_question_reaches_the_broker_and_its_answer_comes_back(self) -> None:
        self.administration.answer = lambda: succeed([{"name": "orders", "version": 2}])
        answer = await self.call("vault.put", name="orders", value="s3cret £", group=None)
        self.assertEqual(answer, [{"name": "orders", "version": 2}])
        self.assertEqual(self.administration.asked, [(b"tok", "vault.put", {"name": "orders", "value": "s3cret £"})])

    async def test_each_error_has_its_status_and_says_what_to_do(self) -> None:
        cases: list[tuple[Exception, int, str]] = [
            (AuthenticationFailed("authentication failed"), 1, "does not know you"),
            (Denied("no", ("orders.deny.drop",), "ask the dba"), 1, "refused: no"),
            (Unavailable("the broker is away"), 3, "cannot do that now: the broker is away"),
            (RecordError("disk full"), 3, "cannot do that now: disk full"),
            (ConfigError("wrong", "hoopd.toml"), 1, "hoopd.toml: wrong"),
            (KeyError("A-7"), 1, "there is no A-7"),
            (ValueError("too short"), 1, "too short"),
        ]
        for error, code, said in cases:
            self.administration.answer = lambda error=error: fail(error)  # type: ignore[misc]
            failure = await self.failing(self.call("whoami"))
            self.assertEqual(failure.exit_code, code, error)
            self.assertIn(said, failure.message)

    async def failing(self, asked: Deferred[Any]) -> Failure:
        try:
            await asked
        except Failure as failure:
            return failure
        raise AssertionError("no failure")

    async def test_our_own_mistakes_are_logged_and_not_told(self) -> None:
        self.administration.answer = lambda: fail(RuntimeError("password is hunter2"))
        failure = await self.failing(self.call("whoami"))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertNotIn("hunter2", failure.message + " ".join(failure.why))

    async def test_login_takes_no_token_and_everything_else_does(self) -> None:
        body = json.dumps({"name": "user:lee", "password": "p"}).encode()
        got = await self.raw(
            b"POST /v1/login HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        )
        self.assertIn(b"200", got.split(b"\r\n")[0])
        self.assertEqual(self.administration.asked[0][0], b"")
        got = await self.raw(b"POST /v1/whoami HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        self.assertIn(b"401", got.split(b"\r\n")[0])
        self.assertEqual(len(self.administration.asked), 1)

    async def test_an_unavailable_broker_says_when_to_come_back(self) -> None:
        self.administration.answer = lambda: fail(Unavailable("away"))
        got = await self.raw(
            b"POST /v1/whoami HTTP/1.1\r\nhost: x\r\nauthorization: Bearer t\r\nconnection: close\r\n"
            b"content-length: 0\r\n\r\n"
        )
        self.assertIn(b"503", got.split(b"\r\n")[0])
        self.assertIn(b"retry-after: 2", got.lower())

    # -- hostile bytes ---------------------------------------------------------------------------------------

    async def test_what_is_no_question_asks_the_broker_nothing(self) -> None:
        head = b"host: x\r\nauthorization: Bearer t\r\nconnection: close\r\n"
        for request, status in (
            (b"POST /v1/drop-everything HTTP/1.1\r\n" + head + b"content-length: 0\r\n\r\n", b"404"),
            (b"GET /v1/whoami HTTP/1.1\r\n" + head + b"\r\n", b"405"),
            (b"POST /v1/whoami HTTP/1.1\r\n" + head + b"content-length: 3\r\n\r\n{{{", b"400"),
            (b"POST /v1/whoami HTTP/1.1\r\n" + head + b"content-length: 2\r\n\r\n[]", b"400"),
            (b"POST /v1/whoami HTTP/1.1\r\n" + head + b"content-length: 60000\r\n\r\n" + b"[" * 60000, b"400"),
            (b"POST /other HTTP/1.1\r\n" + head + b"content-length: 0\r\n\r\n", b"404"),
            (b"\x16\x03\x01 nonsense\r\n\r\n", b"400"),
        ):
            got = await self.raw(request)
            self.assertIn(status, got.split(b"\r\n")[0], request[:60])
        self.assertEqual(self.administration.asked, [])

    async def test_a_body_without_end_is_cut_off(self) -> None:
        head = b"POST /v1/vault.put HTTP/1.1\r\nhost: x\r\nauthorization: Bearer t\r\n"
        for request in (
            head + b"content-length: 99999999999\r\n\r\n" + b"x" * (control.MAX_BODY + 70000),
            head + b"transfer-encoding: chunked\r\n\r\n" + (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 40,
        ):
            got = await self.raw(request)
            # the answer may be lost with the connection that was reset under the bytes nobody read
            self.assertIn(got[:12], (b"", b"HTTP/1.1 413"))
        self.assertEqual(self.administration.asked, [])
        self.assertEqual(await self.call("whoami"), {"done": True})

    async def test_one_user_has_so_many_connections_and_is_told(self) -> None:
        lines = [socket.socket(socket.AF_UNIX) for _ in range(limits.OF_ONE_USER)]
        self.addCleanup(lambda: [line.close() for line in lines])
        for line in lines:
            line.connect(self.path)
        failure = await self.failing(self.call("whoami"))
        self.assertIn("too many connections", failure.message)
        self.assertEqual(failure.exit_code, 3)
        for line in lines:
            line.close()
        await self.bounded.when_lonely()
        self.assertEqual(await self.call("whoami"), {"done": True})

    async def test_a_client_that_leaves_before_its_answer_harms_nobody(self) -> None:
        answers: list[Deferred[Any]] = []

        def later() -> Deferred[Any]:
            answers.append(Deferred())
            return answers[-1]

        self.administration.answer = later

        def leave() -> None:
            connection = http.client.HTTPConnection("x")
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.connect(self.path)
            connection.request("POST", "/v1/whoami", b"{}", {"Authorization": "Bearer t"})
            connection.close()

        await deferToThread(leave)
        await self.bounded.when_lonely()
        for answer in answers:
            answer.callback({"late": True})
        self.administration.answer = lambda: succeed({"done": True})
        self.assertEqual(await self.call("whoami"), {"done": True})
