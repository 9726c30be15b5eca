"""What looks like a card number, an IBAN, an e-mail address and so on in free text, and texts without it; not columns.

Pure. A pattern (RE2: linear time) finds candidates, a check decides: the Luhn digit of ISO/IEC 7812, the remainder of
ISO 13616, national check digits, phonenumbers for telephone numbers. What has no check is found by its shape alone. A
detector is a help against values in places where nobody expects them: whoever may write text, or choose an expression, can
spell a value so that none finds it. Columns that hold such values are masked by name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache

import phonenumbers
import re2
from attrs import frozen

Span = tuple[int, int]
Show = Callable[[bytes], "bytes | None"]

#: stands for a value that is not shown
FULL = b"****"

#: candidates of one value that are checked: of phone numbers 20 ms; a value with more is hidden from there on
CANDIDATES_MAX = 1000
#: bytes that count as one candidate: a long row of numbers is many
_ONE = 64

#: ISO 13616 registry: country to length
_IBAN = dict(
    each.split(":")
    for each in (
        "AD:24 AE:23 AL:28 AT:20 AZ:28 BA:20 BE:16 BG:22 BH:22 BR:29 BY:28 CH:21 CR:22 CY:28 CZ:24 DE:22 DK:18 DO:28 EE:20 "
        "EG:29 ES:24 FI:18 FO:18 FR:27 GB:22 GE:22 GI:23 GL:18 GR:27 GT:28 HR:21 HU:28 IE:22 IL:23 IQ:23 IS:26 IT:27 JO:30 "
        "KW:30 KZ:20 LB:28 LC:32 LI:21 LT:20 LU:20 LV:21 LY:25 MC:27 MD:24 ME:22 MK:19 MR:27 MT:31 MU:30 NL:18 NO:15 PK:24 "
        "PL:28 PS:29 PT:25 QA:29 RO:24 RS:22 SA:24 SC:31 SE:24 SI:19 SK:24 SM:27 TN:24 TR:26 UA:29 VA:22 VG:24 XK:20"
    ).split()
)


@frozen
class Detector:
    """@ivar pattern: RE2. @ivar spans: which parts of a candidate count; None: all of it.
    @ivar inner: one may begin within another's candidate, at a word.
    """

    pattern: bytes
    spans: Callable[[bytes], list[Span]] | None = None
    inner: bool = True


def luhn(digits: Sequence[int]) -> bool:
    """Whether the last digit fits (ISO/IEC 7812-1, annex B)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = digit * 2 if place % 2 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


def _cards(candidate: bytes) -> list[Span]:
    """Groups of digits may stand before and behind a number: every row of whole groups is tried, long ones first."""
    places = [at for at, octet in enumerate(candidate) if 48 <= octet <= 57]
    digits = [candidate[at] - 48 for at in places]
    starts = [n for n, at in enumerate(places) if not at or not 48 <= candidate[at - 1] <= 57]
    ends = {n + 1 for n, at in enumerate(places) if at + 1 == len(candidate) or not 48 <= candidate[at + 1] <= 57}
    found: list[Span] = []
    behind = 0
    for start in starts:
        if start < behind or not 2 <= digits[start] <= 6:
            continue
        for length in range(19, 12, -1):
            end = start + length
            # 0000 … 0000 is no card, though its digit fits
            if end in ends and luhn(digits[start:end]) and len(set(digits[start:end])) > 1:
                found.append((places[start], places[end - 1] + 1))
                behind = end
                break
    return found


def _iban(candidate: bytes) -> list[Span]:
    plain = [(at, chr(octet).upper()) for at, octet in enumerate(candidate) if octet != 32]
    length = int(_IBAN.get("".join(each for _, each in plain[:2]), 0))
    if not length or len(plain) < length:
        return []
    text = "".join(each for _, each in plain[:length])
    number = "".join(str(int(each, 36)) for each in text[4:] + text[:4])
    return [(0, plain[length - 1][0] + 1)] if int(number) % 97 == 1 else []


def _digits(candidate: bytes) -> list[int]:
    return [octet - 48 for octet in candidate if 48 <= octet <= 57]


