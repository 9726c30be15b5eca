"""Telling systemd how the service is: sd_notify(3) without its library."""

from __future__ import annotations

import os
import socket


def notify(state: str, environment: dict[str, str] | os._Environ[str] | None = None) -> bool:
    """Send C{state}, such as C{"READY=1"}, where the service is started with Type=notify.

    @return: whether there was somebody to tell. A message that cannot be delivered is lost: the service runs on,
        and systemd has timeouts of its own.
    """
    address = (os.environ if environment is None else environment).get("NOTIFY_SOCKET", "")
    if not address or address[0] not in "@/":
        return False
    if address[0] == "@":
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.sendto(state.encode(), address)
        except OSError:
            return False
    return True
