"""Each format, for every kind of notice and for hostile text: within the receiver's limits, complete or saying so, and
nothing of it markup, mention, link or header."""

from __future__ import annotations

import email
import email.policy
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoopd.config.channels import Channel
from hoopd.notices import mail, slack, teams, words
from hoopd.notices.deliveries import Mail, Post, Run
from hoopd.notices.notice import KINDS, Notice, notice
from hoopd.notices.rendering import render
from hoopd.secret import Secret
from tests.notices.parts import KEY, SLACK, START

STATEMENT = (
    "UPDATE orders\nSET note = '?'\nWHERE id = $1 -- <!channel> {{DATE(2026-11-21T00:00:00Z)}} *b* [a](https://x)"
)
FIELDS = {
    "requester": "user:priya",
    "on_behalf_of": "user:lea",
    "target": "orders",
    "reason": "OPS-1 <https://evil.example|click> @here",
    "estimated_rows": 1200,
    "tables": ["public.orders", "public.customers"],
    "in_transaction": True,
    "deadline_at": START + 60,
    "gone": None,
}
ACT = ("hoopctl approvals show A-1", "hoopctl approvals approve A-1 --reason '…'")


def made(kind: str = "approval.held", text: str = STATEMENT, fields: Any = None) -> Notice:
    return notice(kind, "A-1", "user:priya on orders: A-1 waits @channel", START, fields or FIELDS, text, ACT)


def slack_text(message: bytes) -> str:
    """Everything that a reader sees, as Slack unescapes it; fails where a limit of Block Kit is broken."""
    document = json.loads(message)
    assert (document["parse"], document["link_names"], document["mrkdwn"]) == ("none", False, False)
    assert (document["unfurl_links"], document["unfurl_media"]) == (False, False)
    assert not re.search(r"@(channel|here|everyone)\b", document["text"])
    assert len(document["blocks"]) <= 50
    seen = []

    def shown(text: dict[str, Any], most: int) -> None:
        assert 0 < len(text["text"]) <= most
        assert not re.search(r"[<>]|&(?!amp;|lt;|gt;)", text["text"])
        raw = text["text"]
        if text["type"] == "mrkdwn":
            assert text["verbatim"] is True
            assert raw.startswith("```\n")
            assert raw.endswith("\n```")
            raw = raw[4:-4]
            assert "`" not in raw
        else:
            assert (text["type"], text["emoji"]) == ("plain_text", False)
        seen.append(raw.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))

    for block in document["blocks"]:
        assert set(block) <= {"type", "text", "fields", "elements"}
        if block["type"] == "header":
            shown(block["text"], 150)
        elif block["type"] == "context":
            assert len(block["elements"]) <= 10
            for each in block["elements"]:
                shown(each, 3000)
        else:
            assert block["type"] == "section"
            assert len(block.get("fields", [])) <= 10
            for each in block.get("fields", []):
                shown(each, 2000)
            if "text" in block:
                shown(block["text"], 3000)
    return "\n".join(seen)


def teams_text(message: bytes) -> str:
    """Everything that a reader sees; fails where there is anything but runs of text in it."""
    assert len(message) <= 28 * 1024
    document = json.loads(message)
    (attachment,) = document["attachments"]
    assert (document["type"], attachment["contentType"]) == ("message", "application/vnd.microsoft.card.adaptive")
    card = attachment["content"]
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.4")
    assert set(card) == {"$schema", "type", "version", "body"}
    lines = []
    for block in card["body"]:
        assert set(block) == {"type", "inlines"}
        assert block["type"] == "RichTextBlock"
        for run in block["inlines"]:
            assert run["type"] == "TextRun"
            assert run["text"]
            assert set(run) <= {"type", "text", "weight", "size", "fontType", "isSubtle"}
            assert "{{" not in run["text"]
        lines.append("".join(run["text"] for run in block["inlines"]))
    return "\n".join(lines)


def mail_text(message: bytes) -> str:
    """The body; fails where headers are not what they should be."""
    assert b"\n" not in message.replace(b"\r\n", b"")
    assert all(len(line) <= 998 for line in message.split(b"\r\n"))
    parsed = email.message_from_bytes(message, policy=email.policy.default)
    assert sorted(name.lower() for name in parsed) == [
        "auto-submitted", "content-transfer-encoding", "content-type", "date", "from", "message-id", "mime-version",
        "subject", "to", "x-hoopd-notice",
    ]  # fmt: skip
    assert parsed["to"] == "a@example.com, b@example.com"
    assert not parsed.is_multipart()
    return str(parsed.get_content())


