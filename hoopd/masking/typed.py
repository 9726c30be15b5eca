"""Masks that keep a column's type: text gets the masked text, every other type NULL, so that drivers can decode it.

Type oids are PostgreSQL's own, fixed in pg_type.dat. The binary form of the text types is their text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hoopd.masking.redactors import FULL, full, last4, nothing
from hoopd.values import Mask

#: text, varchar, bpchar, name, "char", unknown (a literal's type), citext has no fixed oid and becomes NULL
TEXT_TYPES = frozenset({25, 1043, 1042, 19, 705})

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


def mask_value(masker: Any, mask: Mask, value: bytes | None, type_oid: int, format: int) -> bytes | None:
    """One value; None stays None."""
    return None if value is None else column_masker(masker, mask, type_oid, format)(value)
