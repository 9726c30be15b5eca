"""Masks that keep a column's type: text gets the masked text, every other type NULL, so that drivers can decode it.

Type oids are PostgreSQL's own, fixed in pg_type.dat. The binary form of the text types is their text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hoopd.masking.detectors import FULL, Scanner
from hoopd.masking.redactors import full, last4, nothing
from hoopd.values import Mask

#: text, varchar, bpchar, name, "char", unknown (a literal's type), citext has no fixed oid and becomes NULL
TEXT_TYPES = frozenset({25, 1043, 1042, 19, 705})

_XML = 142

#: masks that cannot raise, and that rows are cut for without a call for each value (L{hoopd.protocols.postgres.cutting})
_TOTAL = (full, last4, nothing)


def column_masker(masker: Any, mask: Mask, type_oid: int, format: int) -> Callable[[bytes], bytes | None]:
    """
    @type masker: L{hoopd.masking.redactors.Redactors}
    @param format: 0 text, 1 binary
    @return: function from a value (not NULL) to what is sent, None for NULL; it does not raise
    """
    if type_oid not in TEXT_TYPES or format not in (0, 1):
        return nothing
    function: Callable[[bytes], bytes | None] = masker.function(mask)
    if function in _TOTAL:
        return function

    def masked(value: bytes) -> bytes | None:
        try:
            return function(value)
        except Exception:
            return FULL  # masking never fails open

    return masked


#: documents: what is put in must leave them documents
_JSON = frozenset({114, 3802})
_JSONB = 3802
#: numbers, dates, addresses and their like, fixed in size and form: no free text fits into them
_PLAIN = frozenset(
    {16, 20, 21, 23, 24, 26, 27, 28, 29, 650, 700, 701, 790, 829, 774, 869, 1082, 1083, 1114, 1184, 1186, 1266, 1700, 2205,
     2206, 2950, 3220, 600, 601, 602, 603, 604, 628, 718, 1560, 1562}
)  # fmt: skip
#: arrays of text, in whose text form values stand as they are
_TEXT_ARRAYS = frozenset({1002, 1003, 1009, 1014, 1015})


def text_scanner(scanner: Scanner, type_oid: int, format: int) -> Callable[[bytes], bytes | None] | None:
    """What takes found values out of a column's texts, or None where there is no text in it.

    Of types whose form is not known here (composites, binary arrays) NULL is shown where something is found.
    """
    if type_oid in _PLAIN:
        return None
    if type_oid in _JSON:
        return _jsonb(scanner) if type_oid == _JSONB and format == 1 else scanner.json
    if type_oid in TEXT_TYPES or type_oid == _XML or (type_oid in _TEXT_ARRAYS and format == 0):
        return scanner
    return scanner.whole


def _jsonb(scanner: Scanner) -> Callable[[bytes], bytes | None]:
    def scanned(value: bytes) -> bytes | None:
        # a version byte stands before the text
        shown = scanner.json(value[1:])
        return None if shown is None else value[:1] + shown

    return scanned


def mask_value(masker: Any, mask: Mask, value: bytes | None, type_oid: int, format: int) -> bytes | None:
    """One value; None stays None."""
    return None if value is None else column_masker(masker, mask, type_oid, format)(value)
