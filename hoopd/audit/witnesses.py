"""Where checkpoints go so that nobody can take them back: directories and https URLs; not their making.

A witness keeps each checkpoint under its own name and never replaces one: a second, different checkpoint of one size
is the proof of a fork. Publishing never holds up the gateway; what fails is told and tried again.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from hoopd.audit.durable import InThread
from hoopd.errors import ConfigError, HoopdError

#: first and longest pause before a failed publication is tried again, seconds
RETRY_FIRST = 1.0
RETRY_MAX = 60.0
#: Checkpoints that wait for a witness that is away: a day of them at one in 10 s. Older ones are let go: a later
#: checkpoint covers every leaf of theirs, and the ledger's own history keeps them.
WAITING_MAX = 8640


class WitnessConflict(HoopdError):
    """The witness has another checkpoint of the same size: the log was forked, or two gateways share a key."""


def file_name(origin: str, size: int) -> str:
    """A checkpoint's name at a witness: C{hoopd.local%2Fledger-000000000042.note}."""
    return f"{quote(origin, safe='')}-{size:012d}.note"


def store(directory: Path, name: str, note: str, system: Any = os) -> None:
    """Put a note into a directory witness, durably; blocking.

    @raise WitnessConflict: another note has that name. @raise OSError
    """
    path = directory / name
    # visible under its name only when it is whole: a name is never taken back
    temporary = directory / f".{name}.{os.getpid()}"
    try:
        if path.read_text() != note:
            raise WitnessConflict(f"{path} is another checkpoint of the same size")
        return
    except FileNotFoundError:
        pass
    fd = system.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        content = note.encode()
        if system.write(fd, content) != len(content):
            raise OSError(f"{temporary} took only a part of a checkpoint")
        system.fsync(fd)
    finally:
        system.close(fd)
    try:
        system.link(temporary, path)
    except FileExistsError:
        if path.read_text() != note:
            raise WitnessConflict(f"{path} is another checkpoint of the same size") from None
    finally:
        system.unlink(temporary)
    sync_directory(directory, system)


def sync_directory(directory: Path, system: Any = os) -> None:
    """Make names in C{directory} durable; blocking. @raise OSError"""
    fd = system.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        system.fsync(fd)
    finally:
        system.close(fd)


def stored(directory: Path, origin: str) -> dict[str, str]:
    """The notes of one log in a directory witness, by file name. @raise OSError, UnicodeDecodeError"""
    prefix = f"{quote(origin, safe='')}-"
    return {
        path.name: path.read_text()
        for path in sorted(directory.iterdir())
        if path.name.startswith(prefix) and path.name.endswith(".note")
    }


async def _put(url: str, note: str) -> None:
    """PUT a note to an https witness that keeps what it has (RFC 9110 section 13.1.2, If-None-Match)."""
    # here: their import takes longer than everything else in this module
    import treq
    from twisted.web.http_headers import Headers

    response = await treq.put(
        url,
        note.encode(),
        headers=Headers({b"content-type": [b"text/plain; charset=utf-8"], b"if-none-match": [b"*"]}),
        timeout=30,
    )
    await treq.content(response)
    # 409 and 412: it is there already, from before a restart
    if not (200 <= response.code < 300 or response.code in (409, 412)):
        raise OSError(f"the witness answered {response.code}")


class Witness:
    """One place to publish to.

    @param place: a directory's path or an https URL (http on loopback only, for tests).
    @param clock: IReactorTime.
    @param event: takes an event's name and fields.
    @param put: C{(url, note)}, awaitable; raises when the witness did not take it.
    @raise hoopd.errors.ConfigError: an URL that is not https.
    """

    def __init__(
        self,
        place: str,
        clock: Any,
        event: Callable[[str, dict[str, Any]], None],
        in_thread: InThread = deferToThread,
        put: Callable[[str, str], Any] = _put,
        system: Any = os,
    ) -> None:
        self.place = place
        self._clock = clock
        self._event = event
        self._in_thread = in_thread
        self._put = put
        self._system = system
        self._waiting: deque[tuple[str, int, str]] = deque(maxlen=WAITING_MAX)
        self._busy = False
        self._retry: Any = None
        self._attempts = 0
        url = urlsplit(place)
        self.directory = None if url.scheme in ("https", "http") else Path(place)
        if url.scheme == "http" and url.hostname not in ("127.0.0.1", "::1", "localhost"):
            raise ConfigError("a witness is published to over https", key="audit.witness")

    @property
    def behind(self) -> int:
        """Checkpoints that it has not taken yet."""
        return len(self._waiting)

    @property
    def attempts(self) -> int:
        """How often the oldest of those was tried in vain."""
        return self._attempts

    def publish(self, origin: str, size: int, note: str) -> None:
        """Send a checkpoint, now or when the witness is back."""
        self._waiting.append((file_name(origin, size), size, note))
        if not self._busy and self._retry is None:
            self._next()

    def stop(self) -> None:
        """Try no further."""
        self._waiting.clear()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _next(self) -> None:
        self._retry = None
        if not self._waiting:
            return
        self._busy = True
        name, size, note = self._waiting[0]
        self._send(name, note).addCallbacks(
            lambda _: self._sent(name), lambda failure: self._failed(name, size, failure.value)
        )

    def _send(self, name: str, note: str) -> Deferred[Any]:
        if self.directory is not None:
            return self._in_thread(store, self.directory, name, note, self._system)

        async def put() -> None:
            await self._put(f"{self.place.rstrip('/')}/{name}", note)

        return Deferred.fromCoroutine(put())

    def _sent(self, name: str) -> None:
        self._busy = False
        self._attempts = 0
        self._drop(name)
        self._next()

    def _drop(self, name: str) -> None:
        if self._waiting and self._waiting[0][0] == name:
            self._waiting.popleft()

    def _failed(self, name: str, size: int, error: Exception) -> None:
        self._busy = False
        if isinstance(error, WitnessConflict):
            self._event("audit.witness-conflict", {"witness": self.place, "size": size})
            self._drop(name)
            self._next()
            return
        self._attempts += 1
        self._event(
            "audit.witness-failed",
            {"witness": self.place, "size": size, "why": str(error), "attempts": self._attempts},
        )
        pause = min(RETRY_MAX, RETRY_FIRST * 2.0 ** min(self._attempts - 1, 10))
        if self._waiting:
            self._retry = self._clock.callLater(pause, self._next)