def _whole(check: Callable[[list[int]], bool]) -> Callable[[bytes], list[Span]]:
    return lambda candidate: [(0, len(candidate))] if check(_digits(candidate)) else []


def _us_ssn(digits: list[int]) -> bool:
    area, group, serial = digits[0] * 100 + digits[1] * 10 + digits[2], digits[3:5], digits[5:]
    return area not in (0, 666) and area < 900 and any(group) and any(serial)


def _no_fnr(digits: list[int]) -> bool:
    first = sum(weight * digit for weight, digit in zip((3, 7, 6, 1, 8, 9, 4, 5, 2, 1), digits, strict=False))
    second = sum(weight * digit for weight, digit in zip((5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1), digits, strict=False))
    return first % 11 == 0 and second % 11 == 0


def _br_cpf(digits: list[int]) -> bool:
    def check(count: int) -> int:
        return (
            sum(weight * digit for weight, digit in zip(range(count + 1, 1, -1), digits, strict=False)) * 10 % 11 % 10
        )

    return len(set(digits)) > 1 and check(9) == digits[9] and check(10) == digits[10]


def _fr_nir(digits: list[int]) -> bool:
    number = int("".join(map(str, digits[:13])))
    return 97 - number % 97 == digits[13] * 10 + digits[14]


def _es_dni(candidate: bytes) -> list[Span]:
    letter = chr(candidate[-1]).upper()
    number = int("".join(map(str, _digits(candidate[:-1]))))
    return [(0, len(candidate))] if "TRWAGMYFPDXBNJZSQVHLCKE"[number % 23] == letter else []


def phones(region: str | None) -> Callable[[bytes], list[Span]]:
    """What finds telephone numbers. @param region: where they are written without +, or None"""

    def spans(candidate: bytes) -> list[Span]:
        try:
            number = phonenumbers.parse(candidate.decode("ascii"), region)
        except (phonenumbers.NumberParseException, UnicodeDecodeError):
            return []
        return [(0, len(candidate))] if phonenumbers.is_valid_number(number) else []

    return spans


#: name in a rule to what finds it; national identity numbers begin with their country
DETECTORS: Mapping[str, Detector] = {
    "card": Detector(rb"\b[0-9](?:[ -]?[0-9]){12,}\b", _cards, inner=False),
    "iban": Detector(rb"(?i)\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,30}", _iban),
    "email": Detector(
        rb"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~\x80-\xff-]+@[A-Za-z0-9\x80-\xff](?:[A-Za-z0-9\x80-\xff-]*[A-Za-z0-9\x80-\xff])?"
        rb"(?:\.[A-Za-z0-9\x80-\xff](?:[A-Za-z0-9\x80-\xff-]*[A-Za-z0-9\x80-\xff])?)+"
    ),
    "phone": Detector(rb"\+[0-9](?:[ ().\-/]{0,2}[0-9]){6,14}", phones(None)),
    "us-ssn": Detector(rb"\b[0-9]{3}[- ][0-9]{2}[- ][0-9]{4}\b", _whole(_us_ssn)),
    "gb-nino": Detector(rb"(?i)\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]\b"),
    "es-dni": Detector(rb"(?i)\b[0-9]{8}-?[A-HJ-NP-TV-Z]\b", _es_dni),
    "fr-nir": Detector(rb"\b[12](?: ?[0-9]){14}\b", _whole(_fr_nir)),
    "no-fnr": Detector(rb"\b[0-9]{6} ?[0-9]{5}\b", _whole(_no_fnr)),
    "br-cpf": Detector(rb"\b[0-9]{3}\.?[0-9]{3}\.?[0-9]{3}-?[0-9]{2}\b", _whole(_br_cpf)),
    # JSON Web Tokens (RFC 7519) and what large services prefix their tokens with
    "token": Detector(
        rb"\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*|\bgh[pousr]_[A-Za-z0-9]{36,}|\bgithub_pat_[A-Za-z0-9_]{20,}"
        rb"|\bglpat-[A-Za-z0-9_-]{20,}|\bxox[abeoprs]-[A-Za-z0-9-]{10,}|\bAIza[A-Za-z0-9_-]{35}|\b[rs]k_live_[A-Za-z0-9]{10,}"
        rb"|\bsk-[A-Za-z0-9_-]{20,}|\bnpm_[A-Za-z0-9]{36}|\bpypi-[A-Za-z0-9_-]{50,}"
    ),
    # private keys (RFC 7468) with or without their end, and access keys of AWS
    "key": Detector(
        rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----[^-]*(?:-----END [A-Z0-9 ]*PRIVATE KEY-----)?|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    ),
}

