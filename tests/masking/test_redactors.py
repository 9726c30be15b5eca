import pytest
from hypothesis import given
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from hoopd.interfaces import IMasker
from hoopd.masking.redactors import Redactors
from hoopd.masking.typed import mask_value
from hoopd.values import Mask

REDACTORS = Redactors(b"0123456789abcdef")


def mask(show: str) -> Mask:
    return Mask("r", ("t.c",), show)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("show", "value", "shown"),
    [
        ("full", b"anything", b"****"),
        ("last4", b"4111111111111111", b"****1111"),
        ("last4", b"12345678901", b"****"),
        ("last4", "ééééééééééäöüß".encode(), "****äöüß".encode()),
        ("last4", b"\xff" * 20, b"****"),
        ("partial", b"priya@example.org", b"p***@example.org"),
        ("partial", b"pi@example.org", b"***@example.org"),
        ("partial", b"Priya", b"P***"),
        ("partial", b"abc", b"****"),
        ("null", b"x", None),
        ("a word from the future", b"secret", b"****"),
    ],
)
def test_shows(show: str, value: bytes, shown: bytes | None) -> None:
    assert REDACTORS.redact(mask(show), value) == shown


def test_hash_is_stable_here_and_different_elsewhere() -> None:
    one = REDACTORS.redact(mask("hash"), b"a@b")
    assert one == REDACTORS.redact(mask("hash"), b"a@b")
    assert one != Redactors(b"another key.....").redact(mask("hash"), b"a@b")
    assert one is not None
    assert len(one) == 16
    assert verifyObject(IMasker, REDACTORS)


@pytest.mark.parametrize(
    ("oid", "format", "shown"), [(25, 0, b"****"), (1043, 1, b"****"), (20, 0, None), (17, 1, None)]
)
def test_types_are_kept(oid: int, format: int, shown: bytes | None) -> None:
    assert mask_value(REDACTORS, mask("full"), b"4111", oid, format) == shown
    assert mask_value(REDACTORS, mask("full"), None, oid, format) is None


@given(st.binary(max_size=80), st.sampled_from(["full", "last4", "partial", "hash", "null"]), st.sampled_from([25, 20]))
def test_masking_is_total_and_hides(value: bytes, show: str, oid: int) -> None:
    shown = mask_value(REDACTORS, mask(show), value, oid, 0)
    assert shown is None or len(value) < 4 or shown != value or value == b"****"
