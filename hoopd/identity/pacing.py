"""How long a proof waits because earlier ones failed; pure numbers, and never a lock-out.

Failures are counted for a pair of address and claimed name, and for an address. Guessing one name slows this
pair alone: the same person from elsewhere, and others behind the same address, go on as before. Trying many names slows
the address, up to a few seconds. Nobody is refused for somebody else's failures.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict

from attrs import define, field

#: mistypings that cost nothing
FREE = 3
#: the longest pause: with one attempt at a time it leaves 450 guesses an hour for a pair
MAX_PAIR = 8.0
#: for others behind the same address: annoying, and shorter than any client's timeout
MAX_ADDRESS = 4.0
#: after so long without a failure a pair is forgotten
FORGET = 900.0
#: remembered pairs and addresses: about 2 MB; the one that failed longest ago is forgotten first
REMEMBERED = 10_000


@define
class _Count:
    failures: float
    at: float


def origin(address: str) -> str:
    """@return: what counts as one address: IPv6 hosts own a /64, so that is one."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


@define
class Pacing:
    """
    @ivar per_minute: failures a minute from one address before all its proofs are slowed.
    """

    per_minute: int
    _pairs: OrderedDict[tuple[str, str], _Count] = field(factory=OrderedDict, init=False)
    _addresses: OrderedDict[str, _Count] = field(factory=OrderedDict, init=False)

    def pause(self, address: str, name: str, now: float) -> float:
        """@return: seconds to wait before the next proof of C{name} from C{address} is looked at."""
        pair = self._pairs.get((origin(address), name))
        wait = 0.0
        if pair is not None and now - pair.at < FORGET and pair.failures >= FREE:
            wait = min(0.25 * 2.0 ** min(pair.failures - FREE, 10), MAX_PAIR)
        return max(wait, self.pause_address(address, now))

    def pause_address(self, address: str, now: float) -> float:
        """@return: seconds to wait on behalf of the address alone."""
        excess = self._leaked(origin(address), now) - self.per_minute
        return min(0.25 * (1 + excess), MAX_ADDRESS) if excess >= 0 else 0.0

    def _leaked(self, address: str, now: float) -> float:
        """A bucket that leaks C{per_minute} a minute, and holds twice as much."""
        count = self._addresses.get(address)
        if count is None:
            return 0.0
        return max(0.0, count.failures - max(0.0, now - count.at) * self.per_minute / 60.0)

    def failed(self, address: str, name: str, now: float) -> None:
        """A proof of C{name} from C{address} did not hold."""
        where = origin(address)
        pair = self._pairs.pop((where, name), None)
        before = pair.failures if pair is not None and now - pair.at < FORGET else 0.0
        self._pairs[where, name] = _Count(before + 1, now)
        level = min(self._leaked(where, now) + 1, 2.0 * self.per_minute)
        self._addresses.pop(where, None)
        self._addresses[where] = _Count(level, now)
        if len(self._pairs) > REMEMBERED:
            self._pairs.popitem(last=False)
        if len(self._addresses) > REMEMBERED:
            self._addresses.popitem(last=False)

    def succeeded(self, address: str, name: str) -> None:
        """It held: this pair begins anew."""
        self._pairs.pop((origin(address), name), None)
