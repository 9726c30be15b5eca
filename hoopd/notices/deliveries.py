"""One rendered notice on its way to one receiver, and what came of it: values between broker and notifier; pure.

Everything is in the delivery: the notifier knows no channels and keeps nothing.
"""

from __future__ import annotations

from attrs import frozen

from hoopd.secret import Secret


@frozen
class Post:
    """An HTTP POST.

    @ivar url: secret, because Slack's and Teams' are. @ivar headers: names and values, ASCII.
    @ivar authorities: path of a PEM file, or C{""} for the system's. @ivar allow_http: http on loopback will do.
    """

    url: Secret
    headers: tuple[tuple[str, str], ...]
    body: bytes
    authorities: str = ""
    allow_http: bool = False


@frozen
class Mail:
    """A message for an SMTP server.

    @ivar tls: C{"starttls"}, C{"tls"}, or C{"off"} for loopback.
    @ivar message: as RFC 5322 has it, CRLF line ends.
    """

    server: str
    port: int
    tls: str
    username: str
    password: Secret
    sender: str
    recipients: tuple[str, ...]
    message: bytes
    authorities: str = ""


@frozen
class Run:
    """A program to start. @ivar seconds: after which it is killed. @ivar memory: bytes of its address space."""

    argv: tuple[str, ...]
    input: bytes
    seconds: float
    memory: int


Delivery = Post | Mail | Run


@frozen
class Outcome:
    """
    @ivar delivered: the receiver took it.
    @ivar detail: in our own words, without anything that the receiver said or that the delivery holds.
    @ivar retry_after: seconds after which the receiver wants to be asked again, or None.
    """

    delivered: bool
    detail: str
    retry_after: float | None = None
