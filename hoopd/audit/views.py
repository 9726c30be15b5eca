"""Who looked at the record: written before they see it, and found again in the ledger; broker only.

Not who may look (L{hoopd.administration}). There is no index beside the ledger that could say otherwise: finding reads it.
"""

from __future__ import annotations

import mmap
import os
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.threads import deferToThread

from hoopd.audit.durable import InThread
from hoopd.audit.leaves import ENTRIES, MAGIC, Leaf, decode_leaf, parse_entry

#: more than a person reads; who wants them all asks for a shorter time
FOUND_MAX = 1000
#: what was looked at lately, for the pages of one recording and for lists that programs ask for again and again
REMEMBERED = 4096
#: characters of one argument of a question that stand in its leaf
TEXT_MAX = 500


def scan(path: str | os.PathLike[str], kinds: Collection[str]) -> Iterator[Leaf]:
    """Leaves of C{kinds}, oldest first; blocking, in memory of one leaf however long the ledger is.

    @raise hoopd.audit.leaves.LedgerError: the file is damaged before its end.
    """
    needles = [f'"kind":"{kind}"'.encode() for kind in kinds]
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size <= len(MAGIC):
            return
        # the file only grows: what is appended meanwhile is beyond this map
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content, memoryview(content) as view:
            at, index = len(MAGIC), 0
            while (entry := parse_entry(view, at, index)) is not None:
                leaf, at = entry
                if any(needle in leaf for needle in needles):
                    found = decode_leaf(index, leaf)
                    # the words may stand in a field as well
                    if found.kind in kinds:
                        yield found
                index += 1


class Views:
    """
    @param ledger: L{hoopd.audit.ledger.Ledger}.
    @param clock: IReactorTime.
    @param event: takes an event's name and fields.
    """

    def __init__(
        self,
        ledger: Any,
        clock: Any,
        event: Callable[[str, dict[str, Any]], None],
        in_thread: InThread = deferToThread,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._event = event
        self._in_thread = in_thread
        self._lately: OrderedDict[tuple[str, str, str], float] = OrderedDict()
        self._one = DeferredLock()

    async def record(self, by: str, verb: str, subject: str, detail: Mapping[str, Any], quiet: float = 0.0) -> None:
        """Somebody is about to be shown something.

        @param quiet: seconds in which the same look of the same person is not recorded again.
        @raise hoopd.errors.RecordError: it cannot be recorded; it must not be shown.
        """
        shown = {name: _short(value) for name, value in detail.items() if value is not None}
        asked = repr(sorted((name, value) for name, value in shown.items() if name not in ("offset", "found")))
        key = (by, f"{verb} {asked}", subject)
        now = self._clock.seconds()
        if quiet and now - self._lately.get(key, float("-inf")) < quiet:
            return
        fields = {"by": by, "verb": verb, "subject": subject, "detail": shown}
        await self._ledger.append("viewed", fields)
        self._event("audit.viewed", dict(fields))
        self._lately[key] = now
        self._lately.move_to_end(key)
        if len(self._lately) > REMEMBERED:
            self._lately.popitem(last=False)

    def find(
        self,
        by: str | None = None,
        subject: str | None = None,
        since: float | None = None,
        until: float | None = None,
    ) -> Deferred[list[dict[str, Any]]]:
        """Looks that fit all that is given, newest first, L{FOUND_MAX} at most.

        @param since, until: seconds since the epoch.
        @return: Deferred of a list of mappings: index, at, by, verb, subject, detail.
        """

        def fits(leaf: Leaf) -> bool:
            return (
                (by is None or leaf.fields.get("by") == by)
                and (subject is None or leaf.fields.get("subject") == subject)
                and (since is None or leaf.at >= since)
                and (until is None or leaf.at < until)
            )

        def work() -> list[dict[str, Any]]:
            newest = deque(
                (each for each in scan(self._ledger.directory / ENTRIES, ("viewed",)) if fits(each)), FOUND_MAX
            )
            return [{"index": leaf.index, "at": leaf.at, **leaf.fields} for leaf in reversed(newest)]

        # one at a time: it reads the whole ledger, and somebody may ask for it in a loop
        return self._one.run(self._in_thread, work)


def _short(value: Any) -> Any:
    return f"{value[:TEXT_MAX]}…" if isinstance(value, str) and len(value) > TEXT_MAX else value
