"""The form of a recovery code: C{HRC-} and five groups of five, to be read aloud and typed at night; pure.

Crockford's base 32 (no I, L, O, U; they are read as 1, 1, 0): 24 random letters, 120 bits, and a check letter (Luhn
mod 32) that finds any one wrong letter and nearly every exchange of neighbours before a code is sent anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
PREFIX = "HRC"
#: random letters; the check letter comes behind them
LETTERS = 24
_SHAPE = re.compile(rf"{PREFIX}[0-9A-Z]{{{LETTERS + 1}}}")
_READ = str.maketrans("OIL", "011")


def check_letter(letters: str) -> str:
    """@param letters: of L{ALPHABET}."""
    total = 0
    for place, letter in enumerate(reversed(letters)):
        value = ALPHABET.index(letter) * (2 if place % 2 == 0 else 1)
        total += value // 32 + value % 32
    return ALPHABET[-total % 32]


def make(entropy: Callable[[int], bytes]) -> str:
    """@return: a fresh code as it is shown. @param entropy: gives cryptographically random bytes"""
    letters = "".join(ALPHABET[byte % 32] for byte in entropy(LETTERS))
    return shown(letters + check_letter(letters))


def shown(letters: str) -> str:
    """C{letters} in groups of five."""
    return "-".join((PREFIX, *(letters[at : at + 5] for at in range(0, len(letters), 5))))


def _plain(secret: bytes) -> str:
    try:
        text = secret.decode("ascii").upper()
    except UnicodeDecodeError:
        return ""
    return re.sub(r"[-\s]", "", text)


def shaped(secret: bytes) -> bool:
    """Whether C{secret} means to be a recovery code, mistyped or not."""
    return _SHAPE.fullmatch(_plain(secret)) is not None


def parse(secret: bytes) -> str | None:
    """@return: the code as it is digested, however it was typed; None if it is mistyped."""
    plain = _plain(secret)
    if _SHAPE.fullmatch(plain) is None:
        return None
    letters = plain[len(PREFIX) :].translate(_READ)
    if any(letter not in ALPHABET for letter in letters) or check_letter(letters[:-1]) != letters[-1]:
        return None
    return shown(letters)
