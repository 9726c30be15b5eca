"""The listening sockets of the family: bound once, kept over re-execs, never accepted from here."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from attrs import frozen

from hoopd.config.schema import Listener

#: connections the kernel completes while all workers are busy or being replaced; capped by net.core.somaxconn
BACKLOG = 1024


@frozen
class Bound:
    """A listener as it was configured, and its socket. Port 0 in the configuration stays 0 here."""

    name: str
    address: str
    port: int
    fd: int

    def matches(self, listener: Listener) -> bool:
        """Whether the configuration still asks for this very socket."""
        return (self.address, self.port) == (listener.address, listener.port)

    @property
    def where(self) -> str:
        """C{address:port} as the kernel has it."""
        with socket.socket(fileno=os.dup(self.fd)) as listening:
            host, port = listening.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bind(name: str, listener: Listener) -> Bound:
    """Bind and listen.

    Non-blocking before any child inherits it: on a blocking one, workers that lose the race for a connection hang
    in accept (tried: 3 of 4).

    @raise OSError: the address is taken or not ours.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        listener.address, listener.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setblocking(False)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return Bound(name, listener.address, listener.port, listening.detach())


def unavailable(wanted: Mapping[str, Listener], present: list[tuple[str, int]]) -> list[str]:
    """Try every address that is not C{present} (bound by the running supervisor) already.

    @return: problems, as text; empty is well.
    """
    problems = []
    for name, listener in wanted.items():
        if (listener.address, listener.port) in present:
            continue
        try:
            os.close(bind(name, listener).fd)
        except OSError as problem:
            problems.append(f"listen.{name}: {listener.address}:{listener.port}: {problem.strerror or problem}")
    return problems
