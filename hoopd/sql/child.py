"""A killable parser: C{python -m hoopd.sql.child}. Reads length-prefixed texts, writes length-prefixed answers.

A request is u32 (big-endian) length and text. An answer is u32 length, one byte (C{T} a tree as JSON, C{S} a syntax
error, C{E} another refusal), and the bytes. A text that crashes the parser or exhausts memory or processor time ends
this process alone: L{hoopd.sql.pool} takes that as a refusal.
"""

from __future__ import annotations

import resource
import struct
import sys
from typing import BinaryIO

from hoopd.sql.grammar import Unparsed, parse_to_json

_LENGTH = struct.Struct("!I")


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer until the other side closes."""
    while True:
        head = requests.read(_LENGTH.size)
        if len(head) < _LENGTH.size:
            return
        text = requests.read(_LENGTH.unpack(head)[0])
        try:
            answer = b"T" + parse_to_json(text)
        except Unparsed as problem:
            answer = (b"S" if problem.syntax else b"E") + str(problem).encode()
        answers.write(_LENGTH.pack(len(answer)) + answer)
        answers.flush()


def main() -> None:
    memory = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # No file can be written and none opened beyond the three there are: the parser needs none.
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
