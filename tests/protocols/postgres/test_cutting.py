"""The loops over rows, as Cython compiled them and as plain Python: the same tests, and the same answer to anything.

Invariant: whatever the bytes and bounds, the two forms return equal bytes or raise equal errors; nothing outside of the
buffer is read, and no masked value is in what comes out.
"""

from __future__ import annotations

import importlib
import random
from struct import pack
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoopd.errors import TargetError
from hoopd.masking.redactors import full, last4, nothing
from hoopd.protocols.postgres import cutting as plain
from hoopd.protocols.postgres import rows
from hoopd.protocols.postgres.backend import data_row, parse_data_row
from hoopd.protocols.postgres.codec import HEADER_SIZE, INT32


def _compiled() -> Any:
    try:
        return importlib.import_module("hoopd.protocols.postgres._cutting")
    except ImportError as error:
        pytest.fail(f"rows are not cut by compiled code here: {error}; `make setup` installs gcc and builds it")


@pytest.fixture(params=["compiled", "plain"])
def cutting(request: pytest.FixtureRequest) -> Any:
    return plain if request.param == "plain" else _compiled()


def test_the_compiled_form_is_there_and_used() -> None:
    compiled = _compiled()
    assert compiled.COMPILED
    assert not plain.COMPILED
    assert rows.COMPILED
    assert rows.mask_rows is compiled.mask_rows
    assert rows.run_end is compiled.run_end


def shouted(value: bytes) -> bytes | None:
    """A mask that makes values longer, shorter, or NULL: rows are made room for."""
    return None if not value else value.upper() * (value[0] % 40)


MASKS: list[Any] = [None, full, last4, nothing, shouted]
VALUES = st.one_of(st.none(), st.binary(max_size=40), st.just("…ü€4111".encode() * 2), st.just(b"4111111111111111"))


@st.composite
def results(draw: st.DrawFn) -> tuple[list[tuple[bytes | None, ...]], list[Any]]:
    width = draw(st.integers(0, 5))
    row = st.tuples(*[VALUES] * width)
    return draw(st.lists(row, max_size=8)), draw(st.lists(st.sampled_from(MASKS), min_size=width, max_size=width))


def read(wire: bytes) -> list[tuple[bytes | None, ...]]:
    found, at = [], 0
    while at < len(wire):
        end = at + 1 + INT32.unpack_from(wire, at + 1)[0]
        found.append(parse_data_row(wire[at + HEADER_SIZE : end]))
        at = end
    return found


@settings(max_examples=300, deadline=None)
@given(results())
def test_rows_keep_everything_but_the_masked(result: tuple[list[tuple[bytes | None, ...]], list[Any]]) -> None:
    table, masks = result
    wire = b"".join(map(data_row, table))
    want = [
        tuple(value if mask is None or value is None else mask(value) for value, mask in zip(each, masks, strict=True))
        for each in table
    ]
    for cutting in (plain, _compiled()):
        assert read(cutting.mask_rows(wire, 0, len(wire), masks)) == want
        # between others' bytes
        around = b"Z\0\0\0\5I" + wire + b"D\0\0"
        assert cutting.mask_rows(around, 6, 6 + len(wire), masks) == cutting.mask_rows(wire, 0, len(wire), masks)
        assert cutting.run_end(around, 6, ord("D")) == (6 + len(wire), len(table))
        assert cutting.pass_over(around, 6, 6 + len(wire), len(table)) == 6 + len(wire)


HOSTILE = [
    ("a column less", data_row((b"a",))),
    ("a column more", data_row((b"a", b"b", b"c"))),
    ("shorter than its count", b"D\0\0\0\4"),
    ("count cut off", b"D\0\0\0\5\0"),
    ("length of the value cut off", b"D\0\0\0\x08\0\2\0\0"),
    ("value beyond the row", b"D\0\0\0\x0a\0\2\0\0\0\xff"),
    ("value beyond everything", b"D\0\0\0\x0e\0\2\x7f\xff\xff\xff\0\0\0\0"),
    ("negative, and not NULL", b"D\0\0\0\x0e\0\2\xff\xff\xff\xfe\xff\xff\xff\xff"),
    ("most negative", b"D\0\0\0\x0e\0\2\x80\0\0\0\xff\xff\xff\xff"),
    ("length of the row beyond everything", b"D\xff\xff\xff\xff\0\2" + b"\xff" * 8),
    ("length of the row less than itself", b"D\0\0\0\0\0\2" + b"\xff" * 8),
    ("bytes behind the last value", b"D\0\0\0\x0f\0\2" + b"\xff" * 8 + b"x"),
    ("value that reaches into the next row", b"D\0\0\0\x0f\0\2\0\0\0\2x\0\0\0\0" + data_row((b"a", b"b"))),
]


@pytest.mark.parametrize("wire", [wire for _, wire in HOSTILE], ids=[name for name, _ in HOSTILE])
@pytest.mark.parametrize("masks", [[nothing, nothing], [None, last4], [full, None], [None, shouted]])
def test_rows_unlike_their_description_end_the_session(cutting: Any, wire: bytes, masks: list[Any]) -> None:
    for before in (b"", data_row((b"4111111111111111", b"b"))):
        whole = before + wire
        with pytest.raises(TargetError):
            cutting.mask_rows(whole, 0, len(whole), masks)


