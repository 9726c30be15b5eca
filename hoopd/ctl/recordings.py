"""A session's recording, as the gateway hands it out."""

from __future__ import annotations

import base64
from collections.abc import Iterator

from hoopd.ctl.connection import Gateway


def pieces(gateway: Gateway, id: str) -> Iterator[bytes]:
    """The recording of session C{id}, a page at a time."""
    offset: int | None = 0
    while offset is not None:
        page = gateway.call("sessions.recording", id=id, offset=offset)
        yield base64.b64decode(page["bytes"])
        offset = page["next"]
