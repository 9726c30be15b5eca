"""Clients that have not proven themselves yet, oldest first; for every protocol. Bounds what a flood of them costs."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any


class Unproven:
    """
    @param most: so many at once. Where there are more the oldest goes: an honest login takes no second.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._clients: OrderedDict[Any, None] = OrderedDict()

    def arrived(self, client: Any) -> None:
        """A client without login. @param client: has C{too_many()}, called when it must go"""
        self._clients[client] = None
        if len(self._clients) > self._most:
            oldest, _ = self._clients.popitem(last=False)
            oldest.too_many()

    def known(self, client: Any) -> None:
        """It has logged in, or is gone."""
        self._clients.pop(client, None)
