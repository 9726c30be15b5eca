"""SSH hosts that sign people in as sshd does with PAM, which only root can run: asyncssh's server, in a thread of the test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any

import asyncssh

from tests.integration.tiny.running import PATIENCE


class Loop:
    """An asyncio loop of a test's own, in a thread; a context manager."""

    def __enter__(self) -> Loop:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        return self

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run it there, and wait for what it gives."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.run(self._ended())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE)
        self.loop.close()

    async def _ended(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class PasswordHost(asyncssh.SSHServer):
    """
    @param asked: what C{(user, password or answers)} were given, in order, by which way.
    @param ways: C{password}, C{dialogue}: what it takes.
    @param prompts: the rounds of its dialogue, each of (question, echoed).
    """

    def __init__(
        self, password: str, ways: Sequence[str], rounds: Sequence[Sequence[tuple[str, bool]]], asked: list[Any]
    ) -> None:
        self._password = password
        self._ways = ways
        self._rounds = list(rounds)
        self._asked = asked
        self._right = True

    def password_auth_supported(self) -> bool:
        return "password" in self._ways

    def public_key_auth_supported(self) -> bool:
        return "publickey" in self._ways

    def validate_password(self, username: str, password: str) -> bool:
        self._asked.append(("password", username, password))
        if "expired" in self._ways:
            raise asyncssh.PasswordChangeRequired("Your password has expired.")
        return password == self._password

    def kbdint_auth_supported(self) -> bool:
        return "dialogue" in self._ways

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:
        return self._next()

    def _next(self) -> Any:
        if not self._rounds:
            return self._right
        return "", "", "", list(self._rounds.pop(0))

    def validate_kbdint_response(self, username: str, responses: Sequence[str]) -> Any:
        self._asked.append(("dialogue", username, list(responses)))
        self._right = self._right and all(each == self._password for each in responses)
        return self._next()


async def listen(host_key: Any, made: Callable[[], asyncssh.SSHServer]) -> Any:
    """An asyncssh server on a free port, whose commands print that they ran; C{wait} waits for a signal."""

    async def run(process: Any) -> None:
        if process.command == "wait":
            process.stdout.write("ready\n")
            try:
                await process.stdin.read()
            except asyncssh.SignalReceived as caught:
                process.stdout.write(f"caught {caught.signal}\n")
                process.exit(9)
                return
        process.stdout.write(f"ran {process.command}\n")
        process.exit(0)

    return await asyncssh.listen(
        "127.0.0.1", 0, server_host_keys=[host_key], server_factory=made, process_factory=run, encoding="utf-8"
    )
