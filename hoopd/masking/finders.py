"""The detectors as a stream needs them: what is found for sure, and where something begins that may become a value; pure.

L{hoopd.masking.detectors} finds values in texts that are whole. Here three things are added to each: whether it begins somewhere
depends on nothing but the octet before it; how long it can be is bounded; and C{begins} tells whether what stands at the end is how
one begins. So it makes no difference where a text is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, Protocol

from attrs import frozen

from hoopd.masking import detectors
from hoopd.masking.detectors import DETECTORS, FULL, Show, Span, compiled
from hoopd.masking.private_keys import Block

#: octets of one value; a longer one is hidden as a whole, whatever it is
VALUE_MAX = 4096

_D = rb"[0-9]"
_AN = rb"[A-Z0-9]"


@frozen
class Looked:
    """
    @ivar values: found for sure: start, end, and how each is shown.
    @ivar open: where something begins that may become a value, or None.
    @ivar free: up to where it may be shown before that is known, because it would tell too little.
    @ivar running: the last of C{values} goes on as long as what follows is of this kind.
    """

    values: list[tuple[int, int, Show]]
    open: int | None = None
    free: int = 0
    running: Any = None


class Finder(Protocol):
    """One detector of a stream."""

    @property
    def pattern(self) -> bytes:
        """RE2, found wherever there may be a value."""

    @property
    def begins(self) -> bytes:
        """RE2, found where one may have begun at the end."""

    def look(self, text: bytes, at: int, final: bool, show: Show) -> Looked:
        """@param at: from where; C{text} holds the octet before. @param final: nothing follows"""

    def beginning(self, text: bytes, at: int) -> int | None:
        """From where on the end of C{text} may be the beginning of a value."""


@frozen
class Short:
    """Values of bounded length, found by a pattern and a check.

    @ivar begins: pattern of what is at the end of a text where one may have begun.
    @ivar window: the longest of that.
    @ivar check: how much of a candidate is a value, or 0.
    @ivar free: how much of a beginning may be shown: a third of the value at most, or what tells nobody.
    """

    pattern: bytes
    begins: bytes
    window: int
    check: Callable[[bytes], int]
    free: Callable[[bytes], int]

    def beginning(self, text: bytes, at: int) -> int | None:
        begun = compiled(self.begins).search(text, max(at, len(text) - self.window))
        return None if begun is None else begun.start()

    def look(self, text: bytes, at: int, final: bool, show: Show) -> Looked:
        pattern = compiled(self.pattern)
        values: list[tuple[int, int, Show]] = []
        begun = None if final else self.beginning(text, at)
        while True:
            candidate = pattern.search(text, at)
            if candidate is None:
                break
            start, end = candidate.span()
            if begun is not None and start >= begun:
                break
            length = self.check(text[start:end])
            if length:
                values.append((start, start + length, show))
                at = start + length
                if begun is not None and begun < at:
                    begun = self.beginning(text, at)
            else:
                at = start + 1
        return Looked(values, begun, 0 if begun is None else begun + self.free(text[begun:]))


@frozen
class Run:
    """Values without a bound, as tokens are: a prefix that nothing else has, and all that follows of one kind.

    @ivar pattern: the prefixes.
    @ivar begins: as in L{Short}; nothing bounds it but L{VALUE_MAX}.
    @ivar exact: what is a value, from its prefix on.
    @ivar bodies: each prefix with what may follow it.
    """

    pattern: bytes
    begins: bytes
    exact: bytes
    bodies: dict[bytes, bytes]
    shown: int = 4

    def beginning(self, text: bytes, at: int) -> int | None:
        begun = compiled(self.begins).search(text, at)
        return None if begun is None else begun.start()

    def look(self, text: bytes, at: int, final: bool, show: Show) -> Looked:
        values: list[tuple[int, int, Show]] = []
        begun = None if final else self.beginning(text, at)
        opening, exact = compiled(self.pattern), compiled(self.exact)
        while True:
            opened = opening.search(text, at)
            if opened is None or (begun is not None and opened.start() > begun):
                break
            start = opened.start()
            body = compiled(self.bodies[opened.group()])
            end = body.match(text, opened.end()).end()
            if end - start > VALUE_MAX:
                values.append((start, end, _full))
                if end == len(text) and not final:
                    return Looked(values, None, 0, body)
                at = end
            elif end == len(text) and not final:
                break
            else:
                found = exact.match(text, start)
                if found is not None:
                    values.append((start, found.end(), show))
                at = start + 1 if found is None else found.end()
            if begun is not None and begun < at:
                begun = self.beginning(text, at)
        return Looked(values, begun, 0 if begun is None else min(len(text), begun + self.shown))


def _full(value: bytes) -> bytes:
    return FULL


@frozen
class Opening:
    """The first line of a private key (RFC 7468; OpenPGP's too), behind which L{Block} goes on."""

    pattern: bytes = rb"-----BEGIN [A-Z0-9 ]{0,60}PRIVATE KEY(?: BLOCK)?-----"
    begins: bytes = rb"-(?:-(?:-(?:-(?:-(?:B(?:E(?:G(?:I(?:N(?: [A-Z0-9 ]{0,80}-{0,4})?)?)?)?)?)?)?)?)?)?\z"
    window: int = 100

    def beginning(self, text: bytes, at: int) -> int | None:
        begun = compiled(self.begins).search(text, max(at, len(text) - self.window))
        return None if begun is None else begun.start()

    def look(self, text: bytes, at: int, final: bool, show: Show) -> Looked:
        found = compiled(self.pattern).search(text, at)
        if found is not None:
            return Looked([(found.start(), found.end(), _full)], None, 0, Block)
        begun = None if final else self.beginning(text, at)
        # this line tells nobody anything
        return Looked([], begun, len(text))


def _begins(*atoms: bytes) -> bytes:
    """The pattern of every beginning of C{atoms} in a row, at the end of a text."""
    nested = b""
    for atom in reversed(atoms[1:]):
        nested = b"(?:" + atom + nested + b")?"
    return atoms[0] + nested + rb"\z"


def _times(count: int, *atoms: bytes) -> tuple[bytes, ...]:
    return atoms * count


def _always(count: int) -> Callable[[bytes], int]:
    return lambda beginning: min(count, len(beginning))


def _first(spans: Callable[[bytes], list[Span]]) -> Callable[[bytes], int]:
    """What a detector's own check says of a candidate that it would take from its beginning."""

    def check(candidate: bytes) -> int:
        found = spans(candidate)
        return found[0][1] if found and found[0][0] == 0 else 0

    return check


def _whole(candidate: bytes) -> int:
    return len(candidate)


def _card(candidate: bytes) -> int:
    """Groups of digits from the first on: the longest row of whole groups that is a card's number."""
    best = count = 0
    # sums of the Luhn digit for rows of an even and of an odd length (ISO/IEC 7812-1, annex B)
    even = odd = 0
    last = len(candidate) - 1
    for at, octet in enumerate(candidate):
        if octet < 48:
            continue
        digit = octet - 48
        doubled = _DOUBLED[digit]
        if count % 2:
            even, odd = even + digit, odd + doubled
        else:
            even, odd = even + doubled, odd + digit
        count += 1
        if count > 12 and (odd if count % 2 else even) % 10 == 0 and (at == last or candidate[at + 1] < 48):
            best = at + 1
    # 2222 … 2222 is no card, though its digit may fit
    return best if best and len(set(candidate[:best]) - _SEPARATORS) > 1 else 0


_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
_SEPARATORS = frozenset(b" -")


def _address(candidate: bytes) -> int:
    found = compiled(rb"(?:" + DETECTORS["email"].pattern + rb")").match(candidate)
    return 0 if found is None else int(found.end())


def _name(beginning: bytes) -> int:
    """Of an address the name, which is none without its domain."""
    at = beginning.find(b"@")
    return len(beginning) if at < 0 else at


_LOCAL = rb"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~\x80-\xff-]{1,64}"
_DOMAIN = rb"[A-Za-z0-9\x80-\xff.-]"
_BETWEEN = rb"[ ().\-/]{0,2}"


def _short(name: str, shown: int, *atoms: bytes, pattern: bytes = b"") -> Short:
    own = DETECTORS[name]
    check = _whole if own.spans is None else _first(own.spans)
    # each atom is two octets at most
    return Short(pattern or own.pattern, _begins(*atoms), 2 * len(atoms), check, _always(shown))


@lru_cache(maxsize=4096)
def _valid(spans: Callable[[bytes], list[Span]], candidate: bytes) -> bool:
    # 20 to 50 µs each, and the same numbers come again and again
    return bool(spans(candidate))


def _phone(spans: Callable[[bytes], list[Span]]) -> Callable[[bytes], int]:
    """Other numbers may stand behind a number: each row of whole groups from the first on is tried, long ones first."""

    def check(candidate: bytes) -> int:
        last = len(candidate) - 1
        ends = [
            n + 1
            for n, octet in enumerate(candidate)
            if 48 <= octet <= 57 and (n == last or not 48 <= candidate[n + 1] <= 57)
        ]
        return next((end for end in reversed(ends) if end > 6 and _valid(spans, candidate[:end])), 0)

    return check


def _phones(check: Callable[[bytes], list[Span]], national: bool) -> Short:
    pattern = DETECTORS["phone"].pattern
    begins = _begins(rb"\+", _D, *_times(14, _BETWEEN, _D), _BETWEEN)
    if national:
        pattern = rb"(?:\b[0-9]|\([0-9])(?:[ ().\-/]{0,2}[0-9]){5,14}|" + pattern
        begins = _begins(rb"\(", _D, *_times(14, _BETWEEN, _D), _BETWEEN) + b"|" + begins
        begins += b"|" + _begins(rb"\b[0-9]", *_times(14, _BETWEEN, _D), _BETWEEN)
    return Short(pattern, begins, 64, _phone(check), _always(3))


#: what L{DETECTORS} knows tokens by; none of these octets means anything to RE2
_PREFIXES = (
    b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"github_pat_", b"glpat-", *(b"xox%c-" % each for each in b"abeoprs"),
    b"AIza", b"rk_live_", b"sk_live_", b"sk-", b"npm_", b"pypi-",
)  # fmt: skip
_TOKENS = {b"eyJ": rb"[A-Za-z0-9_.-]*", **dict.fromkeys(_PREFIXES, rb"[A-Za-z0-9_-]*")}


def _tokens() -> Run:
    begins = b"|".join(
        _begins(rb"\b" + prefix[:1], *(bytes([octet]) for octet in prefix[1:]), body)
        for prefix, body in _TOKENS.items()
    )
    return Run(rb"\b(?:" + b"|".join(_TOKENS) + rb")", begins, DETECTORS["token"].pattern, _TOKENS)


_KEYS = (
    Short(
        rb"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
        _begins(rb"\bA", rb"[KS]", b"I", b"A", *_times(16, _AN)),
        24,
        _whole,
        _always(4),
    ),
    Opening(),
)

_SEP = rb"[- ]"
FINDERS: dict[str, tuple[Finder, ...]] = {
    "card": (
        Short(
            rb"\b[2-6](?:[ -]?[0-9]){12,18}\b",
            _begins(rb"\b[2-6]", *_times(18, rb"[ -]?", _D), rb"[ -]?"),
            40,
            _card,
            _always(6),
        ),
    ),
    "iban": (
        _short("iban", 4, rb"(?i)\b[A-Z]", rb"[A-Z]", _D, _D, *_times(30, rb" ?", _AN), rb" ?"),
    ),
    "email": (
        Short(
            _LOCAL + rb"@[A-Za-z0-9\x80-\xff]" + _DOMAIN + rb"{0,250}",
            _LOCAL + rb"(?:@(?:[A-Za-z0-9\x80-\xff]" + _DOMAIN + rb"{0,250})?)?\z",
            320,
            _address,
            _name,
        ),
    ),
    "phone": (_phones(DETECTORS["phone"].spans or (lambda _: []), False),),
    "us-ssn": (_short("us-ssn", 3, rb"\b[0-9]", _D, _D, _SEP, _D, _D, _SEP, _D, _D, _D, _D),),
    "gb-nino": (
        _short(
            "gb-nino", 2, rb"(?i)\b[A-CEGHJ-PR-TW-Z]", rb"[A-CEGHJ-NPR-TW-Z]", *_times(3, rb" ?", _D, _D), rb" ?", rb"[A-D]"
        ),
    ),
    "es-dni": (_short("es-dni", 2, rb"(?i)\b[0-9]", *_times(7, _D), rb"-?", rb"[A-HJ-NP-TV-Z]"),),
    "fr-nir": (_short("fr-nir", 3, rb"\b[12]", *_times(14, rb" ?", _D)),),
    "no-fnr": (_short("no-fnr", 3, rb"\b[0-9]", *_times(5, _D), rb" ?", *_times(5, _D)),),
    "br-cpf": (
        _short("br-cpf", 3, rb"\b[0-9]", _D, _D, rb"\.?", _D, _D, _D, rb"\.?", _D, _D, _D, rb"-?", _D, _D),
    ),
    "token": (_tokens(),),
    "key": _KEYS,
}  # fmt: skip


@lru_cache(maxsize=64)
def _finders(name: str) -> tuple[Finder, ...]:
    if name.startswith("phone:"):
        return (_phones(detectors.phones(name[6:]), True),)
    return FINDERS[name]


class Finders:
    """What is looked for in a stream.

    @param wanted: names of detectors, and how what each finds is shown.
    """

    def __init__(self, wanted: Sequence[tuple[str, Show]]) -> None:
        self.all: list[tuple[Finder, Show]] = [(finder, show) for name, show in wanted for finder in _finders(name)]
        self._any = compiled(_either(finder.pattern for finder, _ in self.all))
        self._begins = compiled(_either(finder.begins for finder, _ in self.all))

    def nothing(self, text: bytes) -> bool:
        """Whether there is no value in C{text}, nor the beginning of one at its end: so it is with most."""
        return self._any.search(text) is None and self._begins.search(text, max(0, len(text) - VALUE_MAX - 1)) is None


def _either(patterns: Iterable[bytes]) -> bytes:
    return b"|".join(b"(?:" + each + b")" for each in patterns)
