"""When one leg is read and when it waits for the other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hoopd.protocols.ssh.relay import Flow


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
    flow = Flow(leg)
    flow.pauseProducing()
    assert not leg.read
    flow.resumeProducing()
    assert leg.read


def test_an_exchange_of_keys_is_read_to_its_end_though_the_other_leg_is_full() -> None:
    leg = Leg()
    flow = Flow(leg)
    flow.pauseProducing()
    flow.exchanging(True)
    assert leg.read
    flow.exchanging(False)
    assert not leg.read


@given(st.lists(st.sampled_from(["full", "room", "begun", "done"])))
def test_in_any_order(told: list[str]) -> None:
    leg = Leg()
    flow = Flow(leg)
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
