"""A killable reader of large texts: C{python -m hoopd.sql.child}. Reads length-prefixed requests, writes such answers.

A request is u32 (big-endian) length, one byte, and the bytes: C{C} a catalogue, which is kept and not answered; C{R} a text
with its question (L{hoopd.sql.reading}); C{T} a text that is only to be cut into statements. An answer is u32 length, one
byte, and the bytes: C{R} a reading; C{T} positions, as u32 pairs; C{S} a syntax error, C{E} another refusal: a line that
says why, and the text with its literals taken out. A text that crashes the parser or exhausts memory or processor time
ends this process alone: L{hoopd.sql.pool} takes that as a refusal.
"""

from __future__ import annotations

import gc
import resource
import struct
import sys
from typing import BinaryIO

from hoopd.sql.catalogue import Catalogue
from hoopd.sql.grammar import Unparsed
from hoopd.sql.packed import pack_reading, unpack_catalogue, unpack_question
from hoopd.sql.reading import parsed, read
from hoopd.sql.scrub import redact_tokens

_LENGTH = struct.Struct("!I")
_PAIR = struct.Struct("!II")


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer until the other side closes."""
    catalogue: Catalogue | None = None
    while True:
        head = requests.read(_LENGTH.size)
        if len(head) < _LENGTH.size:
            return
        request = requests.read(_LENGTH.unpack(head)[0])
        if request[:1] == b"C":
            catalogue = unpack_catalogue(request[1:])
            continue
        answer = _answer(request, catalogue)
        answers.write(_LENGTH.pack(len(answer)) + answer)
        answers.flush()
        del request, answer
        gc.collect()


def _answer(request: bytes, catalogue: Catalogue | None) -> bytes:
    text = request[1:]
    try:
        if request[:1] == b"T":
            tree = parsed(text)
            return b"T" + b"".join(_PAIR.pack(each.start, each.end) for each in tree.statements)
        text, question = unpack_question(text)
        if catalogue is None:
            raise AssertionError("a question came before its catalogue")
        return b"R" + pack_reading(read(text, question, catalogue), catalogue)
    except Unparsed as problem:
        why = str(problem).replace("\n", " ").encode()
        redacted = redact_tokens(text.decode("utf-8", "replace")).encode("utf-8", "replace")
        return (b"S" if problem.syntax else b"E") + why + b"\n" + redacted


def main() -> None:
    memory = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # No file can be written and none opened beyond the three there are: the parser needs none.
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    # millions of nodes, none of them in a circle: looking for circles took nine tenths of the time
    gc.disable()
    serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
