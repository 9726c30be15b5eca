"""The ledger over crashes, full disks, rollbacks and forks."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from hoopd.audit import leaves
from hoopd.audit.events import UnknownName
from hoopd.audit.leaves import LedgerError
from hoopd.audit.merkle import Tree
from hoopd.audit.notes import open_checkpoint, parse_verifier
from hoopd.config.schema import AuditConfig
from hoopd.errors import ConfigError, RecordError, Unavailable
from tests.audit.parts import System, at_once, clock, ledger, now


def stopped(directory: Path, count: int = 3, **options: Any) -> str:
    """Make a ledger with some leaves and close it. @return: its verifier key"""
    made = ledger(directory, **options)
    for number in range(count):
        now(made.append("administration", {"verb": f"verb {number}"}))
    now(made.stop())
    return made.verifier_key


def test_leaves_are_read_back_and_signed(tmp_path: Path) -> None:
    made = ledger(tmp_path)
    assert now(made.append("vault", {"act": "put", "secret": "orders"})) == 1
    note = now(made.checkpoint())
    checkpoint = open_checkpoint(note, parse_verifier(made.verifier_key))
    content, _, problem = leaves.entries_of((tmp_path / "entries").read_bytes())
    assert problem is None
    assert checkpoint.size == 2
    assert checkpoint.root == Tree(content).root()
    assert [leaf.kind for leaf in made.read()] == ["checkpoint-key", "vault"]
    assert (tmp_path / "verifier").read_text().strip() == made.verifier_key
    now(made.stop())
    again = ledger(tmp_path)
    assert again.size == 2
    assert now(again.checkpoint()) == note
    now(again.stop())


def test_a_leaf_that_is_none_is_not_taken(tmp_path: Path) -> None:
    made = ledger(tmp_path)
    with pytest.raises(UnknownName):
        made.append("vualt", {})
    with pytest.raises(ValueError, match="larger"):
        made.append("vault", {"secret": "x" * leaves.LEAF_MAX})
    assert made.size == 1
    now(made.stop())


def test_nobody_is_answered_before_the_disk(tmp_path: Path) -> None:
    flushes: list[tuple[Deferred[Any], Any]] = []

    def later(function: Any, *args: Any) -> Deferred[Any]:
        if getattr(function, "__name__", "") != "fdatasync":
            return at_once(function, *args)
        waiting: Deferred[Any] = Deferred()
        flushes.append((waiting, lambda: function(*args)))
        return waiting

    made = ledger(tmp_path)
    made._in_thread = later  # type: ignore[assignment]
    assert made._sync is not None
    made._sync._in_thread = later  # type: ignore[assignment]
    fired: list[int] = []
    for number in range(5):
        made.append("vault", {"act": str(number)}).addCallback(fired.append)
    assert fired == []
    assert len(flushes) == 1
    flushes[0][0].callback(None)
    assert fired == [1]
    assert len(flushes) == 2, "the four others share one flush"
    flushes[1][0].callback(None)
    assert fired == [1, 2, 3, 4, 5]


def test_a_failed_flush_is_final(tmp_path: Path) -> None:
    made = ledger(tmp_path)
    assert made._sync is not None
    made._sync._system = System({"fdatasync": 0}, errno.EIO)
    with pytest.raises(RecordError, match="flushed"):
        now(made.append("vault", {}))
    made._sync._system = os
    for call in (lambda: made.append("vault", {}), made.checkpoint):
        with pytest.raises(RecordError, match="flushed"):
            now(call())


@pytest.mark.parametrize("system", [System({"write": 0}), System(short=0)], ids=["nothing", "half"])
def test_a_full_disk_takes_nothing_and_loses_nothing(tmp_path: Path, system: System) -> None:
    made = ledger(tmp_path)
    now(made.append("vault", {"act": "one"}))
    made._system = system
    with pytest.raises(RecordError, match="cannot be written"):
        now(made.append("vault", {"act": "two"}))
    made._system = os
    assert now(made.append("vault", {"act": "three"})) == 2
    now(made.stop())
    again = ledger(tmp_path)
    assert [leaf.fields.get("act") for leaf in again.read()] == [None, "one", "three"]
    now(again.stop())


@pytest.mark.parametrize("name", ["write", "fdatasync", "ftruncate"])
@pytest.mark.parametrize("after", range(6))
def test_whatever_step_fails_a_restart_finds_what_was_answered(tmp_path: Path, name: str, after: int) -> None:
    system = System({name: after}, errno.EIO)
    answered = 0
    try:
        made = ledger(tmp_path, system=system)
        for number in range(4):
            now(made.append("vault", {"act": str(number)}))
            answered += 1
            now(made.checkpoint())
    except (RecordError, OSError):
        pass
    finally:
        os_close_all(locals().get("made"))
    again = ledger(tmp_path)
    acts = [leaf.fields["act"] for leaf in again.read() if leaf.kind == "vault"]
    assert acts[:answered] == [str(number) for number in range(answered)]
    now(again.append("vault", {"act": "after"}))
    now(again.stop())


def os_close_all(made: Any) -> None:
    """A process that died: its descriptors and its lock are gone."""
    if made is not None and made._fd != -1:
        os.close(made._fd)


@given(cut=st.integers(0, 2000))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_torn_tail_past_the_checkpoint_is_cut_and_kept(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    directory = tmp_path_factory.mktemp("ledger")
    stopped(directory)
    signed = (directory / "entries").stat().st_size
    made = ledger(directory)
    for number in range(3):
        now(made.append("vault", {"act": str(number)}))
    os_close_all(made)
    whole = (directory / "entries").read_bytes()
    size = min(len(whole), signed + cut)
    (directory / "entries").write_bytes(whole[:size])
    again = ledger(directory)
    kept = b"".join(path.read_bytes() for path in directory.glob("entries.torn-*"))
    found, _, problem = leaves.entries_of((directory / "entries").read_bytes())
    assert problem is None
    assert whole[:size].endswith(kept)
    assert len(found) >= 4
    assert bool(kept) == any(leaf.kind == "started" for leaf in again.read())
    now(again.stop())


def test_what_was_signed_and_is_gone_stops_the_start(tmp_path: Path) -> None:
    stopped(tmp_path)
    content = (tmp_path / "entries").read_bytes()
    for shorter in (content[:-1], content[:40], leaves.MAGIC, b""):
        (tmp_path / "entries").write_bytes(shorter)
        with pytest.raises(LedgerError, match=r"leaves were lost|no header"):
            ledger(tmp_path)
        assert (tmp_path / "entries").read_bytes() == shorter, "it is not touched"


def test_damage_in_the_middle_is_no_torn_tail(tmp_path: Path) -> None:
    made = ledger(tmp_path)
    for number in range(5):
        now(made.append("vault", {"act": str(number)}))
    os_close_all(made)
    content = bytearray((tmp_path / "entries").read_bytes())
    content[content.index(b'"act":"2"') + 7] ^= 1
    (tmp_path / "entries").write_bytes(content)
    with pytest.raises(LedgerError, match="damaged"):
        ledger(tmp_path)


def test_rewritten_leaves_stop_the_start(tmp_path: Path) -> None:
    stopped(tmp_path)
    content = (tmp_path / "entries").read_bytes()
    found, _, _ = leaves.entries_of(content)
    found[2] = found[2].replace(b"verb 1", b"verb X")
    forged = leaves.MAGIC + b"".join(leaves.encode_entry(index, leaf) for index, leaf in enumerate(found))
    assert len(forged) == len(content)
    (tmp_path / "entries").write_bytes(forged)
    with pytest.raises(LedgerError, match="not those"):
        ledger(tmp_path)


def test_a_checkpoint_of_another_key_stops_the_start_unless_it_is_a_former_one(tmp_path: Path) -> None:
    old = stopped(tmp_path)
    with pytest.raises(LedgerError, match="not ours"):
        ledger(tmp_path, seed=bytes(32))
    made = ledger(tmp_path, seed=bytes(32), former=(old,))
    assert [leaf.kind for leaf in made.read()].count("checkpoint-key") == 2
    now(made.stop())


def test_a_torn_checkpoint_is_forgotten(tmp_path: Path) -> None:
    stopped(tmp_path)
    with (tmp_path / "checkpoints").open("ab") as file:
        file.write(b"hoopd.local/ledger\n5\nhalf of a")
    made = ledger(tmp_path)
    assert (tmp_path / "checkpoints").read_bytes().endswith(b"=\n\n")
    now(made.append("vault", {}))
    now(made.stop())
    now(ledger(tmp_path).stop())


def test_one_process_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = ledger(tmp_path)
    monkeypatch.setattr("hoopd.audit.ledger.LOCK_WAIT", 0.0)
    with pytest.raises(Unavailable, match="another process"):
        ledger(tmp_path)
    now(made.stop())
    now(ledger(tmp_path).stop())


# -- witnesses -------------------------------------------------------------------------------------------------


def test_every_checkpoint_goes_to_the_witness_once(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    witness.mkdir()
    made = ledger(tmp_path / "ledger", witness=[str(witness)])
    for _ in range(3):
        now(made.append("vault", {}))
        now(made.checkpoint())
        now(made.checkpoint())
    now(made.stop())
    names = sorted(path.name for path in witness.iterdir())
    assert names == [f"hoopd.local%2Fledger-{size:012d}.note" for size in (1, 2, 3)]


def test_an_old_copy_put_back_stops_the_start(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    witness.mkdir()
    stopped(tmp_path / "ledger", witness=[str(witness)])
    shutil.copytree(tmp_path / "ledger", tmp_path / "backup")
    stopped(tmp_path / "ledger", witness=[str(witness)])
    shutil.rmtree(tmp_path / "ledger")
    shutil.copytree(tmp_path / "backup", tmp_path / "ledger")
    with pytest.raises(LedgerError, match="leaves were lost"):
        ledger(tmp_path / "ledger", witness=[str(witness)])


def test_a_fork_stops_the_start(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    witness.mkdir()
    stopped(tmp_path / "one", count=1, witness=[str(witness)])
    # the same key, another log
    other = ledger(tmp_path / "two")
    now(other.append("vault", {"act": "another"}))
    now(other.stop())
    with pytest.raises(LedgerError, match="not those"):
        ledger(tmp_path / "two", witness=[str(witness)])


def test_a_witness_that_is_away_holds_up_nothing_and_gets_all_later(tmp_path: Path) -> None:
    time = clock()
    events: list[str] = []
    witness = tmp_path / "witness"
    made = ledger(tmp_path / "ledger", time, witness=[str(witness)], event=lambda name, fields: events.append(name))
    for _ in range(3):
        now(made.append("vault", {}))
        now(made.checkpoint())
    assert "audit.witness-failed" in events
    witness.mkdir()
    time.pump([1.0] * 10)
    assert len(list(witness.iterdir())) == 3
    now(made.stop())


def test_a_witness_is_https(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="https"):
        ledger(tmp_path / "other", witness=["http://witness.example/"])


def test_checkpoints_come_by_the_clock_when_leaves_came(tmp_path: Path) -> None:
    time = clock()
    made = ledger(tmp_path, time, config=AuditConfig(checkpoint_every=10.0))
    time.pump([10.0] * 3)
    once = (tmp_path / "checkpoints").read_text().count("hoopd.local/ledger\n")
    assert once == 1
    now(made.append("vault", {}))
    time.advance(10.0)
    assert (tmp_path / "checkpoints").read_text().count("hoopd.local/ledger\n") == 2
    now(made.stop())


# -- kill -9 ---------------------------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from tests.audit.parts import ledger, now
made = ledger(Path(sys.argv[1]))
n = 0
while True:
    now(made.append("vault", {"act": str(n)}))
    print(n, flush=True)
    if n % 7 == 0:
        now(made.checkpoint())
    n += 1
"""


@pytest.mark.parametrize("lines", [1, 20, 60])
def test_kill_minus_nine_loses_nothing_that_was_answered(tmp_path: Path, lines: int) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    assert writer.stdout is not None
    last = -1
    for _ in range(lines):
        last = int(writer.stdout.readline())
    writer.send_signal(signal.SIGKILL)
    rest = writer.stdout.read().split()
    writer.wait()
    last = max([last, *map(int, rest)])
    made = ledger(tmp_path)
    acts = [leaf.fields["act"] for leaf in made.read() if leaf.kind == "vault"]
    assert acts[: last + 1] == [str(number) for number in range(last + 1)]
    now(made.stop())
