"""What keyboard-interactive asks, and what an answer means (RFC 4256); pure. Not who it is (L{hoopd.protocols.ssh.authentication}).

One dialogue for both: whoever has a token pastes it, whoever has none opens the link. OpenSSH shows the instruction above the
prompt, its first 1,023 bytes and nothing but ASCII; so nothing longer or else is said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum

from attrs import frozen

from hoopd.display import spoken, visible
from hoopd.protocols.ssh import messages
from hoopd.values import LoginLink

INFO_REQUEST = 60

#: what OpenSSH's log line holds, with some room for what clients put before it
INSTRUCTION_MAX = 900


class Meant(Enum):
    """What an answer is, unless it is the name of a provider."""

    PROOF = "a token or password"
    LOGGED_IN = "the person says that they have logged in"
    WAITS = "the client waits for what becomes of it"


@frozen
class Question:
    """
    @ivar prompts: how many there are: one, or none, which a client answers at once.
    @ivar meant: what the answer means: L{Meant}, or the name of the provider to log in at.
    """

    payload: bytes
    prompts: int
    meant: Callable[[bytes], Meant | str]


def _plain(text: str) -> bytes:
    return visible(text, "\n").encode("ascii", "replace")[:INSTRUCTION_MAX]


def _question(instruction: str, prompt: str, meant: Callable[[bytes], Meant | str]) -> Question:
    prompts = messages.string(_plain(prompt)) + messages.flag(False) if prompt else b""
    # no name, no language
    head = messages.string(b"") + messages.string(_plain(instruction)) + messages.string(b"")
    return Question(head + messages.number(1 if prompt else 0) + prompts, 1 if prompt else 0, meant)


def token(why: str = "") -> Question:
    """@param why: no login link is shown, if one might be expected."""
    return _question(why and f"No login link: {why}.", "Token: ", lambda _: Meant.PROOF)


def choice(providers: Sequence[str]) -> Question:
    """Where to log in, of several."""

    def meant(answer: bytes) -> Meant | str:
        text = answer.strip()
        if not text:
            return providers[0]
        # a token is never so short
        number = int(text) if text.isdigit() and len(text) <= 3 else 0
        return providers[number - 1] if 0 < number <= len(providers) else Meant.PROOF

    listed = "\n".join(f"    {number}  {name}" for number, name in enumerate(providers, 1))
    return _question(f"To log in, choose where:\n{listed}", "Token, or the number (Enter for 1): ", meant)


def link(made: LoginLink, seconds: float) -> Question:
    """@param seconds: how long there is to log in."""
    return _question(
        f"To log in, open\n    {made.link}\nand enter the code\n    {made.code}\nwithin {spoken(seconds)}."
        " Use no code that somebody else gave you, and give yours to nobody.",
        "Token (or press Enter once you have logged in): ",
        lambda answer: Meant.PROOF if answer.strip() else Meant.LOGGED_IN,
    )


def waiting(made: LoginLink) -> Question:
    """Nothing is asked: the person sees that there is something left to do."""
    return _question(
        f"Waiting for your login at {made.link} (code {made.code}); Ctrl-C ends it.", "", lambda _: Meant.WAITS
    )
