"""A notice as a mail: plain text, RFC 5322, nothing in a header that could end it; pure."""

from __future__ import annotations

from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate

from hoopd.notices import words
from hoopd.notices.notice import Notice, cut

#: what lists of mails show
SUBJECT_MAX = 160


def message(notice: Notice, id: str, sender: str, recipients: tuple[str, ...]) -> bytes:
    """@param sender, recipients: plain addresses. @param id: in the Message-ID, so that a mail sent twice is one.

    @return: the whole message, CRLF line ends.
    """
    made = EmailMessage(policy=SMTP)
    made["From"] = sender
    made["To"] = ", ".join(recipients)
    made["Subject"] = f"[hoopd] {cut(notice.title, SUBJECT_MAX)}"
    made["Date"] = formatdate(notice.at)
    made["Message-ID"] = f"<{id}@{sender.rpartition('@')[2]}>"
    # RFC 3834: no out-of-office answers
    made["Auto-Submitted"] = "auto-generated"
    made["X-Hoopd-Notice"] = f"{notice.kind} {id}"
    made.set_content(text(notice), cte="base64")
    return made.as_bytes()


def text(notice: Notice) -> str:
    """@return: the body."""
    parts = [f"{words.what(notice).capitalize()}.", notice.title]
    shown = words.facts(notice)
    width = max((len(name) for name, _ in shown), default=0)
    parts.append("\n".join(f"{name.ljust(width)}  {value}" for name, value in shown))
    # each line marked, so that none of the statement's can be taken for ours
    parts.append("\n".join(f"  | {line}" for line in notice.text.split("\n")) if notice.text else "")
    parts.append(words.missing(notice.left_out))
    if notice.act:
        parts += ["To act on it:\n" + "\n".join(f"  {each}" for each in notice.act), words.PROOF]
    return "\n\n".join(part for part in parts if part) + "\n"