_NATIONAL_PHONE = rb"\(?[0-9](?:[ ().\-/]{0,2}[0-9]){5,14}|" + DETECTORS["phone"].pattern


def known(name: str) -> bool:
    """Whether a rule may ask for C{name}: one of L{DETECTORS}, or C{phone:XX} for numbers as written in region XX."""
    return name in DETECTORS or (name.startswith("phone:") and name[6:] in phonenumbers.SUPPORTED_REGIONS)


def _detector(name: str) -> Detector:
    if name.startswith("phone:"):
        return Detector(_NATIONAL_PHONE, phones(name[6:]))
    return DETECTORS[name]


class Scanner:
    """Texts without what detectors find in them.

    @param wanted: names of detectors, and how what each finds is shown.
    """

    def __init__(self, wanted: Sequence[tuple[str, Show]]) -> None:
        self._wanted = [(_detector(name), show) for name, show in wanted]
        #: whether there is anything at all: most values have nothing
        self._any = compiled(b"|".join(b"(?:" + _detector(name).pattern + b")" for name, _ in wanted))

    def __call__(self, value: bytes) -> bytes:
        """C{value} with what was found replaced. It does not raise."""
        try:
            if self._any.search(value) is None:
                return value
            return self._replaced(value)
        except Exception:
            return FULL  # masking never fails open

    def json(self, value: bytes) -> bytes | None:
        """A JSON document; NULL where it would be none any more (a number was found)."""
        shown = self(value)
        if shown is value:
            return value
        try:
            json.loads(shown)
        except ValueError:
            return None
        return shown

    def whole(self, value: bytes) -> bytes | None:
        """NULL if anything is found: for values whose inner lengths must stay right."""
        return value if self(value) == value else None

    def _replaced(self, value: bytes) -> bytes:
        budget = CANDIDATES_MAX
        found: list[tuple[int, int, Show]] = []
        limit = len(value)
        for detector, show in self._wanted:
            spans = detector.spans
            for start, end in _candidates(detector, value):
                budget -= 1 + (end - start) // _ONE if spans is not None else 0
                if budget < 0:
                    # whoever writes so many may hide one behind them
                    limit = min(limit, start)
                    break
                if spans is None:
                    found.append((start, end, show))
                else:
                    found += [(start + first, start + last, show) for first, last in spans(value[start:end])]
        parts: list[bytes] = []
        at = 0
        for start, end, show in sorted(found, key=lambda each: (each[0], -each[1])):
            if start < at:
                if end > at:
                    at = end  # they overlap: the rest of the second goes as well
                continue
            if start >= limit:
                break
            shown = show(value[start:end])
            parts += [value[at:start], FULL if shown is None else shown]
            at = end
        if at < limit:
            parts.append(value[at:limit])
        return b"".join(parts) + (FULL if limit < len(value) else b"")


def _candidates(detector: Detector, value: bytes) -> Iterator[Span]:
    """Where the pattern matches; again from within a match, where another could begin."""
    pattern = compiled(detector.pattern)
    at = 0
    while True:
        match = pattern.search(value, at)
        if match is None:
            return
        yield match.span()
        start, end = match.span()
        # the next word of the match: an IBAN behind a word that looks like the beginning of one
        gap = value.find(b" ", start, end) if detector.spans is not None and detector.inner else -1
        at = gap + 1 if gap >= 0 else max(end, start + 1)


@lru_cache(maxsize=512)
def compiled(pattern: bytes) -> re2._Regexp[bytes]:
    """C{pattern} over octets: without the option RE2 would read UTF-8, and C{\\xff} as the character of that number."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False
    return re2.compile(pattern, options)
