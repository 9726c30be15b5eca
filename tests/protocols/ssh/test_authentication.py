"""Keyboard-interactive as transcripts: tokens, login links, refusals, and clients that break the protocol or leave."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred, fail, succeed

from hoopd.errors import AuthenticationFailed, Denied, PeerError, Unavailable
from hoopd.protocols.ssh import messages
from hoopd.protocols.ssh.authentication import FAILURE, INFO_RESPONSE, REQUEST, SUCCESS, Authentication
from hoopd.protocols.ssh.interactive import INFO_REQUEST
from hoopd.protocols.ssh.login import Login
from hoopd.protocols.ssh.messages import Reader
from hoopd.values import LoginLink, Peer, Proof
from tests.protocols.ssh.test_interactive import LINK

PROMPT = "Token (or press Enter once you have logged in): "


class Links:
    """ILoginLinks as a script: C{begun} and C{answers} are values, errors or Deferreds. @ivar calls: in order."""

    def __init__(self) -> None:
        self.begun: Any = LINK
        self.answers: list[Any] = [True]
        self.calls: list[Any] = []

    def begin(self, provider: str, address: str) -> Deferred[LoginLink]:
        self.calls.append(("begin", provider, address))
        return _said(self.begun)

    def settled(self, token: Any) -> Deferred[bool]:
        assert token == LINK.token
        self.calls.append("settled")
        return _said(self.answers.pop(0))

    def leave(self, token: Any) -> Deferred[None]:
        assert token == LINK.token
        self.calls.append("leave")
        return succeed(None)


def _said(answer: Any) -> Deferred[Any]:
    if isinstance(answer, Exception):
        return fail(answer)
    return answer if isinstance(answer, Deferred) else succeed(answer)


class Config:
    login_link_timeout = 180.0
    login_timeout = 30.0


class Worker:
    def __init__(self, links: Links, providers: tuple[str, ...]) -> None:
        self.login_links = links
        self.login_providers = providers
        self.config = Config()


class Dialogue:
    """One client before the gateway. @ivar said: what the gateway sent, as people read it."""

    def __init__(self, *providers: str) -> None:
        self.links = Links()
        self.begun: list[float] = []
        self.login = Login(Worker(self.links, providers), "192.0.2.1", self.begun.append)
        self.said: list[Any] = []
        self.proofs: list[Proof] = []
        self.outcome: Any = "a session"
        self.admitted: list[Any] = []
        self.ended: list[BaseException] = []
        peer = Peer("192.0.2.1", 5000, True)
        self.service = Authentication(lambda: peer, self._admit, self.admitted.append, self.ended.append, self.login)
        self.service.transport = self

    def _admit(self, user: str, proof: Proof) -> Deferred[Any]:
        assert user == "web1"
        self.proofs.append(proof)
        return _said(self.outcome)

    def sendPacket(self, kind: int, payload: bytes) -> None:
        if kind == INFO_REQUEST:
            reader = Reader(payload)
            _, instruction, _ = reader.string(), reader.string().decode(), reader.string()
            self.said.append(
                (instruction, [(reader.string().decode(), reader.flag())[0] for _ in range(reader.number())])
            )
        else:
            self.said.append({SUCCESS: "success", FAILURE: "failure"}[kind])

    def asks(self, method: bytes = b"keyboard-interactive") -> None:
        more = messages.string(b"") * 2
        head = messages.string(b"web1") + messages.string(b"ssh-connection") + messages.string(method)
        self.service.packetReceived(REQUEST, head + more)

    def answers(self, *answers: bytes) -> None:
        payload = messages.number(len(answers)) + b"".join(map(messages.string, answers))
        self.service.packetReceived(INFO_RESPONSE, payload)

    def prompts(self) -> list[str]:
        prompts: list[str] = self.said[-1][1]
        return prompts


def test_where_no_provider_offers_links_a_token_is_asked_for_as_ever() -> None:
    one = Dialogue()
    one.asks()
    assert one.said == [("", ["Token: "])]
    one.answers(b"hoopd_x")
    assert (one.proofs[0].method, one.proofs[0].secret.reveal()) == ("bearer", b"hoopd_x")
    assert one.said[-1] == "success"
    assert one.admitted == ["a session"]
    assert one.links.calls == []


def test_somebody_logs_in_by_the_link() -> None:
    one = Dialogue("corp")
    assert one.links.calls == []
    one.asks()
    assert one.links.calls == [("begin", "corp", "192.0.2.1")]
    assert one.begun == [180.0]
    assert LINK.link in one.said[-1][0]
    assert one.prompts() == [PROMPT]
    one.links.answers = [False, False, True]
    one.answers(b"")
    assert one.said[-1][0].startswith("Waiting for your login")
    assert "settled" not in one.links.calls
    one.answers()
    assert one.links.calls[1:] == ["settled"] * 3
    # and now the session may take as long to open as any
    assert one.begun == [180.0, 30.0]
    assert (one.proofs[0].method, one.proofs[0].secret) == ("link", LINK.token)
    assert one.said[-1] == "success"


def test_a_code_that_lives_shorter_than_the_timeout() -> None:
    one = Dialogue("corp")
    one.links.begun = evolve(LINK, seconds=60.0)
    one.asks()
    assert one.begun == [60.0]
    assert "within 60 s" in one.said[-1][0]


def test_a_token_is_pasted_where_the_link_is_shown_and_the_link_is_shown_again_after_a_wrong_one() -> None:
    one = Dialogue("corp")
    one.outcome = AuthenticationFailed("no")
    one.asks()
    first = one.said[-1]
    one.answers(b"wrong")
    assert one.said[-1] == "failure"
    one.asks()
    assert one.said[-1] == first
    assert len([call for call in one.links.calls if call != "leave"]) == 1
    one.outcome = "a session"
    one.answers(b"right")
    assert [proof.method for proof in one.proofs] == ["bearer", "bearer"]
    assert one.said[-1] == "success"


def test_of_several_providers_one_is_chosen() -> None:
    for typed, provider in ((b"", "corp"), (b"2", "partners")):
        one = Dialogue("corp", "partners")
        one.asks()
        assert one.links.calls == []
        assert one.prompts() == ["Token, or the number (Enter for 1): "]
        one.answers(typed)
        assert one.links.calls == [("begin", provider, "192.0.2.1")]
        assert one.prompts() == [PROMPT]
    one = Dialogue("corp", "partners")
    one.asks()
    one.answers(b"hoopd_x")
    assert one.proofs[0].method == "bearer"


@pytest.mark.parametrize("error", [Unavailable("the identity provider makes no login link now"), Denied("too many")])
def test_without_a_link_a_token_still_does(error: Exception) -> None:
    one = Dialogue("corp")
    one.links.begun = error
    one.asks()
    assert one.said == [(f"No login link: {error}.", ["Token: "])]
    assert one.begun == []
    one.answers(b"hoopd_x")
    assert one.said[-1] == "success"


def test_who_is_refused_at_the_provider_is_told_so_and_the_connection_ends() -> None:
    one = Dialogue("corp")
    one.asks()
    one.answers(b"")
    one.links.answers = [Denied("the login was refused at the identity provider")]
    one.answers()
    assert [str(error) for error in one.ended] == ["the login was refused at the identity provider"]
    assert one.proofs == []
    assert one.said[-1][0].startswith("Waiting")


def test_a_login_that_is_not_accepted_is_told_so_and_not_tried_again() -> None:
    one = Dialogue("corp")
    one.outcome = AuthenticationFailed("authentication failed")
    one.asks()
    one.answers(b"")
    one.answers()
    assert [str(error) for error in one.ended] == ["your login is not accepted by this gateway"]
    assert "failure" not in one.said


def test_a_client_that_speaks_while_it_is_waited_for_is_cut_off() -> None:
    one = Dialogue("corp")
    one.links.begun = Deferred()
    one.asks()
    with pytest.raises(PeerError):
        one.asks()
    two = Dialogue("corp")
    two.asks()
    two.answers(b"")
    two.links.answers = [Deferred()]
    two.answers()
    with pytest.raises(PeerError):
        two.answers()


@pytest.mark.parametrize("answers", [(), (b"a", b"b")])
def test_as_many_answers_as_there_are_prompts(answers: tuple[bytes, ...]) -> None:
    one = Dialogue("corp")
    one.asks()
    one.answers(*answers)
    assert one.said[-1] == "failure"
    assert one.proofs == []


def test_answers_where_nothing_was_asked() -> None:
    one = Dialogue("corp")
    one.asks()
    one.answers(b"")
    # one answer where none is due is no consent to wait
    one.answers(b"x")
    assert one.said[-1] == "failure"
    assert "settled" not in one.links.calls
    with pytest.raises(PeerError):
        one.answers(b"x")


def test_another_method_takes_the_question_back() -> None:
    one = Dialogue("corp")
    one.asks()
    one.asks(b"none")
    with pytest.raises(PeerError):
        one.answers(b"")


# -- clients that leave -------------------------------------------------------------------------------------------


def test_a_client_that_leaves_leaves_its_link() -> None:
    one = Dialogue("corp")
    one.asks()
    one.login.leave()
    one.login.leave()
    assert one.links.calls[1:] == ["leave"]


def test_a_link_that_is_made_for_nobody_is_left_and_not_shown() -> None:
    one = Dialogue("corp")
    one.links.begun = Deferred()
    one.asks()
    one.login.leave()
    one.service.serviceStopped()
    one.links.begun.callback(LINK)
    assert one.links.calls[1:] == ["leave"]
    assert (one.said, one.begun) == ([], [])


def test_nobody_is_waited_for_who_is_gone() -> None:
    one = Dialogue("corp")
    one.asks()
    one.answers(b"")
    waiting: Deferred[bool] = Deferred()
    one.links.answers = [waiting, True]
    one.answers()
    one.login.leave()
    waiting.callback(False)
    assert one.links.calls[1:] == ["settled", "leave"]
    assert one.proofs == []
