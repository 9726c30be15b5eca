"""A notice as a Microsoft Teams message: an Adaptive Card 1.4 for a webhook of Workflows; pure.

What others wrote stands in C{TextRun}s, which know no Markdown; C{{{DATE…}}} is taken apart by the end of a run. There
are no mentions, links or buttons in it.
"""

from __future__ import annotations

import json
import re
from typing import Any

from hoopd.notices import words
from hoopd.notices.notice import Notice, cut

#: bytes; Teams documents 28 KB, and others saw refusals from 21 KB
MESSAGE_MAX = 20_000
#: (characters of the text, of one fact) from the widest that is tried: the last one fits whatever is in it
BUDGETS = ((8000, 2000), (8000, 500), (4000, 300), (1000, 200), (300, 60))
FACTS_MAX = 30


def message(notice: Notice) -> bytes:
    """@return: the JSON that the webhook takes."""
    encoded = b""
    for text, fact in BUDGETS:
        encoded = json.dumps(_message(notice, text, fact), ensure_ascii=False).encode()
        if len(encoded) <= MESSAGE_MAX:
            break
    return encoded


def _message(notice: Notice, text: int, fact: int) -> dict[str, Any]:
    body = [_rich(words.what(notice), weight="Bolder", size="Medium"), _rich(cut(notice.title, fact))]
    shown = words.facts(notice)
    for name, value in shown[:FACTS_MAX]:
        body.append(
            {"type": "RichTextBlock", "inlines": [*_runs(f"{name}: ", weight="Bolder"), *_runs(cut(value, fact))]}
        )
    if len(shown) > FACTS_MAX:
        body.append(_rich(f"… and {len(shown) - FACTS_MAX} more facts"))
    if notice.text:
        body.append(_rich(notice.text[:text], fontType="Monospace"))
        left = words.missing(max(0, len(notice.text) - text) + notice.left_out)
        body += [_rich(left, weight="Bolder")] if left else []
    if notice.act:
        body += [_rich(cut(each, 500), fontType="Monospace") for each in notice.act[:5]]
        body.append(_rich(words.PROOF, isSubtle=True))
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def _rich(text: str, **style: Any) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": _runs(text, **style)}


def _runs(text: str, **style: Any) -> list[dict[str, Any]]:
    """The text in runs, of which none has the two braces that begin a function."""
    return [{"type": "TextRun", "text": part, **style} for part in re.split(r"(?<=\{)(?=\{)", text or "-")]
