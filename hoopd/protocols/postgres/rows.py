"""Masks on rows, whole chunks at a time: DataRow messages and lines of COPY in text format.

Not which columns (L{hoopd.sql.lineage}) nor what is shown (L{hoopd.masking}). Specification: PostgreSQL
documentation, "Message Formats" (DataRow), and COPY, "Text Format".
"""

from __future__ import annotations

from collections.abc import Sequence

from hoopd.errors import TargetError
from hoopd.masking.redactors import nothing
from hoopd.protocols.postgres.codec import HEADER_SIZE, INT16, INT32, SIGNED32
from hoopd.protocols.postgres.cutting import Masks, Redact

try:
    from hoopd.protocols.postgres import _cutting as cutting
except ImportError:
    # no C compiler when this was installed: the same source, as it stands
    from hoopd.protocols.postgres import cutting  # type: ignore[no-redef]

__all__ = [
    "COMPILED",
    "HOW",
    "Masks",
    "Redact",
    "mask_copy_line",
    "mask_rows",
    "nothing",
    "pass_over",
    "run_end",
    "sample",
]

mask_rows = cutting.mask_rows
pass_over = cutting.pass_over
run_end = cutting.run_end

_unpack_length = SIGNED32.unpack_from

#: whether the loops over rows are compiled; in plain Python a masked row costs a hundred times as much
COMPILED: bool = cutting.COMPILED
#: the same, for people
HOW = (
    "rows of results are cut by compiled code"
    if COMPILED
    else "rows of results are cut by plain Python, which is slow: install gcc and python3-dev, then hoopd anew"
)


def sample(
    buffer: bytes, at: int, stop: int, rows: int, masks: Masks | None, formats: Sequence[int]
) -> list[list[str | None]]:
    """Read up to C{rows} rows as text, for the recording.

    @param masks: applied to the values first, or None
    @param formats: of each column; binary values become C{\\x} and hexadecimal digits
    """
    read: list[list[str | None]] = []
    while at < stop and len(read) < rows:
        end = at + 1 + INT32.unpack_from(buffer, at + 1)[0]
        if end < at + 7:
            raise TargetError("the target sent a malformed row")
        width = INT16.unpack_from(buffer, at + HEADER_SIZE)[0]
        position = at + 7
        row: list[str | None] = []
        for number in range(width):
            if position + 4 > end:
                raise TargetError("the target sent a malformed row")
            size = _unpack_length(buffer, position)[0]
            position += 4
            if size < 0:
                row.append(None)
                continue
            value: bytes | None = buffer[position : position + size]
            position += size
            if masks is not None:
                mask = masks[number] if number < len(masks) else nothing
                if mask is not None and value is not None:
                    value = mask(value)
            row.append(_shown(value, formats[number] if number < len(formats) else 0))
        read.append(row)
        at = end
    return read


def _shown(value: bytes | None, format: int) -> str | None:
    if value is None:
        return None
    if format == 1:
        return "\\x" + value.hex()
    return value.decode("utf-8", "backslashreplace")


_UNESCAPE = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
_ESCAPE = {ord(raw): b"\\" + name for name, raw in _UNESCAPE.items()} | {ord("\\"): b"\\\\"}


def mask_copy_line(line: bytes, masks: Masks) -> bytes:
    """Mask one line of COPY TO in text format with default options, end of line included.

    @raise TargetError: not exactly one line of that many columns
    """
    if line[-1:] != b"\n" or line.count(b"\n") != 1:
        raise TargetError("the target sent COPY rows that cannot be told apart")
    values = line[:-1].split(b"\t")
    # a table without columns is one empty value
    if len(values) != max(1, len(masks)):
        raise TargetError("the target sent a COPY row unlike its description")
    for number, mask in enumerate(masks):
        if mask is not None and values[number] != b"\\N":
            value = mask(_unescaped(values[number]))
            values[number] = b"\\N" if value is None else _escaped(value)
    return b"\t".join(values) + b"\n"


def _unescaped(value: bytes) -> bytes:
    if b"\\" not in value:
        return value
    first, *rest = value.split(b"\\")
    parts = [first]
    each = iter(rest)
    for part in each:
        if part:
            parts.append(_UNESCAPE.get(part[:1], part[:1]) + part[1:])
        else:
            # a doubled backslash: the piece between was empty, and the next is literal
            parts.append(b"\\" + next(each, b""))
    return b"".join(parts)


def _escaped(value: bytes) -> bytes:
    return b"".join(_ESCAPE.get(octet) or bytes((octet,)) for octet in value)
