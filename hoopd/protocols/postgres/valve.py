"""A transport's reading, paused while anybody has a reason to: back-pressure of two causes does not mix."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer


@implementer(IPushProducer)
class Valve:
    """
    @param transport: what is paused and resumed; itself an IPushProducer.
    """

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._reasons: set[str] = set()

    def shut(self, reason: str) -> None:
        """Stop reading for C{reason}."""
        if not self._reasons:
            self._transport.pauseProducing()
        self._reasons.add(reason)

    def open(self, reason: str) -> None:
        """C{reason} is gone; reading goes on with the last one."""
        if reason in self._reasons:
            self._reasons.discard(reason)
            if not self._reasons:
                self._transport.resumeProducing()

    def pauseProducing(self) -> None:
        """The consumer is full."""
        self.shut("consumer")

    def resumeProducing(self) -> None:
        self.open("consumer")

    def stopProducing(self) -> None:
        """The consumer is gone; its own end of connection closes this one."""
