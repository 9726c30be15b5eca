"""Proof of the record, offline: recordings against their seals, seals against signed heads, heads against witnesses.

Needs a copy of the state directory (C{ledger/} and C{recordings/}), the verifier key, and, to notice a rollback of the
whole, the checkpoints a witness holds. Nothing is written and nothing is asked of the gateway. docs/record.md,
section 6, lists what is checked and what each finding means.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from attrs import Factory, define, frozen

from hoopd.audit import checkpoints, seals, witnesses
from hoopd.audit.leaves import ENTRIES, VERIFIER, Leaf, LedgerError, decode_leaf, entries_of
from hoopd.audit.merkle import Tree
from hoopd.audit.notes import Checkpoint, NoteError, Verifier, parse_verifier
from hoopd.audit.seals import SUFFIX
from hoopd.audit.transitions import check_approvals
from hoopd.audit.verify_recording import Examined, begun_after, examine

Severity = Literal["failure", "exposure", "note"]


@frozen
class Finding:
    """
    @ivar severity: C{failure}: the record is not what was written, or cannot be shown to be. C{exposure}: written but
        not sealed or signed yet. C{note}: worth knowing.
    @ivar where: file or session. @ivar what: one sentence.
    """

    severity: Severity
    where: str
    what: str


@define
class Report:
    """What was found, and how much was looked at."""

    findings: list[Finding] = Factory(list)
    leaves: int = 0
    checkpoints: int = 0
    witnessed: int = 0
    recordings: int = 0
    open_recordings: int = 0
    segments: int = 0
    frames: int = 0
    bytes: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not any(finding.severity == "failure" for finding in self.findings)

    def fail(self, where: str, what: str) -> None:
        self.findings.append(Finding("failure", where, what))

    def expose(self, where: str, what: str) -> None:
        self.findings.append(Finding("exposure", where, what))

    def note(self, where: str, what: str) -> None:
        self.findings.append(Finding("note", where, what))


def verify(
    state_directory: str | os.PathLike[str],
    public_key: str,
    witness: str | os.PathLike[str] | Mapping[str, str] | None = None,
) -> Report:
    """
    @param public_key: verifier key (C2SP signed-note); several, separated by spaces, where the key was replaced.
    @param witness: a directory witness, or a folder of checkpoints fetched from one, or these by name.
    @raise NoteError: the key is no verifier key.
    """
    report = Report()
    verifiers = [parse_verifier(key) for key in public_key.split()]
    if not verifiers:
        raise NoteError("no verifier key was given")
    state = Path(state_directory)
    ledger = state / "ledger"
    try:
        content = (ledger / ENTRIES).read_bytes()
    except OSError as error:
        report.fail(f"ledger/{ENTRIES}", f"cannot be read: {error.strerror}")
        return report
    found, end, problem = entries_of(content)
    if problem is not None:
        report.fail(f"ledger/{ENTRIES}", f"{problem}; {len(content) - end} bytes from there on were not checked")
    if not found:
        report.fail(f"ledger/{ENTRIES}", "has no leaves")
    report.leaves = len(found)
    tree = Tree(found)
    _check_history(report, ledger, tree, verifiers)
    if isinstance(witness, Mapping):
        _check_witness(report, witness, tree, verifiers)
    elif witness is not None:
        _check_witness_directory(report, Path(witness), tree, verifiers)
    else:
        report.note("witness", "none was given: an old copy of the whole state directory would pass")
    _check_verifier_file(report, ledger, verifiers)
    leaves = _decoded(report, found)
    _check_torn(report, ledger, leaves)
    claimed = _check_approvals(report, leaves)
    _check_recordings(report, state / "recordings", leaves, claimed)
    return report


def _decoded(report: Report, found: Iterable[bytes]) -> list[Leaf]:
    leaves = []
    for index, leaf in enumerate(found):
        try:
            leaves.append(decode_leaf(index, leaf))
        except LedgerError as error:
            report.fail(f"ledger/{ENTRIES}", str(error))
    return leaves


# -- checkpoints -----------------------------------------------------------------------------------------------


def _check_history(report: Report, ledger: Path, tree: Tree, verifiers: list[Verifier]) -> None:
    where = f"ledger/{checkpoints.NAME}"
    try:
        history = checkpoints.split((ledger / checkpoints.NAME).read_bytes())
    except OSError as error:
        report.fail(where, f"cannot be read: {error.strerror}")
        return
    if history.rest:
        report.fail(where, f"{len(history.rest)} bytes from byte {history.end} on are no whole checkpoint")
    last = 0
    for number, note in enumerate(history.notes):
        try:
            checkpoint = checkpoints.open_any(note, verifiers)
        except NoteError as error:
            report.fail(where, f"checkpoint {number} is not good: {error}")
            continue
        if checkpoint.size < last:
            report.fail(where, f"checkpoint {number} is of {checkpoint.size} leaves and comes after one of {last}")
        last = max(last, checkpoint.size)
        report.checkpoints += 1
        _compare(report, where, checkpoint, tree, "")
    if not report.checkpoints:
        report.fail(where, "no checkpoint is signed by the given key: nothing here is proven")
    elif last < tree.size:
        report.expose(f"ledger/{ENTRIES}", f"{tree.size - last} leaves came after the last checkpoint (of {last})")


def _compare(report: Report, where: str, checkpoint: Checkpoint, tree: Tree, also: str) -> None:
    if checkpoint.size > tree.size:
        report.fail(
            where, f"a checkpoint says {checkpoint.size} leaves, the ledger has {tree.size}: leaves were removed{also}"
        )
    elif tree.root(checkpoint.size) != checkpoint.root:
        report.fail(
            where, f"the first {checkpoint.size} leaves are not those that were signed: the ledger was rewritten{also}"
        )


def _check_witness_directory(report: Report, directory: Path, tree: Tree, verifiers: list[Verifier]) -> None:
    held: dict[str, str] = {}
    for origin in dict.fromkeys(verifier.name for verifier in verifiers):
        try:
            held.update(witnesses.stored(directory, origin))
        except (OSError, UnicodeDecodeError) as error:
            report.fail("witness", f"cannot be read: {error}")
            return
    _check_witness(report, held, tree, verifiers)


def _check_witness(report: Report, held: Mapping[str, str], tree: Tree, verifiers: list[Verifier]) -> None:
    """Every checkpoint that the witness has, signed by us, is a beginning of the history at hand."""
    if not held:
        report.fail("witness", f"holds no checkpoint of {verifiers[0].name}")
    sizes: dict[str, dict[int, int]] = {}
    for name, note in held.items():
        try:
            checkpoint = checkpoints.open_any(note, verifiers)
        except NoteError as error:
            report.fail(f"witness/{name}", f"is not good: {error}")
            continue
        number = witnesses.number_of(checkpoint.origin, name)
        if number is None:
            report.fail(f"witness/{name}", f"is a checkpoint of {checkpoint.origin} under another's name")
        else:
            sizes.setdefault(checkpoint.origin, {})[number] = checkpoint.size
        report.witnessed += 1
        _compare(report, f"witness/{name}", checkpoint, tree, " or an old copy was put back, or the log was forked")
    for origin, by_number in sizes.items():
        _check_numbers(report, origin, by_number)


def _check_numbers(report: Report, origin: str, sizes: Mapping[int, int]) -> None:
    """A witness numbers without gaps, and a log only grows."""
    missing = max(sizes) - len(sizes)
    if missing:
        # taken away, or not copied
        report.note("witness", f"{missing} of the {max(sizes)} checkpoints of {origin} that it was given are not here")
    last = 0
    for number in sorted(sizes):
        if sizes[number] <= last:
            report.fail(
                f"witness/{witnesses.file_name(origin, number)}", f"is of {sizes[number]} leaves and comes after {last}"
            )
        last = sizes[number]


def _check_verifier_file(report: Report, ledger: Path, verifiers: list[Verifier]) -> None:
    where = f"ledger/{VERIFIER}"
    try:
        text = (ledger / VERIFIER).read_bytes()
    except FileNotFoundError:
        report.note(where, "is missing; it is a copy of the verifier key and proves nothing")
        return
    if text not in [f"{verifier}\n".encode() for verifier in verifiers]:
        report.fail(where, "names another key than the one given")


# -- what leaves say of one another ----------------------------------------------------------------------------


def _check_torn(report: Report, ledger: Path, leaves: list[Leaf]) -> None:
    """Tails that were cut off after a crash are kept, and the ledger has their hashes."""
    for leaf in leaves:
        recovered = leaf.fields.get("recovered") if leaf.kind == "started" else None
        if not isinstance(recovered, dict):
            continue
        where = f"ledger/{Path(str(recovered.get('kept'))).name}"
        report.note(where, f"{recovered.get('bytes')} bytes were cut off after a crash: {recovered.get('why')}")
        try:
            found = hashlib.sha256((ledger / Path(where).name).read_bytes()).hexdigest()
        except OSError as error:
            report.note(where, f"is gone: {error.strerror}")
            continue
        if found != recovered.get("sha256"):
            report.fail(where, "is not what was cut off")


def _check_approvals(report: Report, leaves: list[Leaf]) -> set[str]:
    claimed, problems = check_approvals(leaves)
    for problem in problems:
        report.fail("approvals", problem)
    return claimed


def _check_recordings(report: Report, root: Path, leaves: list[Leaf], claimed: set[str]) -> None:
    try:
        known, problems = seals.fold(leaves)
    except (KeyError, TypeError, ValueError) as error:
        report.fail(f"ledger/{ENTRIES}", f"a leaf of a recording lacks what it must have: {error}")
        return
    for problem in problems:
        report.fail(f"ledger/{ENTRIES}", problem)
    paths = set()
    for sealed in known.values():
        relative = Path(sealed.path)
        if relative.is_absolute() or ".." in relative.parts:
            report.fail(f"session {sealed.session}", f"its path leads out of the recordings: {sealed.path}")
            continue
        paths.add(sealed.path)
        _take(report, examine(root / relative, sealed, claimed), f"recordings/{sealed.path}", sealed.closed is None)
    for path in sorted(root.rglob("*")):
        relative_path = str(path.relative_to(root))
        if not path.is_file() or relative_path in paths:
            continue
        if not path.name.endswith(SUFFIX):
            report.fail(f"recordings/{relative_path}", "is no recording")
        elif leaves and begun_after(path, path.name.removesuffix(SUFFIX), leaves[-1].at):
            report.expose(f"recordings/{relative_path}", "began after the last leaf of this copy of the ledger")
        else:
            report.fail(f"recordings/{relative_path}", "no leaf of the ledger names it")


def _take(report: Report, examined: Examined, where: str, still_open: bool) -> None:
    report.recordings += 1
    report.open_recordings += still_open
    report.segments += examined.segments
    report.frames += examined.frames
    report.bytes += examined.bytes
    for what in examined.failures:
        report.fail(where, what)
    for what in examined.exposures:
        report.expose(where, what)
    for what in examined.notes:
        report.note(where, what)


def render(report: Report) -> str:
    """The report for people, several lines."""
    words = {"failure": "FAILED  ", "exposure": "exposed ", "note": "note    "}
    lines = [
        f"{words[severity]} {finding.where}: {finding.what}"
        for severity in ("failure", "exposure", "note")
        for finding in report.findings
        if finding.severity == severity
    ]
    lines.append(
        f"checked {report.leaves} leaves, {report.checkpoints} checkpoints ({report.witnessed} at a witness), "
        f"{report.recordings} recordings ({report.open_recordings} open) in {report.segments} segments, "
        f"{report.frames} frames, {report.bytes} bytes"
    )
    failed = sum(finding.severity == "failure" for finding in report.findings)
    lines.append("the record is as it was written" if report.ok else f"THE RECORD FAILED: {failed} findings")
    return "\n".join(lines) + "\n"
