"""An http witness in a few lines: what docs/record.md, section 5, asks of one."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from hoopd.audit.witness_places import NOTE_MAX


class WitnessServer:
    """A context manager. C{kept} is what it has, by path; C{huge} makes it answer more than anybody should read."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.huge = False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.url = f"http://127.0.0.1:{self._server.server_port}/w"

    def __enter__(self) -> WitnessServer:
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        witness = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self, code: int, content: bytes = b"") -> None:
                self.send_response(code)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def do_GET(self) -> None:
                if witness.huge:
                    self._answer(200, b"x" * (NOTE_MAX + 1))
                elif self.path in witness.kept:
                    self._answer(200, witness.kept[self.path])
                else:
                    self._answer(404, b"not here")

            def do_PUT(self) -> None:
                content = self.rfile.read(int(self.headers["content-length"]))
                if self.headers["if-none-match"] == "*" and self.path in witness.kept:
                    self._answer(412)
                else:
                    witness.kept[self.path] = content
                    self._answer(201)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler
