"""The proof: a copy with any byte changed, any file gone or an older copy fails; and the report says where."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hoopd.audit import leaves, recording
from hoopd.audit.checkpoints import entry
from hoopd.audit.merkle import Tree
from hoopd.audit.notes import Checkpoint, NoteError, Signer
from hoopd.audit.transitions import check_approvals
from hoopd.audit.verify import Report, render, verify
from tests.audit.parts import SEED, now
from tests.audit.test_sealing import Broker


def state(directory: Path, closed: bool = True) -> str:
    """A small gateway's state, with a witness beside it. @return: the verifier key"""
    witness = directory.parent / "witness"
    witness.mkdir()
    broker = Broker(directory, witness=[str(witness)])
    for number in range(3):
        session = f"S-{number}"
        made = broker.open(session)
        for operation in range(3):
            made.write("operation", {"operation": operation, "text": f"select {'x' * 2500}"})
            broker.clock.advance(0.25)
            now(broker.ledger.checkpoint())
        if closed or number < 2:
            made.write("close", {"why": "bye"})
            now(broker.recordings.close(session, "bye"))
    now(broker.ledger.checkpoint())
    if closed:
        now(broker.recordings.stop())
        now(broker.ledger.stop())
    return broker.ledger.verifier_key


def failures(report: Report) -> str:
    return "\n".join(f"{each.where}: {each.what}" for each in report.findings if each.severity == "failure")


def files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def test_a_whole_state_is_good_and_says_how_much_was_looked_at(tmp_path: Path) -> None:
    key = state(tmp_path / "state")
    report = verify(tmp_path / "state", key, tmp_path / "witness")
    assert report.ok, failures(report)
    assert (report.recordings, report.open_recordings) == (3, 0)
    assert report.frames == 3 * 5
    assert report.witnessed >= 6
    assert report.findings == []
    text = render(report)
    assert "the record is as it was written" in text
    assert "3 recordings" in text
    # offline, on another machine, without the witness: good, and it says what that leaves open
    alone = verify(str(tmp_path / "state"), key)
    assert alone.ok
    assert "none was given" in render(alone)


def test_any_flipped_byte_anywhere_fails(tmp_path: Path) -> None:
    key = state(tmp_path / "state")
    dice = random.Random(5)
    found = files(tmp_path / "state")
    assert {path.parent.name for path in found} >= {"ledger"}
    for path in found:
        content = path.read_bytes()
        places = {0, 1, len(content) - 1, *(dice.randrange(len(content)) for _ in range(25))}
        for at in places:
            damaged = bytearray(content)
            damaged[at] ^= 1 << dice.randrange(8)
            path.write_bytes(damaged)
            report = verify(tmp_path / "state", key)
            assert not report.ok, f"byte {at} of {path.name}"
            assert "FAILED" in render(report)
        path.write_bytes(content)
    assert verify(tmp_path / "state", key).ok


