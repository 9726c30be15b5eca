"""Masks on chunks of rows and on lines of COPY."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoopd.errors import TargetError
from hoopd.protocols.postgres import withhold
from hoopd.protocols.postgres.backend import data_row, error_payload, parse_data_row, parse_error
from hoopd.protocols.postgres.codec import HEADER_SIZE, INT32
from hoopd.protocols.postgres.rows import mask_rows, nothing, sample

VALUES = st.one_of(st.none(), st.binary(max_size=12))


def stars(value: bytes) -> bytes:
    return b"*" * 5


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(VALUES, VALUES, VALUES), max_size=6), st.sets(st.integers(0, 2)))
def test_rows_keep_everything_but_the_masked(rows, masked) -> None:
    masks = [stars if number in masked else None for number in range(3)]
    wire = b"".join(map(data_row, rows))
    out = mask_rows(wire, 0, len(wire), masks)
    found, at = [], 0
    while at < len(out):
        end = at + 1 + INT32.unpack_from(out, at + 1)[0]
        found.append(parse_data_row(out[at + HEADER_SIZE : end]))
        at = end
    want = [
        tuple(b"*" * 5 if number in masked and value is not None else value for number, value in enumerate(row))
        for row in rows
    ]
    assert found == want


@pytest.mark.parametrize(
    "wire",
    [data_row((b"a",)), b"D\0\0\0\x0a\0\2\0\0\0\xff", b"D\0\0\0\x0e\0\2\x7f\xff\xff\xff\0\0\0\0", b"D\0\0\0\4"],
)
def test_rows_unlike_their_description_end_the_session(wire: bytes) -> None:
    with pytest.raises(TargetError):
        mask_rows(wire, 0, len(wire), [nothing, nothing])


def test_sample() -> None:
    wire = data_row((b"a", None, b"\x01")) + data_row((b"b", b"\xff", b"\x02"))
    assert sample(wire, 0, len(wire), 9, None, (0, 0, 1)) == [["a", None, "\\x01"], ["b", "\\xff", "\\x02"]]
    assert sample(wire, 0, len(wire), 1, [nothing] * 3, ()) == [[None, None, None]]


CARD = b"4111111111111111"


@pytest.mark.parametrize(
    "fields",
    [
        {"C": b"23505", "M": b"duplicate key", "D": b"Key (card)=(" + CARD + b") already exists.", "R": b"_bt_check"},
        {"C": b"P0001", "M": CARD, "R": b"exec_stmt_raise", "W": b"PL/pgSQL function f()"},
        {"C": b"22P02", "M": b'invalid input: "' + CARD + b'"', "R": b"pg_strtoint32"},
        {"C": b"42P01", "M": b'relation "' + CARD + b'" does not exist', "R": b"RangeVarGetRelidExtended"},
        {"C": b"42P01", "M": CARD, "R": b"parserOpenTable", "W": b"SQL function f", "H": CARD, "q": CARD},
    ],
)
def test_no_field_of_an_error_quotes_a_value(fields: dict[str, bytes]) -> None:
    out = withhold.scrubbed(error_payload({"S": b"ERROR", **fields}))
    assert CARD not in out
    assert parse_error(out)["C"] == fields["C"]


def test_what_quotes_names_only_is_kept() -> None:
    fields = {"S": b"ERROR", "C": b"42P01", "M": b'relation "x" does not exist', "P": b"15", "R": b"parserOpenTable"}
    assert parse_error(withhold.scrubbed(error_payload(fields))) == fields
