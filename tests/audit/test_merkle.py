"""Merkle trees against the vectors of the Certificate Transparency reference, and proofs for every size."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoopd.audit import merkle
from hoopd.audit.merkle import ProofError, Tree, verify_consistency, verify_inclusion

# inputs and roots of the reference implementation's merkletree tests (certificate-transparency, RFC 6962)
LEAVES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSION = {
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
}
CONSISTENCY = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}


def test_roots_of_the_reference() -> None:
    tree = Tree(LEAVES)
    assert [tree.root(size).hex() for size in range(9)] == ROOTS
    for size in range(9):
        assert Tree(LEAVES[:size]).root().hex() == ROOTS[size]


def test_proofs_of_the_reference() -> None:
    tree = Tree(LEAVES)
    for (index, size), path in INCLUSION.items():
        assert [step.hex() for step in tree.inclusion(index, size)] == path
    for (old, size), path in CONSISTENCY.items():
        assert [step.hex() for step in tree.consistency(old, size)] == path


def test_every_proof_up_to_forty_leaves() -> None:
    tree = Tree([bytes([n]) for n in range(40)])
    for size in range(1, 41):
        root = tree.root(size)
        for index in range(size):
            verify_inclusion(tree.leaf(index), index, size, tree.inclusion(index, size), root)
        for old in range(1, size + 1):
            verify_consistency(old, size, tree.consistency(old, size), tree.root(old), root)


@given(
    size=st.integers(1, 300),
    pick=st.integers(0, 10**6),
    wrong=st.sampled_from(["leaf", "index", "path", "longer", "shorter", "root"]),
)
@settings(max_examples=150)
def test_a_wrong_inclusion_proof_proves_nothing(size: int, pick: int, wrong: str) -> None:
    tree = Tree([n.to_bytes(2, "big") for n in range(size)])
    index = pick % size
    path = tree.inclusion(index)
    hashed, root = tree.leaf(index), tree.root()
    if wrong == "leaf":
        hashed = merkle.leaf_hash(b"another")
    elif wrong == "index":
        index = (index + 1) % (size + 1)
    elif wrong == "path" and path:
        path[pick % len(path)] = bytes(32)
    elif wrong == "longer":
        path.append(bytes(32))
    elif wrong == "shorter" and path:
        path.pop()
    else:
        root = bytes(32)
    with pytest.raises(ProofError):
        verify_inclusion(hashed, index, size, path, root)


@given(
    size=st.integers(2, 300),
    pick=st.integers(0, 10**6),
    wrong=st.sampled_from(["old", "new", "path", "longer", "shorter"]),
)
@settings(max_examples=150)
def test_a_wrong_consistency_proof_proves_nothing(size: int, pick: int, wrong: str) -> None:
    tree = Tree([n.to_bytes(2, "big") for n in range(size)])
    old = 1 + pick % (size - 1)
    path = tree.consistency(old)
    before, after = tree.root(old), tree.root()
    if wrong == "old":
        before = bytes(32)
    elif wrong == "new":
        after = bytes(32)
    elif wrong == "path":
        path[pick % len(path)] = bytes(32)
    elif wrong == "longer":
        path.append(bytes(32))
    else:
        path.pop()
    with pytest.raises(ProofError):
        verify_consistency(old, size, path, before, after)


def test_a_changed_leaf_changes_every_root_after_it() -> None:
    good, bad = Tree(LEAVES), Tree([*LEAVES[:3], b"rewritten", *LEAVES[4:]])
    assert [good.root(size) == bad.root(size) for size in range(9)] == [True] * 4 + [False] * 5


def test_sizes_that_do_not_exist() -> None:
    tree = Tree(LEAVES)
    for call in (
        lambda: tree.root(9),
        lambda: tree.inclusion(8),
        lambda: tree.consistency(0),
        lambda: tree.consistency(9),
    ):
        with pytest.raises(ValueError):
            call()
