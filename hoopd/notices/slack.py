"""A notice as a Slack message (Block Kit, incoming webhooks); pure.

What others wrote stands in C{plain_text} objects, where no markup, mention or link is read, and in code between fences
only where no backtick could end them. C{& < >} are escaped in both, as Slack asks; nothing is read as a mention.
"""

from __future__ import annotations

import json
import re
from typing import Any

from hoopd.notices import words
from hoopd.notices.notice import Notice, cut

#: of one text object, Slack allows 3,000 and of one field 2,000; we count after escaping and leave room for fences
TEXT_MAX = 2900
FIELD_MAX = 1900
HEADER_MAX = 150
FIELDS_MAX = 10
#: sections of code; more is no message any more. With the fields they stay under Slack's 50 blocks
PIECES_MAX = 4

_BROADCAST = re.compile(r"@(?=(?:channel|here|everyone)\b)", re.IGNORECASE)


def message(notice: Notice) -> bytes:
    """@return: the JSON that the webhook takes."""
    blocks: list[dict[str, Any]] = [{"type": "header", "text": _plain(cut(words.what(notice), HEADER_MAX - 40))}]
    blocks.append({"type": "section", "text": _plain(_fitting(notice.title, TEXT_MAX))})
    shown = [_plain(_fitting(f"{name}: {value}", FIELD_MAX)) for name, value in words.facts(notice)]
    for at in range(0, len(shown), FIELDS_MAX):
        blocks.append({"type": "section", "fields": shown[at : at + FIELDS_MAX]})
    blocks += _code(notice)
    if notice.act:
        blocks.append({"type": "section", "text": _plain(_fitting("\n".join(notice.act), TEXT_MAX))})
        blocks.append({"type": "context", "elements": [_plain(words.PROOF)]})
    fallback = _BROADCAST.sub("@ ", _escaped(cut(notice.title, 300)))
    return json.dumps(
        {
            "text": fallback,
            "mrkdwn": False,
            "parse": "none",
            "link_names": False,
            "unfurl_links": False,
            "unfurl_media": False,
            "blocks": blocks,
        }
    ).encode()


def _code(notice: Notice) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    rest = notice.text
    while rest and len(blocks) < PIECES_MAX:
        piece = rest[: _fits(rest, TEXT_MAX)]
        rest = rest[len(piece) :]
        if "`" in piece:
            blocks.append({"type": "section", "text": _plain(piece)})
        else:
            fenced = {"type": "mrkdwn", "text": f"```\n{_escaped(piece)}\n```", "verbatim": True}
            blocks.append({"type": "section", "text": fenced})
    left = words.missing(len(rest) + notice.left_out)
    if left:
        blocks.append({"type": "context", "elements": [_plain(left)]})
    return blocks


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": _escaped(text) or "-", "emoji": False}


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _fits(text: str, most: int) -> int:
    """How many characters of C{text} have at most C{most} when escaped; never none."""
    size = 0
    for at, character in enumerate(text):
        size += len(_escaped(character))
        if size > most:
            return max(1, at)
    return len(text)


def _fitting(text: str, most: int) -> str:
    fits = _fits(text, most)
    return text if fits == len(text) else cut(text, _fits(text, most - 40))
