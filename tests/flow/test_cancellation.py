"""Cancel keys: whose they are, when they are nobody's any more, and who asks too often."""

from __future__ import annotations

import pytest

from hoopd.errors import Denied
from hoopd.flow.cancellation import CANCEL_ADDRESSES, CANCELS_PER_SECOND, Cancellations


def test_a_key_stands_for_one_session_until_that_is_over() -> None:
    cancellations = Cancellations()
    cancellations.register("S-1", b"one")
    cancellations.register("S-1", b"one")
    cancellations.register("S-1", b"another")
    cancellations.register("S-2", b"two")
    with pytest.raises(Denied, match="taken"):
        cancellations.register("S-2", b"one")
    assert [cancellations.session_of(key, "a", 0) for key in (b"one", b"another", b"two", b"on", b"")] == [
        "S-1", "S-1", "S-2", None, None,
    ]  # fmt: skip
    cancellations.forget("S-1")
    cancellations.forget("S-1")
    assert [cancellations.session_of(key, "a", 1) for key in (b"one", b"another", b"two")] == [None, None, "S-2"]
    cancellations.register("S-2", b"one")


def test_an_address_that_guesses_is_not_heard_and_others_are() -> None:
    cancellations = Cancellations()
    cancellations.register("S-1", b"right")
    for _ in range(CANCELS_PER_SECOND):
        assert cancellations.session_of(b"wrong", "guesser", 5.0) is None
    assert cancellations.session_of(b"right", "guesser", 5.0) is None
    assert cancellations.session_of(b"right", "another", 5.0) == "S-1"
    later = 5.0 + 1.5 / CANCELS_PER_SECOND
    assert cancellations.session_of(b"right", "guesser", later) == "S-1"
    assert cancellations.session_of(b"right", "guesser", later) is None


def test_what_is_kept_of_addresses_is_bounded() -> None:
    cancellations = Cancellations()
    for number in range(3 * CANCEL_ADDRESSES):
        cancellations.session_of(b"", str(number), 0.0)
    assert len(cancellations._tries) == CANCEL_ADDRESSES
