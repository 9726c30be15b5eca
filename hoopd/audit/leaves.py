"""What a leaf of the ledger is in bytes, and how leaves lie in the entries file; pure. docs/record.md, section 3.

A leaf is JSON with sorted keys and no white space. Hashes are taken over the bytes as stored: nobody has to write
JSON again in the same way to check them.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Any

import msgspec
from attrs import frozen

from hoopd.audit.events import check_leaf
from hoopd.errors import HoopdError

MAGIC = b"HOOPDLED\x00\x01\x00\x00"
#: the file of leaves, and the convenience copy of the verifier key, in the ledger's directory
ENTRIES = "entries"
VERIFIER = "verifier"
#: length of the leaf, its index
_ENTRY = struct.Struct(">IQ")
_CRC = struct.Struct(">I")
OVERHEAD = _ENTRY.size + _CRC.size
#: a leaf names and hashes things, it does not contain them; the largest is an approval with people's reasons
LEAF_MAX = 256 * 1024

_encoder = msgspec.json.Encoder(order="deterministic")


class LedgerError(HoopdError):
    """The ledger's file is not what was written. The text says what is wrong and where."""


@frozen
class Leaf:
    """One leaf, read. C{at} is seconds since the epoch."""

    index: int
    kind: str
    at: float
    fields: Mapping[str, Any]


def encode_leaf(kind: str, at: float, fields: Mapping[str, Any]) -> bytes:
    """
    @param at: seconds since the epoch; written as microseconds.
    @raise hoopd.audit.events.UnknownName, ValueError: too large. @raise TypeError: a field has no JSON form.
    """
    check_leaf(kind)
    leaf = _encoder.encode({"v": 1, "kind": kind, "at": int(at * 1e6), "fields": dict(fields)})
    if len(leaf) > LEAF_MAX:
        raise ValueError(f"a leaf of {len(leaf)} bytes is larger than {LEAF_MAX}")
    return leaf


def decode_leaf(index: int, leaf: bytes) -> Leaf:
    """@raise LedgerError: these bytes are no leaf."""
    try:
        read = msgspec.json.decode(leaf)
        return Leaf(index, str(read["kind"]), read["at"] / 1e6, dict(read["fields"]))
    except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        raise LedgerError(f"leaf {index} is no leaf: {error}") from error


def encode_entry(index: int, leaf: bytes) -> bytes:
    """A leaf as it lies in the entries file."""
    body = _ENTRY.pack(len(leaf), index) + leaf
    return body + _CRC.pack(zlib.crc32(body))


def parse_entry(buffer: bytes | memoryview, at: int, index: int) -> tuple[bytes, int] | None:
    """
    @param index: which leaf must come here.
    @return: the leaf's bytes and where the next entry begins, or None where the bytes end before the entry does.
    @raise LedgerError: these bytes are no entry.
    """
    available = len(buffer) - at
    if available < _ENTRY.size:
        return None
    length, found = _ENTRY.unpack_from(buffer, at)
    if length > LEAF_MAX or found != index:
        raise LedgerError(f"no entry {index} at byte {at}")
    end = at + _ENTRY.size + length
    if available < OVERHEAD + length:
        return None
    body = bytes(buffer[at:end])
    if _CRC.unpack_from(buffer, end)[0] != zlib.crc32(body):
        raise LedgerError(f"the checksum of entry {index} at byte {at} does not hold")
    return body[_ENTRY.size :], end + _CRC.size


def entries_of(content: bytes) -> tuple[list[bytes], int, LedgerError | None]:
    """Take an entries file apart.

    @return: the leaves, the offset after the last whole one, and what is wrong there: None at the end of the file.
    """
    if content[: len(MAGIC)] != MAGIC:
        return [], 0, LedgerError("the ledger's file has no header of ours") if content else None
    found: list[bytes] = []
    at = len(MAGIC)
    view = memoryview(content)
    while at < len(content):
        try:
            entry = parse_entry(view, at, len(found))
        except LedgerError as error:
            return found, at, error
        if entry is None:
            return found, at, LedgerError(f"entry {len(found)} at byte {at} is torn: {len(content) - at} bytes of it")
        leaf, at = entry
        found.append(leaf)
    return found, at, None


def follows(content: bytes, at: int, index: int) -> bool:
    """Whether a whole entry with a higher index stands anywhere after C{at}: then no torn tail begins there."""
    view = memoryview(content)
    # a bounded look: what one crash can tear is less than one leaf and its neighbours
    for later in range(index + 1, index + 17):
        needle = later.to_bytes(8, "big")
        found = content.find(needle, at)
        while found != -1:
            try:
                if found - 4 >= at and parse_entry(view, found - 4, later) is not None:
                    return True
            except LedgerError:
                pass  # these bytes only looked like one
            found = content.find(needle, found + 1)
    return False
