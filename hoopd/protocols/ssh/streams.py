"""What goes through a channel, as the recording keeps it: text with its time, up to a bound, then count and hash; pure.

Not the masking. Multi-byte characters are kept whole where two pieces share one; bytes that are no UTF-8 are kept as they are
(hexadecimal).
"""

from __future__ import annotations

import hashlib
from typing import Any

#: name of each stream in C{output} frames, by the number it has in EXTENDED_DATA
NAMES = {0: "out", 1: "err"}

#: the longest character
_CHARACTER_MAX = 4


def _cut(octets: bytes) -> int:
    """Where a character begins at the end of C{octets} that is not all there; their length if none does."""
    for back in range(1, min(_CHARACTER_MAX, len(octets) + 1)):
        lead = octets[-back]
        if lead >= 0xC0:
            size = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
            return len(octets) - back if lead < 0xF8 and back < size else len(octets)
        if lead < 0x80:
            break
    return len(octets)


class Recorded:
    """One direction of one operation.

    @param route: L{hoopd.flow.route.Route}
    @param kind: C{output} or C{input}, the kind of its frames.
    @param stream: as frames name it.
    @param most: bytes kept; None is all, and 0 none of them.
    @ivar octets: how many there were.
    """

    def __init__(self, route: Any, operation: int, kind: str, stream: str, most: int | None) -> None:
        self.octets = 0
        self.kept = 0
        self._route = route
        self._operation = operation
        self._kind = kind
        self._stream = stream
        self._most = most
        self._digest = hashlib.sha256()
        self._rest = b""

    def take(self, octets: bytes) -> None:
        """@raise RecordError: it cannot be written, so it must not go on."""
        self.octets += len(octets)
        self._digest.update(octets)
        if self._most is not None and self.kept + len(octets) > self._most:
            octets = octets[: max(0, self._most - self.kept)]
        if octets:
            self.kept += len(octets)
            if self._rest:
                octets = self._rest + octets
            cut = _cut(octets)
            self._rest = octets[cut:]
            self._write(octets[:cut] if self._rest else octets)

    def _write(self, octets: bytes) -> None:
        if not octets:
            return
        value: Any
        try:
            value = octets.decode()
        except UnicodeDecodeError:
            value = {"hex": octets.hex()}
        self._route.record(self._kind, {"operation": self._operation, "stream": self._stream, "text": value})

    def finish(self) -> None:
        """Nothing more comes: what was left out is named by size and hash."""
        rest, self._rest = self._rest, b""
        self._write(rest)
        if self.kept < self.octets:
            fields = {"bytes": self.octets, "kept": self.kept, "sha256": self._digest.hexdigest()}
            named = {"operation": self._operation, "stream": self._stream, "text": ""}
            self._route.record(self._kind, {**named, **fields})
