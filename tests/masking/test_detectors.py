"""What detectors find, what they leave, and that the work on any text is bounded."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoopd.masking.detectors import CANDIDATES_MAX, DETECTORS, Scanner, known, luhn
from hoopd.masking.redactors import full, last4
from hoopd.masking.typed import text_scanner

ALL = Scanner([(name, full) for name in DETECTORS])


def scan(*names: str) -> Scanner:
    return Scanner([(name, full) for name in names])


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("card", "4111111111111111", "****"),
        ("card", "card 4111 1111 1111 1111, exp 12/27", "card ****, exp 12/27"),
        ("card", "378282246310005 and 5500-0055-5555-5559", "**** and ****"),
        ("card", "order 1234 4111111111111111 7", "order 1234 **** 7"),
        ("card", "4111111111111112", None),
        ("card", "41111111111111111111111111", None),
        ("card", "0000000000000000", None),
        ("card", "2024-01-01 10:20:30.123456", None),
        ("iban", "to DE89 3704 0044 0532 0130 00 AND MORE", "to **** AND MORE"),
        ("iban", "AB12 CD34 gb82west12345698765432", "AB12 CD34 ****"),
        ("iban", "DE88370400440532013000", None),
        ("email", "mail ann.b+c@ex-ample.co.uk!", "mail ****!"),
        ("email", "jörg@bücher.example", "****"),
        ("email", "@example.org, a@b, user @ host", None),
        ("phone", "call +47 22 22 55 55 now", "call **** now"),
        ("phone", "+1 (202) 456-1111", "****"),
        ("phone", "+999 12345678", None),
        ("phone:NO", "call 22 22 55 55", "call ****"),
        ("us-ssn", "123-45-6789", "****"),
        ("us-ssn", "000-45-6789 666-45-6789 923-45-6789 123-00-6789", None),
        ("gb-nino", "ni QQ123456C AB 12 34 56 C", "ni QQ123456C ****"),
        ("es-dni", "12345678Z 12345678-A", "**** 12345678-A"),
        ("fr-nir", "2 55 08 14 168 025 39", None),
        ("fr-nir", "255081416802538", "****"),
        ("no-fnr", "01010750160", "****"),
        ("no-fnr", "01010750161", None),
        ("br-cpf", "111.444.777-35 111.111.111-11", "**** 111.111.111-11"),
        ("token", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.c2ln", "Bearer ****"),
        ("token", "ghp_" + "a1" * 18, "****"),
        ("key", "a\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nb", "a\n****\nb"),
        ("key", "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blbn", "****"),
        ("key", "AKIAIOSFODNN7EXAMPLE", "****"),
        ("key", "-----BEGIN CERTIFICATE-----", None),
    ],
)
def test_what_is_found(name: str, text: str, shown: str | None) -> None:
    assert scan(name)(text.encode()) == (text if shown is None else shown).encode()


@given(
    st.lists(st.integers(0, 9), min_size=12, max_size=18), st.integers(2, 6), st.sampled_from(["", "x ", "12 ", "1-"])
)
def test_every_card_number_is_found(digits: list[int], first: int, before: str) -> None:
    digits = [first, *digits[1:]]
    last = next(each for each in range(10) if luhn([*digits, each]))
    number = "".join(map(str, [*digits, last]))
    assert number not in scan("card")(f"{before}{number} end".encode()).decode()


@given(st.text(max_size=60).map(str.encode))
def test_what_is_left_is_found_no_more(text: bytes) -> None:
    once = ALL(text)
    assert ALL(once) == once


def test_found_values_are_shown_as_the_rule_says_and_may_overlap() -> None:
    scanner = Scanner([("card", last4), ("email", full)])
    assert scanner(b"4111111111111111 a@b.org") == b"****1111 ****"
    assert scanner(b"4111111111111111@b.org") == b"****"


@pytest.mark.parametrize(
    "text",
    [
        b"1 " * 200_000, b"+4722225555 " * 50_000, b"AA11 " * 100_000, b"a@" * 200_000, b"a." * 200_000 + b"@",
        b"-----BEGIN PRIVATE KEY-----" * 10_000, b"4111 " * 100_000, b"eyJ" * 100_000, b"1" * 400_000,
    ],
)  # fmt: skip
def test_hostile_texts_cost_little_and_hide_nothing_behind_them(text: bytes) -> None:
    began = time.process_time()
    shown = ALL(text + b" 4111111111111111 ann@example.org")
    # in a fraction of a second; the bound is for a machine under load
    assert time.process_time() - began < 20
    assert b"4111111111111111" not in shown
    assert b"ann@example.org" not in shown


def test_a_text_with_more_candidates_than_are_checked_is_hidden_from_there() -> None:
    shown = scan("phone")(b"+999 1234567 " * (CANDIDATES_MAX + 10) + b"+47 22 22 55 55")
    assert shown.endswith(b"****")
    assert b"22 22 55 55" not in shown


def test_a_failure_hides_the_value() -> None:
    def broken(_: bytes) -> bytes:
        raise ValueError

    assert Scanner([("card", broken)])(b"4111111111111111") == b"****"


CARD = b"4111111111111111"


@pytest.mark.parametrize(
    ("type_oid", "format", "value", "shown"),
    [
        (25, 0, b"x " + CARD, b"x ****"),
        (25, 1, CARD, b"****"),
        (114, 0, b'{"a": "' + CARD + b'"}', b'{"a": "****"}'),
        (114, 0, b'{"a": ' + CARD + b"}", None),
        (3802, 1, b'\1{"a": "' + CARD + b'"}', b'\1{"a": "****"}'),
        (1009, 0, b"{a," + CARD + b"}", b"{a,****}"),
        (1009, 1, b"\0\0\0\1" + CARD, None),
        (2249, 0, b"(1," + CARD + b")", None),
        (90000, 0, b"fine", b"fine"),
        (17, 0, CARD, None),
    ],
)
def test_types_stay_what_they_are(type_oid: int, format: int, value: bytes, shown: bytes | None) -> None:
    function = text_scanner(scan("card"), type_oid, format)
    assert function is not None
    assert function(value) == shown


def test_numbers_and_dates_are_not_looked_at() -> None:
    assert text_scanner(scan("card"), 20, 0) is None
    assert text_scanner(scan("card"), 1184, 1) is None


def test_names_of_detectors() -> None:
    assert known("card")
    assert known("phone:NO")
    assert not known("phone:XX")
    assert not known("secret")
