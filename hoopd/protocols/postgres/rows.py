"""Masks on rows, whole chunks at a time: DataRow messages; COPY is L{hoopd.protocols.postgres.copied}'s.

Not which columns (L{hoopd.sql.lineage}) nor what is shown (L{hoopd.masking}). Specification: PostgreSQL
documentation, "Message Formats" (DataRow).
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
