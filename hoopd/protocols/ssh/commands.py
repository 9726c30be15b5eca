"""What can be typed behind C{ssh gateway}: deciding on what waits; words in, verb and arguments out, answer in, text out; pure.

For people who hold a phone and a terminal, and no hoopctl. Duties are the broker's to check, as ever.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from hoopd.approvals import words
from hoopd.display import utc, visible

#: rows are counted in 64 bits
_NUMBER = re.compile(r"[0-9]{1,18}")

HELP = """\
approvals            what waits for approval
show ID              one request: who, where, what exactly, why
approve ID [--max-rows N] REASON…
                     say yes, to N rows at most where the request is one about rows
deny ID REASON…      say no
whoami               who you are here
Sessions at targets: ssh TARGET@gateway, or ssh -J gateway TARGET."""


@frozen
class Asked:
    """A command of the gateway's. @ivar verb: empty where it is answered without asking"""

    verb: str
    arguments: Mapping[str, Any] = {}
    text: str = ""
    status: int = 0


def asked(line: Sequence[str]) -> Asked:
    """@param line: the command, at least one word"""
    name, *rest = line
    if name == "approvals" and not rest:
        return Asked("approvals.list", {"state": "pending"})
    if name == "whoami" and not rest:
        return Asked("whoami")
    if name == "show" and len(rest) == 1:
        return Asked("approvals.show", {"id": rest[0]})
    if name in ("approve", "deny") and rest:
        return _decision(name, rest[0], rest[1:])
    if name == "help":
        return Asked("", text=HELP)
    return Asked(
        "", text=f"hoopd: and {visible(name)} is no command of the gateway itself; help lists those", status=127
    )


def _decision(name: str, id: str, rest: Sequence[str]) -> Asked:
    """@param rest: the option that hoopctl has as well, and the reason behind it"""
    rows: dict[str, int] = {}
    if name == "approve" and rest and rest[0].partition("=")[0] == "--max-rows":
        word, equals, number = rest[0].partition("=")
        if not equals:
            number, rest = (rest[1], rest[1:]) if len(rest) > 1 else ("", rest)
        if not _NUMBER.fullmatch(number):
            return Asked("", text=f"hoopd: {word} takes a number of rows, not {visible(number) or 'nothing'}", status=2)
        rows, rest = {"max_rows": int(number)}, rest[1:]
    if not rest or not " ".join(rest).strip():
        return Asked("", text=f"hoopd: a reason is missing: {name} {visible(id)} REASON", status=2)
    return Asked(f"approvals.{name}", {"id": id, "reason": " ".join(rest), **rows})


def told(verb: str, answer: Any) -> str:
    """The answer as lines for a terminal."""
    if verb == "whoami":
        return f"{answer['name']}: {', '.join(answer['duties'])}"
    if verb == "approvals.list":
        return "\n".join(map(_line, answer)) or "nothing waits for approval"
    if verb == "approvals.show":
        return _whole(answer)
    return f"{answer['id']} is {answer['state']}" + (
        f": {len([vote for vote in answer['votes'] if vote['approve']])} said yes, more must"
        if verb == "approvals.approve" and answer["state"] == "pending"
        else ""
    )


def _line(one: Mapping[str, Any]) -> str:
    first, newline, _ = one["redacted"].partition("\n")
    cut = first if len(first) <= 60 and not newline else f"{first[:60]}… (hoopd: show {one['id']})"
    return visible(f"{one['id']}  {one['requester']}  {one['target']}  {cut}")


def _whole(one: Mapping[str, Any]) -> str:
    behalf = f" on behalf of {one['act']}" if one["act"] else ""
    lines = [
        f"{one['id']}: {one['state']}, until {utc(one['deadline'])}",
        f"requester  {one['requester']}{behalf}",
        f"reason     {one['reason'] or '(none given)'}",
        f"target     {one['target']}",
        f"does       {', '.join(one['classes'])}",
        *(f"rows       {each}" for each in (words.rows(one),) if each),
        *(f"mind       {each}" for each in words.warnings(one)),
        *(f"held by    {terms['rule']}: {', '.join(terms['by'])}" for terms in one["holds"]),
        "",
        # whole, with every invisible character written out: what is read is what is approved
        *(f"  | {line}" for line in one["redacted"].split("\n")),
    ]
    return "\n".join(visible(line, keep="\t") for line in lines)
