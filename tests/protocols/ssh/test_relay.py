"""When one leg is read and when it waits for the other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hoopd.errors import PeerError
from hoopd.protocols.ssh import messages
from hoopd.protocols.ssh.relay import UNREAD_MAX, Flow


class Leg:
    """A transport that may be told to stop reading, and never twice."""

    def __init__(self) -> None:
        self.read = True

    def pauseProducing(self) -> None:
        assert self.read
        self.read = False

    def resumeProducing(self) -> None:
        assert not self.read
        self.read = True


def test_a_leg_waits_while_the_other_is_full() -> None:
    leg = Leg()
    flow = Flow(leg, None)
    flow.pauseProducing()
    assert not leg.read
    flow.resumeProducing()
    assert leg.read


def test_an_exchange_of_keys_is_read_to_its_end_though_the_other_leg_is_full() -> None:
    leg = Leg()
    flow = Flow(leg, None)
    flow.pauseProducing()
    flow.exchanging(True)
    assert leg.read
    flow.exchanging(False)
    assert not leg.read


@given(st.lists(st.sampled_from(["full", "room", "begun", "done"])))
def test_in_any_order(told: list[str]) -> None:
    leg = Leg()
    flow = Flow(leg, None)
    calls = {
        "full": flow.pauseProducing,
        "room": flow.resumeProducing,
        "begun": lambda: flow.exchanging(True),
        "done": lambda: flow.exchanging(False),
    }
    full = busy = False
    for each in told:
        calls[each]()
        full = {"full": True, "room": False}.get(each, full)
        busy = {"begun": True, "done": False}.get(each, busy)
        assert leg.read is (busy or not full)


class Reader:
    """A leg's connection. @ivar why: what it was let go for"""

    def __init__(self) -> None:
        self.sent = 0
        self.why = ""

    def sendPacket(self, kind: int, payload: bytes) -> None:
        self.sent += 1

    def peer_error(self, error: PeerError) -> None:
        self.why = str(error)


def test_whoever_never_reads_the_answers_is_let_go() -> None:
    reader = Reader()
    flow = Flow(Leg(), reader)
    answer, data = (messages.REQUEST_FAILURE, b""), (messages.DATA, b"")
    flow.send([answer] * UNREAD_MAX * 2)
    flow.pauseProducing()
    flow.send([data] * UNREAD_MAX * 2 + [answer] * UNREAD_MAX)
    assert (reader.why, reader.sent) == ("", UNREAD_MAX * 5)
    flow.resumeProducing()
    flow.pauseProducing()
    flow.send([answer] * UNREAD_MAX)
    assert reader.why == ""
    flow.send([answer])
    assert reader.why
