"""The five ways to show a masked value, on text; pure, total: whatever cannot be treated is replaced wholly.

C{full} C{****}. C{last4} the last four characters, if that is at most a third of the value. C{partial} the first
character of the local part and the domain of an e-mail address, else the first character. C{hash} 16 hexadecimal digits
of HMAC-SHA-256 (RFC 2104) under the installation's key: equal values look equal, here and nowhere else. C{null} is NULL.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

from zope.interface import implementer

from hoopd.interfaces import IMasker
from hoopd.masking.detectors import FULL, Scanner, Show
from hoopd.masking.finders import Finders
from hoopd.values import Mask

#: sets of detectors that are kept ready: a policy has few
SCANNERS_MAX = 64
#: four characters of twelve are a third: of less they would tell too much
LAST4_MINIMUM = 12

_MOST_FIRST = ("null", "full", "hash", "partial", "last4")


def full(value: bytes) -> bytes:
    return FULL


def last4(value: bytes) -> bytes:
    if len(value) < LAST4_MINIMUM:
        return FULL
    tail = value[-4:]
    if tail.isascii():
        return FULL + tail
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return FULL
    return FULL + text[-4:].encode() if len(text) >= LAST4_MINIMUM else FULL


def partial(value: bytes) -> bytes:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return FULL
    local, at, domain = text.rpartition("@")
    if at and local and domain:
        return f"{local[0]}***@{domain}".encode() if len(local) > 2 else f"***@{domain}".encode()
    return (text[0] + "***").encode() if len(text) > 3 else FULL


@implementer(IMasker)
class Redactors:
    """
    @param hash_key: the installation's key for C{hash}, at least 16 bytes
    """

    def __init__(self, hash_key: bytes) -> None:
        if len(hash_key) < 16:
            raise ValueError("the mask key must have at least 16 bytes")
        self._hash = hmac.new(hash_key, digestmod=hashlib.sha256)
        self._scanners: dict[tuple[Mask, ...], Scanner] = {}
        self._finders: dict[tuple[Mask, ...], Finders] = {}

    def hashed(self, value: bytes) -> bytes:
        state = self._hash.copy()
        state.update(value)
        return state.hexdigest()[:16].encode()

    def function(self, mask: Mask) -> Callable[[bytes], bytes | None]:
        """The function from value to shown value; a word that we do not know hides everything."""
        if mask.show == "last4":
            return last4
        if mask.show == "partial":
            return partial
        if mask.show == "hash":
            return self.hashed
        if mask.show == "null":
            return nothing
        return full

    def scanner(self, masks: tuple[Mask, ...]) -> Scanner:
        """See L{hoopd.interfaces.IMasker.scanner}."""
        if masks not in self._scanners:
            if len(self._scanners) >= SCANNERS_MAX:
                self._scanners.clear()
            self._scanners[masks] = Scanner(self._wanted(masks))
        return self._scanners[masks]

    def finders(self, masks: tuple[Mask, ...]) -> Finders:
        """See L{hoopd.interfaces.IMasker.finders}."""
        if masks not in self._finders:
            if len(self._finders) >= SCANNERS_MAX:
                self._finders.clear()
            self._finders[masks] = Finders(self._wanted(masks))
        return self._finders[masks]

    def _wanted(self, masks: tuple[Mask, ...]) -> list[tuple[str, Show]]:
        # what hides most comes first: it is shown where several find the same
        strict = sorted(masks, key=lambda mask: _MOST_FIRST.index(mask.show))
        return [(name, self.function(mask)) for mask in strict for name in mask.detect]

    def redact(self, mask: Mask, value: bytes) -> bytes | None:
        """See L{hoopd.interfaces.IMasker.redact}."""
        try:
            return self.function(mask)(value)
        except Exception:
            return FULL  # masking never fails open


def nothing(value: bytes) -> None:
    return None
