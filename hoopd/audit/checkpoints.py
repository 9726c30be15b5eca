"""The ledger's own history of checkpoints: one file of signed notes, one after the other; docs/record.md, section 4.

Each note is followed by an empty line. Notes hold an empty line themselves, between text and signatures; so the file,
split at empty lines, is text, signatures, text, signatures.
"""

from __future__ import annotations

from attrs import frozen

from hoopd.audit.notes import Checkpoint, NoteError, Verifier, open_checkpoint

#: the file's name in the ledger's directory
NAME = "checkpoints"


@frozen
class History:
    """
    @ivar notes: whole notes in order, unread.
    @ivar end: bytes that these take.
    @ivar rest: bytes after them that are no whole note.
    """

    notes: tuple[str, ...]
    end: int
    rest: bytes


def entry(note: str) -> bytes:
    """A note as it is appended to the file."""
    return (note + "\n").encode()


def split(content: bytes) -> History:
    """Take the file apart; signatures are not looked at."""
    notes: list[str] = []
    at = 0
    while True:
        middle = content.find(b"\n\n", at)
        end = content.find(b"\n\n", middle + 2) if middle != -1 else -1
        if end == -1:
            return History(tuple(notes), at, content[at:])
        try:
            notes.append(content[at : end + 1].decode())
        except UnicodeDecodeError:
            return History(tuple(notes), at, content[at:])
        at = end + 2


def open_any(note: str, verifiers: list[Verifier]) -> Checkpoint:
    """The checkpoint, signed by any one of C{verifiers}. @raise NoteError"""
    problem = NoteError("no key is known")
    for verifier in verifiers:
        try:
            return open_checkpoint(note, verifier)
        except NoteError as error:
            problem = error
    raise problem
