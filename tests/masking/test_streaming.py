"""Streams: however they are cut the same comes out, and whatever time passes no more of a value than its beginning."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hoopd.masking.finders import FINDERS, VALUE_MAX, Finders
from hoopd.masking.redactors import full, last4
from hoopd.masking.streaming import StreamMasker

ALL = Finders([(name, full) for name in FINDERS])
CARD = Finders([("card", full)])
LAST4 = Finders([("card", last4)])
KEY = Finders([("key", last4)])

NUMBER = b"4111111111111111"
IBAN = b"DE89370400440532013000"
TOKEN = b"ghp_" + b"a1" * 18
PEM = b"-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\nabcdef0123456789\n-----END RSA PRIVATE KEY-----"


def masked(finders: Finders, *pieces: bytes) -> bytes:
    masker = StreamMasker(finders)
    return b"".join([*(masker.feed(each) for each in pieces), masker.finish()])


def octets(text: bytes) -> list[bytes]:
    return [text[at : at + 1] for at in range(len(text))]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"card 4111 1111 1111 1111, exp 12/27\n", b"card ****, exp 12/27\n"),
        (b"order 1234 4111111111111111 7", b"order 1234 **** 7"),
        (b"4111111111111112 x4111111111111111 41111111111111111111", None),
        # what a terminal does not show does not hide it
        (b"4111\x1b[0m1111\x1b[1;31m11111111 x", b"****\x1b[0m\x1b[1;31m x"),
        (b"4111\xff1111\x0011111111 x", b"**** x"),
        (b"4111\r1111\b11111111\r\n", b"****\r\n"),
        (b"4111\xe2\x80\x8b111111111111", b"****"),
        # nor what a terminal would show beside it
        (b"progress 99\r4111111111111111\r\n", b"progress 99\r****\r\n"),
        (b"12\x1b[5;1H4111111111111111\x1b[K", b"12\x1b[5;1H****\x1b[K"),
        # text that is carried by a control
        (b"\x1b]0;card 4111111111111111\x07$ ", b"\x1b]0;card ****\x07$ "),
        (b"\x1b]8;;mailto:ann@example.org\x1b\\mail\x1b]8;;\x1b\\", None),
        (b"\x1b[4111111111111111 q", b"\x1b[**** q"),
        (b"\xff\xfe\xc3\x28\xe2\x82 caf\xc3\xa9 \xf0\x9f\x94\x91", None),
    ],
)
def test_cards(text: bytes, shown: bytes | None) -> None:
    wanted = text if shown is None else shown
    assert masked(CARD, text) == wanted
    assert masked(CARD, *octets(text)) == wanted


def test_an_escape_that_takes_a_digit_away_takes_it_from_one_reading_only() -> None:
    text = b"\x1b" + NUMBER + b" " + NUMBER[:1] + b"\x1b7" + NUMBER[1:]
    assert masked(CARD, text) == masked(CARD, *octets(text)) == b"\x1b**** ****\x1b7"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"a\n" + PEM + b"\nb\n", b"a\n****\nb\n"),
        (PEM.replace(b"\n", b"\r\n") + b"\r\nuser@host:~$ ", b"****\r\nuser@host:~$ "),
        (b"  key: |\n" + PEM.replace(b"\n", b"\n    ") + b"\n  b: 1\n", b"  key: |\n****\n  b: 1\n"),
        (PEM.replace(b"\n", b"\\n") + b'", "b": 1', b'****", "b": 1'),
        (PEM.replace(b"\n", b" ") + b" b", b"**** b"),
        (PEM.replace(b"MII", b"Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,AB\n\nMII") + b"\nb\n", b"****\nb\n"),
        (PEM[:60] + b"\nuser@host:~$ ls -l\n", b"****user@host:~$ ls -l\n"),
        (PEM[:60], b"****"),
        (b"-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----\n", None),
        (b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQOY\n=abcd\n-----END PGP PRIVATE KEY BLOCK-----\nb", b"****\nb"),
        (b"AKIAIOSFODNN7EXAMPLE AKIA", b"****MPLE AKIA"),
    ],
)
def test_keys_are_hidden_as_a_whole(text: bytes, shown: bytes | None) -> None:
    wanted = text if shown is None else shown
    assert masked(KEY, text) == wanted
    assert masked(KEY, *octets(text)) == wanted


# -- any cut ---------------------------------------------------------------------------------------------------

PIECES = [
    NUMBER, b"4111 1111 1111 1111", b"5500-0055-5555-5559", b"378282246310005", b"4111", b"1111", b"1", b"12 ", IBAN,
    b"DE89 3704 0044 0532 0130 00", b"ann.archer@example.org", b"ann@", b"example.org", b"+47 22 22 55 55", b"+4", TOKEN, b"ghp_",
    b"eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.c2ln", b"eyJ", b"AKIAIOSFODNN7EXAMPLE", b"AKIA", PEM, PEM[:40], PEM[40:],
    b"-----BEGIN", b"-----", b"\n", b"\r\n", b"\r", b" ", b"-", b",", b".", b":", b"$ ", b"Password: ", b"word", b"caf\xc3\xa9",
    b"\xff", b"\xc3", b"\xa9", b"\xe2\x80\x8b", b"\xf0\x9f", b"\x1b[0m", b"\x1b[1;31m", b"\x1b[", b"\x1b", b"\x1b]0;", b"\x07",
    b"\x1b\\", b"\x08", b"\x00", b"\x1b7", b"\x1b[10;2H", b"123-45-6789", b"111.444.777-35", b"12345678Z",
]  # fmt: skip

TEXTS = st.lists(st.sampled_from(PIECES) | st.binary(max_size=3), max_size=12).map(b"".join)


def cut(text: bytes, places: list[int]) -> list[bytes]:
    stops = sorted({min(each, len(text)) for each in places} | {0, len(text)})
    return [text[first:last] for first, last in itertools.pairwise(stops)]


@given(TEXTS, st.lists(st.integers(0, 200), max_size=20))
@settings(max_examples=400, deadline=None)
@example(b"4111 1111 1111 1111@b.org ", [19])
@example(b"a@b.c-", [5])
@example(PEM[:42] + b"\n\xff4111 1111 1111 1111", [5])
@example(b"\x1b14111 1111 1111 1111", [2])
def test_wherever_it_is_cut_the_same_comes_out(text: bytes, places: list[int]) -> None:
    whole = masked(ALL, text)
    assert masked(ALL, *cut(text, places)) == whole
    assert masked(ALL, *octets(text)) == whole


@given(TEXTS, st.sampled_from(sorted(FINDERS)), st.lists(st.integers(0, 200), max_size=20))
@settings(max_examples=300, deadline=None)
def test_each_detector_alone_does_not_mind_cuts_either(text: bytes, name: str, places: list[int]) -> None:
    finders = Finders([(name, last4)])
    assert masked(finders, *cut(text, places)) == masked(finders, text) == masked(finders, *octets(text))


@given(
    st.lists(
        st.sampled_from(
            [b"hello", b" ", b"\n", b"caf\xc3\xa9", b"\x1b[0m", b"\xff", b"\r", b"%", b"7 ", b"\x1b]0;t\x07"]
        )
    ).map(b"".join)
)
def test_what_holds_no_value_comes_out_as_it_was(text: bytes) -> None:
    assert masked(CARD, *octets(text)) == text


# -- time ------------------------------------------------------------------------------------------------------


def timed(finders: Finders, pieces: list[bytes], rests: list[bool]) -> bytes:
    masker = StreamMasker(finders)
    out = []
    for number, piece in enumerate(pieces):
        out.append(masker.feed(piece))
        if rests[number % len(rests)] if rests else True:
            out.append(masker.release())
    return b"".join([*out, masker.finish()])


SECRETS = {
    NUMBER: NUMBER[6:], b"4111 1111 1111 1111": b"11 1111 1111", b"378282246310005": b"246310005", IBAN: IBAN[4:],
    b"ann.archer@example.org": b"@example.org", TOKEN: TOKEN[4:], b"AKIAIOSFODNN7EXAMPLE": b"IOSFODNN7EXAMPLE",
    PEM: b"MIIEpAIB", b"123-45-6789": b"-45-6789",
}  # fmt: skip


@given(
    st.sampled_from(sorted(SECRETS)),
    st.sampled_from([b"", b"word ", b"12 ", b"4111 ", b"\x1b[1m", b"x\n", b"(", b"user@host:~$ echo "]),
    st.sampled_from([b"", b" ", b"\n", b", 7", b"\x1b[0m\r\n", b" 12\n"]),
    st.lists(st.integers(0, 80), max_size=20),
    st.lists(st.booleans(), max_size=10),
)
@settings(max_examples=600, deadline=None)
def test_no_value_is_seen_whatever_time_passes(
    value: bytes, before: bytes, after: bytes, places: list[int], rests: list[bool]
) -> None:
    shown = timed(ALL, cut(before + value + after, places), rests)
    assert SECRETS[value] not in shown
    assert b"****" in shown


@given(TEXTS, st.lists(st.integers(0, 200), max_size=20), st.lists(st.booleans(), max_size=10))
@settings(max_examples=300, deadline=None)
def test_no_more_numbers_are_seen_than_if_no_time_passed(text: bytes, places: list[int], rests: list[bool]) -> None:
    shown, whole = timed(CARD, cut(text, places), rests), masked(CARD, text)
    for value, secret in SECRETS.items():
        assert shown.count(secret) <= whole.count(secret), value


@pytest.mark.parametrize(
    "prompt", [b"Password: ", b"$ ", b"user@web1:~$ ", b"> ", b"[y/n] ", b"(yes/no)? ", b"--More--(45%)", b">>> "]
)
def test_prompts_come_at_once(prompt: bytes) -> None:
    masker = StreamMasker(ALL)
    assert masker.feed(b"text\n") + masker.feed(prompt) == b"text\n" + prompt
    assert not masker.waiting


def test_what_may_become_a_value_comes_when_time_has_passed_as_far_as_it_may() -> None:
    masker = StreamMasker(LAST4)
    assert masker.feed(b"kill 12345") == b"kill 12345"
    assert masker.feed(b" 4") == b" "
    assert masker.waiting
    assert masker.release() == b"4"
    assert not masker.waiting
    assert masker.feed(b"1111111111") == b""
    assert masker.release() == b"11111"
    assert masker.release() == b""
    assert masker.feed(b"11111") == b""
    assert masker.release() == b""
    assert masker.feed(b"\n") == b"****\n"


def test_a_value_that_is_whole_waits_for_what_follows() -> None:
    masker = StreamMasker(LAST4)
    assert masker.feed(b"it is " + NUMBER) == b"it is "
    assert masker.release() == b""
    assert masker.finish() == b"****1111"


def test_half_a_value_is_left_out_of_what_goes_on_elsewhere() -> None:
    masker = StreamMasker(CARD)
    masker.feed(b"a " + NUMBER[:15])
    assert masker.abandon() == (b"411111****", NUMBER[:15])
    assert masker.abandon() == (b"", b"")


# -- bounds ----------------------------------------------------------------------------------------------------


def held(masker: StreamMasker) -> int:
    return len(masker._held)


@pytest.mark.parametrize(
    "piece",
    [
        b"1",
        b"4111 ",
        b"a",
        b"a@b.",
        b"ghp_a",
        b"eyJa.",
        b"-",
        b"A1 ",
        b"+47 ",
        b"\x1b[0m",
        b"\x1b]0;",
        b"\xff",
        b"4\x1b[0m\xff",
        b"\x1b",
    ],
)
def test_little_is_held_whatever_comes(piece: bytes) -> None:
    masker = StreamMasker(ALL)
    worst = 0
    for _ in range(20):
        masker.feed(piece * 500)
        worst = max(worst, held(masker))
    assert worst <= 64 * 1024


def test_nothing_of_a_private_key_is_held() -> None:
    masker = StreamMasker(KEY)
    masker.feed(b"-----BEGIN PRIVATE KEY-----\n")
    for _ in range(100):
        assert masker.feed(b"MIIE" * 16 + b"\n") == b""
        assert held(masker) < 100


def test_a_token_longer_than_any_is_hidden_wholly() -> None:
    text = b"eyJ" + b"a" * (3 * VALUE_MAX) + b" and more"
    assert masked(ALL, text) == b"**** and more"
    assert masked(ALL, text[:100], text[100:5000], text[5000:]) == b"**** and more"
    assert masked(ALL, *(text[at : at + 1000] for at in range(0, len(text), 1000))) == b"**** and more"


def test_hostile_streams_cost_little() -> None:
    for piece in (
        b"4111 ",
        b"+999 1234567 ",
        b"AA11 ",
        b"a@",
        b"-----BEGIN PRIVATE KEY-----",
        b"4\x1b[0m",
        b"eyJ",
        b"\xff4",
    ):
        masker = StreamMasker(ALL)
        began = time.process_time()
        masker.feed((piece * 10_000)[:65536])
        masker.finish()
        # a fraction of a second; the bound is for a machine under load
        assert time.process_time() - began < 10, piece
