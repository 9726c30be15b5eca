"""Receivers as people run them, on this machine: an HTTP server that writes down what it got, and a mail server
(aiosmtpd) with STARTTLS or TLS and accounts. Whoever starts one stops it."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
from attrs import frozen

from tests.integration.postgres import certificate, free_port
from tests.integration.tiny.running import until


@frozen
class Got:
    """One request. @ivar headers: names in lower case. @ivar at: by C{clock}."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float


class HttpReceiver:
    """@ivar got: what came, in order. @ivar answer: takes the path, gives the status and headers of the answer."""

    def __init__(self, directory: Path, clock: Callable[[], float], tls: bool = True) -> None:
        self.got: list[Got] = []
        self.answer: Callable[[str], tuple[int, dict[str, str]]] = lambda path: (200, {})
        receiver = self

        class Requests(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.got.append(Got(self.path, headers, body, clock()))
                status, more = receiver.answer(self.path)
                self.send_response(status)
                for name, value in {"content-length": "2", **more}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(b"ok")

            do_GET = do_POST

            def log_message(self, format: str, *arguments: Any) -> None:
                """Quietly."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                """Quietly: clients that do not trust us, or are killed, are what the tests are about."""

        self._server = Server(("127.0.0.1", 0), Requests)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.authorities = ""
        if tls:
            found, key = certificate(directory, "receiver")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(found, key)
            # the handshake happens in the connection's own thread: one that hangs stops no other
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
            self.authorities = str(found)
        self.url = f"{'https' if tls else 'http'}://localhost:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def wait(self, count: int, limit: float = 60.0) -> list[Got]:
        """@return: the first C{count} requests, once they are there."""
        until(lambda: len(self.got) >= count, f"{count} requests came, not {len(self.got)}", limit)
        return self.got[:count]


@frozen
class Letter:
    sender: str
    recipients: tuple[str, ...]
    content: bytes
    #: who signed in, and whether within TLS
    account: bytes
    tls: bool


class MailReceiver:
    """@ivar tls: as in C{[notify.NAME]}. @ivar refused: recipients that are not taken."""

    ACCOUNT = (b"hoopd", b"smtp-passw0rd")

    def __init__(self, directory: Path, tls: str = "starttls", hosts: tuple[str, ...] = ("localhost",)) -> None:
        self.letters: list[Letter] = []
        self.refused: set[str] = set()
        context, self.authorities = None, ""
        if tls != "off":
            found, key = certificate(directory, "mail", hosts)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(found, key)
            self.authorities = str(found)
        words: dict[str, Any] = {
            "authenticator": self._known,
            "auth_required": tls != "off",
            "auth_require_tls": tls == "starttls",
        }
        if tls == "starttls":
            words |= {"tls_context": context, "require_starttls": True}
        self._controller = Controller(
            self, hostname="127.0.0.1", port=free_port(), ssl_context=context if tls == "tls" else None, **words
        )
        self.port = self._controller.port
        self._controller.start()

    def stop(self) -> None:
        self._controller.stop()

    def _known(self, server: SMTP, session: Any, envelope: Any, mechanism: str, given: Any) -> AuthResult:
        good = isinstance(given, LoginPassword) and (given.login, given.password) == self.ACCOUNT
        return AuthResult(success=good, handled=False, auth_data=given.login if good else None)

    async def handle_RCPT(self, server: SMTP, session: Any, envelope: Any, address: str, options: Any) -> str:
        if address in self.refused:
            return "550 nobody here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:
        tls = server.transport is not None and server.transport.get_extra_info("ssl_object") is not None
        account = session.auth_data or b""
        content = bytes(envelope.original_content)
        self.letters.append(Letter(envelope.mail_from, tuple(envelope.rcpt_tos), content, account, tls))
        return "250 taken"