def test_any_file_cut_doubled_or_gone_fails(tmp_path: Path) -> None:
    key = state(tmp_path / "state")
    for path in files(tmp_path / "state"):
        content = path.read_bytes()
        changes: list[bytes | None] = [content[:-1], content[: len(content) // 2], b"", content + b"\0", content * 2]
        if path.name != "verifier":
            changes.append(None)
        for changed in changes:
            if changed is None:
                path.unlink()
            else:
                path.write_bytes(changed)
            report = verify(tmp_path / "state", key, tmp_path / "witness")
            assert not report.ok, f"{path.name} with {None if changed is None else len(changed)} bytes"
        path.write_bytes(content)
    assert verify(tmp_path / "state", key).ok


def test_recordings_swapped_or_added_fail(tmp_path: Path) -> None:
    key = state(tmp_path / "state")
    one, two = (next((tmp_path / "state").rglob(f"S-{number}.hoopd-rec")) for number in (0, 1))
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    said = failures(verify(tmp_path / "state", key))
    assert "recording of S-1, not of S-0" in said
    one.write_bytes(first)
    two.write_bytes(second)
    (one.parent / "S-9.hoopd-rec").write_bytes(first)
    assert "no leaf of the ledger names it" in failures(verify(tmp_path / "state", key))


def test_where_and_what(tmp_path: Path) -> None:
    key = state(tmp_path / "state")
    path = next((tmp_path / "state").rglob("S-1.hoopd-rec"))
    content = path.read_bytes()
    # changed with a good checksum: only the seals know
    frames = recording.FrameReader().feed(content)
    old = content[frames[1].offset : frames[1].end]
    new, _ = recording.encode(
        1, frames[1].wall, frames[1].monotonic, "operation", {"operation": 0, "text": f"select {'y' * 2500}"}
    )
    path.write_bytes(content.replace(old, new))
    said = failures(verify(tmp_path / "state", key))
    assert "segment 0" in said
    assert "changed after it was sealed" in said
    assert "S-1.hoopd-rec" in said
    assert "checksum" not in said


def test_an_old_copy_of_everything_fails_against_the_witness(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    witness.mkdir()
    broker = Broker(tmp_path / "state", witness=[str(witness)])
    now(broker.ledger.checkpoint())
    shutil.copytree(tmp_path / "state", tmp_path / "old")
    made = broker.open()
    made.write("close", {})
    now(broker.recordings.close("S-1", "bye"))
    now(broker.ledger.checkpoint())
    key = broker.ledger.verifier_key
    assert verify(tmp_path / "state", key, witness).ok
    assert verify(tmp_path / "old", key).ok, "consistent with itself"
    said = failures(verify(tmp_path / "old", key, witness))
    assert "leaves were removed" in said
    assert "old copy" in said


def rewritten(directory: Path, seed: bytes, change: Callable[[list[bytes]], None]) -> None:
    """Somebody with the signing key (or another) writes another history over the ledger."""
    path = directory / "ledger" / "entries"
    found, _, _ = leaves.entries_of(path.read_bytes())
    change(found)
    path.write_bytes(leaves.MAGIC + b"".join(leaves.encode_entry(index, leaf) for index, leaf in enumerate(found)))
    signer = Signer("hoopd.local/ledger", seed)
    note = signer.sign(Checkpoint("hoopd.local/ledger", len(found), Tree(found).root()).text())
    (directory / "ledger" / "checkpoints").write_bytes(entry(note))


def test_a_history_rewritten_without_the_key_fails_and_with_it_only_a_witness_tells(tmp_path: Path) -> None:
    key = state(tmp_path / "state")

    def change(found: list[bytes]) -> None:
        index = next(index for index, leaf in enumerate(found) if b'"identity":"user:priya"' in leaf)
        found[index] = found[index].replace(b"user:priya", b"user:nadia")

    shutil.copytree(tmp_path / "state", tmp_path / "two")
    rewritten(tmp_path / "two", bytes(32), change)
    assert "not signed by" in failures(verify(tmp_path / "two", key))
    rewritten(tmp_path / "state", SEED, change)
    assert verify(tmp_path / "state", key).ok
    assert "rewritten" in failures(verify(tmp_path / "state", key, tmp_path / "witness"))


def test_leaves_swapped_or_left_out_fail(tmp_path: Path) -> None:
    key = state(tmp_path / "state")
    path = tmp_path / "state" / "ledger" / "entries"
    content = path.read_bytes()
    found, _, _ = leaves.entries_of(content)
    for change in (found[:2] + found[3:], [*found[:2], found[3], found[2], *found[4:]], found + found[-1:], found[:-1]):
        path.write_bytes(leaves.MAGIC + b"".join(leaves.encode_entry(index, leaf) for index, leaf in enumerate(change)))
        report = verify(tmp_path / "state", key)
        assert not report.ok
    path.write_bytes(content)


def test_a_witness_that_lies_or_is_empty(tmp_path: Path) -> None:
    key = state(tmp_path / "state")
    notes = sorted((tmp_path / "witness").iterdir())
    content = notes[0].read_text()
    notes[0].write_text(notes[1].read_text())
    assert "and comes after" in failures(verify(tmp_path / "state", key, tmp_path / "witness"))
    lost = verify(tmp_path / "state", key, {path.name: path.read_text() for path in notes[2:]})
    assert lost.ok
    assert f"2 of the {len(notes)} checkpoints" in render(lost)
    elsewhere = {f"other-{number:012d}.note": path.read_text() for number, path in enumerate(notes)}
    assert "another's name" in failures(verify(tmp_path / "state", key, elsewhere))
    notes[0].write_text(content.replace("a", "b", 1))
    assert "not good" in failures(verify(tmp_path / "state", key, tmp_path / "witness"))
    (tmp_path / "empty").mkdir()
    assert "holds no checkpoint" in failures(verify(tmp_path / "state", key, tmp_path / "empty"))
    assert "cannot be read" in failures(verify(tmp_path / "state", key, tmp_path / "nowhere"))


def test_keys(tmp_path: Path) -> None:
    key = state(tmp_path / "state")
    other = str(Signer("hoopd.local/ledger", bytes(32)).verifier)
    assert "not signed by" in failures(verify(tmp_path / "state", other))
    assert verify(tmp_path / "state", f"{other} {key}").ok, "one of several"
    for wrong in ("", "hello"):
        with pytest.raises(NoteError):
            verify(tmp_path / "state", wrong)
    assert "cannot be read" in failures(verify(tmp_path / "nothing", key))


def test_a_live_gateways_copy(tmp_path: Path) -> None:
    key = state(tmp_path / "state", closed=False)
    report = verify(tmp_path / "state", key, tmp_path / "witness")
    assert report.ok, failures(report)
    assert report.open_recordings == 1
    assert [each.severity for each in report.findings] == ["exposure"]
    path = next((tmp_path / "state").rglob("S-2.hoopd-rec"))
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    assert "checksum" in failures(verify(tmp_path / "state", key)), "damage is damage, sealed or not"


def test_a_copy_taken_while_the_gateway_runs(tmp_path: Path) -> None:
    broker = Broker(tmp_path / "state")
    one = broker.open("S-1")
    one.write("operation", {"text": "x" * 6000})
    broker.clock.advance(0.25)
    now(broker.ledger.checkpoint())
    shutil.copytree(tmp_path / "state" / "ledger", tmp_path / "copy" / "ledger")
    # the ledger is copied, and the gateway goes on
    broker.clock.advance(1.0)
    one.write("operation", {"text": "approved", "decision": "hold", "approval": "A-1"})
    one.write("close", {"why": "bye"})
    now(broker.recordings.close("S-1", "bye"))
    broker.open("S-2")
    shutil.copytree(tmp_path / "state" / "recordings", tmp_path / "copy" / "recordings")
    report = verify(tmp_path / "copy", broker.ledger.verifier_key)
    assert report.ok, failures(report)
    exposed = [each.what for each in report.findings if each.severity == "exposure"]
    assert any("A-1" in what for what in exposed)
    assert any("began after" in what for what in exposed)


def test_an_operation_under_an_approval_that_was_never_claimed_fails(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    made = broker.open()
    made.write("operation", {"operation": 1, "text": "drop", "decision": "hold", "approval": "A-1"})
    now(broker.recordings.close("S-1", "bye"))
    assert "A-1" in failures(broker.verified())


def _approval(**fields: Any) -> dict[str, Any]:
    return {"approval": "A-1", "digest": "d", **fields}


REQUEST = _approval(revision=0, event="request", was="", state="pending")
APPROVE = _approval(revision=1, event="approve", was="pending", state="approved")
CLAIM = _approval(revision=2, event="claim", was="approved", state="claimed")
AGAIN = _approval(revision=3, event="claim", was="claimed", state="claimed")
FAILED = _approval(revision=3, event="failed", was="claimed", state="failed")


@pytest.mark.parametrize(
    ("life", "problems"),
    [
        ([REQUEST, APPROVE, CLAIM, FAILED], 0),
        ([REQUEST, APPROVE, APPROVE, CLAIM], 0),
        ([REQUEST, CLAIM], 1),
        ([CLAIM], 1),
        ([REQUEST, APPROVE, CLAIM, AGAIN], 1),
        ([REQUEST, APPROVE, {**CLAIM, "digest": "another"}], 1),
        ([REQUEST, {**APPROVE, "state": "claimed"}], 1),
    ],
)
def test_lives_of_approvals(life: list[dict[str, Any]], problems: int) -> None:
    told = [leaves.Leaf(index, "approval", 0.0, fields) for index, fields in enumerate(life)]
    _, found = check_approvals(told)
    assert len(found) == problems, found


def test_nothing_is_written(tmp_path: Path) -> None:
    key = state(tmp_path / "state")
    before = {path: (path.read_bytes(), os.stat(path).st_mtime_ns) for path in files(tmp_path)}
    verify(tmp_path / "state", key, tmp_path / "witness")
    assert {path: (path.read_bytes(), os.stat(path).st_mtime_ns) for path in files(tmp_path)} == before
