"""What stands in a statement for its tree, where that is in another process (L{hoopd.sql.reading})."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from hoopd.sql.grammar import Node
from hoopd.values import Mask


@frozen
class Known:
    """What the tree of a statement is wanted for, worked out for sets of masks.

    @ivar plans: L{hoopd.sql.lineage.OutputPlan} of each.
    @ivar sensitive: whether literals and parameters may be secrets.
    @ivar writing: see L{hoopd.sql.counting.writing}. @ivar foreign_type: see L{hoopd.sql.estimates.foreign_type}.
    """

    plans: Mapping[tuple[Mask, ...], Any]
    sensitive: Mapping[tuple[Mask, ...], bool]
    writing: tuple[str, ...] = ()
    foreign_type: str | None = ""


class _Unread(dict[str, Any]):
    """In place of a tree that is in another process: whoever reads it has taken it for an empty one."""

    def _refuse(self, *_: object) -> Any:
        raise AssertionError("the tree of a large statement is not in this process")

    __getitem__ = __iter__ = __contains__ = __len__ = get = items = keys = values = _refuse

    def __reduce__(self) -> Any:
        return "UNREAD"


UNREAD: Node = _Unread()
