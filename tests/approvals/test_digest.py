"""An approval's digest: whatever differs, differs; and it is keyed."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from hoopd.approvals.digest import operation_digest, same
from tests.approvals.parts import BULK, KEY, TERMS, held


def digest(identity: str = "user:priya", act: str | None = None, target: str = "orders", **fields: Any) -> str:
    return operation_digest(KEY, identity, act, target, held(**fields))


def test_what_it_is_bound_to() -> None:
    base = digest()
    others = [
        digest(identity="user:lea"),
        digest(act=""),
        digest(act="user:lea"),
        digest(target="orders-2"),
        digest(text="UPDATE orders SET paid = false"),
        digest(parameters=b"1"),
        digest(context="database=shop;role=admin"),
        digest(protocol="ssh"),
        digest(holds=(TERMS, BULK)),
        digest(holds=(evolve(TERMS, quorum=2),)),
        digest(holds=(evolve(TERMS, by=("group:eng",)),)),
        operation_digest(bytes(32), "user:priya", None, "orders", held()),
    ]
    assert len({base, *others}) == len(others) + 1


def test_what_it_is_not_bound_to() -> None:
    base = digest()
    assert same(
        base, digest(session="S-2", reason="another", policy="p2", redacted="?", holds=(evolve(TERMS, wait=1.0),))
    )


@given(
    one=st.tuples(st.binary(max_size=6), st.binary(max_size=6), st.text(max_size=4)),
    other=st.tuples(st.binary(max_size=6), st.binary(max_size=6), st.text(max_size=4)),
)
@settings(max_examples=200)
def test_no_two_operations_have_one_encoding(one: Any, other: Any) -> None:
    first = digest(text="", statement=one[0], parameters=one[1], context=one[2])
    second = digest(text="", statement=other[0], parameters=other[1], context=other[2])
    assert same(first, second) == (one == other)


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        operation_digest(b"short", "user:priya", None, "orders", held())
