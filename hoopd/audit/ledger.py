"""The append-only Merkle log of one gateway: leaves in a file, heads signed and published; broker only.

Formats: docs/record.md, sections 3 and 4. Hashing is L{hoopd.audit.merkle}, signing L{hoopd.audit.notes}, publishing
L{hoopd.audit.witnesses}. A leaf is on disk before its Deferred fires, and a checkpoint is signed only over leaves
that are on disk, so that no checkpoint speaks of what a crash can take away.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from zope.interface import implementer

from hoopd.audit import checkpoints, leaves, witnesses
from hoopd.audit.durable import GroupedSync, InThread
from hoopd.audit.leaves import (
    ENTRIES,
    VERIFIER,
    Leaf,
    LedgerError,
    decode_leaf,
    encode_entry,
    encode_leaf,
    entries_of,
    follows,
)
from hoopd.audit.merkle import Tree
from hoopd.audit.notes import Checkpoint, NoteError, Signer, parse_verifier
from hoopd.audit.witness_places import Request, ask, sync_directory
from hoopd.audit.witnesses import Witness
from hoopd.config.schema import AuditConfig
from hoopd.errors import RecordError, Unavailable
from hoopd.interfaces import ILedger

#: how long a starting broker waits for the one before it to let go of the file
LOCK_WAIT = 5.0


@implementer(ILedger)
class Ledger:
    """
    @param directory: of the ledger; made with mode 0700 if it is missing.
    @param signing_seed: 32 bytes, the Ed25519 key of the checkpoints.
    @param config: origin, witnesses, and seconds between checkpoints (0: only when asked for).
    @param clock: IReactorTime.
    @param former: verifier keys that earlier checkpoints were signed with, where the signing key was replaced.
    @param event: takes an event's name and fields.
    @param request: as in L{Witness}.
    @param system: functions of the C{os} module.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        signing_seed: bytes,
        config: AuditConfig,
        clock: Any,
        *,
        former: Sequence[str] = (),
        event: Callable[[str, dict[str, Any]], None] = lambda name, fields: None,
        in_thread: InThread = deferToThread,
        request: Request = ask,
        system: Any = os,
    ) -> None:
        self.directory = Path(directory)
        self.origin = config.origin
        self._signer = Signer(config.origin, signing_seed)
        # not those that the log itself names: whoever rewrites it would name a key of his own
        self._verifiers = [self._signer.verifier, *map(parse_verifier, former)]
        self._clock = clock
        self._every = config.checkpoint_every
        self._event = event
        self._in_thread = in_thread
        self._system = system
        self.witnesses = [
            Witness(place, config.origin, self.examine, clock, event, in_thread, request, system)
            for place in config.witness
        ]
        self._tree = Tree()
        self._fd = -1
        self._notes_fd = -1
        self._sync: GroupedSync | None = None
        self._offset = 0
        self._broken = ""
        self._head: tuple[int, str] = (0, "")
        #: when the newest checkpoint was signed, or this began: seconds since the epoch
        self.signed_at = float(clock.seconds())
        self._signing = False
        self._asked: list[Deferred[str]] = []
        self._timer: Any = None
        self._new_key = False
        self._recovered: dict[str, Any] | None = None

    @property
    def verifier_key(self) -> str:
        """The public key as a verifier key: what an auditor needs."""
        return str(self._signer.verifier)

    @property
    def size(self) -> int:
        """Number of leaves."""
        return self._tree.size

    @property
    def signed(self) -> int:
        """Number of leaves under the newest checkpoint."""
        return self._head[0]

    @property
    def broken(self) -> str:
        """Why nothing can be appended any more; empty while it can."""
        return self._broken

    # -- beginning ---------------------------------------------------------------------------------------------

    def start(self) -> Deferred[None]:
        """Read the ledger back, check it against its checkpoints and directory witnesses, and begin.

        @return: Deferred of None.
        @raise LedgerError: the file is shorter than, or another than, what was signed: it is not touched.
        @raise hoopd.errors.Unavailable: another process has it open.
        """
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        try:
            await self._begin()
        except BaseException:
            self._let_go()
            raise

    async def _begin(self) -> None:
        # the thread only reads and repairs files; nothing else uses this object before it is done
        await self._in_thread(self._open)
        self._sync = GroupedSync(self._fd, "the ledger", self._in_thread, self._system)
        if self._new_key:
            await self.append("checkpoint-key", {"verifier": self.verifier_key})
        if self._recovered is not None:
            await self.append("started", {"recovered": self._recovered})
            self._event("audit.recovered", {"path": ENTRIES, "torn": self._recovered["bytes"], "why": "torn tail"})
        await self._write_verifier()
        size, note = self._head
        if note:
            # a witness that was away when we ended gets the newest now; those in between are covered by it
            self._publish(size, note)
        self._arm()

    def _open(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = self._system.open(self.directory / ENTRIES, flags, 0o600)
        self._lock()
        self._notes_fd = self._system.open(self.directory / checkpoints.NAME, flags, 0o600)
        sync_directory(self.directory, self._system)
        content = (self.directory / ENTRIES).read_bytes()
        history = checkpoints.split((self.directory / checkpoints.NAME).read_bytes())
        if len(content) < len(leaves.MAGIC) and leaves.MAGIC.startswith(content) and not history.notes:
            # new, or its very first write was cut off
            self._system.ftruncate(self._fd, 0)
            self._write(self._fd, leaves.MAGIC)
            content = leaves.MAGIC
        self._read_back(content, history)

    def _lock(self) -> None:
        until = time.monotonic() + LOCK_WAIT
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > until:
                    raise Unavailable("another process has the ledger open") from None
                time.sleep(0.05)

    def _read_back(self, content: bytes, history: checkpoints.History) -> None:
        found, end, problem = entries_of(content)
        self._new_key = True
        for index, leaf in enumerate(found):
            self._tree.append(leaf)
            if b'"kind":"checkpoint-key"' in leaf:
                read = decode_leaf(index, leaf)
                if read.kind == "checkpoint-key" and read.fields.get("verifier") == self.verifier_key:
                    self._new_key = False
        self._check_history(history, problem)
        self._check_witnesses()
        if problem is not None:
            if follows(content, end, len(found)):
                raise LedgerError(f"{problem}, and whole entries follow: the file is damaged, not torn; restore it")
            self._cut(content, end, str(problem))
        self._offset = end

    def _check_history(self, history: checkpoints.History, problem: LedgerError | None) -> None:
        """Compare the leaves with every checkpoint that we ever signed. @raise LedgerError"""
        for note in history.notes:
            try:
                checkpoint = checkpoints.open_any(note, self._verifiers)
            except NoteError as error:
                raise LedgerError(f"a checkpoint in {checkpoints.NAME} is not ours: {error}") from error
            self._check(checkpoint, "our own checkpoint", problem)
            self._head = (checkpoint.size, note)
        if history.rest:
            # cut only after what comes before it was found good
            self._system.ftruncate(self._notes_fd, history.end)
            self._event(
                "audit.recovered", {"path": checkpoints.NAME, "torn": len(history.rest), "why": "torn checkpoint"}
            )

    def _check(self, checkpoint: Checkpoint, whose: str, problem: LedgerError | None = None) -> None:
        if checkpoint.size > self._tree.size:
            why = f" ({problem})" if problem else ""
            raise LedgerError(
                f"the ledger has {self._tree.size} leaves, but {whose} says {checkpoint.size}: leaves were lost{why}; "
                "restore the state directory from a backup that is as new"
            )
        if self._tree.root(checkpoint.size) != checkpoint.root:
            raise LedgerError(f"the first {checkpoint.size} leaves are not those that {whose} was signed over")

    def _check_witnesses(self) -> None:
        """An old copy of the whole directory is consistent with itself: only a witness knows of what came later."""
        for witness in self.witnesses:
            if witness.directory is None:
                continue
            try:
                held = witnesses.stored(witness.directory, self.origin)
            except (OSError, UnicodeDecodeError) as error:
                self._event("audit.witness-failed", {"witness": witness.place, "why": str(error), "attempts": 0})
                continue
            for name, note in held.items():
                try:
                    self.examine(note, f"the checkpoint {name} at witness {witness.place}")
                except NoteError as error:
                    # anybody who can write there can put nonsense there; it must not keep us from starting
                    self._event("audit.witness-failed", {"witness": f"{witness.place}/{name}", "why": str(error)})

    def examine(self, note: str, whose: str) -> None:
        """Compare a checkpoint that somebody else keeps with the leaves that we have.

        With every leaf at hand this is more than a consistency proof (RFC 6962, section 2.1.2) could show.

        @raise LedgerError: it is signed with our key, and our leaves do not lead to it: a fork, or leaves were lost.
        @raise NoteError: it is not ours.
        """
        self._check(checkpoints.open_any(note, self._verifiers), whose)

    def _cut(self, content: bytes, end: int, why: str) -> None:
        """Cut a torn tail off, and keep it beside the ledger."""
        tail = content[end:]
        name = f"{ENTRIES}.torn-{end}"
        (self.directory / name).write_bytes(tail)
        self._system.ftruncate(self._fd, end)
        self._system.fsync(self._fd)
        self._recovered = {
            "offset": end,
            "bytes": len(tail),
            "sha256": hashlib.sha256(tail).hexdigest(),
            "kept": name,
            "why": why,
        }

    async def _write_verifier(self) -> None:
        def write() -> None:
            path = self.directory / VERIFIER
            temporary = path.with_suffix(".new")
            temporary.write_text(self.verifier_key + "\n")
            temporary.replace(path)

        await self._in_thread(write)

    # -- leaves ------------------------------------------------------------------------------------------------

    def append(self, kind: str, fields: Mapping[str, Any]) -> Deferred[int]:
        """See L{ILedger.append}. Leaves stand in the order of the calls.

        @raise hoopd.errors.RecordError: not written. After a failed flush that is final until a restart.
        """
        leaf = encode_leaf(kind, self._clock.seconds(), fields)
        return Deferred.fromCoroutine(self._append(leaf))

    async def _append(self, leaf: bytes) -> int:
        if self._sync is None:
            raise RecordError("the ledger is not open")
        if self._broken:
            raise RecordError(self._broken)
        index = self._tree.size
        entry = encode_entry(index, leaf)
        try:
            self._write(self._fd, entry)
        except OSError as error:
            self._take_back(error)
            raise RecordError(f"the ledger cannot be written: {error.strerror or error}") from error
        self._offset += len(entry)
        self._tree.append(leaf)
        try:
            await self._sync.sync()
        except RecordError as error:
            self._broken = str(error)
            raise
        return index

    def _write(self, fd: int, content: bytes) -> None:
        written = self._system.write(fd, content)
        if written != len(content):
            raise OSError(f"only {written} of {len(content)} bytes were taken")

    def _take_back(self, error: OSError) -> None:
        """Remove a part of an entry that a full disk took, so that the ledger goes on when there is room again."""
        self._event("audit.unwritable", {"what": "ledger", "why": str(error)})
        try:
            self._system.ftruncate(self._fd, self._offset)
        except OSError as second:
            self._broken = f"the ledger has a torn entry that cannot be removed ({second}); a restart does"

    def read(self) -> Iterator[Leaf]:
        """Every leaf, from the file; blocking, for the start of the broker and for tests."""
        found, _, _ = entries_of((self.directory / ENTRIES).read_bytes())
        for index, leaf in enumerate(found):
            yield decode_leaf(index, leaf)

    # -- checkpoints -------------------------------------------------------------------------------------------

    def checkpoint(self) -> Deferred[str]:
        """See L{ILedger.checkpoint}. Fires when the note is in our own history; witnesses get it in the background."""
        done: Deferred[str] = Deferred()
        self._asked.append(done)
        if not self._signing:
            self._sign()
        return done

    def _sign(self) -> None:
        # whoever asks while one is made gets the next one: that one covers the leaves of all who asked
        self._signing = True
        served, self._asked = self._asked, []

        def made(result: Any) -> None:
            self._signing = False
            for done in served:
                if not done.called:
                    done.callback(result)
            if self._asked and not self._signing:
                self._sign()

        Deferred.fromCoroutine(self._checkpoint()).addBoth(made)

    async def _checkpoint(self) -> str:
        if self._sync is None or self._broken:
            raise RecordError(self._broken or "the ledger is not open")
        size = self._tree.size
        if self._head[0] == size and self._head[1]:
            return self._head[1]
        await self._sync.sync()
        note = self._signer.sign(Checkpoint(self.origin, size, self._tree.root(size)).text())
        await self._in_thread(self._keep, checkpoints.entry(note))
        self._head = (size, note)
        self.signed_at = self._clock.seconds()
        self._publish(size, note)
        return note

    def _keep(self, entry: bytes) -> None:
        end = self._system.fstat(self._notes_fd).st_size
        try:
            self._write(self._notes_fd, entry)
            self._system.fdatasync(self._notes_fd)
        except OSError as error:
            # not published, so it may be forgotten; a restart cuts off what this cannot
            self._system.ftruncate(self._notes_fd, end)
            raise RecordError(f"the checkpoint cannot be written: {error.strerror or error}") from error

    def _publish(self, size: int, note: str) -> None:
        for witness in self.witnesses:
            witness.publish(size, note)
        self._event("audit.checkpoint", {"origin": self.origin, "size": size, "witnesses": len(self.witnesses)})

    def _arm(self) -> None:
        if self._every:
            self._timer = self._clock.callLater(self._every, self._tick)

    def _tick(self) -> None:
        self._arm()
        self.checkpoint().addErrback(
            lambda failure: self._event("audit.unwritable", {"what": "checkpoint", "why": failure.getErrorMessage()})
        )

    # -- end ---------------------------------------------------------------------------------------------------

    def stop(self) -> Deferred[None]:
        """Sign a last checkpoint and close. @return: Deferred of None; a checkpoint that fails is only told."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._sync is None:
            return
        try:
            await self.checkpoint()
        except RecordError as error:
            self._event("audit.unwritable", {"what": "checkpoint", "why": str(error)})
        for witness in self.witnesses:
            witness.stop()
        self._let_go()

    def _let_go(self) -> None:
        """Close what is open, and with it the lock."""
        sync, self._sync = self._sync, None
        if sync is not None:
            sync.close()
        elif self._fd != -1:
            self._system.close(self._fd)
        if self._notes_fd != -1:
            self._system.close(self._notes_fd)
        self._fd = self._notes_fd = -1
