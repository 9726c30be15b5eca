"""Signed notes and the checkpoints in them: C2SP signed-note and tlog-checkpoint, Ed25519; pure.

A note is text, an empty line, and lines C{— name base64(key id, signature)}. The key id is the first four bytes of
SHA-256 over name, newline, algorithm byte and public key. A verifier key is C{name+key id+base64(algorithm, key)}.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

from attrs import frozen
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from hoopd.errors import HoopdError

ED25519 = 1
_DASH = "\u2014 "
#: more lines than any quorum of witnesses needs; a note that has more is not read
SIGNATURES_MAX = 100
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


class NoteError(HoopdError):
    """A note that is malformed or not signed by the expected key."""


def _key_id(name: str, public: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + bytes([ED25519]) + public).digest()[:4]


def _check_name(name: str) -> None:
    if not name or "+" in name or any(character.isspace() or ord(character) < 32 for character in name):
        raise NoteError(f"{name!r} cannot name a key: it is empty, or has a space or a plus sign")


def _unbase64(text: str, what: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NoteError(f"{what} is no base64") from error
    # base64 has several spellings of one value where the last bits are padding: one of them is right
    if base64.b64encode(raw).decode() != text:
        raise NoteError(f"{what} is no canonical base64")
    return raw


@frozen
class Verifier:
    """Whose signature is believed."""

    name: str
    public: bytes

    @property
    def key_id(self) -> bytes:
        return _key_id(self.name, self.public)

    def __str__(self) -> str:
        """The verifier key, as people pass it on."""
        key = base64.b64encode(bytes([ED25519]) + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{key}"


def parse_verifier(text: str) -> Verifier:
    """@raise NoteError: not a verifier key of an Ed25519 key, or its id is not its own."""
    parts = text.strip().split("+", 2)
    if len(parts) != 3:
        raise NoteError("a verifier key has the form name+id+key")
    name, key_id, key = parts
    _check_name(name)
    raw = _unbase64(key, "the verifier key")
    if len(raw) != 33 or raw[0] != ED25519:
        raise NoteError("the verifier key is not of an Ed25519 key")
    verifier = Verifier(name, raw[1:])
    if verifier.key_id.hex() != key_id:
        raise NoteError(f"the verifier key of {name} has id {verifier.key_id.hex()}, not {key_id!r}")
    return verifier


class Signer:
    """
    @param name: the key's name; a checkpoint's origin.
    @param seed: 32 bytes, the Ed25519 private key (RFC 8032).
    """

    def __init__(self, name: str, seed: bytes) -> None:
        _check_name(name)
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.verifier = Verifier(name, self._key.public_key().public_bytes_raw())

    def __repr__(self) -> str:
        return f"<Signer {self.verifier.name}>"

    def sign(self, text: str) -> str:
        """@return: the note. @raise NoteError: the text cannot be signed as one."""
        _check_text(text)
        signature = base64.b64encode(self.verifier.key_id + self._key.sign(text.encode())).decode()
        return f"{text}\n{_DASH}{self.verifier.name} {signature}\n"


def _check_text(text: str) -> None:
    if not text.endswith("\n"):
        raise NoteError("the text of a note ends with a newline")
    if any(ord(character) < 32 and character != "\n" for character in text):
        raise NoteError("a note has a control character")


def open_note(note: str, verifier: Verifier) -> str:
    """The text of C{note}, if C{verifier}'s key signed it; lines of other keys do not matter.

    @raise NoteError
    """
    text, gap, lines = note.rpartition("\n\n")
    text += "\n"
    if not gap or not lines.endswith("\n"):
        raise NoteError("this is no signed note")
    _check_text(text)
    signatures = lines[:-1].split("\n")
    if len(signatures) > SIGNATURES_MAX:
        raise NoteError(f"a note with more than {SIGNATURES_MAX} signatures")
    signed = False
    for line in signatures:
        name, space, encoded = line.removeprefix(_DASH).partition(" ")
        if not line.startswith(_DASH) or not space:
            raise NoteError("a line of the note is no signature")
        _check_name(name)
        raw = _unbase64(encoded, "a signature of the note")
        if len(raw) < 5:
            raise NoteError("a signature of the note is too short")
        if name == verifier.name and raw[:4] == verifier.key_id:
            try:
                Ed25519PublicKey.from_public_bytes(verifier.public).verify(raw[4:], text.encode())
            except InvalidSignature as error:
                raise NoteError(f"the signature of {name} does not hold") from error
            signed = True
    if not signed:
        raise NoteError(f"the note is not signed by {verifier.name} with key {verifier.key_id.hex()}")
    return text


@frozen
class Checkpoint:
    """A tree head: how many leaves, and their root hash."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def text(self) -> str:
        """The text to be signed."""
        return "\n".join((self.origin, str(self.size), base64.b64encode(self.root).decode(), *self.extensions)) + "\n"


def parse_checkpoint(text: str) -> Checkpoint:
    """@raise NoteError: the text of a note is no checkpoint."""
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
        raise NoteError("a checkpoint has at least three lines, none of them empty")
    origin, size, root = lines[:3]
    if not _SIZE.fullmatch(size):
        raise NoteError(f"a checkpoint's size is {size!r}")
    raw = _unbase64(root, "a checkpoint's root")
    if len(raw) != 32:
        raise NoteError("a checkpoint's root is no SHA-256 hash")
    return Checkpoint(origin, int(size), raw, tuple(lines[3:-1]))


def open_checkpoint(note: str, verifier: Verifier) -> Checkpoint:
    """@raise NoteError: not signed by that key, no checkpoint, or of another log."""
    checkpoint = parse_checkpoint(open_note(note, verifier))
    if checkpoint.origin != verifier.name:
        raise NoteError(f"the checkpoint is of {checkpoint.origin}, not of {verifier.name}")
    return checkpoint