@pytest.mark.parametrize("length", [0, 1, 2, 3])
def test_a_length_that_no_message_has(cutting: Any, length: int) -> None:
    with pytest.raises(TargetError):
        cutting.run_end(data_row((b"a",)) + b"D" + pack(">I", length), 0, ord("D"))
    with pytest.raises(TargetError):
        cutting.pass_over(b"D" + pack(">I", length), 0, 5, 1)


def test_a_run_ends_at_another_kind_and_at_what_is_not_whole(cutting: Any) -> None:
    wire = data_row((b"a",)) * 3
    for tail in (b"", b"D", b"D\0\0\0", b"D\0\0\0\x0b\0\1", b"C\0\0\0\4", b"D\xff\xff\xff\xff"):
        assert cutting.run_end(wire + tail, 0, ord("D")) == (len(wire), 3)
    assert cutting.run_end(b"D\0\0\0\x0b", 0, ord("D")) == (0, 0)
    assert cutting.run_end(wire, len(wire), ord("D")) == (len(wire), 0)
    assert cutting.pass_over(wire, 0, len(wire), 2) == 2 * len(wire) // 3
    with pytest.raises(TargetError):
        cutting.pass_over(wire, 0, len(wire), 4)


@pytest.mark.parametrize(("at", "stop"), [(-1, 5), (0, 99), (7, 5), (-99, -98)])
def test_bounds_outside_of_the_buffer(cutting: Any, at: int, stop: int) -> None:
    wire = data_row((b"a",))
    with pytest.raises(IndexError):
        cutting.mask_rows(wire, at, stop, [None])
    if at < 0 or stop > len(wire):
        with pytest.raises(IndexError):
            cutting.pass_over(wire, at, stop, 1)


def test_a_mask_that_gives_no_bytes_is_not_let_through(cutting: Any) -> None:
    wire = data_row((b"4111111111111111",))

    def broken(value: bytes) -> Any:
        return value.decode()

    with pytest.raises(TypeError):
        cutting.mask_rows(wire, 0, len(wire), [broken])


def test_rows_wider_than_any_table_and_values_larger_than_a_chunk(cutting: Any) -> None:
    wide = data_row((b"x",) * 65535)
    assert read(cutting.mask_rows(wide, 0, len(wide), [full] * 65535)) == [(b"****",) * 65535]
    large = data_row((b"k" * 100_000, b"v"))
    assert (
        read(cutting.mask_rows(large * 2, 0, len(large) * 2, [shouted, None]))
        == [(b"K" * 100_000 * (ord("k") % 40), b"v")] * 2
    )


def outcome(call: Any, *arguments: Any) -> Any:
    """What comes out, or the error's type and text. Any other error is a fault of ours."""
    try:
        return call(*arguments)
    except (TargetError, IndexError) as error:
        return type(error), str(error)


def mutated(source: random.Random) -> tuple[bytes, int, int, list[Any]]:
    """Rows with numbers in them that are not true, and bounds that may not be."""
    width = source.randrange(4)
    values = [None, b"", b"1", b"4111111111111111", b"12345678901\xff", "4111 1111 €".encode()]
    table = [tuple(source.choice(values) for _ in range(width)) for _ in range(source.randrange(4))]
    wire = bytearray(b"".join(map(data_row, table)))
    for _ in range(source.randrange(4)):
        if not wire:
            break
        at = source.randrange(len(wire))
        kind = source.randrange(4)
        if kind == 0:
            wire[at] = source.choice((0, 1, 4, 0x7F, 0x80, 0xFF, source.randrange(256)))
        elif kind == 1:
            wire[at : at + 4] = pack(
                ">i", source.choice((-1, -2, -(2**31), 2**31 - 1, len(wire), source.randrange(64)))
            )
        elif kind == 2:
            del wire[at : at + source.randrange(1, 5)]
        else:
            wire[at:at] = source.randbytes(source.randrange(5))
    at = source.choice((0, 0, 0, 0, source.randrange(-2, len(wire) + 3)))
    stop = source.choice((len(wire),) * 4 + (source.randrange(-2, len(wire) + 3),))
    return bytes(wire), at, stop, [source.choice(MASKS) for _ in range(source.choice((width, width, 2)))]


def compare(compiled: Any, seed: int, rounds: int) -> None:
    """Both forms on C{rounds} mutated results. Also what the sanitized build is run with."""
    source = random.Random(seed)
    for _ in range(rounds):
        wire, at, stop, masks = mutated(source)
        arguments: tuple[Any, ...]
        for name, arguments in (
            ("mask_rows", (wire, at, stop, masks)),
            ("run_end", (wire, at, ord("D"))),
            ("pass_over", (wire, at, stop, source.randrange(5))),
        ):
            want = outcome(getattr(plain, name), *arguments)
            assert outcome(getattr(compiled, name), *arguments) == want, (name, arguments)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32))
def test_both_forms_do_the_same_to_anything(seed: int) -> None:
    compare(_compiled(), seed, 100)
