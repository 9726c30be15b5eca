"""A disk that is full, locked, not writable or broken; and many works to one commit."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest

from hoopd.errors import Unavailable
from hoopd.store.connection import Connection, Transaction, migrating

TABLE = [("t-1", "CREATE TABLE t (x TEXT)")]


@pytest.fixture
def connection(tmp_path: Path) -> Any:
    made = Connection(str(tmp_path / "store"), busy=0.05)
    assert made.run([migrating(TABLE)])[0].error is None
    yield made
    made.close()


def insert(value: str) -> Any:
    return lambda tx: tx.execute("INSERT INTO t VALUES (?)", (value,))


def read(tx: Transaction) -> list[str]:
    return [x for (x,) in tx.execute("SELECT x FROM t ORDER BY x")]


def test_only_the_owner_can_read_the_files(tmp_path: Path, connection: Connection) -> None:
    connection.run([insert("a")])
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["store", "store-shm", "store-wal"]
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_loose_mode_is_tightened(tmp_path: Path) -> None:
    (tmp_path / "store").touch(0o666)
    made = Connection(str(tmp_path / "store"))
    made.run([migrating(TABLE)])
    assert stat.S_IMODE((tmp_path / "store").stat().st_mode) == 0o600
    made.close()


def test_durability_settings(connection: Connection) -> None:
    def pragmas(tx: Transaction) -> list[Any]:
        names = ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
        return [tx.execute(f"PRAGMA {name}")[0][0] for name in names]

    assert connection.run([pragmas])[0].value == ["wal", 2, 1, 1]


def test_a_full_disk_is_unavailable_and_keeps_what_was_there(connection: Connection) -> None:
    connection.run([insert("before")])

    def limit(tx: Transaction) -> None:
        tx.execute(f"PRAGMA max_page_count = {tx.execute('PRAGMA page_count')[0][0]}")

    connection.run([limit])
    outcomes = connection.run([insert("small"), insert("x" * 100_000), insert("after")])
    assert [type(outcome.error) for outcome in outcomes] == [Unavailable] * 3
    assert "disk full" in str(outcomes[0].error)
    assert connection.run([read])[0].value == ["before"]
    connection.run([lambda tx: tx.execute("PRAGMA max_page_count = 100000")])
    assert connection.run([insert("x" * 100_000)])[0].error is None


def test_a_work_that_swallows_a_lost_transaction_is_not_answered_well(connection: Connection) -> None:
    def swallow(tx: Transaction) -> str:
        tx._connection.execute("ROLLBACK")  # what SQLite does by itself on some errors
        return "well"

    outcomes = connection.run([insert("a"), swallow])
    assert [type(outcome.error) for outcome in outcomes] == [Unavailable] * 2
    assert connection.run([read])[0].value == []


def test_another_process_that_holds_the_file(tmp_path: Path, connection: Connection) -> None:
    other = sqlite3.connect(tmp_path / "store", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    (outcome,) = connection.run([insert("a")])
    assert isinstance(outcome.error, Unavailable)
    assert "locked" in str(outcome.error)
    other.execute("ROLLBACK")
    other.close()
    assert connection.run([insert("a"), read])[1].value == ["a"]


def test_a_read_only_store(connection: Connection) -> None:
    connection.run([lambda tx: tx.execute("PRAGMA query_only = ON")])
    (outcome,) = connection.run([insert("a")])
    assert isinstance(outcome.error, Unavailable)
    assert "not writable" in str(outcome.error)


def test_an_io_error_is_final(connection: Connection) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC  # type: ignore[misc]

    def broken(tx: Transaction) -> None:
        raise error

    assert "disk error" in str(connection.run([broken])[0].error)
    (outcome,) = connection.run([insert("a")])
    assert isinstance(outcome.error, Unavailable)
    assert "restart" in str(outcome.error)


def test_a_file_that_is_no_store_and_a_path_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database at all, but long enough to be looked at as one" * 100)
    for path in (tmp_path / "text", tmp_path / "absent" / "store", tmp_path):
        made = Connection(str(path))
        (outcome,) = made.run([insert("a")])
        assert isinstance(outcome.error, Unavailable), path
        made.close()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert isinstance(Connection(str(tmp_path / "link")).run([insert("a")])[0].error, Unavailable)
    assert not (tmp_path / "elsewhere").exists()


def test_mistakes_in_statements_are_not_called_unavailable(connection: Connection) -> None:
    (outcome,) = connection.run([lambda tx: tx.execute("SELECT nonsense FROM nowhere")])
    assert isinstance(outcome.error, sqlite3.OperationalError)
