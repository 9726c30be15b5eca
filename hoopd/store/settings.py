"""Single values of the installation, kept in the store: its id, above all; not configuration, not secrets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from hoopd.store.connection import Transaction


def setting(store: Any, name: str, first: Callable[[], str]) -> Deferred[str]:
    """Read a value, making it with C{first} the first time; two who race get the same one.

    @param store: L{hoopd.interfaces.IStore}
    @return: Deferred of the value.
    """

    def work(tx: Transaction) -> str:
        tx.execute("INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING", (name, first()))
        return str(tx.execute("SELECT value FROM settings WHERE name = ?", (name,))[0][0])

    result: Deferred[str] = store.transact(work)
    return result


def installation_id(store: Any, entropy: Callable[[int], bytes]) -> Deferred[str]:
    """@return: Deferred of this installation's id: 32 hexadecimal digits, made once, for ever."""
    return setting(store, "installation", lambda: entropy(16).hex())
