"""Cancel keys and the sessions they stand for; how often one address may try. Not the cancelling.

PostgreSQL documentation, "Canceling Requests in Progress": the key comes over a connection of its own, at any worker,
in clear, and with nothing else that proves anything. Pure: times are given.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict

from attrs import Factory, define

from hoopd.errors import Denied

#: CancelRequests a second from one address. A person presses Ctrl-C a few times; a guesser wants millions.
CANCELS_PER_SECOND = 10
#: Addresses whose cancellations are counted; the oldest is forgotten first.
CANCEL_ADDRESSES = 1024


@define(eq=False)
class Cancellations:
    """All cancel keys of this gateway."""

    _by_key: dict[bytes, str] = Factory(dict)
    _of_session: dict[str, list[bytes]] = Factory(dict)
    _tries: OrderedDict[str, tuple[float, float]] = Factory(OrderedDict)

    def register(self, session: str, key: bytes) -> None:
        """C{key} stands for C{session} from now on. @raise Denied: it stands for another."""
        known = self._by_key.setdefault(key, session)
        if known != session:
            raise Denied("this cancel key is taken")
        self._of_session.setdefault(session, []).append(key)

    def forget(self, session: str) -> None:
        """The session is over: its keys stand for nothing."""
        for key in self._of_session.pop(session, ()):
            self._by_key.pop(key, None)

    def session_of(self, key: bytes, address: str, now: float) -> str | None:
        """
        @param address: who asks. @param now: seconds.
        @return: the session that C{key} stands for; None also for who asks too often.
        """
        if not self._may_try(address, now):
            return None
        for known, session in self._by_key.items():
            # Keys are compared in constant time: an attacker who can time us must not find one byte by byte.
            if hmac.compare_digest(known, key):
                return session
        return None

    def _may_try(self, address: str, now: float) -> bool:
        tokens, at = self._tries.pop(address, (float(CANCELS_PER_SECOND), now))
        tokens = min(float(CANCELS_PER_SECOND), tokens + (now - at) * CANCELS_PER_SECOND)
        allowed = tokens >= 1
        self._tries[address] = (tokens - 1 if allowed else tokens, now)
        while len(self._tries) > CANCEL_ADDRESSES:
            self._tries.popitem(last=False)
        return allowed
