"""A PostgreSQL client that keeps every byte it is sent; for the acceptance cases.

Not a driver and not hoopd's codec: what a gateway lets slip must not be hidden by code that it shares. Blocking sockets.
Specification: PostgreSQL documentation, "Message Formats".
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any

#: a case says so where its server needs longer
PATIENCE = 10.0
#: nothing follows when nothing came for so long, where no ReadyForQuery can be waited for
QUIET = 0.3


def message(kind: bytes, payload: bytes = b"") -> bytes:
    return kind + struct.pack(">i", len(payload) + 4) + payload


def text_of(value: Any) -> bytes:
    """Text as the cases write it: a string, C{{"parts": [[text, count]]}} or C{{"hex": …}}."""
    if isinstance(value, str):
        return value.encode()
    if "hex" in value:
        return bytes.fromhex(value["hex"])
    return b"".join(part.encode() * count for part, count in value["parts"])


def parse(sql: Any, name: str = "") -> bytes:
    return message(b"P", name.encode() + b"\0" + text_of(sql) + b"\0\0\0")


def bind(statement: str = "", portal: str = "", params: Sequence[Any] = (), formats: Sequence[int] = ()) -> bytes:
    values = b""
    for each in params:
        raw = None if each is None else text_of(each)
        values += struct.pack(">i", -1) if raw is None else struct.pack(">i", len(raw)) + raw
    parts = portal.encode() + b"\0" + statement.encode() + b"\0" + b"\0\0" + struct.pack(">H", len(params)) + values
    return message(b"B", parts + struct.pack(f">H{len(formats)}H", len(formats), *formats))


def describe(kind: str, name: str) -> bytes:
    return message(b"D", kind.encode() + name.encode() + b"\0")


def execute(portal: str = "", most: int = 0) -> bytes:
    return message(b"E", portal.encode() + b"\0" + struct.pack(">i", most))


def function_call(oid: int, arguments: Sequence[str]) -> bytes:
    values = b"".join(struct.pack(">i", len(each.encode())) + each.encode() for each in arguments)
    return message(b"F", struct.pack(">i", oid) + b"\0\0" + struct.pack(">H", len(arguments)) + values + b"\0\0")


SYNC, FLUSH, TERMINATE, COPY_DONE = message(b"S"), message(b"H"), message(b"X"), message(b"c")


def messages(octets: bytes) -> list[tuple[str, bytes]]:
    """C{(type, payload)} of each whole message."""
    found, at = [], 0
    while at + 5 <= len(octets):
        (length,) = struct.unpack_from(">i", octets, at + 1)
        if length < 4 or at + 1 + length > len(octets):
            break
        found.append((chr(octets[at]), octets[at + 5 : at + 1 + length]))
        at += 1 + length
    return found


def error_code(payload: bytes) -> str:
    """SQLSTATE of an ErrorResponse or NoticeResponse."""
    return next((each[1:].decode() for each in payload.split(b"\0") if each[:1] == b"C"), "")


class Wire:
    """One session.

    @ivar opening: what came before the first ReadyForQuery, and after.
    @ivar received: everything since.
    @ivar closed: the server closed the connection.
    @ivar key: BackendKeyData's payload.
    """

    def __init__(
        self,
        address: tuple[str, int],
        user: str,
        database: str,
        password: str = "",
        tls: ssl.SSLContext | None = None,
        extra: Mapping[str, str] | Sequence[Sequence[str]] = (),
        protocol: int = 196608,
    ) -> None:
        self.address = address
        self.closed = False
        self.key = b""
        self.opening = b""
        self.received = b""
        self._socket: socket.socket = socket.create_connection(address, PATIENCE)
        if tls is not None:
            self._socket.sendall(struct.pack(">ii", 8, 80877103))
            answer = self._socket.recv(1)
            assert answer == b"S", answer
            self._socket = tls.wrap_socket(self._socket, server_hostname="127.0.0.1")
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        more = list(extra.items()) if isinstance(extra, Mapping) else [tuple(pair) for pair in extra]
        pairs = [("user", user), ("database", database), *more]
        parameters = b"".join(name.encode() + b"\0" + value.encode() + b"\0" for name, value in pairs) + b"\0"
        self._socket.sendall(struct.pack(">ii", len(parameters) + 8, protocol) + parameters)
        self.opening = self._until_ready(password=password)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.sendall(TERMINATE)
        self._socket.close()

    def send(self, octets: bytes) -> None:
        with contextlib.suppress(OSError):  # a server that has closed says so when it is read
            self._socket.sendall(octets)

    def ask(self, octets: bytes, copy_in: Sequence[str] = (), patience: float = PATIENCE) -> bytes:
        """Send, and read up to ReadyForQuery or the end."""
        self.send(octets)
        found = self._until_ready(copy_in, patience=patience)
        self.received += found
        return found

    def query(self, sql: Any, copy_in: Sequence[str] = (), patience: float = PATIENCE) -> bytes:
        return self.ask(message(b"Q", text_of(sql) + b"\0"), copy_in, patience)

    def rest(self, patience: float = QUIET) -> bytes:
        """What comes while nothing is waited for in particular, up to the end or a pause."""
        found = b""
        while not self.closed:
            octets = self._read(patience)
            if not octets:
                break
            found += octets
        self.received += found
        return found

    def rows(self, sql: str) -> list[list[str | None]]:
        """The rows of one query. @raise AssertionError: the server says no"""
        out: list[list[str | None]] = []
        for kind, payload in messages(self.query(sql, patience=60.0)):
            assert kind != "E", payload
            if kind != "D":
                continue
            (count,) = struct.unpack_from(">H", payload)
            at, row = 2, []
            for _ in range(count):
                (size,) = struct.unpack_from(">i", payload, at)
                at += 4
                row.append(None if size < 0 else payload[at : at + size].decode())
                at += max(size, 0)
            out.append(row)
        return out

    def _until_ready(self, copy_in: Sequence[str] = (), password: str = "", patience: float = PATIENCE) -> bytes:
        found, seen = b"", 0
        end = time.monotonic() + patience
        while not self.closed:
            known = messages(found)
            for kind, payload in known[seen:]:
                if kind == "R" and payload[:4] == b"\0\0\0\3":
                    self._socket.sendall(message(b"p", password.encode() + b"\0"))
                elif kind == "K":
                    self.key = payload
                elif kind == "G":
                    self._socket.sendall(b"".join(message(b"d", each.encode()) for each in copy_in) + COPY_DONE)
                elif kind == "Z":
                    return found
            seen = len(known)
            octets = self._read(max(0.01, end - time.monotonic()))
            if not octets:
                break
            found += octets
        return found

    def _read(self, patience: float) -> bytes:
        self._socket.settimeout(patience)
        try:
            octets = self._socket.recv(1 << 16)
        except TimeoutError:
            return b""
        except OSError:
            octets = b""
        self.closed = not octets
        return octets


def raw(address: tuple[str, int], octets: bytes) -> tuple[bytes, bool]:
    """Send C{octets} as the first on a connection. @return: what comes back, and whether the server closed it"""
    with socket.create_connection(address, PATIENCE) as line:
        line.sendall(octets)
        line.settimeout(1.5)
        found = b""
        try:
            while piece := line.recv(1 << 16):
                found += piece
        except TimeoutError:
            return found, False
        except OSError:
            return found, True
        return found, True
