"""What the ledger says of recordings: which were opened, which ranges are sealed, which are closed; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import Factory, define, frozen

from hoopd.audit.leaves import Leaf

#: what the names of recordings end in
SUFFIX = ".hoopd-rec"


@frozen
class Segment:
    """One sealed range of a recording's bytes: C{length} of them from C{offset}, frames C{first} to C{last}."""

    number: int
    offset: int
    length: int
    first: int
    last: int
    sha256: str

    @property
    def end(self) -> int:
        return self.offset + self.length

    def fields(self, session: str) -> dict[str, Any]:
        """The fields of its leaf."""
        return {
            "session": session,
            "number": self.number,
            "offset": self.offset,
            "length": self.length,
            "first": self.first,
            "last": self.last,
            "sha256": self.sha256,
        }


@define
class Sealed:
    """One recording, as its leaves tell it.

    @ivar path: below the directory of recordings.
    @ivar closed: the fields of its C{session-closed} leaf, or None.
    @ivar tampered: what C{tamper} leaves said.
    """

    session: str
    path: str
    opened_at: float
    segments: list[Segment] = Factory(list)
    closed: Mapping[str, Any] | None = None
    tampered: list[str] = Factory(list)

    @property
    def end(self) -> int:
        """How many bytes are sealed."""
        return self.segments[-1].end if self.segments else 0


def fold(leaves: Iterable[Leaf]) -> tuple[dict[str, Sealed], list[str]]:
    """@return: recordings by session, and what does not fit together, as sentences."""
    recordings: dict[str, Sealed] = {}
    problems: list[str] = []
    for leaf in leaves:
        if leaf.kind == "session-opened":
            session = str(leaf.fields["session"])
            if session in recordings:
                problems.append(f"leaf {leaf.index} opens session {session} a second time")
                continue
            recordings[session] = Sealed(session, str(leaf.fields["path"]), leaf.at)
        elif leaf.kind in ("segment", "session-closed", "tamper"):
            found = recordings.get(str(leaf.fields["session"]))
            if found is None:
                problems.append(f"leaf {leaf.index} is of a session that was never opened: {leaf.fields['session']}")
            else:
                _take(found, leaf, problems)
    return recordings, problems


def _take(found: Sealed, leaf: Leaf, problems: list[str]) -> None:
    fields = leaf.fields
    if leaf.kind == "tamper":
        found.tampered.append(f"{fields.get('what')} at byte {fields.get('offset')}: {fields.get('detail')}")
        return
    if found.closed is not None:
        problems.append(f"leaf {leaf.index} seals session {found.session}, which was closed before")
        return
    if leaf.kind == "session-closed":
        found.closed = dict(fields)
        return
    segment = Segment(
        int(fields["number"]),
        int(fields["offset"]),
        int(fields["length"]),
        int(fields["first"]),
        int(fields["last"]),
        str(fields["sha256"]),
    )
    if segment.offset != found.end or segment.number != len(found.segments):
        problems.append(
            f"leaf {leaf.index} seals session {found.session} from byte {segment.offset} as segment {segment.number}; "
            f"byte {found.end} and segment {len(found.segments)} come next"
        )
        return
    found.segments.append(segment)
