"""Rows of COPY in its three formats: what is masked is masked, what is not stays byte for byte."""

import csv
import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoopd.errors import TargetError
from hoopd.masking.redactors import nothing
from hoopd.protocols.postgres.copied import CopyMasker
from hoopd.sql.copying import CopyFormat

TEXT, CSV, BINARY = CopyFormat(), CopyFormat("csv", b",", b""), CopyFormat("binary")
NAMES = ("a", "b")
VALUES = st.text(max_size=8).map(str.encode).filter(lambda value: b"\0" not in value)


class Seen:
    """A mask that keeps what it is given."""

    def __init__(self, shown: bytes = b'a\tb\\,"') -> None:
        self.values: list[bytes] = []
        self._shown = shown

    def __call__(self, value: bytes) -> bytes:
        self.values.append(value)
        return self._shown


def escaped(value: bytes, delimiter: bytes = b"\t") -> bytes:
    """As CopyAttributeOutText writes it."""
    value = value.replace(b"\\", b"\\\\")
    for raw, letter in zip(b"\b\f\n\r\t\v", "bfnrtv", strict=True):
        if bytes((raw,)) != delimiter:
            value = value.replace(bytes((raw,)), b"\\" + letter.encode())
    return (
        value
        if delimiter == b"\t" and value.replace(b"\t", b"\\t") == value
        else value.replace(delimiter, b"\\t" if delimiter == b"\t" else b"\\" + delimiter)
    )


@given(st.lists(VALUES, min_size=2, max_size=2), st.sampled_from([b"\t", b"|", b",", b";", b"\x01"]))
def test_text(values: list[bytes], delimiter: bytes) -> None:
    mask = Seen()
    masker = CopyMasker(CopyFormat(delimiter=delimiter), [None, mask], NAMES)
    lines = [escaped(each, delimiter) for each in values]
    got = masker.message(delimiter.join(lines) + b"\n")
    assert got == lines[0] + delimiter + escaped(b'a\tb\\,"', delimiter) + b"\n"
    assert mask.values == [values[1]]


def test_null_stays_null_and_a_mask_may_make_it() -> None:
    assert CopyMasker(TEXT, [None, Seen()], NAMES).message(b"1\t\\N\n") == b"1\t\\N\n"
    assert CopyMasker(TEXT, [None, nothing], NAMES).message(b"1\tx\n") == b"1\t\\N\n"
    assert CopyMasker(CSV, [nothing, Seen()], NAMES).message(b"x,\n") == b",\n"
    assert CopyMasker(CSV, [None, Seen(b"m")], NAMES).message(b'x,""\n') == b'x,"m"\n'
    assert CopyMasker(BINARY, [nothing, Seen()], NAMES).message(HEAD + row(b"1", None)) == HEAD + row(None, None)


@given(
    st.lists(st.tuples(VALUES, st.booleans()), min_size=2, max_size=2),
    st.sampled_from([b",", b"|", b"\t"]),
    st.sampled_from([b'"', b"'"]),
    st.sampled_from([b"", b"\\", b"!"]),
)
def test_csv(values: list[tuple[bytes, bool]], delimiter: bytes, quote: bytes, escape: bytes) -> None:
    format = CopyFormat("csv", delimiter, b"", quote, escape or quote)

    def written(value: bytes, force: bool) -> bytes:
        """As CopyAttributeOutCSV writes it."""
        special = not value or any(each in value for each in (delimiter, quote, b"\n", b"\r"))
        if not force and not special:
            return value
        out = b"".join(
            format.escape + bytes((each,)) if bytes((each,)) in (quote, format.escape) else bytes((each,))
            for each in value
        )
        return quote + out + quote

    mask = Seen(b"m" + quote + format.escape + delimiter)
    lines = [written(*each) for each in values]
    got = CopyMasker(format, [None, mask], NAMES).message(delimiter.join(lines) + b"\n")
    assert mask.values == [values[1][0]]
    assert got == lines[0] + delimiter + written(b"m" + quote + format.escape + delimiter, True) + b"\n"


def test_what_is_masked_is_read_by_others() -> None:
    line = CopyMasker(CSV, [None, Seen(b'a "b", c')], NAMES).message(b'"x\ny",4111\n')
    assert list(csv.reader(io.StringIO(line.decode()))) == [["x\ny", 'a "b", c']]


def test_a_header_keeps_names_and_nothing_else() -> None:
    mask = Seen(b"m")
    masker = CopyMasker(CopyFormat("csv", b",", b"", header=True), [None, mask], NAMES)
    assert masker.message(b"a,b\n") == b"a,b\n"
    assert masker.message(b"a,b\n") == b'a,"m"\n'
    assert CopyMasker(CopyFormat("csv", b",", b"", header=True), [None, mask], NAMES).message(b"a,4111\n") == b'a,"m"\n'


HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)


def row(*values: bytes | None) -> bytes:
    parts = [struct.pack(">i", -1) if each is None else struct.pack(">i", len(each)) + each for each in values]
    return struct.pack(">h", len(values)) + b"".join(parts)


@given(st.lists(st.tuples(st.none() | VALUES, st.none() | VALUES), max_size=4))
def test_binary(rows: list[tuple[bytes | None, bytes | None]]) -> None:
    masker = CopyMasker(BINARY, [None, Seen(b"m")], NAMES)
    wire = [row(*each) for each in rows] + [b"\xff\xff"]
    got = [masker.message(HEAD + wire[0]), *map(masker.message, wire[1:])]
    wanted = [row(one, None if two is None else b"m") for one, two in rows] + [b"\xff\xff"]
    assert got == [HEAD + wanted[0], *wanted[1:]]


@pytest.mark.parametrize(
    ("format", "messages"),
    [
        (TEXT, [b"1\t2"]),
        (TEXT, [b"1\n"]),
        (TEXT, [b"1\t2\t3\n"]),
        (TEXT, [b"1\t2\n3\t4\n"]),
        (TEXT, [b""]),
        (CopyFormat(delimiter=b"|"), [b"1|2\\\n"]),
        (CSV, [b'1,"2\n']),
        (CSV, [b'1,"2"3\n']),
        (CSV, [b"1,2\n3,4\n"]),
        (CSV, [b'1,2"\n']),
        (BINARY, [row(b"1", b"2")]),
        (BINARY, [HEAD[:-1]]),
        (BINARY, [HEAD[:-1] + b"\1"]),
        (BINARY, [HEAD + row(b"1")]),
        (BINARY, [HEAD + row(b"1", b"2") + b"x"]),
        (BINARY, [HEAD + row(b"1", b"2")[:-1]]),
        (BINARY, [HEAD + row(b"1", b"2")[:-3]]),
        (BINARY, [HEAD, b"\0"]),
    ],
)
def test_rows_unlike_their_description_end_it(format: CopyFormat, messages: list[bytes]) -> None:
    masker = CopyMasker(format, [nothing, None], NAMES)
    with pytest.raises(TargetError):
        for each in messages:
            masker.message(each)


@given(st.sampled_from([TEXT, CSV, BINARY]), st.binary(max_size=40))
def test_any_bytes_are_masked_or_refused(format: CopyFormat, octets: bytes) -> None:
    prefix = HEAD if format is BINARY else b""
    seen = Seen(b"")
    try:
        CopyMasker(format, [seen, seen], NAMES).message(prefix + octets)
    except TargetError:
        return
    # NULL, a header or an empty end: or both values went through the mask
    assert len(seen.values) <= 2
