# cython: language_level=3, boundscheck=True, wraparound=False
"""The loops over each row of a result: where messages end, and masked values in place of the others.

One source, two ways: Cython compiles it as C{_cutting} where there is a C compiler, and it runs as it stands elsewhere;
L{hoopd.protocols.postgres.rows} takes what there is. Both must do the same to every input (the tests compare them).
Every read and write is within bounds that are checked there and then: lengths are the peer's word, not the truth.
Specification: PostgreSQL documentation, "Message Formats" (DataRow).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct
from struct import error as StructError

try:
    import cython
except ImportError:
    from hoopd import uncompiled as cython

from hoopd.errors import TargetError
from hoopd.masking.redactors import FULL, LAST4_MINIMUM, full, last4, nothing

if cython.compiled:
    from cython.cimports.cpython.bytearray import PyByteArray_AS_STRING
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING
    from cython.cimports.libc.string import memcpy

COMPILED = cython.compiled

Redact = Callable[[bytes], "bytes | None"]
#: per column: what is done to a value, or None
Masks = Sequence["Redact | None"]

_unpack_unsigned = Struct(">I").unpack_from
_pack_signed = Struct(">i").pack_into

# what is done to a column; the first four without a call of Python's for each value
_KEEP = 0
_FULL = 1
_LAST4 = 2
_NULL = 3
_CALL = 4

#: the length -1, read as an unsigned number
_NULL_LENGTH = 0xFFFFFFFF

_MALFORMED = "the target sent a malformed row"
_UNLIKE = "the target sent a row unlike its description"


@cython.cfunc
@cython.inline
@cython.exceptval(-1, check=False)
def _unsigned(buffer: bytes, at: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """The unsigned 32-bit number at C{at}. @raise IndexError, StructError: it is not wholly there"""
    if cython.compiled:
        if at < 0 or len(buffer) - at < 4:
            raise IndexError
        here: cython.p_const_uchar = cython.cast(cython.p_const_uchar, PyBytes_AS_STRING(buffer)) + at
        first: cython.Py_ssize_t = here[0]
        return (first << 24) | (here[1] << 16) | (here[2] << 8) | here[3]
    return _unpack_unsigned(buffer, at)[0]


@cython.cfunc
@cython.inline
@cython.exceptval(-1, check=False)
def _short(buffer: bytes, at: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """The unsigned 16-bit number at C{at}. @raise IndexError: it is not wholly there"""
    if cython.compiled:
        if at < 0 or len(buffer) - at < 2:
            raise IndexError
        here: cython.p_const_uchar = cython.cast(cython.p_const_uchar, PyBytes_AS_STRING(buffer)) + at
        return (cython.cast(cython.Py_ssize_t, here[0]) << 8) | here[1]
    return (buffer[at] << 8) | buffer[at + 1]


@cython.cfunc
@cython.inline
@cython.exceptval(-1, check=False)
def _put_signed(out: bytearray, at: cython.Py_ssize_t, number: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """@return: where it ends. @raise IndexError, StructError: it does not fit"""
    if cython.compiled:
        if at < 0 or len(out) - at < 4:
            raise IndexError
        here: cython.p_uchar = cython.cast(cython.p_uchar, PyByteArray_AS_STRING(out)) + at
        here[0] = (number >> 24) & 0xFF
        here[1] = (number >> 16) & 0xFF
        here[2] = (number >> 8) & 0xFF
        here[3] = number & 0xFF
    else:
        _pack_signed(out, at, number)
    return at + 4


@cython.cfunc
@cython.inline
@cython.exceptval(-1, check=False)
def _put(
    out: bytearray,
    filled: cython.Py_ssize_t,
    buffer: bytes,
    start: cython.Py_ssize_t,
    stop: cython.Py_ssize_t,
) -> cython.Py_ssize_t:
    """Copy C{buffer[start:stop]} to C{out[filled:]}. @return: where it ends. @raise IndexError: it does not fit"""
    count: cython.Py_ssize_t = stop - start
    if start < 0 or count < 0 or stop > len(buffer) or filled < 0 or count > len(out) - filled:
        raise IndexError
    if count == 0:
        return filled
    if cython.compiled:
        memcpy(PyByteArray_AS_STRING(out) + filled, PyBytes_AS_STRING(buffer) + start, count)
    else:
        out[filled : filled + count] = buffer[start:stop]
    return filled + count


@cython.cfunc
@cython.inline
@cython.exceptval(-1, check=False)
def _put_stars(
    out: bytearray, filled: cython.Py_ssize_t, stars: bytes, buffer: bytes, end: cython.Py_ssize_t, tail: cython.bint
) -> cython.Py_ssize_t:
    """Four asterisks as a value, with the four bytes before C{end} behind them if C{tail}.

    @return: where it ends. @raise IndexError, StructError: it does not fit
    """
    filled = _put_signed(out, filled, 8 if tail else 4)
    if cython.compiled:
        if filled < 0 or len(stars) != 4 or len(out) - filled < 8 or end < 4 or end > len(buffer):
            raise IndexError
        here: cython.p_char = PyByteArray_AS_STRING(out) + filled
        memcpy(here, PyBytes_AS_STRING(stars), 4)
        if tail:
            memcpy(here + 4, PyBytes_AS_STRING(buffer) + end - 4, 4)
            return filled + 8
        return filled + 4
    filled = _put(out, filled, stars, 0, 4)
    return _put(out, filled, buffer, end - 4, end) if tail else filled


@cython.cfunc
@cython.inline
@cython.exceptval(-1, check=False)
def _kind_at(kinds: bytearray, number: cython.Py_ssize_t) -> cython.int:
    if cython.compiled:
        if number < 0 or number >= len(kinds):
            raise IndexError
        return cython.cast(cython.p_uchar, PyByteArray_AS_STRING(kinds))[number]
    return kinds[number]


def _kind(mask: Redact | None) -> int:
    if mask is None:
        return _KEEP
    if mask is full:
        return _FULL
    if mask is last4:
        return _LAST4
    return _NULL if mask is nothing else _CALL


def run_end(buffer: bytes, at: cython.Py_ssize_t, kind: cython.int) -> tuple[int, int]:
    """Whole messages of one kind behind each other: rows come by the thousand, and are treated at once.

    @param at: where a message of C{kind} begins
    @return: where the last whole one ends (C{at} if none is whole), and how many they are
    @raise TargetError: a length that no message has
    """
    size: cython.Py_ssize_t = len(buffer)
    count: cython.Py_ssize_t = 0
    length: cython.Py_ssize_t
    if at < 0:
        raise IndexError
    while size - at >= 5 and buffer[at] == kind:
        length = _unsigned(buffer, at + 1)
        if length < 4:
            raise TargetError("the target broke the protocol: length of message")
        if length > size - at - 1:
            break
        at += 1 + length
        count += 1
    return at, count


def pass_over(
    buffer: bytes, at: cython.Py_ssize_t, stop: cython.Py_ssize_t, count: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    """@return: where C{count} messages from C{at} end. @raise TargetError: they do not end by C{stop}"""
    length: cython.Py_ssize_t
    if at < 0 or stop > len(buffer):
        raise IndexError
    while count > 0:
        if stop - at < 5:
            raise TargetError(_MALFORMED)
        length = _unsigned(buffer, at + 1)
        if length < 4 or length > stop - at - 1:
            raise TargetError(_MALFORMED)
        at += 1 + length
        count -= 1
    return at


def mask_rows(buffer: bytes, at: cython.Py_ssize_t, stop: cython.Py_ssize_t, masks: Masks) -> bytes:
    """
    @param buffer: whole DataRow messages from C{at} to C{stop}
    @return: the same messages with masked values; lengths are made right
    @raise TargetError: a row has another number of columns than was described, or its lengths do not add up

    No sum here overflows: a length is below 2**32 and compared with what is left before anything is added to it.
    """
    width: cython.Py_ssize_t = len(masks)
    if at < 0 or stop > len(buffer) or at > stop or width > 0xFFFF:
        raise IndexError
    kinds = bytearray(width)
    number: cython.Py_ssize_t
    for number in range(width):
        kinds[number] = _kind(masks[number])
    # as C's numbers: those of the module are objects
    to_keep: cython.int = _KEEP
    to_full: cython.int = _FULL
    to_last4: cython.int = _LAST4
    to_null: cython.int = _NULL
    minimum: cython.Py_ssize_t = LAST4_MINIMUM
    null: cython.Py_ssize_t = _NULL_LENGTH
    stars: bytes = FULL

    # Room for what a row may come to is made before anything of it is written: what is kept of it, its header, and for
    # each column a length and four asterisks more. Only a mask of _CALL may need more, and asks for itself.
    out = bytearray(stop - at + 8 * width + 16)
    room: cython.Py_ssize_t = len(out)
    filled: cython.Py_ssize_t = 0
    end: cython.Py_ssize_t
    position: cython.Py_ssize_t
    copied: cython.Py_ssize_t
    begun: cython.Py_ssize_t
    need: cython.Py_ssize_t
    length: cython.Py_ssize_t
    size: cython.Py_ssize_t
    here: cython.Py_ssize_t
    kind: cython.int
    value: bytes | None
    try:
        while at < stop:
            length = _unsigned(buffer, at + 1)
            if length < 6 or length > stop - at - 1:
                raise TargetError(_MALFORMED)
            if _short(buffer, at + 5) != width:
                raise TargetError(_UNLIKE)
            end = at + 1 + length
            need = length + 8 * width + 16
            if need > room - filled:
                out.extend(bytes(need + room))
                room = len(out)
            begun = filled
            copied = at
            position = at + 7
            for number in range(width):
                if end - position < 4:
                    raise TargetError(_MALFORMED)
                size = _unsigned(buffer, position)
                here = position
                position += 4
                if size == null:
                    continue
                # any other that is below zero is, read so, longer than every row
                if size > end - position:
                    raise TargetError(_MALFORMED)
                position += size
                kind = _kind_at(kinds, number)
                if kind == to_keep:
                    continue
                # one copy takes what is unchanged since the last masked value
                filled = _put(out, filled, buffer, copied, here)
                copied = position
                if kind == to_last4 and size >= minimum and _tail_is_ascii(buffer, position):
                    filled = _put_stars(out, filled, stars, buffer, position, True)
                elif kind == to_full or (kind == to_last4 and size < minimum):
                    filled = _put_stars(out, filled, stars, buffer, position, False)
                elif kind == to_null:
                    filled = _put_signed(out, filled, -1)
                else:
                    value = masks[number](buffer[here + 4 : position])
                    if value is None:
                        filled = _put_signed(out, filled, -1)
                    else:
                        need = len(value) + (end - position) + 8 * width + 16
                        if need > room - filled:
                            out.extend(bytes(need + room))
                            room = len(out)
                        filled = _put_signed(out, filled, len(value))
                        filled = _put(out, filled, value, 0, len(value))
            if position != end:
                raise TargetError(_MALFORMED)
            filled = _put(out, filled, buffer, copied, end)
            if copied != at:
                _put_signed(out, begun + 1, filled - begun - 1)
            at = end
    except (IndexError, StructError):
        raise TargetError(_MALFORMED) from None
    return bytes(memoryview(out)[:filled])


@cython.cfunc
@cython.inline
@cython.exceptval(-1, check=False)
def _tail_is_ascii(buffer: bytes, end: cython.Py_ssize_t) -> cython.bint:
    """Whether the four bytes before C{end} are whole characters."""
    if cython.compiled:
        if end < 4 or end > len(buffer):
            raise IndexError
        here: cython.p_const_uchar = cython.cast(cython.p_const_uchar, PyBytes_AS_STRING(buffer)) + end
        return ((here - 4)[0] | (here - 3)[0] | (here - 2)[0] | (here - 1)[0]) < 0x80
    return (buffer[end - 4] | buffer[end - 3] | buffer[end - 2] | buffer[end - 1]) < 0x80
