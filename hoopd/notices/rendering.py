"""From a notice and a channel to what is sent: one delivery; pure. Secrets come in from the vault, and go out in it."""

from __future__ import annotations

from hoopd.config.channels import Channel, url_problems
from hoopd.notices import mail, signing, slack, teams, words
from hoopd.notices.deliveries import Delivery, Mail, Post, Run
from hoopd.notices.notice import Notice
from hoopd.secret import Secret

_JSON = ("content-type", "application/json")


def render(channel: Channel, notice: Notice, id: str, now: float, secret: Secret) -> Delivery:
    """
    @param id: the idempotency key. @param now: of this attempt.
    @param secret: what the vault has under the channel's C{secret}; empty where it names none.
    @raise ValueError: the secret is none for such a channel; the text quotes nothing of it.
    """
    if channel.kind == "command":
        return Run(channel.run, words.document(notice, id), channel.timeout, channel.memory)
    if channel.kind == "email":
        message = mail.message(notice, id, channel.sender, channel.to)
        return Mail(
            channel.server,
            channel.port,
            channel.tls,
            channel.username,
            secret,
            channel.sender,
            channel.to,
            message,
            channel.authorities,
        )
    if channel.kind == "webhook":
        body = words.document(notice, id)
        headers = (
            _JSON,
            ("webhook-id", id),
            ("webhook-timestamp", str(int(now))),
            ("webhook-signature", signing.signature(signing.keys(secret.reveal()), id, int(now), body)),
        )
        return Post(Secret(channel.url), headers, body, channel.authorities, channel.allow_http)
    try:
        url = secret.reveal().decode("ascii").strip()
    except UnicodeDecodeError:
        url = ""
    problems = url_problems(url, channel.allow_http)
    if problems:
        raise ValueError(f"the secret {problems[0]}")
    body = slack.message(notice) if channel.kind == "slack" else teams.message(notice)
    return Post(Secret(url), (_JSON,), body, channel.authorities, channel.allow_http)
