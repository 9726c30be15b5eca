"""Where a witness keeps checkpoints: a directory, or what answers GET and PUT below an https URL; not what is kept.

Both can do two things: read a name, and make a name that was not there. Nothing is ever replaced or removed. RFC 9110,
section 13.1.2 (If-None-Match) is how an https witness is told so.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from hoopd.audit.durable import InThread
from hoopd.errors import ConfigError, Unavailable

#: A checkpoint has about 200 bytes; one that several keys signed a few more. What is larger is none.
NOTE_MAX = 64 * 1024
#: seconds for one request to a witness, its answer included
REQUEST_MAX = 30

#: method, URL, body: status code and body of the answer; raises OSError
Request = Callable[[bytes, str, bytes | None], Awaitable[tuple[int, bytes]]]


class Place(Protocol):
    async def read(self, name: str) -> str | None:
        """@return: what has that name, None if nothing has. @raise OSError: it cannot be told."""

    async def create(self, name: str, note: str) -> bool:
        """Keep a note, durably. @return: False: the name is taken. @raise OSError: it was not kept, as far as one knows."""


class Directory:
    """A directory: a mount that this machine can add to and, at best, not change."""

    def __init__(self, path: Path, in_thread: InThread, system: Any = os) -> None:
        self.path = path
        self._in_thread = in_thread
        self._system = system

    async def read(self, name: str) -> str | None:
        found: str | None = await self._in_thread(self._read, name)
        return found

    def _read(self, name: str) -> str | None:
        try:
            with (self.path / name).open("rb") as file:
                return _text(file.read(NOTE_MAX + 1))
        except FileNotFoundError:
            if not self.path.is_dir():
                raise  # not mounted: that is not the same as empty
            return None

    async def create(self, name: str, note: str) -> bool:
        made: bool = await self._in_thread(self._create, name, note)
        return made

    def _create(self, name: str, note: str) -> bool:
        system = self._system
        # visible under its name only when it is whole: a name is never taken back
        temporary = self.path / f".{name}.{os.getpid()}"
        fd = system.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            content = note.encode()
            if system.write(fd, content) != len(content):
                raise OSError(f"{temporary} took only a part of a checkpoint")
            system.fsync(fd)
        finally:
            system.close(fd)
        try:
            system.link(temporary, self.path / name)
        except FileExistsError:
            return False
        finally:
            system.unlink(temporary)
        sync_directory(self.path, system)
        return True


def sync_directory(directory: Path, system: Any = os) -> None:
    """Make names in C{directory} durable; blocking. @raise OSError"""
    fd = system.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        system.fsync(fd)
    finally:
        system.close(fd)


async def ask(method: bytes, url: str, body: bytes | None) -> tuple[int, bytes]:
    """One request of an https witness, without redirections: where to is configured. A L{Request}."""
    # here: their import takes longer than everything else in this module
    import treq
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred
    from twisted.web.http_headers import Headers

    from hoopd.answers import UNREACHED, Body, why_none

    async def whole() -> tuple[int, bytes]:
        headers = Headers({"content-type": ["text/plain; charset=utf-8"], "if-none-match": ["*"]} if body else {})
        response = await treq.request(
            method.decode(), url, headers=headers, data=body, allow_redirects=False, unbuffered=True, persistent=False
        )
        content = Body(NOTE_MAX)
        response.deliverBody(content)
        return response.code, await content.done

    try:
        return await Deferred.fromCoroutine(whole()).addTimeout(REQUEST_MAX, reactor)
    except (*UNREACHED, Unavailable) as error:
        raise OSError(why_none(error)) from None


class Web:
    """An https URL that PUT and GET work below: object storage, WebDAV, or a few lines of a web server.

    @raise ConfigError: an URL that is not https (http on loopback only, for tests).
    """

    def __init__(self, url: str, request: Request = ask) -> None:
        allowed(url)
        self.url = url.rstrip("/")
        self._request = request

    async def read(self, name: str) -> str | None:
        code, content = await self._request(b"GET", f"{self.url}/{name}", None)
        if code == 404:
            return None
        if code != 200:
            raise OSError(f"the witness answered {code}")
        return _text(content)

    async def create(self, name: str, note: str) -> bool:
        code, _ = await self._request(b"PUT", f"{self.url}/{name}", note.encode())
        if code in (409, 412):
            return False
        if not 200 <= code < 300:
            raise OSError(f"the witness answered {code}")
        return True


def is_web(place: str) -> bool:
    """Whether a witness is an URL, and no directory."""
    return urlsplit(place).scheme in ("https", "http")


def allowed(url: str) -> None:
    """@raise ConfigError: checkpoints do not go there."""
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise ConfigError("a witness is published to over https", key="audit.witness")


def _text(content: bytes) -> str:
    # what is no checkpoint is found out by who reads it: no signature holds over replacement characters
    return content[: NOTE_MAX + 1].decode("utf-8", "replace")
