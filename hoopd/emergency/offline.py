"""An emergency export without a broker: made from its store, by whoever may read that and the master key anyway.

No new power, and the same rules: two officers, whose keys count. The leaf and the notices are written into the store and
go out when a broker starts again. Runs with no reactor: every Deferred has fired when it is returned.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.python.failure import Failure

from hoopd.config.schema import Config
from hoopd.emergency.exports import Export, Exports
from hoopd.emergency.officers import Officers
from hoopd.errors import ConfigError, Unavailable
from hoopd.notices.service import Notices
from hoopd.store.connection import Connection, Work
from hoopd.store.settings import installation_id
from hoopd.vault.master import master_source
from hoopd.vault.vault import Vault

_T = TypeVar("_T")
_LETTERS = "23456789BCDFGHJKLMNPQRSTVWXZ"


class _Store:
    """The broker's file, for one process that waits for nothing else."""

    def __init__(self, path: str) -> None:
        self.connection = Connection(path)

    def transact(self, work: Work) -> Deferred[Any]:
        (outcome,) = self.connection.run([work])

        def answer() -> Any:
            if outcome.error is not None:
                raise outcome.error
            return outcome.value

        return maybeDeferred(answer)


class _Now:
    """As much of a clock as nobody waits for."""

    @staticmethod
    def seconds() -> float:
        return time.time()


def _result(deferred: Deferred[_T]) -> _T:
    """What C{deferred} has fired with. @raise Exception: what it has failed with."""
    found: list[Any] = []
    deferred.addBoth(found.append)
    (value,) = found
    if isinstance(value, Failure):
        value.raiseException()
    result: _T = value
    return result


def owner(state: str) -> int:
    """@return: the user id that the store belongs to. @raise ConfigError: there is none."""
    path = Path(state) / "store.sqlite"
    try:
        return path.stat().st_uid
    except OSError as error:
        why = f"{path} cannot be looked at: {error.strerror}"
        raise ConfigError(
            why, key="paths.state", suggestion="a restored backup goes there; see docs/emergencies.md"
        ) from None


def export(
    config: Config, environment: Mapping[str, str], by: str, target: str, officers: tuple[str, ...], reason: str
) -> tuple[Export, str]:
    """
    @param by: who runs it, as the machine says. @param officers: see L{Exports.export}.
    @raise Unavailable: a broker runs; ask that one. @raise Denied @raise KeyError @raise ValueError @raise ConfigError
    """
    state = Path(config.paths.state)
    if owner(str(state)) != os.geteuid():
        raise ConfigError(
            f"the store in {state} belongs to another user", suggestion="run this as root, or as that user"
        )
    with ExitStack() as closing:
        _no_broker(state, closing)
        store = _Store(str(state / "store.sqlite"))
        closing.callback(store.connection.close)
        return _export(store, config, environment, by, target, officers, reason)


def _no_broker(state: Path, closing: ExitStack) -> None:
    """Hold the lock of the one broker; one that is started meanwhile waits for it."""
    lock = closing.enter_context((state / "broker.lock").open("ab"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Unavailable("a broker is running: leave out --offline, or stop it first (systemctl stop hoopd)") from None


def _export(
    store: _Store,
    config: Config,
    environment: Mapping[str, str],
    by: str,
    target: str,
    officers: tuple[str, ...],
    reason: str,
) -> tuple[Export, str]:
    if not _result(store.transact(lambda tx: tx.execute("SELECT id FROM vault_master_keys"))):
        raise ConfigError("the vault in this store is empty")
    clock = _Now()
    installation = _result(installation_id(store, os.urandom))
    source = master_source(config.vault.master_key, environment)
    vault = Vault(store, source, installation, clock, threads=maybeDeferred)
    digest_key = _result(vault.internal("export-digest"))
    # what no broker is there to log or to send is in the store: leaves and notices
    unlogged: Callable[[str, dict[str, Any]], None] = lambda name, fields: None  # noqa: E731
    notices = Notices(
        store,
        config.notify,
        config.notifications,
        installation,
        clock,
        reveal=vault.reveal_channel,
        ledger=None,
        event=unlogged,
        jitter=lambda: 0.0,
    )
    keys = Officers(store, None, notices, clock, config.emergency, config.duties.conflicts, unlogged)
    exports = Exports(
        store,
        vault,
        keys,
        notices,
        clock,
        config.emergency,
        digest_key,
        targets=lambda: config.targets,
        new_id=lambda: "E-" + "".join(secrets.choice(_LETTERS) for _ in range(6)),
        event=unlogged,
        record=lambda: succeed(None),
    )
    return _result(exports.make(by, target, officers, reason, offline=True))
