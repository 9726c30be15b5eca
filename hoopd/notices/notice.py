"""What is told: one notice, whatever it is about; not to whom (L{hoopd.notices.service}) or in which format; pure.

A notice carries nothing that the log may not: statements redacted, parameters masked. Its hidden characters are made
visible when it is made, and what does not fit is counted and said.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from attrs import field, frozen

from hoopd.audit.events import UnknownName
from hoopd.display import visible

#: kind to what has happened; a channel's C{events} chooses among them
KINDS: Mapping[str, str] = MappingProxyType(
    {
        "approval.held": "an operation waits for approval",
        "approval.voted": "somebody agreed, and more people must",
        "approval.approved": "an operation was approved",
        "approval.denied": "an operation was denied",
        "approval.expired": "nobody decided, or nobody ran it, in time",
        "approval.ended": "a time or session for which operations were approved is over",
        "approval.withdrawn": "the request was withdrawn, or its approval does not stand any more",
        "approval.executed": "an approved operation was executed",
        "approval.failed": "an approved operation was run and failed",
        "approval.unknown": "an approved operation was begun and its outcome is not known",
        "break-glass.opened": "somebody uses break glass",
        "break-glass.used": "an operation passed under break glass that would not have passed without",
        "break-glass.closed": "the use of break glass is over",
        "break-glass.review": "a use of break glass must be reviewed",
        "break-glass.reviewed": "a use of break glass was reviewed",
        "break-glass.overdue": "a use of break glass was not reviewed in time: the right has lapsed",
        "policy.changed": "another policy is in force",
        "policy.refused": "a policy was refused",
        "emergency.export": "a target's credential was exported for an emergency, used so, or rotated afterwards",
        "emergency.key": "an officer registered a key for emergency exports",
        "emergency.recovery": "recovery codes were made, confirmed or made void, or one was used",
        "notify.test": "a test of the channel",
    }
)

#: a statement may have 1 MiB; people read screens, and every receiver has a limit of its own
TEXT_MAX = 32 * 1024
#: of one field and of the title
FIELD_MAX = 2000
#: values of one field that is a list
LIST_MAX = 50

Value = str | int | float | bool | list[str] | None


@frozen
class Notice:
    """Made by L{notice}.

    @ivar kind: a key of L{KINDS}.
    @ivar subject: id of what it is about, such as C{A-7KQ2M9}.
    @ivar revision: with kind and subject what makes the notice one: told once a channel, however often it is posted.
    @ivar fields: in the order in which they are shown. Names are C{words_like_this}; one that ends in C{_at} is a time.
    @ivar text: shown whole, as code. @ivar left_out: how many characters of it are not here.
    @ivar act: commands by which people act on it.
    """

    kind: str
    subject: str
    title: str
    at: float
    fields: Mapping[str, Value] = field(factory=dict, hash=False)
    text: str = ""
    left_out: int = 0
    act: tuple[str, ...] = ()
    revision: int = 0


def notice(
    kind: str,
    subject: str,
    title: str,
    at: float,
    fields: Mapping[str, Any] | None = None,
    text: str = "",
    act: tuple[str, ...] = (),
    revision: int = 0,
) -> Notice:
    """A notice that may be shown: nothing hidden in it, nothing left out without saying so.

    @param at: when it happened, epoch seconds.
    @param fields: values are text, numbers, booleans, None (left out), or sequences of text.
    @param text: redacted already.
    @raise UnknownName: C{kind} is not in L{KINDS}.
    """
    if kind not in KINDS:
        raise UnknownName(f"no notice is called {kind!r}")
    shown = {name: _value(value) for name, value in (fields or {}).items() if value is not None}
    whole = visible(text, keep="\n\t")
    return Notice(
        kind,
        visible(subject),
        cut(visible(title), FIELD_MAX),
        at,
        shown,
        whole[:TEXT_MAX],
        max(0, len(whole) - TEXT_MAX),
        tuple(visible(each) for each in act),
        revision,
    )


def _value(value: Any) -> Value:
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return cut(visible(value), FIELD_MAX)
    words = [cut(visible(str(each)), FIELD_MAX) for each in value]
    return words if len(words) <= LIST_MAX else [*words[:LIST_MAX], f"… and {len(words) - LIST_MAX} more"]


def cut(text: str, most: int) -> str:
    """C{text}, or its beginning and how much more there is."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most} more characters)"
