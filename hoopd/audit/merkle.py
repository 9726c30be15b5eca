"""Merkle tree hashes and proofs, RFC 6962 section 2.1 and RFC 9162 section 2.1; pure, not the log that keeps leaves.

Hashes are SHA-256, 32 bytes. Indices count from 0, sizes are numbers of leaves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

EMPTY_ROOT = hashlib.sha256(b"").digest()


class ProofError(ValueError):
    """A proof that does not prove."""


def leaf_hash(leaf: bytes) -> bytes:
    """RFC 6962: a leaf is hashed with a zero byte before it, a node with a one, so that neither passes as the other."""
    return hashlib.sha256(b"\0" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def _split(size: int) -> int:
    """The largest power of two smaller than C{size} (at least 2)."""
    return 1 << ((size - 1).bit_length() - 1)


class Tree:
    """A tree that only grows. Keeps the hashes of whole subtrees by level: about 64 bytes a leaf.

    Level 0 are the leaf hashes; level n is the roots of whole runs of 2^n leaves.
    """

    def __init__(self, leaves: Sequence[bytes] = ()) -> None:
        self._levels: list[list[bytes]] = [[]]
        for leaf in leaves:
            self.append(leaf)

    @property
    def size(self) -> int:
        return len(self._levels[0])

    def append(self, leaf: bytes) -> int:
        """@return: the new leaf's index"""
        return self.append_hash(leaf_hash(leaf))

    def append_hash(self, hashed: bytes) -> int:
        """As L{append}, for a leaf that is hashed already."""
        index = len(self._levels[0])
        node, level, position = hashed, 0, index
        while True:
            if level == len(self._levels):
                self._levels.append([])
            self._levels[level].append(node)
            if position % 2 == 0:
                return index
            node = node_hash(self._levels[level][position - 1], node)
            position //= 2
            level += 1

    def leaf(self, index: int) -> bytes:
        """@return: the hash of one leaf"""
        return self._levels[0][index]

    def root(self, size: int | None = None) -> bytes:
        """The tree head over the first C{size} leaves (all of them by default). @raise ValueError: no such size."""
        size = self.size if size is None else size
        if not 0 <= size <= self.size:
            raise ValueError(f"no tree of size {size} in one of {self.size}")
        return self._range(0, size) if size else EMPTY_ROOT

    def _range(self, start: int, end: int) -> bytes:
        """MTH(D[start:end]), for the ranges that RFC 6962 forms: start is a multiple of the split below it."""
        size = end - start
        if size & (size - 1) == 0 and start % size == 0:
            return self._levels[size.bit_length() - 1][start // size]
        middle = start + _split(size)
        return node_hash(self._range(start, middle), self._range(middle, end))

    def inclusion(self, index: int, size: int | None = None) -> list[bytes]:
        """The audit path of leaf C{index} in the tree of C{size} leaves (RFC 6962 section 2.1.1)."""
        size = self.size if size is None else size
        if not 0 <= index < size <= self.size:
            raise ValueError(f"no leaf {index} in a tree of size {size}")
        path: list[bytes] = []
        start, end = 0, size
        while end - start > 1:
            middle = start + _split(end - start)
            if index < middle:
                path.append(self._range(middle, end))
                end = middle
            else:
                path.append(self._range(start, middle))
                start = middle
        path.reverse()
        return path

    def consistency(self, old: int, size: int | None = None) -> list[bytes]:
        """That the tree of C{old} leaves is a beginning of the one of C{size} (RFC 6962 section 2.1.2)."""
        size = self.size if size is None else size
        if not 0 < old <= size <= self.size:
            raise ValueError(f"no tree of size {old} in one of size {size}")
        return self._subproof(old, 0, size, True) if old != size else []

    def _subproof(self, old: int, start: int, end: int, whole: bool) -> list[bytes]:
        size = end - start
        if old == size:
            return [] if whole else [self._range(start, end)]
        middle = _split(size)
        if old <= middle:
            return [
                *self._subproof(old, start, start + middle, whole),
                self._range(start + middle, end),
            ]
        return [
            *self._subproof(old - middle, start + middle, end, False),
            self._range(start, start + middle),
        ]


def verify_inclusion(hashed: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """RFC 9162 section 2.1.3.2. @raise ProofError: the leaf is not shown to be in the tree."""
    if not 0 <= index < size:
        raise ProofError(f"no leaf {index} in a tree of size {size}")
    position, last, node = index, size - 1, hashed
    for step in path:
        if last == 0:
            raise ProofError("the proof is too long")
        if position & 1 or position == last:
            node = node_hash(step, node)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            node = node_hash(node, step)
        position >>= 1
        last >>= 1
    if last or node != root:
        raise ProofError("the leaf is not in this tree")


def verify_consistency(old: int, size: int, path: Sequence[bytes], old_root: bytes, root: bytes) -> None:
    """RFC 9162 section 2.1.4.2. @raise ProofError: the old tree is not shown to be a beginning of the new one."""
    if not 0 < old <= size:
        raise ProofError(f"size {old} does not precede {size}")
    if old == size:
        if path or old_root != root:
            raise ProofError("two trees of one size differ")
        return
    steps = list(path)
    if old & (old - 1) == 0:
        steps.insert(0, old_root)
    if not steps:
        raise ProofError("the proof is empty")
    first, last = old - 1, size - 1
    while first & 1:
        first >>= 1
        last >>= 1
    before = after = steps[0]
    for step in steps[1:]:
        if last == 0:
            raise ProofError("the proof is too long")
        if first & 1 or first == last:
            before = node_hash(step, before)
            after = node_hash(step, after)
            while not first & 1 and first:
                first >>= 1
                last >>= 1
        else:
            after = node_hash(after, step)
        first >>= 1
        last >>= 1
    if last or before != old_root or after != root:
        raise ProofError("the old tree is not a beginning of the new one")