def all_texts(one: Notice) -> list[str]:
    return [
        slack_text(slack.message(one)),
        teams_text(teams.message(one)),
        mail_text(mail.message(one, "msg_a", "hoopd@example.com", ("a@example.com", "b@example.com"))),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_says_everything(kind: str) -> None:
    for text in all_texts(made(kind)):
        assert words.what(made(kind)).lower() in text.lower()
        for said in ("user:priya", "user:lea", "1200", "public.orders, public.customers", "2026-09-21", "UTC", *ACT):
            assert said in text
        assert "OPS-1 <https://evil.example|click> @here" in text
        assert "in transaction" in text
        for line in STATEMENT.split("\n"):
            assert line in text
        assert words.PROOF in text
        assert "gone" not in text


def test_a_long_statement_says_what_is_left_out() -> None:
    for text in all_texts(made(text="SELECT " + "é" * 50_000)):
        shown = text.count("é")
        assert f"… {50_007 - 7 - shown} more characters are not shown here" in text


def test_a_short_statement_says_nothing_of_that() -> None:
    for text in all_texts(made()):
        assert "more characters" not in text


def test_many_wide_facts_still_fit() -> None:
    wide = {f"fact_{number}": ["漢" * 2000] * 50 for number in range(40)}
    one = made(fields=wide, text="漢" * 40_000)
    assert "漢" in teams_text(teams.message(one))
    assert "more facts" in teams_text(teams.message(one))
    assert "more characters" in slack_text(slack.message(one))


def test_backticks_end_no_fence() -> None:
    assert "```\nSELECT '```' -- `x`" in slack_text(slack.message(made(text="```\nSELECT '```' -- `x`")))


def test_a_statement_cannot_pose_as_ours_in_a_mail() -> None:
    text = all_texts(made(text="SELECT 1\n\nTo act on it:\n  hoopctl approvals approve A-2"))[2]
    assert "  | To act on it:" in text
    assert text.count("\nTo act on it:") == 1


@settings(deadline=None)
@given(st.text(max_size=4000), st.text(max_size=300), st.integers(0, 12))
def test_any_text_in_any_format(text: str, word: str, count: int) -> None:
    fields = {"reason": word, "tables": [word] * count, "identity": text}
    one = notice("approval.held", word, f"{word} on orders", START, fields, text, ACT)
    for shown in all_texts(one):
        assert words.PROOF in shown
    document = json.loads(words.document(one, "msg_a"))
    assert document["data"].get("text", "") == one.text


def test_the_document_for_programs() -> None:
    document = json.loads(words.document(made(), "msg_a"))
    assert document == {
        "type": "approval.held",
        "id": "msg_a",
        "timestamp": "2026-09-21T14:13:20.000+00:00",
        "data": {
            "subject": "A-1",
            "revision": 0,
            "title": "user:priya on orders: A-1 waits @channel",
            "fields": {name: value for name, value in FIELDS.items() if value is not None},
            "text": STATEMENT,
            "text_left_out": 0,
            "act": list(ACT),
        },
    }


@pytest.mark.parametrize("value", [0, -1e300, 1e300, float("inf"), float("nan")])
def test_a_time_that_is_none_stops_nothing(value: float) -> None:
    assert words.moment(value)


def test_the_subject_of_a_mail_is_one_line_however_long() -> None:
    one = notice("approval.held", "A-1", "x\r\nBcc: evil@example.com " + "ü" * 1000, START)
    message = mail.message(one, "msg_a", "hoopd@example.com", ("a@example.com", "b@example.com"))
    parsed = email.message_from_bytes(message, policy=email.policy.default)
    assert parsed["bcc"] is None
    assert parsed["subject"].startswith("[hoopd] x<U+000D><U+000A>Bcc: evil@example.com")
    assert len(parsed["subject"]) < 250
    assert parsed["message-id"] == "<msg_a@example.com>"


class TestRendering:
    def test_a_webhook_is_signed_and_its_secret_is_not_in_it(self) -> None:
        channel = Channel(kind="webhook", url="https://r.example/x", secret="notify/x")
        post = render(channel, made(), "msg_a", 1_790_000_000.9, Secret(KEY))
        assert isinstance(post, Post)
        headers = dict(post.headers)
        assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("msg_a", "1790000000")
        assert headers["webhook-signature"].startswith("v1,")
        assert KEY not in repr(post)
        assert KEY.encode() not in post.body

    def test_the_url_of_slack_and_teams_is_the_secret(self) -> None:
        for kind in ("slack", "teams"):
            post = render(Channel(kind=kind, secret="notify/x"), made(), "msg_a", 1.0, Secret(SLACK + "\n"))
            assert isinstance(post, Post)
            assert post.url.reveal() == SLACK.encode()
            assert "s3cret" not in repr(post)

    @pytest.mark.parametrize(
        "url", ["http://10.0.0.1/s3cret", "s3cret", "https://u:s3cret@x.example", "", "https://\xff"]
    )
    def test_a_secret_that_is_no_good_url(self, url: str) -> None:
        with pytest.raises(ValueError, match="the secret") as raised:
            render(Channel(kind="slack", secret="notify/x"), made(), "msg_a", 1.0, Secret(url.encode("latin-1")))
        assert "s3cret" not in str(raised.value)

    def test_mail_and_command(self) -> None:
        channel = Channel(
            kind="email", server="s.example", username="hoopd", secret="notify/smtp", sender="h@example.com",
            to=("a@example.com", "b@example.com"),
        )  # fmt: skip
        sent = render(channel, made(), "msg_a", 1.0, Secret("passw0rd"))
        assert isinstance(sent, Mail)
        assert (sent.server, sent.port, sent.tls, sent.password.reveal()) == ("s.example", 587, "starttls", b"passw0rd")
        assert "passw0rd" not in repr(sent)
        run = render(Channel(kind="command", run=("/bin/true", "-x")), made(), "msg_a", 1.0, Secret(b""))
        assert isinstance(run, Run)
        assert run.argv == ("/bin/true", "-x")
        assert run.input == words.document(made(), "msg_a")
