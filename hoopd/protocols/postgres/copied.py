"""Masks on the rows of COPY … TO STDOUT, in its three formats: what a CopyData message holds, with other values in it.

PostgreSQL sends a row in each CopyData message, and the header of the binary format before the first row. Not which columns
(L{hoopd.sql.lineage}). Specification: PostgreSQL documentation, COPY, "File Formats".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from hoopd.errors import TargetError
from hoopd.masking.detectors import Scanner
from hoopd.protocols.postgres.codec import INT16, INT32, SIGNED32
from hoopd.protocols.postgres.cutting import Masks
from hoopd.sql.copying import CopyFormat

_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_TRAILER = b"\xff\xff"

_UNESCAPE = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
_ESCAPE = {ord(raw): b"\\" + name for name, raw in _UNESCAPE.items()} | {ord("\\"): b"\\\\"}

_APART = "the target sent COPY rows that cannot be told apart"
_UNLIKE = "the target sent a COPY row unlike its description"


class CopyMasker:
    """One COPY's rows.

    @param masks: of each column, None where it is shown.
    @param names: of each column, as a header has them.
    """

    def __init__(self, format: CopyFormat, masks: Masks, names: Sequence[str]) -> None:
        self._format = format
        self._masks = masks
        self._names = [name.encode() for name in names]
        self._first = True
        self._split = re.compile(
            rb"((?:[^\\" + re.escape(format.delimiter) + rb"]|\\.)*)(" + re.escape(format.delimiter) + rb"|\Z)",
            re.DOTALL,
        )

    def message(self, octets: bytes) -> bytes:
        """What the client gets in place of a CopyData message's content.

        @raise TargetError: not one row of that many columns
        """
        first, self._first = self._first, False
        if self._format.kind == "binary":
            return self._binary(octets, first)
        if octets[-1:] != b"\n":
            raise TargetError(_APART)
        return self._line(octets[:-1], first and self._format.header) + b"\n"

    # -- text and CSV ------------------------------------------------------------------------------------------

    def _line(self, line: bytes, header: bool) -> bytes:
        csv = self._format.kind == "csv"
        # a table without columns is one empty value
        values = self._csv(line) if csv else self._text(line)
        if len(values) != max(1, len(self._masks)):
            raise TargetError(_UNLIKE)
        read: Callable[[bytes], bytes] = self._unquoted if csv else _unescaped
        write: Callable[[bytes], bytes] = self._quoted if csv else self._escaped
        for number, mask in enumerate(self._masks):
            value = values[number]
            if mask is None or value == self._format.null:
                continue
            plain = read(value)
            if header and plain == self._names[number]:
                continue
            shown = mask(plain)
            values[number] = self._format.null if shown is None else write(shown)
        return self._format.delimiter.join(values)

    def _text(self, line: bytes) -> list[bytes]:
        if b"\n" in line:
            raise TargetError(_APART)
        if self._format.delimiter == b"\t":
            return line.split(b"\t")  # within a value it is written as a backslash and a t
        values: list[bytes] = []
        at = 0
        while True:
            match = self._split.match(line, at)
            if match is None:
                raise TargetError(_APART)
            values.append(match.group(1))
            at = match.end()
            if not match.group(2):
                return values

    def _escaped(self, value: bytes) -> bytes:
        escapes = _ESCAPE | {self._format.delimiter[0]: b"\\" + self._format.delimiter}
        if self._format.delimiter == b"\t":
            escapes = _ESCAPE
        return b"".join(escapes.get(octet) or bytes((octet,)) for octet in value)

    def _csv(self, line: bytes) -> list[bytes]:
        """The values as they are written, quotes included."""
        quote, escape, delimiter = self._format.quote, self._format.escape, self._format.delimiter
        values: list[bytes] = []
        at = start = 0
        size = len(line)
        while True:
            if line[at : at + 1] == quote:
                at += 1
                while True:
                    octet = line[at : at + 1]
                    if not octet:
                        raise TargetError(_APART)
                    if octet == escape and line[at + 1 : at + 2] in (quote, escape) and at + 1 < size:
                        at += 2
                    elif octet == quote:
                        at += 1
                        break
                    else:
                        at += 1
                if at < size and line[at : at + 1] != delimiter:
                    raise TargetError(_APART)
            else:
                end = line.find(delimiter, at)
                at = size if end < 0 else end
                if quote in line[start:at] or b"\n" in line[start:at]:
                    raise TargetError(_APART)
            values.append(line[start:at])
            if at >= size:
                return values
            at = start = at + 1

    def _unquoted(self, value: bytes) -> bytes:
        quote, escape = self._format.quote, self._format.escape
        if value[:1] != quote:
            return value
        out = bytearray()
        inner, at = value[1:-1], 0
        while at < len(inner):
            if inner[at : at + 1] == escape and inner[at + 1 : at + 2] in (quote, escape):
                at += 1
            out += inner[at : at + 1]
            at += 1
        return bytes(out)

    def _quoted(self, value: bytes) -> bytes:
        quote, escape = self._format.quote, self._format.escape
        if escape != quote:
            value = value.replace(escape, escape + escape)
        return quote + value.replace(quote, escape + quote) + quote

    # -- binary ------------------------------------------------------------------------------------------------

    def _binary(self, octets: bytes, first: bool) -> bytes:
        head, row = _beheaded(octets, first)
        return octets if row in (b"", _TRAILER) else head + self._tuple(row)

    def _tuple(self, row: bytes) -> bytes:
        if len(row) < 2 or INT16.unpack_from(row)[0] != len(self._masks):
            raise TargetError(_UNLIKE)
        return _fields(row, self._masks)


class CopyScanner:
    """Found values taken out of one COPY's rows, whatever its columns are: a line of text is looked at as a whole."""

    def __init__(self, scanner: Scanner, binary: bool) -> None:
        self._scanner = scanner
        self._binary = binary
        self._first = True

    def message(self, octets: bytes) -> bytes:
        """As L{CopyMasker.message}. @raise TargetError: not a row of the binary format"""
        first, self._first = self._first, False
        if not self._binary:
            return self._scanner(octets)
        head, row = _beheaded(octets, first)
        if row in (b"", _TRAILER):
            return octets
        if len(row) < 2:
            raise TargetError(_UNLIKE)
        return head + _fields(row, [self._scanner.whole] * INT16.unpack_from(row)[0])


def _beheaded(octets: bytes, first: bool) -> tuple[bytes, bytes]:
    """The header of the binary format, if it is the first message, and the rest."""
    if not first:
        return b"", octets
    at = len(_SIGNATURE) + 8
    if octets[: len(_SIGNATURE)] != _SIGNATURE or len(octets) < at:
        raise TargetError(_APART)
    if octets[len(_SIGNATURE) : at] != bytes(8):
        # flags say old servers' object ids, which would be one more column
        raise TargetError(_UNLIKE)
    return octets[:at], octets[at:]


def _fields(row: bytes, masks: Masks) -> bytes:
    """A row of the binary format with its values masked."""
    parts = [row[:2]]
    at = 2
    for mask in masks:
        if at + 4 > len(row):
            raise TargetError(_UNLIKE)
        size = SIGNED32.unpack_from(row, at)[0]
        end = at + 4 + max(size, 0)
        if end > len(row):
            raise TargetError(_UNLIKE)
        if mask is None or size < 0:
            parts.append(row[at:end])
        else:
            value = mask(row[at + 4 : end])
            parts.append(SIGNED32.pack(-1) if value is None else INT32.pack(len(value)) + value)
        at = end
    if at != len(row):
        raise TargetError(_UNLIKE)
    return b"".join(parts)


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
