"""The leg to a target: what it asks for first, how long it waits, and that it ends with a reason."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from hoopd.errors import TargetError
from hoopd.protocols.ssh.target import LINGER, TargetConnection, TargetMessages, algorithms
from hoopd.values import Target, TargetSsh

EVERY = (b"ssh-ed25519-cert-v01@openssh.com", b"ssh-ed25519", b"ecdsa-sha2-nistp256", b"rsa-sha2-512", b"rsa-sha2-256")


def test_what_there_is_something_to_compare_with_is_asked_for_first() -> None:
    assert algorithms((), EVERY) == EVERY
    assert algorithms(("ssh-rsa AAAA",), EVERY)[:2] == (b"rsa-sha2-512", b"rsa-sha2-256")
    assert algorithms(("ecdsa-sha2-nistp256 AAAA",), EVERY)[:2] == (b"ecdsa-sha2-nistp256", EVERY[0])
    both = algorithms(("ssh-ed25519 AAAA", "@cert-authority ssh-rsa AAAA"), EVERY)
    assert both[:2] == (b"ssh-ed25519-cert-v01@openssh.com", b"ssh-ed25519")
    assert sorted(both) == sorted(EVERY), "nothing is left out"


class Away(StringTransport):
    """A host that neither reads nor goes."""

    aborted = False

    def unregisterProducer(self) -> None:
        """A socket's minds none that is not there."""

    def loseConnection(self) -> None:
        """It waits for what is unsent."""

    def abortConnection(self) -> None:
        self.aborted = True


def connection() -> tuple[TargetConnection, Away, Clock, list[Any]]:
    clock, transport, failures = Clock(), Away(), list[Any]()
    made = TargetConnection(clock, None, None, Target("web1", "ssh", "h", 22, ssh=TargetSsh()), "app")  # type: ignore[arg-type]
    made.ready.addErrback(lambda failure: failures.append(failure.value))
    made.makeConnection(transport)
    return made, transport, clock, failures


def test_a_host_that_does_not_let_us_in_is_given_up_with_a_reason() -> None:
    made, transport, clock, failures = connection()
    made.too_slow()
    assert [str(each) for each in failures] == ["target web1: it did not let us in within 30 s"]
    assert isinstance(failures[0], TargetError)
    clock.advance(LINGER)
    assert transport.aborted


def test_a_host_that_breaks_the_protocol_is_named_at_once() -> None:
    made, transport, clock, failures = connection()
    made.dataReceived(b"SSH-2.0-x\r\n" + b"\xff" * 64)
    assert str(failures[0]).startswith("target web1: it broke the protocol: invalid packet length")
    clock.advance(LINGER)
    assert transport.aborted
    made.dataReceived(b"more")
    made.connectionLost()
    assert len(failures) == 1
    assert clock.getDelayedCalls() == []


def test_what_ends_after_sign_in_is_told_once() -> None:
    made, _, _, failures = connection()
    told: list[str] = []
    made.lost = told.append
    made.ready = Deferred()
    made.service = TargetMessages(lambda kind, payload: None)
    made.receiveError(2, b"go \x1b[31maway")
    made.connectionLost()
    assert told == ["target web1: it ended the connection: go <U+001B>[31maway"]
    assert failures == []
