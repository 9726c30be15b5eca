"""Signed notes against the vectors of the Go reference (golang.org/x/mod/sumdb/note) and of C2SP tlog-checkpoint."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoopd.audit import notes
from hoopd.audit.notes import (
    Checkpoint,
    NoteError,
    Signer,
    open_checkpoint,
    open_note,
    parse_checkpoint,
    parse_verifier,
)

VERIFIER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
NOTE = (
    TEXT
    + "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
ENOCH = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"


def test_the_reference_note_is_made_and_opened() -> None:
    signer = Signer("PeterNeumann", SEED)
    assert str(signer.verifier) == VERIFIER
    assert signer.sign(TEXT) == NOTE
    assert open_note(NOTE, parse_verifier(VERIFIER)) == TEXT
    assert "PeterNeumann" in repr(signer)
    assert str(parse_verifier(ENOCH)) == ENOCH


def test_lines_of_unknown_keys_do_not_matter_and_missing_ones_do() -> None:
    other = Signer("witness.example/w", bytes(32)).sign(TEXT).removeprefix(TEXT + "\n")
    assert open_note(NOTE + other, parse_verifier(VERIFIER)) == TEXT
    with pytest.raises(NoteError, match="not signed by EnochRoot"):
        open_note(NOTE, parse_verifier(ENOCH))


@given(at=st.integers(0, len(NOTE.encode()) - 1), bit=st.integers(0, 7))
@settings(max_examples=300)
def test_any_flipped_bit_of_a_note_is_found(at: int, bit: int) -> None:
    damaged = bytearray(NOTE.encode())
    damaged[at] ^= 1 << bit
    with pytest.raises(NoteError):
        open_note(damaged.decode("utf-8", "replace"), parse_verifier(VERIFIER))


@pytest.mark.parametrize(
    "note",
    ["", "\n", "text\n", "text\n\n", "text\n\nPeterNeumann AAAA\n", "text\n\n— PeterNeumann\n", "a\tb\n\n— x AAAAAAA=\n",
     "text\n\n— PeterNeumann !!!!\n", "text\n" + "\n— x AAAAAAA=" * 101 + "\n", "text\n\n— x AAAAAAB=\n"],
)  # fmt: skip
def test_malformed_notes(note: str) -> None:
    with pytest.raises(NoteError):
        open_note(note, parse_verifier(VERIFIER))


@pytest.mark.parametrize(
    "key",
    [
        "",
        "a+b",
        VERIFIER.replace("c74f20a3", "c74f20a4"),
        VERIFIER.replace("+AR", "+BR"),
        "a b+00000000+AR==",
        VERIFIER[:-4],
    ],
)
def test_malformed_verifier_keys(key: str) -> None:
    with pytest.raises(NoteError):
        parse_verifier(key)


def test_names_that_would_break_the_format_are_refused() -> None:
    for name in ("", "a b", "a+b", "a\nb"):
        with pytest.raises(NoteError):
            Signer(name, bytes(32))
    with pytest.raises(NoteError):
        Signer("a", bytes(32)).sign("no newline")
    with pytest.raises(NoteError):
        Signer("a", bytes(32)).sign("bell\a\n")


def test_the_example_checkpoint_of_the_specification() -> None:
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    read = parse_checkpoint(text)
    assert (read.origin, read.size) == ("example.com/behind-the-sofa", 20852163)
    assert read.text() == text
    assert parse_checkpoint(text + "extension\n").extensions == ("extension",)


@pytest.mark.parametrize("size", ["-1", "01", "1 ", "", "1.0", "٣", "9" * 30])
def test_sizes_that_are_no_sizes(size: str) -> None:
    with pytest.raises(NoteError):
        parse_checkpoint(f"origin\n{size}\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n")


def test_a_checkpoint_of_another_log_is_refused() -> None:
    signer = Signer("one.example/log", bytes(32))
    note = signer.sign(Checkpoint("two.example/log", 1, bytes(32)).text())
    with pytest.raises(NoteError, match=r"two\.example"):
        open_checkpoint(note, signer.verifier)
    assert (
        notes.open_checkpoint(signer.sign(Checkpoint("one.example/log", 1, bytes(32)).text()), signer.verifier).size
        == 1
    )
