"""Sealing to two officers, one inside the other, in the age format (age-encryption.org/v1); no keys kept, no storage.

The inner file is the second officer's, the outer the first's: both must decrypt, each on a machine of their own, with
stock tools, and only the second ever sees the contents. Not a threshold of many: docs/decisions/0011-emergency-exports.md.
"""

from __future__ import annotations

import pyrage

#: what age itself writes at the head of a file that may be pasted
ARMOR = "-----BEGIN AGE ENCRYPTED FILE-----"


def valid_recipient(text: str) -> str:
    """@return: an X25519 recipient as age prints it, C{age1…}. @raise ValueError: it is none."""
    plain = text.strip()
    if plain.upper().startswith("AGE-SECRET-KEY-"):
        # never shown again: it would lie in logs and shell histories for longer
        raise ValueError(
            "that is a secret key, and somebody may have read it now: make another, and give what begins age1"
        )
    try:
        return str(pyrage.x25519.Recipient.from_str(plain))
    except pyrage.RecipientError:
        raise ValueError("that is no age recipient: age-keygen prints one, which begins age1") from None


def seal(contents: bytes, first: str, second: str) -> str:
    """
    @param contents: what C{second} shall read. @param first: recipient who must open the outer file.
    @return: an armored age file.
    @raise ValueError: both are one, or one cannot be sealed to.
    """
    outer, inner = valid_recipient(first), valid_recipient(second)
    if outer == inner:
        raise ValueError("two officers with one key are one officer")
    try:
        kept = _sealed(contents, inner)
        return _sealed(kept, outer).decode("ascii")
    except pyrage.EncryptError as error:
        raise ValueError(f"it cannot be sealed to these keys: {error}") from None


def _sealed(contents: bytes, recipient: str) -> bytes:
    return pyrage.encrypt(contents, [pyrage.x25519.Recipient.from_str(recipient)], armored=True)
